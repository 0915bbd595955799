"""Takes files from a folder or an archive into an empty folder, by checks of our own.

Whatever the source says of itself: nothing is written outside; no links, devices, set-user-id bits or names that cannot
be shown; bounded in number and size, counted as it comes out; one line where it is refused.
"""

from __future__ import annotations

import gzip
import os
import re
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, cast

from edgeagent.errors import SkillError
from edgeagent.skills.files import ASIDE, MAX_BYTES, MAX_FILES, skill_files

_ODD = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_UNZIP_FAILS = (
    zipfile.BadZipFile,  # not a zip, or sums that do not fit
    zlib.error,  # packed data that is damaged
    EOFError,  # packed data that is cut off
    NotImplementedError,  # a version or a packing that it does not know
    RuntimeError,  # a password that its flags do not tell of
    ValueError,  # an offset below 0, a name that is no text
    OSError,  # the archive cannot be read, or what comes out cannot be written
)
"""What `zipfile` raises for archives of strangers; it has no one error for them."""
_BLOCK = 1 << 16
_MAX_HEADER = 1 << 20
"""Of a tar archive, of what stands before a file: tarfile would read any size into memory."""
_ENTRY_BYTES = 400
"""Of the list at the end of a zip archive, for one entry; an honest name is far shorter."""


