"""The digest of a server's own files: another byte anywhere is another server.

Contents are read again only where size, times or inode of a file are others than when it was read last. What Python
writes beside its sources (`__pycache__`) does not count.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from edgeagent.errors import McpError

MOST_FILES = 50_000
MOST_BYTES = 2_000_000_000
_READING = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_ASIDE = frozenset({".git", "__pycache__", ".cache"})


class FileDigests:
    """Remembers the digests of files, in `kept` also for the next process; that file may be deleted at any time."""

    def __init__(self, kept: Path) -> None:
        self._kept = kept
        self._known: dict[str, list[Any]] | None = None
        self._is_new = False
        self._lock = threading.Lock()
        self._whole: dict[tuple[Path, ...], tuple[float, str]] = {}

    def lately(self, places: tuple[Path, ...], seconds: float) -> str:
        """The digest, as it was found at most so many seconds ago."""
        found_at, digest = self._whole.get(places, (0.0, ""))
        return digest if digest and time.monotonic() - found_at < seconds else self.of(places)

    def forget(self) -> None:
        """The next look is a new one."""
        self._whole.clear()

    def of(self, places: tuple[Path, ...]) -> str:
        """The digest of everything below these files and folders. McpError where that is too much."""
        with self._lock:
            self._known = self._known if self._known is not None else _read(self._kept)
            digest = self._of(places, self._known)
            if self._is_new:
                _write(self._kept, self._known)
                self._is_new = False
        self._whole[places] = (time.monotonic(), digest)
        return digest

    def _of(self, places: tuple[Path, ...], known: dict[str, list[Any]]) -> str:
        whole = hashlib.sha256()
        count = size = 0
        for place in places:
            for path, found in _files(place):
                count, size = count + 1, size + found.st_size
                if count > MOST_FILES or size > MOST_BYTES:
                    raise McpError(f"{place} holds too much to be a server's own", "name its `folder` in config.toml")
                whole.update(f"{path}:{self._digest(path, found, known)}\n".encode("utf-8", "surrogateescape"))
        return whole.hexdigest()

    def _digest(self, path: str, found: os.stat_result, known: dict[str, list[Any]]) -> str:
        if stat.S_ISLNK(found.st_mode):
            return f"link to {os.readlink(path)}"
        mark = [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev]
        before = known.get(path)
        if before is not None and before[:-1] == mark:
            return str(before[-1])
        try:
            with open(os.open(path, _READING), "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            return f"cannot be read: {error.strerror}"
        known[path] = [*mark, digest]
        self._is_new = True
        return digest


def _read(kept: Path) -> dict[str, list[Any]]:
    try:
        known = json.loads(kept.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return {path: mark for path, mark in known.items() if isinstance(mark, list)} if isinstance(known, dict) else {}


def _write(kept: Path, known: dict[str, list[Any]]) -> None:
    """As well as it can be: what is not kept is read again."""
    fresh = kept.with_name(f".{kept.name}.{os.getpid()}")
    with suppress(OSError):
        kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh.write_text(json.dumps(known), "utf-8")
        os.replace(fresh, kept)


def _files(place: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Files and links, in a fixed order, none of them followed or opened."""
    if not place.is_dir():
        yield str(place), os.lstat(place)
        return
    with os.scandir(place) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            if entry.name not in _ASIDE:
                yield from _files(Path(entry.path))
        elif entry.is_file(follow_symlinks=False) or entry.is_symlink():
            yield entry.path, entry.stat(follow_symlinks=False)
