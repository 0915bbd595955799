"""One HTTP exchange with one host: which address it leads to, what is sent, how much is read, when it is over.

No proxy, no cookies, no redirects of its own, no address but the one that was checked. Whether a host may be reached
is the policy's decision; what it is asked is `web`.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import re
import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from edgeagent.errors import ToolError
from edgeagent.tools.base import shown

MAX_BYTES = 1_000_000
"""Of an answer. What is more is left unread, and said."""
_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?", re.ASCII)
_KEPT = "%/:=&?~+!$,;'@()*[]-._"
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes. `host` is in lower case and without brackets."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def grant(self) -> str:
        """As an agent's file names it: `host:port`."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def host_header(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Answer:
    """`body` is cut at `MAX_BYTES`; `is_whole` says whether that was all."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes
    is_whole: bool


def parse_url(url: str) -> Target:
    """Raises ToolError for everything that is not a plain http or https address."""
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port
        if parts.username is not None or parts.password is not None:
            raise ToolError("no user name or password in the url; use a header")
        host = ipaddress.ip_address(host).compressed if ":" in host else host.encode("idna").decode()
    except (ValueError, UnicodeError) as error:
        raise ToolError(f"not a url: {shown(url)}") from error
    if parts.scheme not in _PORTS or not (":" in host or _HOST.fullmatch(host)):
        raise ToolError(f"not an http or https url: {shown(url)}")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, port or _PORTS[parts.scheme], path)


def exchange(method: str, target: Target, headers: Mapping[str, str], body: bytes | None, seconds: float) -> Answer:
    """Sends one request and reads the answer, all within so many seconds. Raises ToolError."""
    end = threading.Event()
    try:
        connection = socket.create_connection((_address(target), target.port), timeout=seconds)
    except OSError as error:
        raise ToolError(f"cannot reach {target.grant}: {error.strerror or error}") from error
    # One limit for everything, since a server that sends a byte now and then never runs into a limit for each.
    handle = connection.dup()  # TLS takes the descriptor of the other one over
    last = threading.Timer(seconds, _hang_up, (handle, end))
    last.daemon = True
    last.start()
    try:
        answer = _exchange(connection, method, target, headers, body)
        if end.is_set():  # an answer without a length looks whole when the connection is cut
            raise TimeoutError
        return answer
    except (OSError, http.client.HTTPException, ValueError) as error:
        if end.is_set() or isinstance(error, TimeoutError):  # the socket may notice first
            raise ToolError(f"{target.grant} did not answer within {max(1, round(seconds))} seconds") from error
        reason = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else str(error)
        raise ToolError(f"{target.grant}: {reason or type(error).__name__}") from error
    finally:
        last.cancel()
        last.join()
        handle.close()
        connection.close()


def _exchange(
    connection: socket.socket, method: str, target: Target, headers: Mapping[str, str], body: bytes | None
) -> Answer:
    if target.scheme == "https":
        connection = ssl.create_default_context().wrap_socket(connection, server_hostname=target.host)
    client = http.client.HTTPConnection(target.host, target.port)
    client.sock = connection
    try:
        given = {"Host": target.host_header, "Accept-Encoding": "identity", "Connection": "close", **headers}
        client.request(method, quote(target.path, safe=_KEPT), body, given)
        response = client.getresponse()
        read = response.read(MAX_BYTES + 1)
        return Answer(
            response.status,
            response.reason,
            {name.lower(): value for name, value in response.getheaders()},
            read[:MAX_BYTES],
            len(read) <= MAX_BYTES,
        )
    finally:
        client.close()


def _hang_up(connection: socket.socket, end: threading.Event) -> None:
    end.set()
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _address(target: Target) -> str:
    """The one address that is connected to. Into a private network no name may lead: that takes a grant by number."""
    with contextlib.suppress(ValueError):
        return str(ipaddress.ip_address(target.host))
    try:
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ToolError(f"no address is known for {target.host}") from error
    addresses = [str(entry[4][0]) for entry in found]
    for address in addresses:
        if not _is_public(address):
            hint = f"[{address}]" if ":" in address else address
            raise ToolError(
                f"{target.host} leads to the private address {address}; it must be granted as {hint}:{target.port}"
            )
    return addresses[0]


def _is_public(address: str) -> bool:
    """Whether it is an address of the internet, also where an IPv4 address is wrapped into an IPv6 one."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed in _NAT64:
            parsed = ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
        else:
            parsed = parsed.ipv4_mapped or parsed.sixtofour or parsed
    return parsed.is_global and not parsed.is_multicast
