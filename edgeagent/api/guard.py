"""Who may talk to the daemon: on the unix socket this user and root, on TCP whoever shows the token, and no web page.

Any page in a browser may send requests to a loopback address, and with a name of its own that it lets resolve to
127.0.0.1 even read the answers (DNS rebinding). So on TCP the Host must be the one that was listened on, an Origin the
same, and the token right.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import secrets
import socket
import struct
from pathlib import Path
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from edgeagent.errors import HomeError

HOOKS = "/hooks/"
"""Below it a request without the token is let through, marked as not trusted: a signature may stand for it."""

_MAC_LEVEL, _MAC_PEER = 0, 1  # SOL_LOCAL and LOCAL_PEERCRED of macOS, where the answer begins: version, user id


def read_token(path: Path) -> str:
    """The token in the file; made on first use, for this user only (0600). HomeError where that cannot be."""
    try:
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            path.chmod(0o600)
        else:
            with os.fdopen(file, "w") as made:
                made.write(secrets.token_urlsafe(32) + "\n")
        token = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise HomeError(f"the token in {path} cannot be used: {error}", f"rm '{path}'; a new one is made") from error
    if len(token) < 20:
        raise HomeError(f"the token in {path} is too short", f"rm '{path}'; a new one is made")
    return token


class Guard:
    """Stands before the application on TCP.

    Args:
        address: what is listened on, as `host:port`.
    """

    def __init__(self, app: ASGIApp, token: str, address: str) -> None:
        self._app = app
        self._token = token.encode()
        host, _, port = address.rpartition(":")
        names = {host, "localhost", "127.0.0.1", "[::1]"}
        self._hosts = {f"{name}:{port}" for name in names} | (names if port == "80" else set())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = {name.lower(): value for name, value in scope["headers"]}
        refused = self._refused(headers)
        trusted = refused is None and self._has_token(headers)
        if refused is None and not trusted and not scope["path"].startswith(HOOKS):
            refused = (401, "unauthorized", "the token is missing or wrong; edgeagent status says where it is")
        if refused:
            await _refusal(*refused)(scope, receive, send)
            return
        scope.setdefault("state", {})["is_trusted"] = trusted
        await self._app(scope, receive, send)

    def _refused(self, headers: dict[bytes, bytes]) -> tuple[int, str, str] | None:
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if host not in self._hosts:
            return 403, "denied", f"no such host here: {host}"
        origin = headers.get(b"origin")
        if origin is not None and origin.decode("latin-1").lower().removeprefix("http://") not in self._hosts:
            return 403, "denied", "requests of other sites are refused"
        return None

    def _has_token(self, headers: dict[bytes, bytes]) -> bool:
        kind, _, given = headers.get(b"authorization", b"").partition(b" ")
        return kind.lower() == b"bearer" and hmac.compare_digest(given.strip(), self._token)


def _refusal(status: int, code: str, message: str) -> JSONResponse:
    told = {"error": {"code": code, "message": message, "hint": ""}}
    return JSONResponse(told, status, headers={"WWW-Authenticate": "Bearer"} if status == 401 else None)


class PeerChecked(H11Protocol):
    """HTTP that refuses another user, whatever the mode of the socket file has become."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        peer = transport.get_extra_info("socket")
        if peer is not None and peer.family == socket.AF_UNIX and peer_uid(peer) not in (os.getuid(), 0):
            self.app = _refusal(403, "denied", "this socket belongs to another user")


def peer_uid(peer: Any) -> int:
    """The user at the other end of a unix socket."""
    if hasattr(socket, "SO_PEERCRED"):
        _, uid, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
        return int(uid)
    _, uid = struct.unpack("=II", peer.getsockopt(_MAC_LEVEL, _MAC_PEER, 76)[:8])
    return int(uid)
