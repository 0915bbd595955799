"""A local model as the daemon sees it: starts the model host when needed, talks to it, ends it when idle.

Several turns may go on at a time. A host that dies fails the turns in hand with a ModelError and is started again for
the next one. Refuses a model that is missing, damaged, or larger than the free memory before any process is started.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from pathlib import Path

from edgeagent.errors import ModelCancelled
from edgeagent.model.header import Header, read_header
from edgeagent.model.memory import Need, available, check_fits, need_of
from edgeagent.model.process import POLL_SECONDS, Host
from edgeagent.model.protocol import ChatRequest, ChatResult, Sampling
from edgeagent.model.wire import HostOptions, request_to_json, result_from_json
from edgeagent.schema import Json

__all__ = ["HostModel", "HostOptions"]

USUAL = Sampling()
CANCEL_SECONDS = 5.0
"""How long a cancelled turn may go on before the host is killed."""


@contextlib.contextmanager
def alone(model: HostModel, need: Need, stop: threading.Event) -> Iterator[None]:
    """For a model that shares the memory with no other: refuses it where it does not fit into what is free now."""
    check_fits(model.path.name, need, model.options.memory_reserve, available())
    yield


class HostModel:
    """A local GGUF model, in a process of its own. Thread-safe.

    Args:
        sampling: how tokens are picked where a request does not say.
        room: entered while the model is loaded; raises where there is not the memory that is needed.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        options: HostOptions,
        sampling: Sampling = USUAL,
        room: Callable[[HostModel, Need, threading.Event], AbstractContextManager[None]] = alone,
    ) -> None:
        self.name = name
        self.sampling = sampling
        self._room = room
        self._header: tuple[tuple[int, int], Header] | None = None
        self.path = path
        self.options = options
        self._host: Host | None = None
        self._facts: Json = {}
        self._starting = threading.Lock()
        self._counting = threading.Lock()
        self._turns = 0
        self.used_at = time.monotonic()

    @property
    def process_id(self) -> int | None:
        """The host's process id; None while nothing is loaded."""
        host = self._host
        return host.process.pid if host and host.is_alive else None

    @property
    def is_busy(self) -> bool:
        return self._turns > 0

    def need(self) -> Need:
        """The memory that it takes when loaded. NotFound or ModelError where the file is missing, damaged or none."""
        return need_of(self.header(), self.options)

    def header(self) -> Header:
        """What the file says of itself; read again only when it was replaced."""
        try:
            found = self.path.stat()
            state = (found.st_size, found.st_mtime_ns)
        except OSError:
            return read_header(self.path)  # says what is wrong
        if self._header is None or self._header[0] != state:
            self._header = (state, read_header(self.path))
        return self._header[1]

    def facts(self) -> Json:
        """Loads the model if need be and says what it is."""
        with self._in_use():
            self._started(threading.Event())
            return self._facts

    def chat(self, request: ChatRequest, stop: threading.Event, on_text: Callable[[str], None]) -> ChatResult:
        """Generates one turn; see `Model.chat`."""
        with self._in_use():
            return self._chat(self._started(stop), request, stop, on_text)

    @contextlib.contextmanager
    def _in_use(self) -> Iterator[None]:
        with self._counting:
            self._turns += 1
        try:
            yield
        finally:
            with self._counting:
                self._turns -= 1
                self.used_at = time.monotonic()

    def _started(self, stop: threading.Event) -> Host:
        """The running host; the first who asks starts it, the others wait."""
        while not self._starting.acquire(timeout=POLL_SECONDS):
            if stop.is_set():
                raise ModelCancelled("cancelled")
        try:
            if self._host and self._host.is_alive:
                return self._host
            self._drop()
            with self._room(self, self.need(), stop):
                self._host = Host(self.path, self.options)
                try:
                    self._facts = self._host.loaded(stop)
                except BaseException:
                    self._drop()
                    raise
            return self._host
        finally:
            self._starting.release()

    def _chat(
        self, host: Host, request: ChatRequest, stop: threading.Event, on_text: Callable[[str], None]
    ) -> ChatResult:
        request = replace(request, **asdict(self.sampling.of(request)))
        number, answers = host.ask(request_to_json(request))
        cancelled_at = 0.0
        try:
            while True:
                if stop.is_set() and not cancelled_at:
                    host.cancel(number)
                    cancelled_at = time.monotonic()
                if cancelled_at and time.monotonic() - cancelled_at > CANCEL_SECONDS:
                    host.kill()
                    raise ModelCancelled("cancelled; the model host did not stop in time and was ended")
                try:
                    answer = host.checked(answers.get(timeout=POLL_SECONDS), "working")
                except queue.Empty:
                    continue
                if answer["op"] == "text":
                    on_text(answer["text"])
                else:
                    return result_from_json(answer["result"])
        finally:
            host.forget(number)

    def _drop(self) -> None:
        if self._host:
            self._host.kill()
            self._host = None

    def close(self) -> None:
        """Ends the host, which gives all its memory back. Turns in hand fail."""
        with self._starting:
            self._drop()

    def close_if_idle(self, seconds: float) -> bool:
        """Ends the host when no turn goes on and none ended within the last `seconds`; whether it did."""
        if not self._host or not self._starting.acquire(blocking=False):
            return False
        try:
            with self._counting:
                is_idle = not self._turns and time.monotonic() - self.used_at > seconds
            if is_idle:
                self._drop()
            return is_idle
        finally:
            self._starting.release()
