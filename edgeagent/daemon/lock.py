"""One daemon a home: a lock that the kernel lets go of when the process ends, however it ends, so it is never stale."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from edgeagent.errors import HomeError

_NAMING_SECONDS = 2.0
"""How long whoever has the lock may take to write who it is."""


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Holds the home for this process. HomeError names the holder where another one has it."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(file) or "unknown"
            raise HomeError(f"a daemon already runs in this home (process {holder})", "edgeagent status") from None
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(file)


def _holder(file: int) -> str:
    """The number that the holder wrote; "" where it does not come to that.

    One that got the lock a moment ago may not have written yet, and what stands there is of a daemon that was killed.
    """
    until = time.monotonic() + _NAMING_SECONDS
    while not _wrote(file, number := os.pread(file, 64, 0).decode(errors="replace").strip()):
        if time.monotonic() >= until:
            return ""
        time.sleep(0.02)
    return number


def _wrote(file: int, number: str) -> bool:
    """Whether the process of that number can have written it: it lives, and did so when the file was written."""
    try:
        return psutil.Process(int(number)).create_time() <= os.fstat(file).st_mtime
    except (ValueError, OverflowError, psutil.Error):
        return False
