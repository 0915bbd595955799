"""One exchange through the proxy: what a client asks for, and bytes in both directions.

A request is parsed strictly, and what goes on to the server of a plain request is written anew from what was
understood, so that proxy and server cannot read it in two ways.
"""

from __future__ import annotations

import re
import selectors
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from edgeagent.sandbox.addresses import split

_HEAD_BYTES = 32_768
_PIECE = 65_536
_LINE = re.compile(rb"([A-Z]{1,20}) ([\x21-\x7e]{1,8192}) HTTP/1\.[01]")
_FIELD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}:[\t\x20-\x7e\x80-\xff]*")
_NOT_PASSED_ON = (b"proxy-", b"connection:", b"keep-alive:", b"host:", b"te:", b"upgrade:")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a client wants to go."""

    host: str
    port: int
    opening: bytes
    """What is sent to the server first."""
    is_tunnel: bool

    @property
    def name(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def read_request(client: socket.socket) -> Target:
    """The head of a request. ValueError where it is none that is understood, OSError where none comes."""
    data = b""
    while b"\r\n\r\n" not in data:
        if len(data) > _HEAD_BYTES:
            raise ValueError("the head of the request is too large")
        piece = client.recv(_PIECE)
        if not piece:
            raise OSError("no request")
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    line, *fields = head.split(b"\r\n")
    found = _LINE.fullmatch(line)
    if not found or not all(_FIELD.fullmatch(each) for each in fields):
        raise ValueError("not an HTTP request")
    if found[1] == b"CONNECT":
        host, port = split(found[2].decode())
        return Target(host, port, rest, is_tunnel=True)
    return _plain(found[1], found[2].decode(), fields, rest)


def _plain(method: bytes, url: str, fields: list[bytes], rest: bytes) -> Target:
    parts = urlsplit(url)
    if parts.scheme != "http" or "@" in parts.netloc:
        raise ValueError("only CONNECT and plain http:// are understood")
    host, port = split(parts.netloc if re.search(r":\d+$", parts.netloc) else f"{parts.netloc}:80")
    path = url[url.index(parts.netloc) + len(parts.netloc) :].partition("#")[0]
    kept = [each for each in fields if not each.lower().startswith(_NOT_PASSED_ON)]
    lines = [
        method + b" " + (path if path.startswith("/") else f"/{path}").encode() + b" HTTP/1.1",
        b"Host: " + parts.netloc.encode(),
        *kept,
        b"Connection: close",
    ]
    return Target(host, port, b"\r\n".join(lines) + b"\r\n\r\n" + rest, is_tunnel=False)


def tunnel(client: socket.socket, server: socket.socket, target: Target) -> tuple[int, int]:
    """Until either end has closed; how many bytes went to the server, and how many came back."""
    counts = {client: 0, server: 0}
    other = {client: server, server: client}
    try:
        if target.is_tunnel:
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        server.sendall(target.opening)
        counts[client] = len(target.opening)
        with selectors.DefaultSelector() as selector:
            for each in other:
                each.settimeout(None)
                selector.register(each, selectors.EVENT_READ)
            while selector.get_map():
                for key, _ in selector.select():
                    source = key.fileobj
                    assert isinstance(source, socket.socket)
                    if piece := source.recv(_PIECE):
                        other[source].sendall(piece)
                        counts[source] += len(piece)
                        continue
                    selector.unregister(source)
                    other[source].shutdown(socket.SHUT_WR)
    except OSError:
        pass  # either end is gone: what went through until then is what counts
    return counts[client], counts[server]


def status(code: int, reason: str, text: str) -> bytes:
    """An answer of the proxy itself."""
    body = f"edgeagent: {text}\n".encode()
    return f"HTTP/1.1 {code} {reason}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body
