"""A local model as the daemon sees it: starts the model host when needed, talks to it, ends it when idle.

Several turns may go on at a time. A host that dies fails the turns in hand with a ModelError and is started again for
the next one. Refuses a model that is missing, no GGUF, or larger than the free memory before any process is started.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import psutil

from edgeagent.errors import ModelCancelled, ModelError, NotEnoughMemory, NotFound
from edgeagent.model.process import POLL_SECONDS, Host
from edgeagent.model.protocol import ChatRequest, ChatResult, Sampling
from edgeagent.model.wire import HostOptions, request_to_json, result_from_json
from edgeagent.schema import Json

__all__ = ["HostModel", "HostOptions", "check_model_file"]

USUAL = Sampling()
CANCEL_SECONDS = 5.0
"""How long a cancelled turn may go on before the host is killed."""


def check_model_file(path: Path, memory_reserve: int) -> None:
    """Refuses what cannot be a usable model, with what is wrong and what to do.

    Raises:
        NotFound: no such file.
        ModelError: not a GGUF, or not enough memory.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(4)
            size = os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        raise NotFound(f"model file {path} does not exist", "edgeagent models list") from None
    except OSError as error:
        raise ModelError(f"model file {path} cannot be read: {error.strerror}", "edgeagent models list") from error
    if magic != b"GGUF":
        raise ModelError(f"{path} is not a GGUF file", "edgeagent models list")
    free = psutil.virtual_memory().available
    if size + memory_reserve > free:
        missing = (size + memory_reserve - free) / 1e6
        raise NotEnoughMemory(
            f"{path.name} needs {size / 1e6:.0f} MB and {memory_reserve / 1e6:.0f} MB must stay free:"
            f" {missing:.0f} MB are missing",
            "use a smaller model, or lower model.memory_reserve in config.toml",
        )


class HostModel:
    """A local GGUF model, in a process of its own. Thread-safe."""

    def __init__(self, name: str, path: Path, options: HostOptions, sampling: Sampling = USUAL) -> None:
        self.name = name
        self._sampling = sampling
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
            check_model_file(self.path, self.options.memory_reserve)
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
        request = replace(request, **asdict(self._sampling.of(request)))
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
