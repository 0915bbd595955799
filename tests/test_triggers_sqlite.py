"""The sqlite trigger on real databases that other connections write, lock, delete, cut short and replace."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import FakeClock
from daemon_world import Place, wait_for
from triggers_world import PATIENCE

from edgeagent.agents import SqliteTrigger as SqliteSettings
from edgeagent.errors import HomeError, UsageError
from edgeagent.schema import RunStatus
from edgeagent.store import Store
from edgeagent.triggers.outbox import Owner, install, remove
from edgeagent.triggers.table import BATCH, TableTrigger

OWNER = Owner("clerk", "sqlite-1")


class Shop:
    """Somebody's database, and the agent `clerk` that reads its orders."""

    def __init__(self, folder: Path, store: Store, clock: FakeClock) -> None:
        self.path = folder / "shop.db"
        self.store = store
        self._clock = clock
        self._triggers: list[TableTrigger] = []

    def start(self, **settings: Any) -> TableTrigger:
        given = {"id": "sqlite-1", "database": str(self.path), "table": "orders", **settings}
        trigger = TableTrigger(
            "clerk",
            SqliteSettings(trigger="sqlite", **given),
            home_dir=self.path.parent,
            store=self.store,
            clock=self._clock,
            look_every=0.05,
        )
        trigger.start()
        self._triggers.append(trigger)
        return trigger

    def stop(self) -> None:
        while self._triggers:
            self._triggers.pop().stop()

    def sql(self, *statements: str) -> None:
        connection = sqlite3.connect(self.path, timeout=30)
        for statement in statements:
            connection.execute(statement)
        connection.commit()
        connection.close()

    def make(self, columns: str = "id INTEGER PRIMARY KEY, what TEXT", journal: str = "delete") -> None:
        self.sql(f"PRAGMA journal_mode = {journal}", f"CREATE TABLE orders ({columns})")

    def order(self, *what: str) -> None:
        self.sql(*(f"INSERT INTO orders (what) VALUES ('{one}')" for one in what))

    def events(self, status: RunStatus = RunStatus.QUEUED) -> list[dict[str, Any]]:
        return [run.event for run in reversed(self.store.runs(status=status, limit=10_000))]

    def what(self) -> list[str]:
        return [event["row"]["what"] for event in self.events()]


@pytest.fixture
def shop(tmp_path: Path, store: Store, clock: FakeClock) -> Iterator[Shop]:
    made = Shop(tmp_path, store, clock)
    yield made
    made.stop()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def quiet(shop: Shop, expected: list[str]) -> None:
    """As expected, and still so after some more looks."""
    until(lambda: shop.what() == expected)
    time.sleep(0.3)
    assert shop.what() == expected


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_a_new_row_is_an_event_and_what_was_there_is_not(shop: Shop, journal: str) -> None:
    shop.make(journal=journal)
    shop.order("old")
    trigger = shop.start()
    shop.order("tea", "salt")
    quiet(shop, ["tea", "salt"])
    assert shop.events()[0] == {"row": {"id": 2, "what": "tea"}, "table": "orders", "change": "insert"}
    assert trigger.state().condition == "ok"


def test_a_writer_that_will_not_wait_seldom_meets_the_reader(shop: Shop) -> None:
    shop.make()
    shop.start()
    connection = sqlite3.connect(shop.path, timeout=0)  # gives up at once where it would have to wait
    done = met = 0
    while done < 200:
        try:
            connection.execute("INSERT INTO orders (what) VALUES ('x')")
            connection.commit()
            done += 1
        except sqlite3.OperationalError:
            connection.rollback()
            met += 1
            assert met < 2000, "a lock is held between two looks"
            time.sleep(0.001)
    connection.close()
    until(lambda: len(shop.events()) == 200)


def test_what_came_while_down_is_found_and_nothing_twice(shop: Shop) -> None:
    shop.make()
    shop.start()
    shop.order("one")
    until(lambda: shop.what() == ["one"])
    shop.stop()
    shop.order(*(f"o{n}" for n in range(BATCH * 2 + 1)))
    shop.start()
    quiet(shop, ["one", *(f"o{n}" for n in range(BATCH * 2 + 1))])
    shop.stop()
    shop.start()
    quiet(shop, shop.what())


def test_a_column_that_grows_may_be_the_cursor_and_have_the_same_value_twice(shop: Shop) -> None:
    shop.make("what TEXT, at TEXT")
    shop.start(cursor="at")
    shop.sql("INSERT INTO orders VALUES ('a', '2026-11-25')")
    until(lambda: shop.what() == ["a"])
    shop.sql(
        "INSERT INTO orders VALUES ('b', '2026-11-25')",
        "INSERT INTO orders VALUES ('early', '2026-11-24')",
        "INSERT INTO orders VALUES ('none', NULL)",
        "INSERT INTO orders VALUES ('c', '2026-11-26')",
    )
    quiet(shop, ["a", "b", "c"])


