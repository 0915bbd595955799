"""One daemon a home: a lock that the kernel lets go of when the process ends, however it ends, so it is never stale."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgeagent.errors import HomeError


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Holds the home for this process. HomeError names the holder where another one has it."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(file, 64).decode(errors="replace").strip() or "unknown"
            raise HomeError(f"a daemon already runs in this home (process {holder})", "edgeagent status") from None
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(file)
