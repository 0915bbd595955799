"""The one connection to edgeagent.db: opening it, guarding it, and saying in words what went wrong with it.

Owns the file's mode, the pragmas, the lock between threads, the lock between processes and the translation of SQLite's
errors into HomeError. Knows no table: the schema is in migrations.py, the queries are in the parts beside it.

Two processes may write (a daemon and a foreground run). SQLite 3.7.0 to 3.51.2 can lose commits when two connections
write and checkpoint at once (the WAL reset race), so every write transaction of ours holds a lock on a file beside the
database from BEGIN IMMEDIATE to COMMIT. Checkpoints run inside COMMIT, hence inside that lock; the one at close needs
no lock, since SQLite makes it only when no other connection is open.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from edgeagent.errors import DamagedJournal, HomeError
from edgeagent.schema import format_time

Synchronous = Literal["full", "normal"]
BUSY_SECONDS = 5.0
_POLL_SECONDS = 0.01
_PAGE_BYTES = 1024
"""A commit writes whole pages, and touches five to ten. Small ones come to 36 KB for a run with one answer; SQLite's
usual 4096 came to 87 KB, which an SD card does not thank for."""
_CHECKPOINT_BYTES = 8_192_000
_WAL_LIMIT_BYTES = 8_000_000

Clock = Callable[[], datetime]
Parameters = Sequence[Any] | dict[str, Any]

_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_READ_ONLY = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH)
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class Database:
    """A connection that several threads share. One of them is inside at a time.

    Args:
        path: the database file; it must exist (see `create_file`).
        read_only: never write, not even a checkpoint; `transaction()` then raises.
        busy_seconds: how long to wait for another process before HomeError.
    """

    def __init__(
        self,
        path: Path,
        *,
        read_only: bool = False,
        synchronous: Synchronous = "full",
        busy_seconds: float = BUSY_SECONDS,
    ) -> None:
        self.path = path
        self.read_only = read_only
        self._busy_seconds = busy_seconds
        self._mutex = threading.RLock()
        self._before_commit: Callable[[sqlite3.Connection], None] = lambda connection: None
        self._lock_file = -1 if read_only else _open_lock_file(path)
        try:
            with self._errors_in_words():
                self._connection = self._connect(synchronous)
        except BaseException:
            self._close_lock_file()
            raise

    def _connect(self, synchronous: Synchronous) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode={'ro' if self.read_only else 'rw'}",
            uri=True,
            timeout=self._busy_seconds,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            connection.row_factory = sqlite3.Row
            if self.read_only:
                connection.execute("PRAGMA query_only = 1")
                connection.execute("PRAGMA schema_version").fetchone()  # the first real read: a damaged file shows here
                return connection
            with self._file_lock():
                self._prepare(connection, synchronous)
        except BaseException:
            connection.close()
            raise
        return connection

    @staticmethod
    def _prepare(connection: sqlite3.Connection, synchronous: Synchronous) -> None:
        # Before the first page is written; later it does nothing but write. Lets retention give space back to the disk.
        if connection.execute("PRAGMA page_count").fetchone()[0] == 0:
            connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("PRAGMA foreign_keys = ON")
        page_bytes = connection.execute("PRAGMA page_size").fetchone()[0]  # an older file has larger ones
        connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_BYTES // page_bytes}")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES}")

    def set_synchronous(self, synchronous: Synchronous) -> None:
        with self._mutex, self._errors_in_words():
            self._connection.execute(f"PRAGMA synchronous = {synchronous}")

    @property
    def raw(self) -> sqlite3.Connection:
        """The connection itself, for the migrations, which run inside `transaction()`."""
        return self._connection

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, one writer at a time. A transaction inside another is a savepoint of it.

        Raises:
            HomeError: locked for too long, disk full, not writable, damaged. Nothing was written then.
        """
        with self._mutex, self._errors_in_words():
            if self._connection.in_transaction:
                yield from self._savepoint()
                return
            if self.read_only:
                raise HomeError(f"{self.path} was opened read-only", "start the daemon, or run the command without it")
            with self._file_lock():
                yield from self._begin_and_commit()

    def before_commit(self, act: Callable[[sqlite3.Connection], None]) -> None:
        """`act` has the last word in every transaction from now on. It is handed the connection."""
        self._before_commit = act

    def _begin_and_commit(self) -> Iterator[sqlite3.Connection]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
            self._before_commit(self._connection)
            self._connection.execute("COMMIT")
        finally:
            # After a full disk SQLite may have rolled back by itself; then there is nothing left to undo.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def _savepoint(self) -> Iterator[sqlite3.Connection]:
        self._connection.execute("SAVEPOINT inner")
        try:
            yield self._connection
        except BaseException:
            # A full disk may have ended the whole transaction, savepoints included.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK TO inner")
                self._connection.execute("RELEASE inner")
            raise
        self._connection.execute("RELEASE inner")

    def rows(self, sql: str, parameters: Parameters = ()) -> list[sqlite3.Row]:
        with self._mutex, self._errors_in_words():
            return self._connection.execute(sql, parameters).fetchall()

    def row(self, sql: str, parameters: Parameters = ()) -> sqlite3.Row | None:
        with self._mutex, self._errors_in_words():
            found: sqlite3.Row | None = self._connection.execute(sql, parameters).fetchone()
            return found

    def value(self, sql: str, parameters: Parameters = ()) -> Any:
        """The first column of the first row, or None."""
        found = self.row(sql, parameters)
        return None if found is None else found[0]

    def vacuum(self) -> None:
        """Gives free pages back to the disk and empties the write-ahead log."""
        with self._mutex, self._errors_in_words():
            with self._file_lock():
                # A page a step, and execute() takes one step where no row has columns; a script is run to its end.
                self._connection.executescript("PRAGMA incremental_vacuum")
            self.checkpoint()

    def checkpoint(self) -> bool:
        """Takes the write-ahead log into the file and empties it. False where a reader is in the way of that.

        Waits for no reader: everyone who wants to write would wait as well.
        """
        with self._mutex, self._errors_in_words(), self._file_lock():
            self._connection.execute("PRAGMA busy_timeout = 0")
            try:
                is_busy = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            finally:
                self._connection.execute(f"PRAGMA busy_timeout = {int(self._busy_seconds * 1000)}")
            return not is_busy

    def check(self) -> None:
        """Reads the whole file (SQLite's quick_check). Raises DamagedJournal with the first fault."""
        found = self.value("PRAGMA quick_check(1)")
        if found != "ok":
            raise damaged(self.path, str(found))

    def copy_to(self, target: sqlite3.Connection) -> None:
        """Copies everything in one go, as it is at one moment. Those who write meanwhile are not held up."""
        with self._mutex, self._errors_in_words():
            self._connection.backup(target, pages=-1)

    def close(self) -> None:
        """Closes for good; a second call does nothing."""
        with self._mutex:
            self._connection.close()
            self._close_lock_file()

    def _close_lock_file(self) -> None:
        if self._lock_file >= 0:
            os.close(self._lock_file)
            self._lock_file = -1

    @contextmanager
    def _file_lock(self) -> Iterator[None]:
        deadline = time.monotonic() + self._busy_seconds
        while not self._try_lock():
            if time.monotonic() >= deadline:
                raise self._locked()
            time.sleep(_POLL_SECONDS)
        try:
            yield
        finally:
            fcntl.flock(self._lock_file, fcntl.LOCK_UN)

    def _try_lock(self) -> bool:
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            raise _cannot_write(lock_path(self.path), str(error.strerror)) from error
        return True

    @contextmanager
    def _errors_in_words(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            known = self._in_words(error)
            if known is None:
                raise
            raise known from error

    def _in_words(self, error: sqlite3.DatabaseError) -> HomeError | None:
        """The error as a person needs it; None where it is a fault of the program and not of the file."""
        code = getattr(error, "sqlite_errorcode", None)
        primary = code & 0xFF if code is not None else None
        if primary in _BUSY:
            return self._locked()
        if primary == sqlite3.SQLITE_FULL:
            return HomeError(f"no space left for {self.path}", f"free some space: df -h '{self.path.parent}'")
        if primary == sqlite3.SQLITE_IOERR:
            hint = f"check for space and for a failing disk or card: df -h '{self.path.parent}'; dmesg | tail"
            return HomeError(f"cannot write or read {self.path}: {error}", hint)
        if primary in _READ_ONLY:
            return HomeError(f"cannot open or write {self.path}: {error}", f"check who owns it: ls -l '{self.path}'")
        if primary in _DAMAGED:
            return damaged(self.path, str(error))
        return None

    def _locked(self) -> HomeError:
        return HomeError(
            f"{self.path} was locked by another process for {self._busy_seconds:g} seconds",
            f"see which one: fuser -v '{self.path}' '{lock_path(self.path)}'",
        )


class Part:
    """One subject of the store. All parts of a store share its database and its clock."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._db = database
        self._clock = clock

    def _now(self) -> str:
        return format_time(self._clock())


def lock_path(path: Path) -> Path:
    """The file whose lock stands for the right to write: `edgeagent.db.lock` beside the database."""
    return path.with_name(path.name + ".lock")


def create_file(path: Path) -> None:
    """Makes an empty database file that only its owner may read. SQLite gives its -wal and -shm the same mode.

    A file that is there is not opened: closing any descriptor of it would drop the locks that SQLite holds on it in
    this process (sqlite.org/howtocorrupt.html, 2.2).
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        if path.is_dir() or not os.access(path, os.R_OK | os.W_OK):
            raise _cannot_write(path, "is a folder" if path.is_dir() else "no permission") from None
    except OSError as error:
        raise _cannot_write(path, str(error.strerror)) from error


def sync_folder(folder: Path) -> None:
    """Makes renames in it last."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def damaged(path: Path, why: str) -> DamagedJournal:
    hint = f"put it aside and start afresh: mv '{path}' '{path}.damaged'"
    return DamagedJournal(f"{path} is damaged or is not a database: {' '.join(why.split())}", hint)


def _open_lock_file(path: Path) -> int:
    try:
        return os.open(lock_path(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _cannot_write(lock_path(path), str(error.strerror)) from error


def _cannot_write(path: Path, why: str) -> HomeError:
    hint = f"make {path.parent} writable, or set EDGEAGENT_HOME to a folder that is"
    return HomeError(f"cannot write {path}: {why}", hint)
