"""Changes to the file system that are there whole or not at all, and that can be picked up after a kill.

Owns: a new file's way through a temporary one, renaming without overwriting, moving between devices, and the fsyncs
that make them last. Works on folders marked by descriptor (see `paths`), so no link is followed.

Each change leaves temporary files only under a name made from the call's key, so that the same call, applied again
after a kill between any two steps, finds and replaces its own leftovers and nobody else's. They end in `.part`, which
the file trigger ignores.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache

from edgeagent.errors import ToolError
from edgeagent.tools.paths import entry_stat, kind_of, open_entry, sync_folder

_BLOCK = 1 << 20
_ZEROS = bytes(_BLOCK)
_NOREPLACE_LINUX = 1
_NOREPLACE_MACOS = 4
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def temporary_name(key: str) -> str:
    return f".edgeagent-{key}.part"


def replace_file(folder: int, name: str, content: bytes, key: str, mode: int | None) -> None:
    """Puts a file in place of whatever regular file has that name, keeping `mode`; with None, only a new one.

    Raises FileExistsError where `mode` is None and something has that name.
    """
    temporary = temporary_name(key)
    discard(folder, temporary)
    target = os.open(temporary, _CREATE, 0o666 if mode is None else 0o600, dir_fd=folder)
    try:
        try:
            write_all(target, content)
            if mode is not None:
                os.fchmod(target, stat.S_IMODE(mode) & 0o777)
            os.fsync(target)
        finally:
            os.close(target)
        if mode is None:
            rename_new(folder, temporary, folder, name)
        else:
            os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        discard(folder, temporary)
        raise
    sync_folder(folder)


def move_entry(source: int, name: str, target: int, new_name: str, key: str) -> None:
    """Moves an entry to a name that is free; FileExistsError where it is not. Also across devices, files only."""
    try:
        rename_new(source, name, target, new_name)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        copied = _copy_entry(source, name, target, new_name, key)
        if os.stat(name, dir_fd=source, follow_symlinks=False).st_ino != copied.st_ino:
            raise ToolError("the file was replaced while it was copied") from error
        os.unlink(name, dir_fd=source)
    sync_folder(target)
    sync_folder(source)


def finish_move(source: int, name: str, target: int, new_name: str, key: str) -> bool:
    """Ends a move that was cut off when both names were there: True where the new one is ours and the old one went.

    Both are the same file (linked, not yet unlinked) or, across devices, a file and its whole copy.
    """
    old, new = entry_stat(source, name), entry_stat(target, new_name)
    if old is None or new is None:
        return False
    if not (os.path.samestat(old, new) or _is_copy(source, name, target, new_name)):
        return False
    discard(target, temporary_name(key))
    os.unlink(name, dir_fd=source)
    sync_folder(source)
    return True


def rename_new(source: int, name: str, target: int, new_name: str) -> None:
    """Renames without ever replacing. Where the system cannot promise that in one step, links and unlinks."""
    rename = _system_rename()
    if rename is not None:
        code = rename(source, os.fsencode(name), target, os.fsencode(new_name))
        if code == 0:
            return
        if code not in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
            raise OSError(code, os.strerror(code))
    _link_and_unlink(source, name, target, new_name)


def discard(folder: int, name: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)


def write_all(target: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(target, left) :]


def _link_and_unlink(source: int, name: str, target: int, new_name: str) -> None:
    found = os.stat(name, dir_fd=source, follow_symlinks=False)
    if not stat.S_ISDIR(found.st_mode):
        try:
            os.link(name, new_name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
            os.unlink(name, dir_fd=source)
            return
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
                raise
    # Folders, and file systems without links such as FAT: looking first is the best there is.
    if entry_stat(target, new_name) is not None:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    os.rename(name, new_name, src_dir_fd=source, dst_dir_fd=target)


def _copy_entry(source: int, name: str, target: int, new_name: str, key: str) -> os.stat_result:
    """A whole copy under the new name, by way of a temporary one beside it; gives what was copied."""
    found = os.stat(name, dir_fd=source, follow_symlinks=False)
    temporary = temporary_name(key)
    discard(target, temporary)
    try:
        if stat.S_ISLNK(found.st_mode):
            os.symlink(os.readlink(name, dir_fd=source), temporary, dir_fd=target)
        elif stat.S_ISREG(found.st_mode):
            _copy_file(source, name, target, temporary)
        else:
            raise ToolError(f"a {kind_of(found.st_mode)} cannot move to another device")
        rename_new(target, temporary, target, new_name)
    except BaseException:
        discard(target, temporary)
        raise
    sync_folder(target)
    return found


def _copy_file(source: int, name: str, target: int, new_name: str) -> None:
    reader = open_entry(source, name)
    try:
        before = os.fstat(reader)
        writer = os.open(new_name, _CREATE, 0o600, dir_fd=target)
        try:
            _copy_blocks(reader, writer)
            os.fchmod(writer, stat.S_IMODE(before.st_mode) & 0o777)
            os.utime(writer, ns=(before.st_atime_ns, before.st_mtime_ns))
            os.fsync(writer)
        finally:
            os.close(writer)
        after = os.fstat(reader)
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise ToolError("the file changed while it was copied")
    finally:
        os.close(reader)


def _copy_blocks(reader: int, writer: int) -> None:
    """Copies to the end; blocks of zeros become holes again, so that a sparse file stays small."""
    size = 0
    while block := os.read(reader, _BLOCK):
        size += len(block)
        if block == _ZEROS[: len(block)]:
            os.lseek(writer, len(block), os.SEEK_CUR)
        else:
            write_all(writer, block)
    os.ftruncate(writer, size)


def _is_copy(source: int, name: str, target: int, new_name: str) -> bool:
    """Whether two entries are links to the same place or files of the same bytes."""
    old = os.stat(name, dir_fd=source, follow_symlinks=False)
    new = os.stat(new_name, dir_fd=target, follow_symlinks=False)
    if stat.S_ISLNK(old.st_mode) and stat.S_ISLNK(new.st_mode):
        return os.readlink(name, dir_fd=source) == os.readlink(new_name, dir_fd=target)
    if not (stat.S_ISREG(old.st_mode) and stat.S_ISREG(new.st_mode)) or old.st_size != new.st_size:
        return False
    with (
        os.fdopen(open_entry(source, name), "rb") as one,
        os.fdopen(open_entry(target, new_name), "rb") as other,
    ):
        while block := one.read(_BLOCK):
            if block != other.read(_BLOCK):
                return False
    return True


@cache
def _system_rename() -> Callable[[int, bytes, int, bytes], int] | None:
    """The system's rename that never replaces, giving an errno; None where the C library has none."""
    name, flag = ("renameatx_np", _NOREPLACE_MACOS) if sys.platform == "darwin" else ("renameat2", _NOREPLACE_LINUX)
    function = getattr(ctypes.CDLL(None, use_errno=True), name, None)
    if function is None:
        return None
    function.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    function.restype = ctypes.c_int

    def rename(source: int, old: bytes, target: int, new: bytes) -> int:
        return 0 if function(source, old, target, new, flag) == 0 else ctypes.get_errno()

    return rename
