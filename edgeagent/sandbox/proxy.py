"""The only way out of a network namespace: a proxy for CONNECT and plain HTTP that reaches granted hosts alone.

It listens on a socket inside the namespace (`namespace.py` makes it), while it runs outside, in the daemon. It looks
names up itself and connects to the very address that it has checked, so a name that changes its meaning gains nothing.
Every attempt is on record, refused ones too. What goes through a tunnel is not looked at.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from edgeagent.sandbox.addresses import Address, Reachable, Refused, Resolve, resolve
from edgeagent.sandbox.exchange import Target, read_request, status, tunnel
from edgeagent.sandbox.request import Connection

SECONDS = 15.0
"""For the head of a request, and to connect."""
_AT_A_TIME = 64
_RECORDED = 1000


@dataclass(slots=True)
class Proxy:
    """Serves one command. `close` ends it and every connection."""

    listener: socket.socket
    reachable: Reachable
    resolve: Resolve = resolve
    _record: list[Connection] = field(default_factory=list)
    _open: set[socket.socket] = field(default_factory=set)
    _threads: list[threading.Thread] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _closed: bool = False

    def start(self) -> None:
        self._begin(self._accept)

    def close(self) -> None:
        """Ends every connection; returns once what was sent and received is known."""
        with self._lock:
            self._closed = True
            sockets = [self.listener, *self._open]
        for each in sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in list(self._threads):
            thread.join(1.0)  # one that waits for the resolver ends later, and finds itself closed
        self.listener.close()

    def connections(self) -> tuple[Connection, ...]:
        """Every attempt up to now, in the order of their ends."""
        with self._lock:
            return tuple(self._record)

    def _accept(self) -> None:
        places = threading.BoundedSemaphore(_AT_A_TIME)
        while True:
            places.acquire()
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self._begin(partial(self._serve, client, places))

    def _begin(self, act: Callable[[], None]) -> None:
        thread = threading.Thread(target=act, name="sandbox-proxy", daemon=True)
        self._threads = [*(each for each in self._threads if each.is_alive()), thread]
        thread.start()

    def _serve(self, client: socket.socket, places: threading.BoundedSemaphore) -> None:
        with suppress(OSError), client:  # the command may go away in the middle of it
            if self._hold(client):
                client.settimeout(SECONDS)
                self._answer(client)
        with self._lock:
            self._open.discard(client)
        places.release()

    def _answer(self, client: socket.socket) -> None:
        try:
            target = read_request(client)
        except ValueError as error:
            client.sendall(status(400, "Bad Request", str(error)))
            return
        try:
            server, address = self._connect(target)
        except Refused as refusal:
            self._note(Connection(target.name, "", "refused", refusal.reason))
            client.sendall(status(403, "Forbidden", f"{target.name}: {refusal.reason}"))
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            self._note(Connection(target.name, "", "failed", reason))
            client.sendall(status(502, "Bad Gateway", f"{target.name}: {reason}"))
        else:
            with server:
                sent, received = tunnel(client, server, target)
                with self._lock:
                    self._open.discard(server)
            self._note(Connection(target.name, str(address), "connected", "", sent, received))

    def _connect(self, target: Target) -> tuple[socket.socket, Address]:
        """To the first address that answers. Raises Refused or OSError."""
        trouble: OSError = OSError("no address")
        for address in self.reachable.addresses(target.host, target.port, self.resolve):
            server = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6)
            try:
                if not self._hold(server):
                    raise OSError("the command has ended")
                server.settimeout(SECONDS)
                server.connect((str(address), target.port))
                self._check_elsewhere(server, address, target)
            except (OSError, Refused) as error:
                with self._lock:
                    self._open.discard(server)
                server.close()
                if isinstance(error, Refused):
                    raise
                trouble = error
                continue
            return server, address
        raise trouble

    def _check_elsewhere(self, server: socket.socket, address: Address, target: Target) -> None:
        """A public address may be this machine's own; then both ends are the same."""
        is_here = server.getsockname()[0] == server.getpeername()[0]
        if is_here and (address, target.port) not in self.reachable.numbers:
            raise Refused("stands for this very machine and is not granted by number")

    def _hold(self, opened: socket.socket) -> bool:
        """Remembers a socket, so that `close` reaches it; False where that has happened already."""
        with self._lock:
            if not self._closed:
                self._open.add(opened)
            return not self._closed

    def _note(self, connection: Connection) -> None:
        with self._lock:
            if len(self._record) < _RECORDED:
                self._record.append(connection)
