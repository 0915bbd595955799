"""Paths as a model writes them, resolved once while planning and opened without following links when used.

Owns: `~` and symlinks while planning; the walk down from `/` that takes each folder by descriptor and refuses a link,
so that one swapped in after the plan was allowed is an error and not an escape; the words for what the system refuses.
Does not own what is allowed (policy) nor what is done with an open file.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edgeagent.errors import ToolError
from edgeagent.tools.base import shown

_PATH_BYTES = 4096
_FOLDER = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A descriptor that only marks a place needs no read permission on the folder; macOS has no such thing.
_PLACE = _FOLDER | getattr(os, "O_PATH", os.O_RDONLY)
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

_REASONS = {
    errno.ENOENT: "not found",
    errno.EEXIST: "exists already",
    errno.ENOTDIR: "not a folder",
    errno.EISDIR: "is a folder",
    errno.ELOOP: "is a link now",
    errno.EACCES: "no permission",
    errno.EPERM: "no permission",
    errno.EROFS: "read-only",
    errno.ENOSPC: "disk full",
    errno.EDQUOT: "disk full",
    errno.EFBIG: "file too large",
    errno.ENAMETOOLONG: "name too long",
}


def resolve(text: str, home_dir: Path) -> Path:
    """The real place that a path names: absolute, `~` expanded, every symlink followed. It need not exist."""
    return Path(os.path.realpath(_absolute(text, home_dir)))


def resolve_entry(text: str, home_dir: Path) -> Path:
    """As `resolve`, but the last part is taken as it is: the entry itself, which may be a link."""
    folder, name = os.path.split(_absolute(text, home_dir).rstrip("/"))
    if name in ("", ".", ".."):
        return resolve(text, home_dir)
    return Path(os.path.realpath(folder or "/"), name)


def _absolute(text: str, home_dir: Path) -> str:
    if text == "~" or text.startswith("~/"):
        text = str(home_dir) + text[1:]
    if not text.startswith("/"):
        raise ToolError(f"give the full path, not {shown(text)}" if text else "the path is empty")
    try:
        encoded = os.fsencode(text)
    except UnicodeEncodeError as error:
        raise ToolError(f"not a path: {shown(text)}") from error
    if b"\0" in encoded:
        raise ToolError(f"not a path: {shown(text)}")
    if len(encoded) > _PATH_BYTES:
        raise ToolError(f"path too long: {len(encoded)} bytes")
    return "/" + text.lstrip("/")


@contextmanager
def opened_folder(path: Path, *, create: bool = False) -> Iterator[int]:
    """A descriptor that marks the folder, reached without following any link; `create` makes what is missing."""
    place = os.open("/", _PLACE)
    try:
        for depth, name in enumerate(path.parts[1:], start=2):
            entered = _enter(place, name, Path(*path.parts[:depth]), create)
            place, left = entered, place
            os.close(left)
        yield place
    finally:
        os.close(place)


@contextmanager
def opened_parent(path: Path, *, create: bool = False) -> Iterator[tuple[int, str]]:
    """The marked folder that holds an entry, and the entry's name in it."""
    if path == path.parent:
        raise ToolError("is a folder: /")
    with opened_folder(path.parent, create=create) as folder:
        yield folder, path.name


def open_entry(folder: int, name: str, flags: int = 0, mode: int = 0o666) -> int:
    """Opens an entry for reading (or as `flags` say) without following a link or waiting for a FIFO's other end."""
    return os.open(name, _READ | flags, mode, dir_fd=folder)


def readable_folder(folder: int) -> int:
    """A descriptor of a marked folder that can be listed and synced."""
    return os.open(".", os.O_RDONLY | _FOLDER, dir_fd=folder)


def sync_folder(folder: int) -> None:
    """Makes the names in a folder last through a power cut."""
    try:
        readable = readable_folder(folder)
    except PermissionError:
        return  # a folder that may be written but not listed cannot be synced by name
    try:
        os.fsync(readable)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems have no such thing
            raise
    finally:
        os.close(readable)


def entry_stat(folder: int, name: str) -> os.stat_result | None:
    """The entry itself, link or not; None where there is none."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def path_stat(path: Path) -> os.stat_result | None:
    """`entry_stat` of a whole path; None also where a folder on the way is missing."""
    try:
        with opened_parent(path) as (folder, name):
            return entry_stat(folder, name)
    except FileNotFoundError:
        return None


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns what the system refuses about `path` into a ToolError that says so in words."""
    try:
        yield
    except OSError as error:
        raise ToolError(f"{reason(error)}: {shown(path)}") from error


def reason(error: OSError) -> str:
    """What the system refused, in two or three words."""
    return _REASONS.get(error.errno or 0) or (error.strerror or "failed").lower()


def kind_of(mode: int) -> str:
    """What an entry is, for people and small models."""
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link", stat.S_IFIFO: "pipe"}
    kinds |= {stat.S_IFSOCK: "socket", stat.S_IFCHR: "device", stat.S_IFBLK: "device"}
    return kinds.get(stat.S_IFMT(mode), "unknown")


def require_file(found: os.stat_result, path: Path) -> None:
    """ToolError unless it is a regular file: folders, pipes, devices and sockets have no text to read or replace."""
    if not stat.S_ISREG(found.st_mode):
        raise ToolError(f"not a file but a {kind_of(found.st_mode)}: {shown(path)}")


def _enter(place: int, name: str, path: Path, create: bool) -> int:
    """The next folder down."""
    try:
        return os.open(name, _PLACE, dir_fd=place)
    except FileNotFoundError:
        if not create:
            raise
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
        found = entry_stat(place, name)
        is_link = found is not None and stat.S_ISLNK(found.st_mode)
        raise ToolError(f"{'is a link now' if is_link else 'not a folder'}: {shown(path)}") from error
    with suppress(FileExistsError):  # made by someone else just now: the open below says whether it is a folder
        os.mkdir(name, dir_fd=place)
        sync_folder(place)
    return os.open(name, _PLACE, dir_fd=place)
