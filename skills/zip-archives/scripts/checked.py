"""Opens a zip archive and says what is wrong with it, before anything is unpacked."""

import os
import re
import stat
import struct
import sys
import unicodedata
import zipfile
import zlib
from typing import IO

MAX_ENTRIES, MAX_BYTES = 10_000, 100_000_000
MAX_DIRECTORY = MAX_ENTRIES * 300
DAMAGED = (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, RuntimeError)
"""What `zipfile` raises for an archive that is damaged, cut off, locked or packed in a way that it does not know."""
_ODD = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


class Refused(Exception):
    """Why an archive is not touched, in words."""


def opened(path: str) -> zipfile.ZipFile:
    """The archive, if it can be opened without reading a list of entries that is larger than any honest one."""
    try:
        with open(path, "rb") as file:
            if directory_size(file) > MAX_DIRECTORY:
                raise Refused(f"it has more than {MAX_ENTRIES:,} entries")
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, ValueError):  # damaged; of a later version; an offset below 0
        raise Refused("it is no zip archive, or a damaged one") from None
    except OSError as error:
        raise Refused(error.strerror or "it cannot be read") from None
    if len(archive.infolist()) > MAX_ENTRIES:
        raise Refused(f"it has more than {MAX_ENTRIES:,} entries")
    return archive


def directory_size(file: IO) -> int:
    """The most that the archive may say that its list of entries is long; the library would read all of it.

    Looks at whatever could be taken for the end of the archive, in the old form and the new one.
    """
    file.seek(0, os.SEEK_END)
    file.seek(max(0, file.tell() - 65_700))
    end = file.read()
    sizes = [0]
    for mark, offset, form in ((b"PK\5\6", 12, "<L"), (b"PK\6\6", 40, "<Q")):
        for found in re.finditer(re.escape(mark), end):
            place = found.start() + offset
            if place + struct.calcsize(form) <= len(end):
                sizes.append(struct.unpack_from(form, end, place)[0])
    return max(size for size in sizes if size != 0xFFFFFFFF)


def fault(archive: zipfile.ZipFile) -> str:
    """Why an archive must not be unpacked, or nothing."""
    files, folders = set(), set()
    for entry in archive.infolist():
        name = shown(entry.filename)
        kind = stat.S_IFMT(entry.external_attr >> 16)
        parts = [part for part in entry.filename.split("/") if part not in ("", ".")]
        if leads_elsewhere(entry.filename, parts):
            return f"the name {name} leads elsewhere or is none"
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            return f"{name} is a link or a device"
        if entry.flag_bits & 1:
            return f"{name} is protected by a password"
        path = unicodedata.normalize("NFC", "/".join(parts)).casefold()
        above = {path[: match.start()] for match in re.finditer("/", path)}
        if entry.is_dir():
            above.add(path)
        elif path in files:
            return f"{name} is in it twice"
        else:
            files.add(path)
        folders |= above
        if files & above or (path in files and path in folders):
            return f"{name} is a file and a folder"
    if sum(entry.file_size for entry in archive.infolist()) > MAX_BYTES:
        return f"it holds more than {MAX_BYTES // 1_000_000} MB"
    return ""


def leads_elsewhere(name: str, parts: list) -> bool:
    if not parts or name.startswith("/") or "\\" in name or ".." in parts or re.match("[A-Za-z]:", name):
        return True
    return bool(_ODD.search(name)) or any(len(part.encode("utf-8", "surrogatepass")) > 255 for part in parts)


def shown(name: str) -> str:
    """A name for a person: what cannot be seen is spelled out."""
    return repr(_ODD.sub(lambda found: f"\\u{ord(found[0]):04x}", name))[:120]


def fail(message: str) -> int:
    print(message, file=sys.stderr)
    return 1
