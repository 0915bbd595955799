"""The control socket and the thread that serves it. Knows no route."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from edgeagent.api.address import short_address
from edgeagent.errors import HomeError

_BACKLOG = 32
_START_SECONDS = 10.0
_STOP_SECONDS = 5.0


class ApiServer:
    """Serves an ASGI application on a unix socket that only its owner may use (0600)."""

    def __init__(self, app: Starlette, socket_path: Path) -> None:
        self._path = socket_path
        settings = uvicorn.Config(
            app,
            lifespan="off",
            ws="none",
            http="h11",
            loop="asyncio",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(settings)
        app.state.is_stopping = lambda: self._server.should_exit
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listens when it returns. A socket file that nobody answers on is replaced.

        Raises:
            HomeError: another process answers there, or the socket cannot be made.
        """
        self._socket = _listen(self._path)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="api", daemon=True
        )
        self._thread.start()
        until = time.monotonic() + _START_SECONDS
        while not self._server.started and self._thread.is_alive() and time.monotonic() < until:
            time.sleep(0.005)
        if not self._server.started:
            self.stop()
            raise HomeError(f"the control socket {self._path} could not be served", "edgeagent doctor")

    def stop(self) -> None:
        """Ends what is open and takes the socket file away. A second call does nothing."""
        self._server.should_exit = True
        if self._thread:
            self._thread.join(_STOP_SECONDS)
            self._thread = None
        if self._socket:
            self._socket.close()
            self._socket = None
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()


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
