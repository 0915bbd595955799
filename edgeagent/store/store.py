"""The store as the rest of the program sees it, and the two ways of opening it.

Checks whose file it is and how old, before anything reads a table.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from edgeagent.errors import HomeError, NotFound
from edgeagent.store.approvals import Approvals
from edgeagent.store.connection import BUSY_SECONDS, Clock, Database, Synchronous, create_file
from edgeagent.store.memory import Memory
from edgeagent.store.retention import Retention
from edgeagent.store.triggers import TriggerState

SCHEMA_VERSION = 7
"""The number of migrations. It stands here so that opening an up-to-date file need not import them."""
_APART_SECONDS = 60.0
_KEPT = ("PATH", "HOME", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
"""What Python needs of our environment to find itself and its packages."""


class Store(TriggerState, Memory, Retention, Approvals):
    """The queue, the journal, the state of triggers and memory. Any thread may call any method.

    Errors of the file itself (locked, full, not writable, damaged) are HomeError; nothing is half written then.
    """

    @property
    def path(self) -> Path:
        return self._db.path

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Makes several calls one: all of them are written, or none is."""
        with self._db.transaction():
            yield

    def set_synchronous(self, synchronous: Synchronous) -> None:
        """From the next transaction on."""
        self._db.set_synchronous(synchronous)

    def check(self) -> None:
        """Reads the whole file. Raises DamagedJournal with the first fault that is found."""
        self._db.check()

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def system_clock() -> datetime:
    return datetime.now(UTC)


def open_store(
    path: Path,
    *,
    clock: Clock = system_clock,
    synchronous: Synchronous = "full",
    busy_seconds: float = BUSY_SECONDS,
) -> Store:
    """Opens the database for writing; makes it (mode 0600) or brings it up to date where needed.

    Raises:
        HomeError: not writable, locked, damaged, not ours, or written by a newer edgeagent.
    """
    create_file(path)
    database = Database(path, synchronous=synchronous, busy_seconds=busy_seconds)
    try:
        _bring_up_to_date(database)
    except BaseException:
        database.close()
        raise
    return Store(database, clock)


def make_apart(path: Path) -> None:
    """Makes a database that is missing in a process of its own, which takes what sqlite-utils loads away with it.

    That is 14 MB with numpy, where a daemon takes 60. What goes wrong is left to `open_store`, which says it.
    """
    if path.exists():
        return
    program = "import sys, pathlib, edgeagent.store as store; store.open_store(pathlib.Path(sys.argv[1])).close()"
    with suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(
            [sys.executable, "-P", "-c", program, str(path)],
            env={name: os.environ[name] for name in _KEPT if name in os.environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_APART_SECONDS,
        )


def open_read_only(path: Path, *, clock: Clock = system_clock, busy_seconds: float = BUSY_SECONDS) -> Store:
    """Opens the database for reading while another process writes. NotFound where there is none yet."""
    if not path.exists():
        raise NotFound(f"no database at {path}", "nothing has run yet; try: edgeagent init")
    database = Database(path, read_only=True, busy_seconds=busy_seconds)
    try:
        if _version(database) < SCHEMA_VERSION:
            hint = "start the daemon once: edgeagent daemon"
            raise HomeError(f"{path} has not been brought up to date yet", hint)
    except BaseException:
        database.close()
        raise
    return Store(database, clock)


def _bring_up_to_date(database: Database) -> None:
    if _version(database) == SCHEMA_VERSION:
        return
    with database.transaction():
        if _version(database) < SCHEMA_VERSION:  # another process may have done it while we waited
            from edgeagent.store.migrations import migrate

            migrate(database, SCHEMA_VERSION)


def _version(database: Database) -> int:
    """The schema version of the file. HomeError where it is newer than this program or not ours at all."""
    version = int(database.value("PRAGMA user_version"))
    if version > SCHEMA_VERSION:
        raise HomeError(
            f"{database.path} was written by a newer edgeagent (schema {version}; this one knows {SCHEMA_VERSION})",
            "upgrade edgeagent, or set EDGEAGENT_HOME to another folder",
        )
    if version == 0 and database.value("SELECT count(*) FROM sqlite_master"):
        hint = "move it away, or set EDGEAGENT_HOME to another folder"
        raise HomeError(f"{database.path} belongs to another program", hint)
    return version