class Budget:
    """A folder that is filled, and what may still go into it."""

    def __init__(self, source: str, into: Path) -> None:
        self._source = source
        self._into = into
        self._files, self._bytes = MAX_FILES, MAX_BYTES
        self._names: set[str] = set()

    def place(self, name: str) -> Path | None:
        """Where an entry goes; None where it is no part of a skill. SkillError for a name that is not taken."""
        self._files -= 1
        if self._files < 0:
            raise self.refused(f"more than {MAX_FILES:,} entries")
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or re.match("[A-Za-z]:", name):
            raise self.refused(f"an entry leads out of the skill: {shown(name)}")
        if _ODD.search(name):
            raise self.refused(f"a name that cannot be shown or is no UTF-8: {shown(name)}")
        if any(len(part.encode()) > 255 for part in path.parts) or len(path.parts) > 32:
            raise self.refused(f"a name that is too long: {shown(name)}")
        return None if ASIDE & set(path.parts) else self._into.joinpath(*path.parts)

    def write(self, stream: IO[bytes], name: str, is_executable: bool) -> None:
        """Copies one file, counting what really comes out and not what its source says."""
        target = self.place(name)
        if target is None:
            return
        key = unicodedata.normalize("NFC", target.relative_to(self._into).as_posix()).casefold()
        if key in self._names:
            raise self.refused(f"two entries are named {shown(name)}, but perhaps for their case")
        self._names.add(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            while block := stream.read(_BLOCK):
                self._bytes -= len(block)
                if self._bytes < 0:
                    raise self.refused(f"larger than {MAX_BYTES // 1_000_000} MB unpacked")
                file.write(block)
        target.chmod(0o755 if is_executable else 0o644)

    def refused(self, why: str) -> SkillError:
        return SkillError.of(f"{self._source} is not unpacked: {why}", "get the skill from somebody you trust")


def shown(name: str) -> str:
    """A name on one line, whatever is in it."""
    name = name if len(name) <= 120 else f"{name[:119]}…"
    return ascii(name) if _ODD.search(name) else repr(name)


def copy_files(folder: Path, below: PurePosixPath, budget: Budget) -> None:
    """The files of one folder, at `below`. Regular files only: a link in a skill folder could lead anywhere."""
    for name in skill_files(folder):
        descriptor = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            about = os.fstat(descriptor)
            if stat.S_ISREG(about.st_mode):
                budget.write(file, str(below / name), bool(about.st_mode & stat.S_IXUSR))


def unzip(archive: Path, into: Path) -> None:
    budget = Budget(str(archive), into)
    try:
        with archive.open("rb") as file:
            if _directory_size(file) > MAX_FILES * _ENTRY_BYTES:
                raise budget.refused(f"more than {MAX_FILES:,} entries")
            with zipfile.ZipFile(file) as opened:
                for entry in opened.infolist():
                    _unzip_entry(opened, entry, budget)
    except _UNZIP_FAILS as error:
        raise _unreadable(archive, error) from error


def _unzip_entry(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, budget: Budget) -> None:
    mode = entry.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise budget.refused(f"{shown(entry.filename)} is no file but a link or device")
    if entry.flag_bits & 1:
        raise budget.refused(f"{shown(entry.filename)} is protected by a password")
    if entry.is_dir():
        budget.place(entry.filename)
        return
    with opened.open(entry) as source:
        budget.write(source, entry.filename, bool(mode & stat.S_IXUSR))


def _directory_size(file: BinaryIO) -> int:
    """The most that a zip archive may say that its list of entries is long; zipfile would read all of it.

    Looks at whatever zipfile could take for the end of the archive, in the old form and the new one.
    """
    file.seek(0, os.SEEK_END)
    file.seek(max(0, file.tell() - 65_700))
    tail = file.read()
    file.seek(0)
    sizes = [0]
    for mark, offset, form in ((b"PK\5\6", 12, "<L"), (b"PK\6\6", 40, "<Q")):
        for found in re.finditer(re.escape(mark), tail):
            place = found.start() + offset
            if place + struct.calcsize(form) <= len(tail):
                sizes.append(struct.unpack_from(form, tail, place)[0])
    # 0xffffffff means that the new form has the size.
    return max(size for size in sizes if size != 0xFFFFFFFF)


def untar(archive: Path, into: Path, scratch: Path) -> None:
    """`scratch` is a file to unpack a compressed archive to, before any of it is looked at."""
    budget = Budget(str(archive), into)
    try:
        with archive.open("rb") as packed, scratch.open("w+b") as plain:
            for block in _plain_blocks(packed):
                plain.write(block)
                if plain.tell() > MAX_BYTES + MAX_FILES * 2048:
                    raise budget.refused(f"larger than {MAX_BYTES // 1_000_000} MB unpacked")
            plain.seek(0)
            with tarfile.open(fileobj=cast(IO[bytes], _Careful(plain)), mode="r:") as opened:
                for entry in opened:
                    _untar_entry(opened, entry, budget)
    except (tarfile.TarError, zlib.error, EOFError, RuntimeError, ValueError, OSError) as error:
        raise _unreadable(archive, error) from error
    finally:
        scratch.unlink(missing_ok=True)


def _plain_blocks(packed: BinaryIO) -> Iterator[bytes]:
    is_packed = packed.read(2) == b"\x1f\x8b"
    packed.seek(0)
    with gzip.GzipFile(fileobj=packed) if is_packed else packed as stream:
        while block := stream.read(_BLOCK):
            yield block


def _untar_entry(opened: tarfile.TarFile, entry: tarfile.TarInfo, budget: Budget) -> None:
    if entry.isdir():
        budget.place(entry.name)
        return
    source = opened.extractfile(entry) if entry.isreg() and entry.size >= 0 else None
    if source is None:
        budget.place(entry.name)
        raise budget.refused(f"{shown(entry.name)} is no file but a link or device")
    budget.write(source, entry.name, bool(entry.mode & stat.S_IXUSR))


class _Careful:
    """A file of which no more is read at once than a block or an honest header."""

    def __init__(self, plain: BinaryIO) -> None:
        self._plain = plain

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MAX_HEADER:
            raise tarfile.ReadError("a header of no honest size")
        return self._plain.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._plain.seek(offset, whence)

    def tell(self) -> int:
        return self._plain.tell()


def _unreadable(archive: Path, error: Exception) -> SkillError:
    why = " ".join(str(error).split()) or type(error).__name__
    return SkillError.of(f"{archive} is no archive that can be unpacked: {shown(why)[1:-1]}", "pack it again")
