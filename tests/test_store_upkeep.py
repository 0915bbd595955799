"""The journal kept whole and small: damaged files put aside, backups, the log's length, pruning for size."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from conftest import FakeClock
from test_store_crash import check_integrity

from edgeagent.config import JournalSettings
from edgeagent.daemon.upkeep import Upkeep, journal_problems
from edgeagent.errors import DamagedJournal, HomeError, NotFound, UsageError
from edgeagent.home import home_from_environment
from edgeagent.schema import Event, Outcome, RunStatus, Step
from edgeagent.store import Store, back_up, open_checked, open_read_only, open_store


def filled(store: Store, clock: FakeClock, count: int, size: int = 2000) -> None:
    with store.transaction():
        for n in range(count):
            run_id = store.enqueue(Event("inbox", "manual", "manual", f"{clock()} {n}"), now=clock())
            assert run_id is not None
            store.record_step(run_id, Step(1, "tool", "read_file", {}, "x" * size, "ok"))
            store.finish(run_id, Outcome(RunStatus.OK), clock())


def damage(path: Path) -> bytes:
    """Overwrites a page in the middle, as a dying card does; gives what then stands there."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 8192 * 4096)
        file.write(os.urandom(4096))
    return path.read_bytes()


@pytest.fixture
def broken(tmp_path: Path, clock: FakeClock) -> Path:
    with open_store(tmp_path / "edgeagent.db", clock=clock) as store:
        filled(store, clock, 200)
        path = store.path
    damage(path)
    return path


def test_a_damaged_database_is_put_aside_and_a_fresh_one_begins(broken: Path, clock: FakeClock) -> None:
    content = broken.read_bytes()
    opened = open_checked(broken, clock=clock)
    with opened.store as store:
        assert opened.put_aside is not None and "damaged" in opened.why
        assert opened.put_aside.read_bytes() == content, "what could be read of it is lost"
        assert store.runs() == []
        assert store.enqueue(Event("inbox", "manual", "manual", "a"), now=clock()) is not None
    check_integrity(broken)


