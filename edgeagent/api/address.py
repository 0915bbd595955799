"""How a unix socket is named. The kernel takes at most 107 bytes, and a home may lie deeper than that."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LONGEST = 103
"""Bytes that every system takes; macOS has the shortest limit."""


@contextmanager
def short_address(path: Path) -> Iterator[str]:
    """A name for the socket that is short enough while the context lasts; on Linux there always is one."""
    if len(os.fsencode(path)) <= LONGEST or not os.path.isdir("/proc/self/fd"):
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