def test_a_table_without_rowid_wants_a_cursor_of_its_own(shop: Shop) -> None:
    shop.make("id TEXT PRIMARY KEY, what TEXT) WITHOUT ROWID; --")
    trigger = shop.start()
    assert trigger.state().condition == "error" and "no column rowid" in trigger.state().text
    shop.stop()
    shop.start(cursor="id")
    shop.sql("INSERT INTO orders VALUES ('1', 'a')", "INSERT INTO orders VALUES ('2', 'b')")
    quiet(shop, ["a", "b"])


def test_a_rowid_that_is_given_out_again_is_a_new_row(shop: Shop) -> None:
    shop.make()
    shop.start()
    shop.order("a", "b")
    until(lambda: shop.what() == ["a", "b"])
    shop.sql("DELETE FROM orders WHERE id = 2")
    mark = shop.store.bookmark("clerk", f"sqlite-1 {shop.path} orders rowid")
    assert mark is not None
    until(lambda: (shop.store.bookmark("clerk", f"sqlite-1 {shop.path} orders rowid") or {})["cursor"] == 1)
    shop.order("c")
    quiet(shop, ["a", "b", "c"])


def test_a_database_that_comes_later_has_only_new_rows(shop: Shop) -> None:
    trigger = shop.start()
    assert trigger.state().condition == "waiting" and "does not exist yet" in trigger.state().text
    shop.sql("CREATE TABLE other (x)")
    until(lambda: "no table orders yet" in trigger.state().text)
    shop.make()
    shop.order("first")
    quiet(shop, ["first"])


def test_a_database_that_vanishes_is_waited_for_and_goes_on_where_it_was(shop: Shop, tmp_path: Path) -> None:
    shop.make()
    trigger = shop.start()
    shop.order("a")
    until(lambda: shop.what() == ["a"])
    away = shop.path.rename(tmp_path / "away.db")
    until(lambda: trigger.state().condition == "waiting")
    away.rename(shop.path)
    shop.order("b")
    quiet(shop, ["a", "b"])


def test_another_database_in_its_place_counts_from_there_and_says_so(shop: Shop, tmp_path: Path) -> None:
    shop.make()
    shop.start()
    shop.order("a", "b", "c")
    until(lambda: len(shop.what()) == 3)
    other = Shop(tmp_path / "..", shop.store, FakeClock())
    other.path = tmp_path / "other.db"
    other.make()
    other.order("x")
    os.replace(other.path, shop.path)
    until(lambda: shop.events(RunStatus.SKIPPED))
    shop.order("y")
    quiet(shop, ["a", "b", "c", "y"])
    (skipped,) = shop.store.runs(status=RunStatus.SKIPPED)
    assert "another database" in str(skipped.reason)


def test_a_copy_that_replaces_it_goes_on_where_it_was(shop: Shop, tmp_path: Path) -> None:
    shop.make()
    shop.start()
    shop.order("a")
    until(lambda: shop.what() == ["a"])
    connection = sqlite3.connect(shop.path)
    connection.execute("VACUUM INTO ?", [str(tmp_path / "copy.db")])
    connection.close()
    os.replace(tmp_path / "copy.db", shop.path)
    shop.order("b")
    quiet(shop, ["a", "b"])


def test_a_locked_database_is_told_and_read_when_the_lock_is_gone(shop: Shop) -> None:
    shop.make()
    trigger = shop.start()
    connection = sqlite3.connect(shop.path, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    connection.execute("INSERT INTO orders (what) VALUES ('a')")
    until(lambda: "is locked by another" in trigger.state().text)
    assert trigger.state().condition == "waiting"
    connection.execute("COMMIT")
    connection.close()
    quiet(shop, ["a"])
    assert trigger.state().condition == "ok"


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda path: path.write_text("this is a letter and no database " * 100), "not a SQLite database"),
        (lambda path: path.mkdir(), "cannot be read"),
    ],
)
def test_what_is_no_database_is_an_error_in_words(shop: Shop, break_it: Callable[[Path], object], said: str) -> None:
    break_it(shop.path)
    trigger = shop.start()
    assert trigger.state().condition == "error" and said in trigger.state().text


def test_a_table_or_column_that_is_misspelt_is_told(shop: Shop) -> None:
    shop.make()
    assert 'did you mean "orders"?' in shop.start(table="order").state().text
    trigger = shop.start(cursor="idd")
    assert trigger.state().condition == "error" and 'did you mean "id"?' in trigger.state().text
    assert "what" in shop.start(cursor="zzzzzz").state().text


def test_odd_values_and_names_survive(shop: Shop) -> None:
    shop.sql("""CREATE TABLE "o'r""d" ("a ""b" BLOB, c REAL, d TEXT)""")
    trigger = shop.start(table="o'r\"d")
    shop.sql("""INSERT INTO "o'r""d" VALUES (x'00ff', 9e999, CAST(x'ff41' AS TEXT))""")
    until(lambda: shop.events())
    assert shop.events()[0]["row"] == {'a "b': "AP8=", "c": None, "d": "\N{REPLACEMENT CHARACTER}A"}
    assert trigger.state().condition == "ok"


