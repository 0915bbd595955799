"""query_database: reads, and nothing else."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from tools_world import World

from edgeagent.tools import database


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    with closing(sqlite3.connect(world.readable / "shop.db")) as connection, connection:
        connection.execute("CREATE TABLE item (name TEXT, price REAL, photo BLOB)")
        connection.executemany("INSERT INTO item VALUES (?, ?, ?)", [("tea", 2.5, b"xyz"), ("c\nake", 3, None)])
    return world


def query(world: World, sql: str) -> str:
    return world.call("query_database", database=world.readable / "shop.db", sql=sql).text


def test_rows_come_as_lines_under_their_names(world: World) -> None:
    assert query(world, "SELECT * FROM item ORDER BY price") == (
        "name | price | photo\ntea | 2.5 | (3 bytes)\nc ake | 3.0 | null"
    )
    assert query(world, "WITH RECURSIVE n(i) AS (SELECT 1 UNION SELECT i + 1 FROM n LIMIT 3) SELECT sum(i) FROM n") == (
        "sum(i)\n6"
    )
    assert query(world, "SELECT name FROM item WHERE 0") == "no rows"


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM item",
        "INSERT INTO item VALUES (1, 2, 3)",
        "CREATE TABLE t (x)",
        "CREATE TEMP TABLE t AS SELECT 1",
        "DROP TABLE item",
        "ATTACH '/etc/passwd' AS x",
        "ATTACH ':memory:' AS x",
        "PRAGMA writable_schema = 1",
        "PRAGMA table_info(item)",
        "SELECT * FROM pragma_table_info('item')",
        "VACUUM INTO '/tmp/x.db'",
        "SELECT load_extension('x')",
        "BEGIN",
        "EXPLAIN SELECT 1; DELETE FROM item",
        "SELECT 1; SELECT 2",
        "REINDEX",
        "ANALYZE",
    ],
)
def test_anything_but_one_select_is_refused(world: World, sql: str) -> None:
    before = (world.readable / "shop.db").read_bytes()
    text = query(world, sql)
    assert text.startswith("error: ")
    assert "\n" not in text
    assert (world.readable / "shop.db").read_bytes() == before
    assert os.listdir(world.readable) == ["shop.db"]


@pytest.mark.parametrize("sql", ["", "SELEC", "SELECT nope FROM item", "SELECT '\0'", "SELECT '\ud800'", "-- nothing"])
def test_what_sqlite_does_not_understand_is_one_error_line(world: World, sql: str) -> None:
    text = query(world, sql)
    assert text.startswith("error: ")
    assert "the tool failed" not in text
    assert "\n" not in text


def test_a_query_without_end_is_stopped(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_SECONDS", 0.2)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    assert query(world, endless) == "error: the query took more than 0.2 seconds"


def test_a_value_that_would_fill_the_memory_is_refused(world: World) -> None:
    assert query(world, "SELECT length(zeroblob(1000000000))").startswith("error: ")
    assert query(world, "SELECT randomblob(100000000)").startswith("error: ")


def test_many_rows_are_cut_and_said(world: World) -> None:
    many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 500) SELECT i FROM n"
    assert query(world, many).endswith("\n100\n[cut after 100 rows]")
    world.limit = 10
    assert "more characters]" in query(world, many)


def test_a_database_in_use_in_wal_mode_is_read_with_its_latest_rows(world: World) -> None:
    with closing(sqlite3.connect(world.readable / "shop.db")) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        with writer:
            writer.execute("INSERT INTO item VALUES ('late', 1, NULL)")
        assert query(world, "SELECT name FROM item WHERE price = 1") == "name\nlate"


def test_what_is_no_database_is_said_without_waiting(world: World) -> None:
    (world.readable / "text").write_text("not a database at all, but long enough to look at" * 50)
    os.mkfifo(world.readable / "pipe")
    text = world.call("query_database", database=world.readable / "text", sql="SELECT 1").text
    assert text == "error: file is not a database"
    assert world.call("query_database", database=world.readable / "pipe", sql="SELECT 1").status == "error"
    assert world.call("query_database", database=world.readable / "no", sql="SELECT 1").text == (
        f"error: not found: {world.readable}/no"
    )


def test_odd_names_are_opened_as_they_are(world: World) -> None:
    for name in ("a?mode=rwc&x", "a#b", "a%41", "new\nline", "caf\udce9"):
        (world.readable / "shop.db").rename(world.readable / name)
        result = world.call("query_database", database=world.readable / name, sql="SELECT count(*) FROM item")
        assert result.text == "count(*)\n2", name
        (world.readable / name).rename(world.readable / "shop.db")


def test_a_database_outside_the_grants_or_through_a_link_is_denied(world: World) -> None:
    (world.readable / "shop.db").rename(world.secret / "shop.db")
    (world.readable / "link.db").symlink_to(world.secret / "shop.db")
    for path in (world.secret / "shop.db", world.readable / "link.db"):
        assert world.call("query_database", database=path, sql="SELECT 1").status == "denied"


def test_a_database_swapped_for_a_link_after_the_plan_is_not_read(world: World) -> None:
    plan = world.plan("query_database", database=world.readable / "shop.db", sql="SELECT * FROM item")
    (world.readable / "shop.db").rename(world.secret / "shop.db")
    (world.readable / "shop.db").symlink_to(world.secret / "shop.db")
    assert world.apply(plan).text == f"error: is a link now: {world.readable}/shop.db"
