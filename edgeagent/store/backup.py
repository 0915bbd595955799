"""A copy of the database as it is at one moment, made beside a running daemon and without holding it up.

The copy comes into being under another name, is checked, synced and only then renamed: under its own name there is an
old backup, a whole new one, or nothing. It is one file without a log, so that it can be copied on and read anywhere.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from edgeagent.errors import HomeError, NotFound, UsageError
from edgeagent.store.connection import Database, sync_folder

_HEADER = b"SQLite format 3\0"


def back_up(path: Path, target: Path) -> int:
    """Copies the database at `path` to `target`, over an older backup there; gives its size in bytes.

    Raises:
        NotFound: there is no database yet.
        UsageError: `target` is something else than a backup.
        HomeError: the copy cannot be written, or the database is damaged (the older backup then stays).
    """
    if not path.exists():
        raise NotFound(f"no database at {path}", "nothing has run yet; try: edgeagent init")
    _check_target(path, target)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600))
        _copy(path, part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        size = part.stat().st_size
        os.replace(part, target)
        sync_folder(target.parent)
    except (OSError, sqlite3.Error) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise HomeError(f"cannot write the backup {target}: {why}", f"df -h '{target.parent}'") from error
    finally:
        for leftover in (part, part.with_name(part.name + "-journal")):
            with suppress(FileNotFoundError):
                leftover.unlink()
    return size


def _copy(path: Path, part: Path) -> None:
    """Of any version of ours: before an upgrade is when a backup is wanted most."""
    with (
        closing(Database(path, read_only=True)) as source,
        closing(sqlite3.connect(part, isolation_level=None)) as copy,
    ):
        source.copy_to(copy)
        copy.execute("PRAGMA journal_mode = DELETE")
        found = copy.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise HomeError(f"{path} is damaged: {found}", "edgeagent doctor")


def _check_target(path: Path, target: Path) -> None:
    if not target.parent.is_dir():
        raise UsageError(f"there is no folder {target.parent}", f"mkdir -p '{target.parent}'")
    if not target.exists():
        return
    if path.exists() and target.samefile(path):
        raise UsageError(f"{target} is the journal itself", "name another file")
    if not target.is_file():
        raise UsageError(f"{target} is not a file", "name another file")
    with target.open("rb") as file:
        if file.read(len(_HEADER)) not in (b"", _HEADER):
            raise UsageError(f"{target} is not a backup and is left as it is", "name another file")
