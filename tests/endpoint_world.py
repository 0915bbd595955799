"""Servers for tests of endpoints: real ones with `pocket`, and one that answers what it is told to, byte by byte.

`PEERS` names the real ones: the server of llama-cpp-python always, llama-server where `make bench` has built one.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tiny_models import POCKET

from edgeagent.model.endpoint import Address, EndpointModel, Server
from edgeagent.model.endpoint.trouble import Patience

ROOT = Path(__file__).parent.parent
_BUILDS = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgeagent-bench"
_BUILT = next(iter(_BUILDS.glob("llama_cpp_python-*/build/bin/llama-server")), None)
PEERS = ("llama_cpp.server", *(("llama-server",) if _BUILT else ()))
START_SECONDS = 120.0


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def peer(kind: str, key: str = "") -> Iterator[str]:
    """A real server with `pocket`; gives its address."""
    port = free_port()
    model, place = str(POCKET / "pocket.gguf"), ["--host", "127.0.0.1", "--port", str(port)]
    if kind == "llama-server":
        command = [sys.executable, str(ROOT / "bench" / "no_amx.py"), str(_BUILT), "--jinja", "-np", "2"]
        command += ["-m", model, "-c", "8192", "-t", "1", *place, *(["--api-key", key] if key else [])]
    else:
        command = [sys.executable, "-m", "llama_cpp.server", "--model", model, "--n_ctx", "4096", "--n_threads", "1"]
        command += ["--interrupt_requests", "false", "--verbose", "false", *place, *(["--api_key", key] if key else [])]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        try:
            _wait_for(process, port, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.kill()
            process.wait()


def _wait_for(process: subprocess.Popen[bytes], port: int, log: Any) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"GET /v1/models HTTP/1.0\r\n\r\n")
            status = connection.recv(64).split(b" ")[1:2]
            if status in ([b"200"], [b"401"]):
                return
        time.sleep(0.1)
    log.seek(0)
    raise AssertionError(f"the server did not start: {log.read()[-2000:]!r}")


Answer = bytes | Callable[[socket.socket], None]
"""What is sent after a request, as it is; or what does the sending."""


class Puppet:
    """A server that sends the given answers in turn, the last one for ever, and keeps what it was asked."""

    def __init__(self, answers: list[Answer], tls: ssl.SSLContext | None = None) -> None:
        self.answers = list(answers)
        self.asked: list[Any] = []
        self.heads: list[tuple[str, dict[str, str]]] = []
        self.key_name = ""
        self._tls = tls
        self._ended = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=32)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}/v1"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def model(
        self, name: str = "big", *, context: int = 0, silence: float = 20.0, total: float = 40.0
    ) -> EndpointModel:
        """Its model, asked with little patience."""
        patience = Patience(2.0, silence, total, 2_000_000)
        keys = {"KEY": "sk-123456"}
        server = Server(Address.parse(self.url), self.key_name, keys.__getitem__, patience, (0.01, 0.02))
        return EndpointModel(server, name, context)

    def close(self) -> None:
        self._ended.set()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for thread in self._threads:
            thread.join(30)

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError, ssl.SSLError):
            connection.settimeout(30)
            if self._tls:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with connection:
                self._read(connection)
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if callable(answer):
                    answer(connection)
                else:
                    connection.sendall(answer)

    def _read(self, connection: socket.socket) -> None:
        read = b""
        while b"\r\n\r\n" not in read:
            read += _received(connection)
            if read.startswith(b"\x16"):  # TLS, where this server speaks none
                connection.sendall(http("", status="400 Bad Request"))
                raise OSError("not for us")
        head, _, body = read.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        while len(body) < int(headers.get("content-length", 0)):
            body += _received(connection)
        self.heads.append((lines[0], headers))
        self.asked.append(json.loads(body) if body else None)


def _received(connection: socket.socket) -> bytes:
    read = connection.recv(65536)
    if not read:
        raise OSError("gone")
    return read


@contextmanager
def puppet(*answers: Answer, tls: ssl.SSLContext | None = None) -> Iterator[Puppet]:
    server = Puppet(list(answers), tls)
    try:
        yield server
    finally:
        server.close()


def http(body: bytes | str, kind: str = "application/json", status: str = "200 OK", **headers: str) -> bytes:
    """An answer of HTTP with its length; `Retry_After="1"` is a header."""
    content = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(content)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def completion(
    text: str | list[dict[str, str]] | None = "done",
    *calls: tuple[str, Any],
    usage: Any = None,
    finish: str = "",
    **said: Any,
) -> bytes:
    """A whole answer."""
    message: dict[str, Any] = {"role": "assistant", "content": text, **said}
    if calls:
        message["tool_calls"] = [
            {"id": f"c{n}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for n, (name, arguments) in enumerate(calls)
        ]
    choice = {"index": 0, "message": message, "finish_reason": finish or ("tool_calls" if calls else "stop")}
    return http(json.dumps({"object": "chat.completion", "choices": [choice], "usage": usage}))


def stream(
    *deltas: dict[str, Any] | str, finish: str = "stop", usage: Any = None, end: bytes = b"data: [DONE]\n\n"
) -> bytes:
    """An answer in pieces: dicts are what is new, texts are events as they are."""
    events = [
        delta if isinstance(delta, str) else f"data: {json.dumps({'choices': [{'index': 0, 'delta': delta}]})}\n\n"
        for delta in deltas
    ]
    if finish:
        last = {"choices": [{"index": 0, "delta": {}, "finish_reason": finish}], "usage": usage}
        events.append(f"data: {json.dumps(last)}\n\n")
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n"
    return head + "".join(events).encode("utf-8", "surrogatepass") + end
