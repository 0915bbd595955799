"""Changes and deletions in somebody else's database, noted there by SQLite itself.

Owns what is put into that database when a person asks for it (`agents enable`) and taken out again (`agents disable`):
one table for each trigger of an agent, and SQLite triggers that copy the changed row into it. Plain INSERTs only, so
that nothing the owner of the database does can fail because of it, whatever SQLite it was built with.
"""

from __future__ import annotations

import re
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeagent.errors import HomeError, UsageError
from edgeagent.triggers.foreign import quoted

if TYPE_CHECKING:
    from edgeagent.agents import Agent, SqliteTrigger

_BUSY_SECONDS = 5.0
_ID, _CHANGE = "edgeagent_id", "edgeagent_change"
OWN_COLUMNS = (_ID, _CHANGE)


@dataclass(frozen=True, slots=True)
class Owner:
    """Which trigger of which agent the outbox belongs to."""

    agent: str
    trigger_id: str

    def owns(self, name: str) -> bool:
        return bool(
            re.fullmatch(rf"edgeagent_{re.escape(self.agent)}_{re.escape(self.trigger_id)}_[0-9a-f]{{8}}", name)
        )

    def new_name(self) -> str:
        return self._beginning + secrets.token_hex(4)

    @property
    def _beginning(self) -> str:
        return f"edgeagent_{self.agent}_{self.trigger_id}_"


def install_for(agent: Agent, home_dir: Path) -> list[Path]:
    """The outboxes that the agent's sqlite triggers need; gives the databases in which one was made now."""
    return [
        trigger.file(home_dir)
        for trigger in _triggers(agent)
        if install(trigger.file(home_dir), trigger.table, trigger.change, Owner(agent.name, trigger.id))
    ]


def remove_for(agent: Agent, home_dir: Path) -> list[Path]:
    """The databases that had an outbox of the agent until now."""
    return [
        trigger.file(home_dir)
        for trigger in _triggers(agent)
        if remove(trigger.file(home_dir), Owner(agent.name, trigger.id))
    ]


def _triggers(agent: Agent) -> list[SqliteTrigger]:
    from edgeagent.agents import SqliteTrigger

    return [one for one in agent.triggers if isinstance(one, SqliteTrigger) and one.needs_outbox]


def install(path: Path, table: str, changes: Sequence[str], owner: Owner) -> bool:
    """Makes the outbox. False where it is there already, as it should be.

    Raises:
        UsageError: no such table.
        HomeError: the database cannot be written.
    """
    with _written(path) as connection:
        columns = [name for (name,) in connection.execute("SELECT name FROM pragma_table_info(?)", [table])]
        if not columns:
            raise UsageError(f"{path} has no table {table}", "look which there are: sqlite3 " + f"'{path}' .tables")
        name = _find(connection, owner)
        if name and _is_current(connection, name, table, columns, changes):
            return False
        connection.execute("BEGIN IMMEDIATE")
        with connection:
            _drop(connection, owner)
            for statement in _statements(owner.new_name(), table, columns, changes):
                connection.execute(statement)
    return True


def remove(path: Path, owner: Owner) -> bool:
    """Takes the outbox out again. False where there is none. HomeError where the database cannot be written."""
    if not path.exists():
        return False
    with _written(path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        with connection:
            return _drop(connection, owner)


def trim(path: Path, name: str, last: int) -> None:
    """Drops what has been read, up to the note `last`. HomeError where that cannot be done just now."""
    with _written(path) as connection:
        connection.execute(f"DELETE FROM {quoted(name)} WHERE {_ID} <= ?", [last])


def _statements(name: str, table: str, columns: list[str], changes: Sequence[str]) -> list[str]:
    named = ", ".join(quoted(column) for column in columns)
    statements = [f"CREATE TABLE {quoted(name)} ({_ID} INTEGER PRIMARY KEY AUTOINCREMENT, {_CHANGE} TEXT, {named})"]
    for change in sorted(set(changes)):
        row = "OLD" if change == "delete" else "NEW"
        values = ", ".join(f"{row}.{quoted(column)}" for column in columns)
        statements.append(
            f"CREATE TRIGGER {quoted(f'{name}_{change}')} AFTER {change.upper()} ON {quoted(table)} BEGIN"
            f" INSERT INTO {quoted(name)} ({_CHANGE}, {named}) VALUES ('{change}', {values}); END"
        )
    return statements


def _find(connection: sqlite3.Connection, owner: Owner) -> str | None:
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    return next((name for (name,) in tables if owner.owns(name)), None)


def _is_current(
    connection: sqlite3.Connection, name: str, table: str, columns: list[str], changes: Sequence[str]
) -> bool:
    there = connection.execute("SELECT sql FROM sqlite_master WHERE name GLOB ? || '*'", [name])
    return {sql for (sql,) in there} == set(_statements(name, table, columns, changes))


def _drop(connection: sqlite3.Connection, owner: Owner) -> bool:
    found = connection.execute("SELECT type, name FROM sqlite_master WHERE type IN ('table', 'trigger')").fetchall()
    ours = [(kind, name) for kind, name in found if owner.owns(name if kind == "table" else name.rpartition("_")[0])]
    for kind, name in sorted(ours, reverse=True):  # triggers first, since they name the table
        connection.execute(f"DROP {kind.upper()} {quoted(name)}")
    return bool(ours)


@contextmanager
def _written(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that may write, for as long as the context; its errors in words."""
    try:
        where = f"{path.absolute().as_uri()}?mode=rw"
        with closing(sqlite3.connect(where, uri=True, timeout=_BUSY_SECONDS, isolation_level=None)) as connection:
            yield connection
    except sqlite3.Error as error:
        raise HomeError(f"cannot write {path}: {error}", f"check who owns it: ls -l '{path}'") from error
