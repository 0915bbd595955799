"""Promise 13: an upgrade that is killed at any statement leaves the old schema or the new one."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest import mock

import sqlite_utils

from edgeagent.store import open_store
from edgeagent.store.migrations import migrations
from edgeagent.store.store import SCHEMA_VERSION
from torture.tally import Tally
from torture.world import is_whole, memory_disk, scratch


def killed_upgrades(tally: Tally, root: Path, stride: int = 1) -> None:
    """From every version that was ever there, at every statement, or at each `stride`-th of them."""
    with scratch(memory_disk() or root) as folder:
        for version in range(SCHEMA_VERSION):
            old = folder / f"version-{version}.db"
            _old_database(old, version)
            number = 1
            while _killed_upgrade(tally, folder, old, version, number):
                number += stride


def _killed_upgrade(tally: Tally, folder: Path, old: Path, version: int, number: int) -> bool:
    """Whether the upgrade had so many statements."""
    path = folder / "edgeagent.db"
    for leftover in folder.glob("edgeagent.db*"):
        leftover.unlink()
    shutil.copyfile(old, path)
    was_killed = _upgrade_killed_at(path, number)
    found = _schema(path)
    open_store(path).close()
    new = _schema(path)
    where = f"version {version}, statement {number}"
    tally.tried()
    tally.check(found in (_schema(old), new), f"{where}: something in between")
    tally.check(new[0] == SCHEMA_VERSION, f"{where}: not brought up to date")
    tally.check(is_whole(path), f"{where}: damaged")
    tally.check(_runs(path) == ([("A",)] if version else []), f"{where}: content is lost")
    return was_killed


def _old_database(path: Path, version: int) -> None:
    """As the version of that number left it, with something in it."""
    if version == 0:
        path.touch(0o600)
        return
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        names = [migration.name for migration in migrations.pending(sqlite_utils.Database(memory=True))]
        stop = names[version] if version < len(names) else None
        migrations.apply(sqlite_utils.Database(connection), stop_before=stop)
        connection.execute(
            "INSERT INTO runs (id, agent, trigger, trigger_id, event_key, event, what, status, created_at)"
            " VALUES ('A', 'a', 'manual', 'manual', 'k', '{}', 'w', 'ok', '2026-01-01T00:00:00.000Z')"
        )
        connection.execute(f"PRAGMA user_version = {version}")


def _upgrade_killed_at(path: Path, number: int) -> bool:
    """Opens the database in a process that dies before that statement; whether it came to it."""
    child = os.fork()
    if child == 0:
        try:
            _die_at_statement(number)
            open_store(path).close()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def _die_at_statement(number: int) -> None:
    connect = sqlite3.connect
    left = number

    def counted(statement: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def connect_and_count(*arguments: Any, **settings: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **settings)
        connection.set_trace_callback(counted)
        return connection

    mock.patch.object(sqlite3, "connect", connect_and_count).start()  # for good: this process is there to die


def _schema(path: Path) -> tuple[int, list[Any]]:
    with closing(sqlite3.connect(path)) as connection:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        return version, connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()


def _runs(path: Path) -> list[tuple[str]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT id FROM runs").fetchall()
