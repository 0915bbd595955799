"""What is in a folder right now: one look at a path, and a walk over the files below a folder.

Owns how the file system is read for comparison. Links are never followed. Names are str with surrogateescape, as
`os.fsdecode` gives them, so that invalid UTF-8 survives. What it means is decided in `file`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple


class Sight(NamedTuple):
    """What `lstat` said of something at a path."""

    size: int
    mtime_ns: int
    inode: int
    ctime_ns: int
    mode: int

    def same_as(self, other: Sight | None) -> bool:
        """Whether nothing was written in between."""
        return other is not None and self[:3] == other[:3] and stat.S_IFMT(self.mode) == stat.S_IFMT(other.mode)

    @property
    def oddity(self) -> str:
        """Why this is not a file to read; "" for an ordinary one."""
        if stat.S_ISREG(self.mode):
            return ""
        if stat.S_ISLNK(self.mode):
            return "it is a symbolic link, and links in a watched folder are not followed"
        return "it is not a regular file"


def sight_of(status: os.stat_result) -> Sight:
    return Sight(status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns, status.st_mode)


def look(path: str) -> Sight | None:
    """What is at `path`; None for nothing, or for a folder. Raises OSError where that cannot be known."""
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return None if stat.S_ISDIR(status.st_mode) else sight_of(status)


@dataclass(slots=True)
class Listing:
    """The files below a folder. `closed` are folders that could not be listed: what is in them is not known."""

    files: dict[str, Sight] = field(default_factory=dict)
    closed: list[str] = field(default_factory=list)

    def knows(self, path: str) -> bool:
        return not any(path.startswith(folder + "/") for folder in self.closed)


def list_files(folder: str, recursive: bool, wanted: Callable[[str], bool], entered: Callable[[str], bool]) -> Listing:
    """Everything `wanted` in `folder` and the folders that are to be `entered`. One that is gone has nothing in it."""
    listing = Listing()
    folders = [folder]
    while folders:
        current = folders.pop()
        try:
            for entry in _entries(current):
                if entry.is_dir(follow_symlinks=False):
                    if recursive and entered(entry.path):
                        folders.append(entry.path)
                elif wanted(entry.path):
                    _add(listing, entry)
        except OSError:
            listing.closed.append(current)
    return listing


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except (FileNotFoundError, NotADirectoryError):
        return


def _add(listing: Listing, entry: os.DirEntry[str]) -> None:
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return
    listing.files[entry.path] = sight_of(status)