def test_changes_and_deletions_are_noted_by_the_database_itself(shop: Shop) -> None:
    shop.make()
    shop.order("a", "b")
    trigger = shop.start(change=["update", "delete"])
    assert trigger.state().condition == "error" and "edgeagent agents enable clerk" in trigger.state().text
    assert install(shop.path, "orders", ["update", "delete"], OWNER)
    shop.sql("UPDATE orders SET what = 'A' WHERE id = 1", "DELETE FROM orders WHERE id = 2")
    shop.order("c")
    until(lambda: len(shop.events()) == 2)
    assert shop.events() == [
        {"row": {"id": 1, "what": "A"}, "table": "orders", "change": "update"},
        {"row": {"id": 2, "what": "b"}, "table": "orders", "change": "delete"},
    ]
    assert trigger.state().condition == "ok"
    shop.stop()
    shop.sql("UPDATE orders SET what = 'AA' WHERE id = 1")
    shop.start(change=["update", "delete"])
    quiet(shop, ["A", "b", "AA"])


def test_what_is_put_into_the_database_is_taken_out_and_put_in_only_once(shop: Shop) -> None:
    shop.make()
    before = schema(shop)
    assert install(shop.path, "orders", ["insert", "delete"], OWNER)
    assert not install(shop.path, "orders", ["delete", "insert"], OWNER)
    shop.order("a")
    assert install(shop.path, "orders", ["update"], OWNER), "other changes are asked for"
    assert install(shop.path, "orders", ["update"], Owner("clerk", "sqlite-10"))
    assert remove(shop.path, OWNER) and not remove(shop.path, OWNER)
    assert remove(shop.path, Owner("clerk", "sqlite-10"))
    assert schema(shop) == before
    shop.order("b")


def test_notes_of_a_new_outbox_are_not_taken_for_those_of_the_old(shop: Shop) -> None:
    shop.make()
    shop.start(change=["insert", "update"])
    for what in ("a", "b"):
        install(shop.path, "orders", ["insert", "update"], OWNER)
        shop.order(what)
        until(lambda what=what: shop.what()[-1:] == [what])  # type: ignore[misc]
        remove(shop.path, OWNER)
    assert shop.what() == ["a", "b"]


def test_notes_that_were_read_are_dropped(shop: Shop) -> None:
    shop.make()
    install(shop.path, "orders", ["insert", "update"], OWNER)
    shop.start(change=["insert", "update"])
    shop.sql(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500)"
        " INSERT INTO orders (what) SELECT 'x' FROM n"
    )
    until(lambda: len(shop.events()) == 1500)
    until(lambda: notes(shop) == 0)
    shop.order("y")
    until(lambda: shop.what()[-1] == "y")


def test_what_cannot_be_noted_is_told(shop: Shop) -> None:
    with pytest.raises(HomeError):
        install(shop.path, "orders", ["update"], OWNER)
    shop.sql("CREATE TABLE other (x)")
    with pytest.raises(UsageError):
        install(shop.path, "orders", ["update"], OWNER)
    assert not remove(shop.path.with_name("nowhere.db"), OWNER)


def schema(shop: Shop) -> list[tuple[str, ...]]:
    connection = sqlite3.connect(shop.path)
    found = connection.execute("SELECT type, name, sql FROM sqlite_master WHERE name <> 'sqlite_sequence'").fetchall()
    connection.close()
    return found


def notes(shop: Shop) -> int:
    connection = sqlite3.connect(shop.path)
    (name,) = (row[1] for row in schema(shop) if row[0] == "table" and row[1].startswith("edgeagent_"))
    (count,) = connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()
    connection.close()
    return int(count)


WRITER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
for n in range(int(sys.argv[2])):
    connection.execute("INSERT INTO orders (what) VALUES (?)", [f"o{n}"])
"""


def test_the_daemon_reads_each_row_once_though_it_is_killed_and_enable_installs_what_is_needed(tmp_path: Path) -> None:
    place = Place(tmp_path)
    database = tmp_path / "shop.db"
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA journal_mode = wal")
    connection.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, what TEXT)")
    connection.close()
    trigger = f'{{trigger: sqlite, database: "{database}", table: orders'
    place.agent("clerk", f"triggers: [{trigger}}}]", ["Seen."])
    place.agent("auditor", f"triggers: [{trigger}, change: delete}}]", ["Noted."])
    with place.daemon():
        place.call("agents", "enable", "auditor")
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(database), "60"])
        wait_for(lambda: len(place.runs("clerk")) >= 5)
    with place.daemon():
        assert writer.wait() == 0
        wait_for(lambda: len(place.ended("clerk")) >= 60)
        connection = sqlite3.connect(database)
        connection.execute("DELETE FROM orders WHERE id = 7")
        connection.commit()
        connection.close()
        wait_for(lambda: len(place.ended("auditor")) == 1)
        assert place.runs("auditor")[0].event["row"] == {"id": 7, "what": "o6"}
        place.call("agents", "disable", "auditor")
    assert sorted(run.event["row"]["id"] for run in place.runs("clerk")) == list(range(1, 61))
    connection = sqlite3.connect(database)
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    connection.close()
    assert names <= {"orders", "sqlite_sequence"}
