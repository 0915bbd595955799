"""Somebody else's SQLite database, read without getting in its way.

Owns how rows are read: on a connection that cannot write, in short statements that hold no lock in between, and with
every way in which it can fail put in words. Names of tables and columns are checked against the database before they
stand in a statement, since SQLite takes an unknown name in quotes for a text. What is an event is decided in `table`.
"""

from __future__ import annotations

import base64
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgeagent.schema import Json
from edgeagent.triggers.base import TriggerState
from edgeagent.words import did_you_mean

Identity = tuple[int, int]
"""Device and inode: another one is another database."""

_BUSY_SECONDS = 0.5
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class CannotRead(Exception):
    """The database is not there, not readable, or not as the trigger wants it; `state` says how.

    `is_absent`: there is no such file or table, so no row can be in it.
    """

    def __init__(self, condition: Literal["waiting", "error"], text: str, *, is_absent: bool = False) -> None:
        super().__init__(text)
        self.state = TriggerState(condition, text)
        self.is_absent = is_absent


@dataclass(frozen=True, slots=True)
class Place:
    """Where a reader is: the last row that it has seen, by cursor and then by rowid. None: before the first row."""

    cursor: Any = None
    rowid: int | None = None


@dataclass(frozen=True, slots=True)
class Row:
    place: Place
    values: Json


class ForeignDatabase:
    """One connection for reading. Use it on one thread.

    Raises CannotRead from every method.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _in_words(path):
            status = os.stat(path)
            self.identity: Identity = (status.st_dev, status.st_ino)
            self._connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY_SECONDS, isolation_level=None
            )
            try:
                self._connection.text_factory = lambda text: text.decode("utf-8", "replace")
                self._connection.execute("PRAGMA query_only = 1")
                self._connection.execute("PRAGMA schema_version").fetchone()  # the first real read
            except sqlite3.Error:
                self._connection.close()
                raise

    def close(self) -> None:
        self._connection.close()

    def is_in_place(self) -> bool:
        """Whether the path still leads to the database that was opened."""
        with suppress(OSError):
            status = os.stat(self.path)
            return self.identity == (status.st_dev, status.st_ino)
        return False

    def version(self) -> int:
        """A number that changes when somebody else has written. Costs next to nothing."""
        return int(self._value("PRAGMA data_version"))

    def tables(self) -> list[str]:
        return [name for (name,) in self._rows("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")]

    def columns(self, table: str) -> list[str]:
        found = [name for (name,) in self._rows("SELECT name FROM pragma_table_xinfo(?)", [table])]
        if not found:
            near = did_you_mean(table, self.tables())
            raise CannotRead("waiting", f"{self.path} has no table {table} yet{near}", is_absent=True)
        return found

    def has_rowid(self, table: str) -> bool:
        try:
            self._connection.execute(f"SELECT rowid FROM {quoted(table)} LIMIT 0")
        except sqlite3.OperationalError as error:
            if "no such column" in str(error):
                return False
            raise _explained(self.path, error) from error
        return True

    def newest(self, table: str, cursor: str) -> Place:
        rows = self._read(table, cursor, "", [], "DESC", 1)
        return rows[0].place if rows else Place()

    def after(self, table: str, cursor: str, place: Place, limit: int) -> list[Row]:
        """The rows that follow, in the order of the cursor. Rows without a cursor value do not count."""
        if place.cursor is None:
            return self._read(table, cursor, "", [], "ASC", limit)
        if place.rowid is None:
            return self._read(table, cursor, "AND cursor_ > ?", [place.cursor], "ASC", limit)
        return self._read(table, cursor, "AND (cursor_, rowid_) > (?, ?)", [place.cursor, place.rowid], "ASC", limit)

    def is_before(self, first: Place, second: Place) -> bool:
        """As SQLite compares. Nothing is before what comes before the first row."""
        if second.cursor is None or first.cursor is None:
            return first.cursor is None and second.cursor is not None
        pair = [first.cursor, first.rowid or 0, second.cursor, second.rowid or 0]
        return bool(self._value("SELECT (?, ?) < (?, ?)", pair))

    def _read(self, table: str, cursor: str, beyond: str, given: list[Any], order: str, limit: int) -> list[Row]:
        columns = self.columns(table)
        has_rowid = self.has_rowid(table)
        is_rowid = cursor == "rowid" and has_rowid
        if not is_rowid and cursor not in columns:
            hint = did_you_mean(cursor, columns) or f"; give one that grows: {', '.join(columns)}"
            raise CannotRead("error", f"{table} has no column {cursor} to use as `cursor`{hint}")
        at = "rowid" if is_rowid else quoted(cursor)
        rowid = "rowid" if has_rowid else "NULL"
        condition = beyond.replace("cursor_", at).replace("rowid_", rowid)
        order_by = f"{at} {order}, rowid {order}" if has_rowid and not is_rowid else f"{at} {order}"
        named = ", ".join(quoted(name) for name in columns)
        rows = self._rows(
            f"SELECT {at}, {rowid}, {named} FROM {quoted(table)}"
            f" WHERE {at} IS NOT NULL {condition} ORDER BY {order_by} LIMIT {limit}",
            given,
        )
        return [Row(Place(_plain(row[0]), row[1]), values_of(columns, row[2:])) for row in rows]

    def _rows(self, sql: str, parameters: list[Any] | None = None) -> list[Any]:
        with _in_words(self.path):
            return self._connection.execute(sql, parameters or []).fetchall()

    def _value(self, sql: str, parameters: list[Any] | None = None) -> Any:
        return self._rows(sql, parameters)[0][0]


def values_of(columns: list[str], row: tuple[Any, ...]) -> Json:
    """A row as JSON: a BLOB becomes base64."""
    return {name: _plain(value) for name, value in zip(columns, row, strict=True)}


def quoted(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def _plain(value: Any) -> Any:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


@contextmanager
def _in_words(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise _explained(path, error) from error


def _explained(path: Path, error: sqlite3.Error | OSError) -> CannotRead:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return CannotRead("waiting", f"{path} does not exist yet", is_absent=True)
    if isinstance(error, OSError):
        return CannotRead("error", f"{path} cannot be read: {error.strerror or error}")
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _BUSY:
        return CannotRead("waiting", f"{path} is locked by another program; it is read when that is done")
    if code in _DAMAGED:
        return CannotRead("error", f"{path} is damaged or is not a SQLite database")
    return CannotRead("error", f"{path} cannot be read: {error}")
