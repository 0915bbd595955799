"""query_database: one SELECT on a SQLite file that the agent may read.

The file is opened read-only and an authorizer refuses all but reading: no ATTACH, no PRAGMA, no loading of
extensions, no writing. Rows, time and the size of a value are limited. Not covered: SQLite opens by path, so after
opening it is checked that it opened the very file that was reached without following links.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from edgeagent.errors import ToolError
from edgeagent.schema import Json
from edgeagent.tools.base import Arguments, Plan, ToolContext, counted, cut, parse_arguments, shown
from edgeagent.tools.paths import explained, open_entry, opened_parent, path_stat, require_file, resolve
from edgeagent.tools.specs import BUILTIN_SPECS

_SECONDS = 5.0
_ROWS = 100
_VALUE_BYTES = 1 << 20
_SQL_BYTES = 10_000
_CHECK_EVERY = 1000
"""Steps of SQLite's machine between two looks at the clock."""

_ALLOWED = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE})


class QueryArguments(Arguments):
    database: str
    sql: str


class QueryDatabase:
    spec = BUILTIN_SPECS["query_database"]

    def plan(self, arguments: Json, context: ToolContext) -> Plan:
        asked = parse_arguments(QueryArguments, arguments)
        if "\0" in asked.sql or any("\ud800" <= char <= "\udfff" for char in asked.sql):
            raise ToolError("the sql holds what is not text")
        return Plan(self.spec.name, asked.model_dump(), reads=(resolve(asked.database, context.home_dir),))

    def apply(self, plan: Plan, context: ToolContext) -> str:
        path = plan.reads[0]
        with explained(path), opened_parent(path) as (folder, name):
            file = open_entry(folder, name)
            try:
                require_file(os.fstat(file), path)
                return _query(path, os.fstat(file), plan.arguments["sql"], context.result_limit)
            except (sqlite3.Error, sqlite3.Warning) as error:
                raise ToolError(_reason(error)) from error
            finally:
                os.close(file)

    def was_applied(self, plan: Plan, context: ToolContext) -> str | None:
        return None


def _query(path: Path, trusted: os.stat_result, sql: str, limit: int) -> str:
    uri = f"file:{quote(os.fsencode(path))}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=_SECONDS, isolation_level=None)) as connection:
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA schema_version").fetchone()  # makes SQLite open the file now
        now = path_stat(path)
        if now is None or not os.path.samestat(now, trusted):
            raise ToolError(f"changed meanwhile: {shown(path)}")
        _confine(connection)
        cursor = connection.execute(sql)
        if cursor.description is None:
            raise ToolError("only SELECT is possible")
        names = " | ".join(shown(column[0]) for column in cursor.description)
        rows = cursor.fetchmany(_ROWS + 1)
    return _table(names, rows, limit)


def _confine(connection: sqlite3.Connection) -> None:
    connection.text_factory = lambda value: value.decode(errors="replace")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _VALUE_BYTES)
    connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, _SQL_BYTES)
    deadline = time.monotonic() + _SECONDS
    connection.set_progress_handler(lambda: time.monotonic() > deadline, _CHECK_EVERY)
    connection.set_authorizer(_authorize)


def _authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    if action == sqlite3.SQLITE_FUNCTION and second == "load_extension":
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY


def _table(names: str, rows: list[tuple[object, ...]], limit: int) -> str:
    if not rows:
        return "no rows"
    text = cut("\n".join((names, *_lines(rows[:_ROWS]))), limit)
    return f"{text}\n[cut after {_ROWS} rows]" if len(rows) > _ROWS else text


def _lines(rows: list[tuple[object, ...]]) -> Iterator[str]:
    for row in rows:
        yield " | ".join(_cell(value) for value in row)


def _cell(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bytes):
        return f"({counted(len(value), 'byte')})"
    return " ".join(str(value).splitlines()) if isinstance(value, str) else str(value)


def _reason(error: Exception) -> str:
    match str(error):
        case "interrupted":
            return f"the query took more than {_SECONDS:g} seconds"
        case "not authorized" | "You can only execute one statement at a time.":
            return "only one SELECT is possible"
        case other:
            return other
