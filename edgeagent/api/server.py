"""The control socket, the loopback address beside it where one is wanted, and the threads that serve them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from edgeagent.api.address import short_address
from edgeagent.api.guard import Guard, PeerChecked
from edgeagent.errors import HomeError

_BACKLOG = 32
_START_SECONDS = 10.0
_STOP_SECONDS = 5.0


class _Server(uvicorn.Server):
    """Sleeps until it is told to end, where uvicorn looks ten times a second, on battery too."""

    async def main_loop(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        if not self.should_exit:
            await self._over.wait()

    def leave(self) -> None:
        """From any thread."""
        self.should_exit = True
        if self.started and hasattr(self, "_over"):
            with contextlib.suppress(RuntimeError):  # it has ended meanwhile
                self._loop.call_soon_threadsafe(self._over.set)


class _Serving:
    """An application on one listening socket, in a thread of its own."""

    def __init__(self, app: Starlette | Guard, listen: Callable[[], socket.socket], where: str) -> None:
        self._listen = listen
        self._where = where
        settings = uvicorn.Config(
            app,
            lifespan="off",
            ws="none",
            http=PeerChecked,
            loop="asyncio",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=1,
        )
        self._server = _Server(settings)
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listens when it returns. Raises HomeError where that cannot be."""
        self._socket = self._listen()
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="api", daemon=True
        )
        self._thread.start()
        until = time.monotonic() + _START_SECONDS
        while not self._server.started and self._thread.is_alive() and time.monotonic() < until:
            time.sleep(0.002)
        if not self._server.started:
            self.stop()
            raise HomeError(f"{self._where} could not be served", "edgeagent doctor")

    @property
    def is_alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def stop(self) -> bool:
        """Ends what is open. A second call does nothing and gives False."""
        if self._thread:
            until = time.monotonic() + _STOP_SECONDS
            while self._thread.is_alive() and time.monotonic() < until:
                self._server.leave()
                self._thread.join(0.05)
            self._thread = None
        was_open = self._socket is not None
        if self._socket:
            self._socket.close()
            self._socket = None
        return was_open


class ApiServer(_Serving):
    """Serves on a unix socket that only its owner may use (0600).

    A socket file that nobody answers on is replaced; `start` raises HomeError where another process answers there.
    """

    def __init__(self, app: Starlette, socket_path: Path) -> None:
        super().__init__(app, lambda: _listen(socket_path), f"the control socket {socket_path}")
        self._path = socket_path
        app.state.is_stopping = lambda: self._server.should_exit

    def stop(self) -> bool:
        was_open = super().stop()
        if was_open:
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()
        return was_open


class TcpServer(_Serving):
    """Serves on a loopback address, `host:port`, to whoever shows the token."""

    def __init__(self, app: Starlette, address: str, token: str) -> None:
        super().__init__(Guard(app, token, address), lambda: _listen_tcp(address), f"api.listen {address}")
        self.address = address
        app.state.is_stopping = lambda: self._server.should_exit


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with short_address(path) as address:
            if _is_answered(address):
                raise HomeError(f"another daemon answers on {path}", "edgeagent status")
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
            _bind(listener, address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise HomeError(f"cannot make the control socket {path}: {error.strerror}", "edgeagent doctor") from error
    except HomeError:
        listener.close()
        raise
    return listener


def _listen_tcp(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, int(port)))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise HomeError(
            f"cannot listen on {address}: {error.strerror}", "choose another port in [api] listen"
        ) from error
    return listener


def _bind(listener: socket.socket, address: str) -> None:
    """The file has its mode from the first moment on; a chmod afterwards would leave a gap."""
    before = os.umask(0o177)
    try:
        listener.bind(address)
    finally:
        os.umask(before)


def _is_answered(address: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(address)
        except OSError:
            return False
    return True
