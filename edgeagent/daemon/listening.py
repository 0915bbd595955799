"""Where the daemon can be reached: the control socket always, a loopback address where the settings name one.

The address follows the settings. One that cannot be had is a problem that `status` tells, and not the daemon's end.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from starlette.applications import Starlette

from edgeagent.api.guard import read_token
from edgeagent.api.server import ApiServer, TcpServer
from edgeagent.errors import HomeError
from edgeagent.home import Home
from edgeagent.schema import Json

log = logging.getLogger("edgeagent.daemon")


class Listening:
    def __init__(self, build: Callable[[], Starlette], home: Home) -> None:
        """`build` makes the application; each listener has its own."""
        self._build = build
        self._home = home
        self._socket = ApiServer(build(), home.socket)
        self._tcp: TcpServer | None = None
        self.problems: list[str] = []

    def start(self, address: str) -> None:
        """Raises HomeError where the control socket cannot be served."""
        self._socket.start()
        self.move(address)

    def move(self, address: str) -> None:
        """Listens on this address from now on; empty: on none."""
        if self._tcp and (self._tcp.address != address or not self._tcp.is_alive):
            self._tcp.stop()
            self._tcp = None
        self.problems = []
        try:
            token = read_token(self._home.api_token)
            if address and self._tcp is None:
                tcp = TcpServer(self._build(), address, token)
                tcp.start()
                self._tcp = tcp
                log.info("listening on http://%s; the token is in %s", address, self._home.api_token)
        except HomeError as error:
            log.error("%s", error.message)
            self.problems = [error.message]

    def stop(self) -> None:
        if self._tcp:
            self._tcp.stop()
        self._socket.stop()

    def as_json(self) -> Json:
        return {
            "socket": str(self._home.socket),
            "listen": self._tcp.address if self._tcp else "",
            "token_file": str(self._home.api_token),
        }
