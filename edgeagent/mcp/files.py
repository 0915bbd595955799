"""The digest of a server's own files: another byte anywhere is another server.

Contents are read again only where size, times or inode of a file are others than when it was read last. What Python
writes beside its sources (`__pycache__`) does not count.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from edgeagent.errors import McpError

MOST_FILES = 50_000
MOST_BYTES = 2_000_000_000
_ASIDE = frozenset({".git", "__pycache__", ".cache"})


class FileDigests:
    """Remembers the digests of files as long as this process lives."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple[int, ...], str]] = {}
        self._whole: dict[tuple[Path, ...], tuple[float, str]] = {}

    def lately(self, places: tuple[Path, ...], seconds: float) -> str:
        """The digest, as it was found at most so many seconds ago."""
        found_at, digest = self._whole.get(places, (0.0, ""))
        return digest if digest and time.monotonic() - found_at < seconds else self.of(places)

    def of(self, places: tuple[Path, ...]) -> str:
        """The digest of everything below these files and folders. McpError where that is too much."""
        whole = hashlib.sha256()
        count = size = 0
        for place in places:
            for path in _files(place):
                found = os.lstat(path)
                count, size = count + 1, size + found.st_size
                if count > MOST_FILES or size > MOST_BYTES:
                    raise McpError(f"{place} holds too much to be a server's own", "name its `folder` in config.toml")
                whole.update(f"{path}:{self._digest(path, found)}\n".encode("utf-8", "surrogateescape"))
        self._whole[places] = (time.monotonic(), whole.hexdigest())
        return whole.hexdigest()

    def _digest(self, path: str, found: os.stat_result) -> str:
        if os.path.islink(path):
            return f"link to {os.readlink(path)}"
        mark = (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev)
        known = self._known.get(path)
        if known is None or known[0] != mark:
            try:
                with open(path, "rb") as file:
                    known = (mark, hashlib.file_digest(file, "sha256").hexdigest())
            except OSError as error:
                known = (mark, f"cannot be read: {error.strerror}")
            self._known[path] = known
        return known[1]


def _files(place: Path) -> Iterator[str]:
    """Files and links, in a fixed order. Nothing else is opened."""
    if not place.is_dir():
        yield str(place)
        return
    for root, folders, names in os.walk(place):
        links = [name for name in folders if os.path.islink(os.path.join(root, name))]
        folders[:] = sorted(name for name in folders if name not in _ASIDE and name not in links)
        for name in sorted([*names, *links]):
            path = os.path.join(root, name)
            if os.path.isfile(path) or os.path.islink(path):
                yield path
