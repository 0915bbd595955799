"""The daemon's side of the model host: starts it when needed, talks to it, ends it when idle.

Owns the child process. A host that dies fails the turn in hand with a ModelError and is started again for the next.
Refuses a model that is missing, no GGUF, or larger than the free memory before any process is started.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from edgeagent.errors import ModelCancelled, ModelError, NotFound, PromptTooLong
from edgeagent.model.protocol import ChatRequest, ChatResult
from edgeagent.model.wire import request_to_json, result_from_json
from edgeagent.schema import Json

LOAD_SECONDS = 300.0
"""How long a load may take before the host counts as hung."""
CANCEL_SECONDS = 5.0
"""How long a cancelled turn may go on before the host is killed."""

_ERRORS: dict[str, type[ModelError]] = {"cancelled": ModelCancelled, "prompt_too_long": PromptTooLong}


@dataclass(frozen=True, slots=True)
class HostOptions:
    """`context` in tokens, `threads` 0 for all cores, `memory_reserve` in bytes that must stay free."""

    context: int = 4096
    threads: int = 0
    memory_reserve: int = 256_000_000


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
        raise ModelError(
            f"{path.name} needs {size / 1e6:.0f} MB and {memory_reserve / 1e6:.0f} MB must stay free:"
            f" {missing:.0f} MB are missing",
            "use a smaller model, or lower model.memory_reserve in config.toml",
        )


class _Host:
    """One running child process."""

    def __init__(self, path: Path, options: HostOptions) -> None:
        settings = json.dumps({"context": options.context, "threads": options.threads})
        self.process = subprocess.Popen(
            [sys.executable, "-m", "edgeagent.model.host", str(path), settings],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=_child_environment(),
            start_new_session=True,
        )
        self.answers: queue.Queue[Json | None] = queue.Queue()
        self.complaints: deque[str] = deque(maxlen=5)
        assert self.process.stdout and self.process.stderr
        self._answering = threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True)
        self._answering.start()
        self._errors = threading.Thread(target=self._listen, args=(self.process.stderr,), daemon=True)
        self._errors.start()

    def _read(self, source: IO[str]) -> None:
        for line in source:
            self.answers.put(json.loads(line))
        self.answers.put(None)

    def _listen(self, source: IO[str]) -> None:
        for line in source:
            self.complaints.append(line.strip())

    def send(self, message: Json) -> None:
        assert self.process.stdin
        with contextlib.suppress(BrokenPipeError):  # its death is noticed by the reader
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._answering.join()  # both end with the process, whose pipes they read
        self._errors.join()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe
            with contextlib.suppress(BrokenPipeError):
                pipe.close()

    def death(self) -> str:
        """Why the process ended, in words."""
        code = self.process.wait()
        self._errors.join(1)
        how = f"signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"exit code {code}"
        last = f": {self.complaints[-1]}" if self.complaints else ""
        return f"{how}{last}"


def _child_environment() -> dict[str, str]:
    """Nothing of the daemon's environment but what Python needs to find itself and its packages."""
    kept = ("PATH", "HOME", "PYTHONPATH", "VIRTUAL_ENV", "LANG", "LD_LIBRARY_PATH")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"PYTHONUTF8": "1"}


class HostModel:
    """A local GGUF model. One turn at a time; further callers wait. Thread-safe."""

    def __init__(self, name: str, path: Path, options: HostOptions) -> None:
        self.name = name
        self.path = path
        self._options = options
        self._host: _Host | None = None
        self._facts: Json = {}
        self._turn = threading.Lock()
        self._number = 0
        self._used_at = time.monotonic()

    @property
    def process_id(self) -> int | None:
        """The host's process id; None while nothing is loaded."""
        host = self._host
        return host.process.pid if host and host.process.poll() is None else None

    def facts(self) -> Json:
        """Loads the model if need be and says what it is."""
        with self._turn:
            self._started(threading.Event())
            return self._facts

    def chat(self, request: ChatRequest, stop: threading.Event, on_text: Callable[[str], None]) -> ChatResult:
        """Generates one turn; see `Model.chat`."""
        with self._turn:
            try:
                return self._chat(self._started(stop), request, stop, on_text)
            finally:
                self._used_at = time.monotonic()

    def _started(self, stop: threading.Event) -> _Host:
        if self._host and self._host.process.poll() is None:
            return self._host
        self._drop()
        check_model_file(self.path, self._options.memory_reserve)
        self._host = _Host(self.path, self._options)
        try:
            answer = self._next(self._host, stop, time.monotonic() + LOAD_SECONDS, f"loading {self.path.name}")
        except BaseException:
            self._drop()
            raise
        self._facts = answer["facts"]
        return self._host

    def _chat(
        self, host: _Host, request: ChatRequest, stop: threading.Event, on_text: Callable[[str], None]
    ) -> ChatResult:
        self._number += 1
        host.send({"id": self._number, "op": "chat", "request": request_to_json(request)})
        asked_to_stop = 0.0
        while True:
            if stop.is_set() and not asked_to_stop:
                host.send({"op": "cancel"})
                asked_to_stop = time.monotonic()
            if asked_to_stop and time.monotonic() - asked_to_stop > CANCEL_SECONDS:
                self._drop()
                raise ModelCancelled("cancelled; the model host did not stop in time and was ended")
            try:
                answer = host.answers.get(timeout=0.05)
            except queue.Empty:
                continue
            answer = self._checked(host, answer, "working")
            if answer["op"] == "text":
                on_text(answer["text"])
            else:
                return result_from_json(answer["result"])

    def _next(self, host: _Host, stop: threading.Event, until: float, doing: str) -> Json:
        while time.monotonic() < until:
            if stop.is_set():
                raise ModelCancelled("cancelled")
            try:
                return self._checked(host, host.answers.get(timeout=0.05), doing)
            except queue.Empty:
                continue
        raise ModelError(f"the model host hung while {doing}", "edgeagent doctor")

    def _checked(self, host: _Host, answer: Json | None, doing: str) -> Json:
        if answer is None:
            death = host.death()
            self._drop()
            raise ModelError(f"the model host died while {doing}: {death}", "edgeagent doctor")
        if answer["op"] == "error":
            kind = _ERRORS.get(answer["code"], ModelError)
            raise kind(answer["message"], answer["hint"])
        return answer

    def _drop(self) -> None:
        if self._host:
            self._host.kill()
            self._host = None

    def close(self) -> None:
        """Ends the host, which gives all its memory back."""
        with self._turn:
            self._drop()

    def close_if_idle(self, seconds: float) -> None:
        """Ends the host when no turn ended within the last `seconds`."""
        if self._host and time.monotonic() - self._used_at > seconds and self._turn.acquire(blocking=False):
            try:
                self._drop()
            finally:
                self._turn.release()
