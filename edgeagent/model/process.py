"""One running model host, as the daemon sees it: the process, its pipes, and who waits for which answer.

A host that dies tells everyone who waits. Knows nothing of loading policy: client.py decides when one is started.
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
from pathlib import Path
from typing import IO

from edgeagent.errors import ModelCancelled, ModelError, ModelHostDied, PromptTooLong
from edgeagent.model.limits import ENDLESS, HARD_SIGNAL
from edgeagent.model.wire import HostOptions
from edgeagent.schema import Json

LOAD_SECONDS = 300.0
"""How long a load may take before the host counts as hung."""
POLL_SECONDS = 0.05
"""How soon a stop is seen."""

_READY = 0
_NO_COMPLAINT = "AMX is not ready"  # it is refused: see confine.py
_ERRORS: dict[str, type[ModelError]] = {"cancelled": ModelCancelled, "prompt_too_long": PromptTooLong}
_KEPT = ("PATH", "HOME", "PYTHONPATH", "VIRTUAL_ENV", "LANG", "LD_LIBRARY_PATH")
_OWN = {
    "PYTHONUTF8": "1",
    "OPENBLAS_NUM_THREADS": "1",  # numpy is not what computes
    "MALLOC_MMAP_THRESHOLD_": "1048576",  # glibc: what is freed of states and tables goes back to the system
    "MALLOC_ARENA_MAX": "1",
}

Answers = queue.SimpleQueue[Json | None]
"""What the host says to one request. None: it is dead."""


class Host:
    """One child process. Thread-safe."""

    def __init__(self, path: Path, options: HostOptions) -> None:
        self._path = path
        self.process = subprocess.Popen(
            [sys.executable, "-m", "edgeagent.model.host", str(path), options.as_json()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=child_environment(),
            start_new_session=True,
        )
        self._lock = threading.Lock()
        self._number = _READY
        self._is_dead = False
        self._waiting: dict[int, Answers] = {_READY: queue.SimpleQueue()}
        self._complaints: deque[str] = deque(maxlen=5)
        assert self.process.stdout and self.process.stderr
        self._answering = threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True)
        self._listening = threading.Thread(target=self._listen, args=(self.process.stderr,), daemon=True)
        self._answering.start()
        self._listening.start()

    @property
    def is_alive(self) -> bool:
        return not self._is_dead and self.process.poll() is None

    def loaded(self, stop: threading.Event) -> Json:
        """Waits until the model is loaded; its facts. ModelError where that fails, ModelCancelled on `stop`."""
        until = time.monotonic() + LOAD_SECONDS
        while time.monotonic() < until:
            if stop.is_set():
                raise ModelCancelled("cancelled")
            with contextlib.suppress(queue.Empty):
                answer = self._waiting[_READY].get(timeout=POLL_SECONDS)
                facts: Json = self.checked(answer, f"loading {self._path.name}")["facts"]
                return facts
        raise ModelError(f"the model host hung while loading {self._path.name}", "edgeagent doctor")

    def ask(self, request: Json) -> tuple[int, Answers]:
        """Sends a chat request; its number, and where the answers come in."""
        answers: Answers = queue.SimpleQueue()
        with self._lock:
            self._number += 1
            number = self._number
            self._waiting[number] = answers
            if self._is_dead:
                answers.put(None)
            self._send({"id": number, "op": "chat", "request": request})
        return number, answers

    def cancel(self, number: int) -> None:
        with self._lock:
            self._send({"id": number, "op": "cancel"})

    def forget(self, number: int) -> None:
        """Nobody waits for this answer any more."""
        with self._lock:
            self._waiting.pop(number, None)

    def checked(self, answer: Json | None, doing: str) -> Json:
        """The answer, where it is one. Else raises what went wrong."""
        if answer is None:
            raise ModelHostDied(f"{ModelHostDied.WORDS} while {doing}: {self._death()}", "edgeagent doctor")
        if answer["op"] == "error":
            kind = _ERRORS.get(answer["code"], ModelError)
            raise kind(answer["message"], answer["hint"])
        return answer

    def kill(self) -> None:
        """Ends the process and what waits for it. Gives all its memory back."""
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for thread in (self._answering, self._listening):  # both end with the process, whose pipes they read
            if thread is not threading.current_thread():
                thread.join()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe
            with contextlib.suppress(BrokenPipeError):
                pipe.close()

    def _send(self, message: Json) -> None:
        assert self.process.stdin
        with contextlib.suppress(BrokenPipeError, ValueError):  # its death is noticed by the reader
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()

    def _read(self, source: IO[str]) -> None:
        for line in source:
            message = json.loads(line)
            with self._lock:
                answers = self._waiting.get(message.get("id", _READY))
            if answers is not None:
                answers.put(message)
        with self._lock:
            self._is_dead = True
            for answers in self._waiting.values():
                answers.put(None)

    def _listen(self, source: IO[str]) -> None:
        for line in source:
            if not line.startswith(_NO_COMPLAINT):
                self._complaints.append(line.strip())

    def _death(self) -> str:
        """Why the process ended, in words."""
        code = self.process.wait()
        self._listening.join(1)
        if code == -HARD_SIGNAL:
            return ENDLESS
        how = f"signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"exit code {code}"
        last = f": {self._complaints[-1]}" if self._complaints else ""
        return f"{how}{last}"


def child_environment() -> dict[str, str]:
    """Nothing of the daemon's environment but what Python needs to find itself and its packages."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return kept | _OWN
