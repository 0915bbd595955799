"""Starts processes from one thread that lives as long as this process.

A child that dies with its parent dies in truth with the thread that started it, and a worker's thread may end first.
"""

from __future__ import annotations

import os
import queue
import subprocess
import threading
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field

from edgeagent.errors import SandboxError

_Job = tuple[list[str], list[int], "Future[subprocess.Popen[bytes]]"]


@dataclass(slots=True)
class Spawner:
    """One thread, started with the first process."""

    _jobs: queue.SimpleQueue[_Job] = field(default_factory=queue.SimpleQueue)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _thread: threading.Thread | None = None

    def start(self, argv: list[str], descriptors: list[int]) -> subprocess.Popen[bytes]:
        """A process with pipes for its streams, these descriptors, no environment, and a session of its own."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="sandbox-spawner", daemon=True)
                self._thread.start()
        future: Future[subprocess.Popen[bytes]] = Future()
        self._jobs.put((argv, descriptors, future))
        try:
            return future.result()
        except OSError as error:
            raise SandboxError(f"{argv[0]} does not start: {error.strerror}", "edgeagent doctor") from error

    def _serve(self) -> None:
        while True:
            argv, descriptors, future = self._jobs.get()
            try:
                future.set_result(_start(argv, descriptors))
            except (OSError, ValueError, subprocess.SubprocessError) as error:
                future.set_exception(error)
            del future


def _start(argv: list[str], descriptors: list[int]) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        argv,
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        env={},
        cwd="/",
        pass_fds=descriptors,
        bufsize=0,
        start_new_session=True,
    )


@dataclass(slots=True)
class Given:
    """The descriptors that one process is to inherit; here they are closed with `opened`, once it has started."""

    opened: ExitStack
    numbers: list[int] = field(default_factory=list)

    def add(self, descriptor: int) -> int:
        self.opened.callback(os.close, descriptor)
        self.numbers.append(descriptor)
        return descriptor


def memory_file(name: str, data: bytes) -> int:
    """A descriptor of a file in memory that holds `data`, at its beginning."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC)
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
