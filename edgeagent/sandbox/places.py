"""Opens granted paths so that what is bound is what was checked, and reads what a confined process wrote.

Every component is opened by descriptor without following a link. A path that was swapped for a link after it was
checked is an error. Nothing but files and folders is ever opened: no device, FIFO or socket.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath

from edgeagent.errors import SandboxError
from edgeagent.sandbox.request import Command

_NO_LINK = os.O_NOFOLLOW | os.O_CLOEXEC
_NEVER = (Path("/proc"), Path("/dev"))
_PLACE = getattr(os, "O_PATH", os.O_RDONLY) | _NO_LINK


def open_place(path: Path) -> int:
    """A descriptor that marks a resolved file or folder. SandboxError where it is a link, missing or something else."""
    try:
        place = _walk(os.open("/", _PLACE | os.O_DIRECTORY), path.parts[1:], _PLACE)
    except OSError as error:
        raise SandboxError(f"{path}: {_reason(error)}", f"ls -ld '{path}'") from error
    mode = os.fstat(place).st_mode
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return place
    os.close(place)
    what = "a link where none was" if stat.S_ISLNK(mode) else "neither a file nor a folder"
    raise SandboxError(f"{path}: {what}", f"ls -ld '{path}'")


def granted(command: Command, forbidden: tuple[Path, ...]) -> list[tuple[Path, bool]]:
    """What a command is given, and whether it may write there; deeper paths last, so that none hides another.

    SandboxError for a path that no command gets: the root, devices, processes, and what is in `forbidden`. Its own
    folder is always given, and always read-only.
    """
    for path in (*command.reads, *command.writes):
        if path == Path("/") or any(path.is_relative_to(place) for place in _NEVER):
            raise SandboxError(f"{path} is never given to a skill", "grant the folder that is needed")
        for place in forbidden:
            if path.is_relative_to(place) or place.is_relative_to(path):
                raise SandboxError(f"{path} belongs to edgeagent's own state", "grant another folder")
    places = dict.fromkeys(command.reads, False) | dict.fromkeys(command.writes, True) | {command.folder: False}
    return sorted(places.items(), key=lambda item: len(item[0].parts))


def read_written(folder: Path, name: str, most: int) -> bytes:
    """What a confined process wrote to a file below `folder`, at most `most` bytes of it.

    SandboxError where the name leads out of the folder or the file is a link, a FIFO, a device or too large.
    """
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\0" in name:
        raise SandboxError(f"{name!r} is not a name below {folder}", "name a file in the folder")
    place = open_place(folder)
    try:
        opened = _walk(place, parts, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | _NO_LINK)
    except OSError as error:
        raise SandboxError(f"{folder / name}: {_reason(error)}", f"ls -ld '{folder / name}'") from error
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise SandboxError(f"{folder / name}: not a file", f"ls -ld '{folder / name}'")
    with os.fdopen(opened, "rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise SandboxError(f"{folder / name}: larger than {most} bytes", "let the tool write less")
    return data


def _walk(place: int, parts: tuple[str, ...], flags: int) -> int:
    """Down from a folder, which is closed; the last part is opened with `flags`."""
    for depth, name in enumerate(parts, start=1):
        try:
            entered = os.open(name, flags if depth == len(parts) else _PLACE | os.O_DIRECTORY, dir_fd=place)
        finally:
            os.close(place)
        place = entered
    return place


def _reason(error: OSError) -> str:
    return (error.strerror or "cannot be opened").lower()
