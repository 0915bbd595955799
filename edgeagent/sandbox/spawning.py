"""Starts processes from one thread that lives as long as this process.

A child that dies with its parent dies in truth with the thread that started it, and a worker's thread may end first.
"""

from __future__ import annotations

import os
import queue
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

_Job = tuple[Callable[[], "subprocess.Popen[bytes]"], "Future[subprocess.Popen[bytes]]"]


@dataclass(slots=True)
class Spawner:
    """One thread, started with the first process."""

    _jobs: queue.SimpleQueue[_Job] = field(default_factory=queue.SimpleQueue)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _thread: threading.Thread | None = None

    def start(self, start: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        """Calls `start` in the thread and gives what it gives, or raises what it raises."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="sandbox-spawner", daemon=True)
                self._thread.start()
        future: Future[subprocess.Popen[bytes]] = Future()
        self._jobs.put((start, future))
        return future.result()

    def _serve(self) -> None:
        while True:
            start, future = self._jobs.get()
            try:
                future.set_result(start())
            except (OSError, ValueError, subprocess.SubprocessError) as error:
                future.set_exception(error)
            del start, future


def memory_file(name: str, data: bytes) -> int:
    """A descriptor of a file in memory that holds `data`, at its beginning."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC)
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
