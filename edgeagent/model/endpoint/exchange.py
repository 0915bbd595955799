"""One HTTP request to a server and its answer, in a thread of its own.

Whoever waits for the answer is never held up by the network: a server that is silent, drips, sends without an end or
lies about its length is hung up on, and so is any other when the run is stopped. Follows no redirects, uses no proxy.
"""

from __future__ import annotations

import contextlib
import http.client
import queue
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType

from edgeagent.errors import ModelCancelled, ModelError
from edgeagent.model.endpoint.address import Address
from edgeagent.model.endpoint.trouble import Patience, TooLargeError, explained

POLL_SECONDS = 0.1
PIECE = 65536
END_SECONDS = 1.0
"""How long the thread of an exchange is waited for after the connection was shut."""


@dataclass(frozen=True, slots=True)
class Head:
    """What an answer begins with. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]

    @property
    def kind(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


_Event = Head | bytes | Exception | None
_TROUBLE = (OSError, http.client.HTTPException, ValueError, TooLargeError)


class Exchange:
    """A context manager: at its end the connection is shut, whatever goes on.

    Args:
        path: what comes after the address, such as `/chat/completions`.
        tls: for an address with https.
        stop: set to end it soon, with ModelCancelled.
    """

    def __init__(
        self,
        address: Address,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None,
        *,
        tls: ssl.SSLContext | None,
        patience: Patience,
        stop: threading.Event,
    ) -> None:
        self._address, self._patience, self._stop, self._tls = address, patience, stop, tls
        self._request = (method, address.path + path, body, dict(headers))
        self._events: queue.SimpleQueue[_Event] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._is_closed = False
        self._is_connected = False
        self._handle: socket.socket | None = None
        self._until = time.monotonic() + patience.total
        self._thread = threading.Thread(target=self._work, name="endpoint", daemon=True)

    def __enter__(self) -> Exchange:
        if self._stop.is_set():
            raise ModelCancelled("cancelled")
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._lock:
            self._is_closed = True
            if self._handle:
                with contextlib.suppress(OSError):
                    self._handle.shutdown(socket.SHUT_RDWR)
        self._thread.join(END_SECONDS)  # one that asks for the address of a name cannot be ended, and ends by itself

    def head(self) -> Head:
        """Status and headers. ModelError where none come."""
        found = self._next()
        if not isinstance(found, Head):
            raise ModelError(f"{self._address} ended the connection without an answer", "edgeagent doctor")
        return found

    def pieces(self) -> Iterator[bytes]:
        """The body as it comes, after `head`. ModelError where it is cut off or too large."""
        while isinstance(found := self._next(), bytes):
            yield found

    def _next(self) -> Head | bytes | None:
        while True:
            try:
                found = self._events.get(timeout=POLL_SECONDS)
            except queue.Empty:
                found = b""
            if self._stop.is_set():
                raise ModelCancelled("cancelled")
            if time.monotonic() > self._until:
                told = f"{self._address} was not done after {self._patience.total:g} seconds"
                raise ModelError(told, "ask for less: limits.output_tokens")
            if isinstance(found, Exception):
                raise explained(found, self._address, self._patience, is_connected=self._is_connected) from found
            if found != b"":
                return found

    # --- the thread ---------------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            with contextlib.closing(self._connected()) as connection:
                self._converse(connection)
        except _TROUBLE as error:
            self._events.put(error)
        finally:
            self._events.put(None)
            with self._lock:
                if self._handle:
                    self._handle.close()
                    self._handle = None

    def _connected(self) -> socket.socket:
        place = (self._address.host, self._address.port)
        connection = socket.create_connection(place, timeout=self._patience.connect)
        try:
            with self._lock:
                if self._is_closed:
                    raise OSError("closed")
                self._handle = connection.dup()  # TLS takes the descriptor of the other one over
            if self._tls:
                connection = self._tls.wrap_socket(connection, server_hostname=self._address.host)
            connection.settimeout(self._patience.silence)
            self._is_connected = True
        except BaseException:
            connection.close()
            raise
        return connection

    def _converse(self, connection: socket.socket) -> None:
        client = http.client.HTTPConnection(self._address.host, self._address.port)
        client.sock = connection
        method, path, body, headers = self._request
        given = {"Host": self._address.place, "Accept-Encoding": "identity", "Connection": "close", **headers}
        client.request(method, path, body, given)
        with client.getresponse() as response:
            self._events.put(Head(response.status, {name.lower(): value for name, value in response.getheaders()}))
            size = 0
            while piece := response.read1(PIECE):
                size += len(piece)
                if size > self._patience.size:
                    raise TooLargeError
                self._events.put(piece)
            if response.length:  # fewer bytes than the header said
                raise http.client.IncompleteRead(b"", response.length)
