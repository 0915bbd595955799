"""How threads that wait are told that there is something to do: `Bell` for threads, `Attention` for signals as well."""

from __future__ import annotations

import contextlib
import os
import select
import threading


class Bell:
    """Wakes everybody who waits. A ring between looking and waiting is not lost: `rings` is noted before the look."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self.rings = 0

    def ring(self) -> None:
        with self._condition:
            self.rings += 1
            self._condition.notify_all()

    def wait(self, seen: int, seconds: float) -> None:
        with self._condition:
            self._condition.wait_for(lambda: self.rings != seen, seconds)


class Attention:
    """Wakes the one thread that waits for it. A pipe, since a signal handler must take no lock."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK) if hasattr(os, "pipe2") else _pipe()

    def call(self) -> None:
        with contextlib.suppress(BlockingIOError):  # a full pipe has been noticed anyway
            os.write(self._write, b"!")

    def wait(self, seconds: float) -> None:
        if select.select([self._read], [], [], seconds)[0]:
            with contextlib.suppress(BlockingIOError):
                os.read(self._read, 4096)

    def close(self) -> None:
        os.close(self._read)
        os.close(self._write)


def _pipe() -> tuple[int, int]:
    """As `pipe2`, for macOS, which has none. Descriptors of Python are not inherited anyway."""
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, False)
    return ends
