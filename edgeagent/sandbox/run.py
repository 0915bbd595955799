"""Serves a confined command from start to end: hands in its input, takes its output, holds the limits.

Owns what ends a command: its own end, wall time, the amount of output, the caller's wish, and what it is found to use.
When `run` returns, nothing that the command started is left.
"""

from __future__ import annotations

import os
import selectors
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO

from edgeagent.sandbox.confined import Confined, Sandbox
from edgeagent.sandbox.request import Command, Limit, Outcome
from edgeagent.sandbox.usage import MOST_FILES, too_much

_TICK = 0.05
"""Seconds between two looks at the clock and at what the command uses."""
_PIECE = 65_536
_CPU_TIME_IS_UP = 128 + signal.SIGXCPU


def run(sandbox: Sandbox, command: Command, stopped: Callable[[], bool] = lambda: False) -> Outcome:
    """One command to its end. `stopped` is asked now and then; SandboxError where it cannot be confined."""
    began = time.monotonic()
    with sandbox.launch(command) as confined:
        service = _Service(confined, began + command.limits.wall_seconds, stopped)
        service.serve()
        code = confined.end()
        service.take_rest()
    return Outcome(
        exit_code=code,
        stdout=bytes(service.stdout),
        stderr=bytes(service.stderr),
        seconds=time.monotonic() - began,
        level=confined.level,
        limit=service.limit or ("cpu" if code == _CPU_TIME_IS_UP else None),
        connections=confined.connections(),
    )


@dataclass(slots=True)
class _Service:
    confined: Confined
    deadline: float
    stopped: Callable[[], bool]
    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)
    limit: Limit | None = None
    _unsent: memoryview = field(init=False)

    def __post_init__(self) -> None:
        self._unsent = memoryview(self.confined.command.stdin)

    def serve(self) -> None:
        """Until the command ends or a limit is hit."""
        process = self.confined.process
        assert process.stdin and process.stdout and process.stderr
        with selectors.DefaultSelector() as selector:
            for pipe, event, serve in (
                (process.stdin, selectors.EVENT_WRITE, self._send),
                (process.stdout, selectors.EVENT_READ, lambda pipe: self._take(pipe, self.stdout)),
                (process.stderr, selectors.EVENT_READ, lambda pipe: self._take(pipe, self.stderr)),
            ):
                os.set_blocking(pipe.fileno(), False)
                selector.register(pipe, event, serve)
            selector.register(self.confined.ended, selectors.EVENT_READ, None)
            self._serve(selector)

    def take_rest(self) -> None:
        """What was written before the end and not read yet."""
        for pipe, taken in ((self.confined.process.stdout, self.stdout), (self.confined.process.stderr, self.stderr)):
            while pipe is not None and not pipe.closed and self._take(pipe, taken):
                pass

    def _serve(self, selector: selectors.BaseSelector) -> None:
        look = time.monotonic() + _TICK
        while self.limit is None:
            for key, _ in selector.select(_TICK):
                if key.data is None:
                    return
                if not key.data(key.fileobj):
                    selector.unregister(key.fileobj)
                    key.fileobj.close()  # type: ignore[union-attr]  # a pipe of ours
            if (now := time.monotonic()) >= look:
                self.limit = self.limit or self._look()
                look = time.monotonic() + max(_TICK, 4 * (time.monotonic() - now))

    def _look(self) -> Limit | None:
        if time.monotonic() >= self.deadline:
            return "wall"
        if self.stopped():
            return "stopped"
        limits = self.confined.command.limits
        stored = self.confined.stored()
        if stored.size > limits.scratch_size or stored.files > MOST_FILES:
            return "scratch"
        return too_much(self.confined.process.pid, limits)

    def _send(self, pipe: IO[bytes]) -> bool:
        """Whether there is more to hand in."""
        if not self._unsent:
            return False
        try:
            self._unsent = self._unsent[os.write(pipe.fileno(), self._unsent[:_PIECE]) :]
        except BrokenPipeError:
            return False
        except BlockingIOError:
            return True
        return bool(self._unsent)

    def _take(self, pipe: IO[bytes], taken: bytearray) -> bool:
        """Whether there may be more to come."""
        room = self.confined.command.limits.output_bytes - len(taken)
        try:
            piece = os.read(pipe.fileno(), _PIECE)
        except BlockingIOError:
            return False
        taken += piece[:room]
        if len(piece) > room:
            self.limit = self.limit or "output"
            return False
        return bool(piece)
