"""A database that is damaged: found at the start, and put aside beside a fresh one with all that belongs to it.

Nothing is deleted: what can be read of it may still be wanted (`sqlite3 FILE .recover`). Only the holder of the
daemon's lock may do this.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from edgeagent.errors import DamagedJournal
from edgeagent.store.connection import Clock, Synchronous, sync_folder
from edgeagent.store.store import Store, open_store, system_clock

Damaged = Literal["quarantine", "refuse"]
_LOGS = ("-wal", "-shm")
_HINT = (
    "restore a backup in its place, or set journal.damaged to quarantine, "
    "and the daemon puts it aside and begins a new one"
)


@dataclass(frozen=True, slots=True)
class Opened:
    """A store that was checked, and where its damaged predecessor lies now, with what was wrong with it."""

    store: Store
    put_aside: Path | None = None
    why: str = ""


def open_checked(
    path: Path,
    *,
    clock: Clock = system_clock,
    synchronous: Synchronous = "full",
    damaged: Damaged = "quarantine",
) -> Opened:
    """Opens the database as `open_store` does, reads it whole, and where it is damaged goes on with a fresh one.

    Raises:
        DamagedJournal: it is damaged and `damaged` is "refuse".
        HomeError: as `open_store`.
    """
    _finish_putting_aside(path)
    try:
        return Opened(_open(path, clock, synchronous))
    except DamagedJournal as error:
        if damaged == "refuse":
            raise DamagedJournal(error.message, _HINT) from error
        aside = put_aside(path, clock())
        return Opened(_open(path, clock, synchronous), aside, error.message)


def put_aside(path: Path, now: datetime) -> Path:
    """Renames the database and its log; gives the new name. The file itself goes first: see `_finish_putting_aside`."""
    aside = path.with_name(f"{path.name}.damaged-{now:%Y%m%dT%H%M%S.%fZ}")
    os.rename(path, aside)
    _move_logs(path, aside)
    return aside


def _open(path: Path, clock: Clock, synchronous: Synchronous) -> Store:
    store = open_store(path, clock=clock, synchronous=synchronous)
    try:
        store.check()
    except BaseException:
        store.close()
        raise
    return store


def _finish_putting_aside(path: Path) -> None:
    """After a kill between the renames a log is left without its database, and belongs to the one put aside last.

    SQLite would delete it when it makes the fresh database.
    """
    if path.exists():
        return
    aside = max(path.parent.glob(f"{path.name}.damaged-*Z"), default=None)
    if aside is not None:
        _move_logs(path, aside)


def _move_logs(path: Path, aside: Path) -> None:
    for suffix in _LOGS:
        log = path.with_name(path.name + suffix)
        if log.exists():
            os.rename(log, aside.with_name(aside.name + suffix))
    sync_folder(path.parent)