@pytest.mark.parametrize("content", [b"no database at all" * 300, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_database_is_put_aside_too(tmp_path: Path, clock: FakeClock, content: bytes) -> None:
    path = tmp_path / "edgeagent.db"
    path.write_bytes(content)
    opened = open_checked(path, clock=clock)
    opened.store.close()
    assert opened.put_aside is not None and opened.put_aside.read_bytes() == content


def test_a_whole_database_stays_where_it_is(store: Store, clock: FakeClock) -> None:
    filled(store, clock, 10)
    store.close()
    opened = open_checked(store.path, clock=clock)
    with opened.store as again:
        assert opened.put_aside is None
        assert len(again.runs()) == 10


def test_a_damaged_database_is_refused_where_the_setting_says_so(broken: Path, clock: FakeClock) -> None:
    content = broken.read_bytes()
    with pytest.raises(DamagedJournal) as caught:
        open_checked(broken, clock=clock, damaged="refuse")
    assert str(broken) in caught.value.message and "backup" in caught.value.hint
    assert broken.read_bytes() == content


def test_the_log_of_a_damaged_database_goes_with_it(store: Store, clock: FakeClock) -> None:
    filled(store, clock, 200)
    store.checkpoint()
    clock.advance(1)
    filled(store, clock, 1)
    files = [store.path, store.path.with_name("edgeagent.db-wal")]
    copies = {file: file.read_bytes() for file in files}  # as a killed process leaves them
    store.close()
    for file, content in copies.items():
        file.write_bytes(content)
    damage(store.path)
    opened = open_checked(store.path, clock=clock)
    opened.store.close()
    assert opened.put_aside is not None
    kept = b"".join(path.read_bytes() for path in sorted(store.path.parent.glob("edgeagent.db.damaged-*")))
    assert f"{clock()} 0".encode() in kept, "what was only in the log is lost"


def test_a_kill_while_a_database_is_put_aside_loses_no_part_of_it(broken: Path, clock: FakeClock) -> None:
    aside = broken.with_name("edgeagent.db.damaged-20261124T070000.000000Z")
    broken.rename(aside)
    broken.with_name("edgeagent.db-wal").write_bytes(b"its log")
    opened = open_checked(broken, clock=clock)
    opened.store.close()
    assert aside.with_name(aside.name + "-wal").read_bytes() == b"its log"


def test_what_was_put_aside_is_told_until_it_is_gone_and_is_no_agents_business(broken: Path, clock: FakeClock) -> None:
    home = home_from_environment({"EDGEAGENT_HOME": str(broken.parent)})
    opened = open_checked(broken, clock=clock)
    opened.store.close()
    assert opened.put_aside in home.state()
    (problem,) = journal_problems(home)
    assert str(opened.put_aside) in problem
    assert opened.put_aside is not None
    opened.put_aside.unlink()
    assert journal_problems(home) == []


# --- backup -----------------------------------------------------------------------------------------------------


def test_a_backup_made_while_someone_writes_is_whole_and_holds_what_was_written_before(
    store: Store, clock: FakeClock, tmp_path: Path
) -> None:
    filled(store, clock, 300)
    stop, target = threading.Event(), tmp_path / "copies" / "backup.db"
    target.parent.mkdir()

    def write() -> None:
        n = 0
        while not stop.is_set():
            store.enqueue(Event("other", "manual", "manual", str(n := n + 1)), now=clock())

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(5):
            assert back_up(store.path, target) == target.stat().st_size
    finally:
        stop.set()
        writer.join()
    assert [file.name for file in target.parent.iterdir()] == ["backup.db"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    check_integrity(target)
    with open_store(target, clock=clock) as restored:
        assert restored.counts("inbox") == {RunStatus.OK: 300}


def test_a_backup_that_cannot_be_written_leaves_the_older_one(broken: Path, tmp_path: Path, clock: FakeClock) -> None:
    target = tmp_path / "backup.db"
    with open_store(tmp_path / "whole.db", clock=clock):
        pass
    back_up(tmp_path / "whole.db", target)
    before = target.read_bytes()
    with pytest.raises(HomeError):
        back_up(broken, target)
    assert target.read_bytes() == before
    assert not list(tmp_path.glob("*.part*")) and not list(tmp_path.glob(".*.part*"))


def test_a_backup_goes_over_nothing_but_a_backup(store: Store, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear all")
    with pytest.raises(UsageError, match="not a backup"):
        back_up(store.path, tmp_path / "letter.txt")
    with pytest.raises(UsageError, match="journal itself"):
        back_up(store.path, store.path)
    with pytest.raises(UsageError, match="no folder"):
        back_up(store.path, tmp_path / "nowhere" / "b.db")
    with pytest.raises(NotFound):
        back_up(tmp_path / "none.db", tmp_path / "b.db")
    assert (tmp_path / "letter.txt").read_text() == "Dear all"


# --- the log, and the size --------------------------------------------------------------------------------------


def upkeep(store: Store, clock: FakeClock, **settings: float) -> Upkeep:
    return Upkeep(store, lambda: JournalSettings(**settings), store.path.parent / "trash", clock)  # type: ignore[arg-type]


def log_size(store: Store) -> int:
    return store.path.with_name("edgeagent.db-wal").stat().st_size


def test_a_log_that_a_reader_kept_long_is_emptied_once_the_reader_is_gone(store: Store, clock: FakeClock) -> None:
    look = upkeep(store, clock).look
    look()
    reader = sqlite3.connect(store.path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM runs").fetchall()
    for _ in range(4):
        filled(store, clock, 1000)
        clock.advance(1)
    look()
    assert log_size(store) > 8_000_000, "the reader is in the way"
    reader.close()
    look()
    assert log_size(store) == 0


def test_the_journal_is_pruned_when_it_grows_over_its_size_and_not_only_once_a_day(
    store: Store, clock: FakeClock
) -> None:
    look = upkeep(store, clock, max_size=2_000_000).look
    look()
    for _ in range(10):
        filled(store, clock, 200)
        clock.advance(60)
        look()
        assert store.used_bytes() <= 2_000_000
        assert store.path.stat().st_size <= 2_200_000
    assert store.runs(limit=1)[0].ended_at == clock() - timedelta(seconds=60), "the newest stay"


def test_a_journal_that_is_full_of_what_has_not_ended_is_told_and_nothing_of_it_goes(
    store: Store, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    look = upkeep(store, clock, max_size=500_000).look
    look()
    for n in range(300):
        store.enqueue(Event("inbox", "manual", "manual", str(n), {"x": "y" * 3000}), now=clock())
    store.checkpoint()
    look()
    look()
    assert store.counts() == {RunStatus.QUEUED: 300}
    assert len([record for record in caplog.records if "max_size" in record.message]) == 1


def test_retention_by_age_goes_on_after_the_clock_was_set_back(store: Store, clock: FakeClock) -> None:
    look = upkeep(store, clock, retention=86400.0 * 30).look
    clock.advance(86400 * 3650)
    look()
    clock.advance(-86400 * 3650)
    filled(store, clock, 5)
    clock.advance(86400 * 31)
    look()
    assert store.runs() == []
    with open_read_only(store.path) as reader:
        assert reader.runs() == []
