"""A home that cannot be used: each case is one HomeError with what to try, and nothing is lost or half written."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import FakeClock
from test_store_crash import PRELUDE, check_integrity

from edgeagent.errors import HomeError, NotFound
from edgeagent.schema import Event, Outcome, RunStatus, Step
from edgeagent.store import Store, open_read_only, open_store
from edgeagent.store.connection import Database, create_file
from edgeagent.store.migrations import migrate, migrations
from edgeagent.store.store import SCHEMA_VERSION

NOBODY = 65534

FILL = """
store = open_store(path)
n = 0
try:
    while n < 10_000:
        run_id = store.enqueue(Event("inbox", "manual", "manual", str(n), {"x": "y" * 20_000}), now=now)
        store.record_step_started(run_id, 1, "tool", "write_file", {})
        n += 1
except HomeError as error:
    print(n, error.message, "|", error.hint)
"""


def run_python(program: str, *arguments: str) -> str:
    """What a process of its own prints."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    command = [sys.executable, "-c", PRELUDE + program, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A real file system of one and a half megabytes."""
    folder = Path(tempfile.mkdtemp())
    mount = ["mount", "-t", "tmpfs", "-o", "size=1536k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode != 0:
        folder.rmdir()
        pytest.skip("may not mount a file system here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
    folder.rmdir()


def check_full(path: Path, printed: str) -> None:
    """Every call that returned is there, and the one that failed left nothing behind."""
    count, _, message = printed.partition(" ")
    assert int(count) > 5
    assert str(path) in message
    assert "df -h" in message
    with open_read_only(path) as store:
        assert store.counts()[RunStatus.QUEUED] in (int(count), int(count) + 1)
    check_integrity(path)


def test_a_full_disk_is_said_and_nothing_is_half_written(small_disk: Path) -> None:
    path = small_disk / "edgeagent.db"
    check_full(path, run_python(FILL, str(path)))


def test_a_store_goes_on_once_there_is_room_again(small_disk: Path, clock: FakeClock) -> None:
    ballast = small_disk / "ballast"
    with open_store(small_disk / "edgeagent.db", clock=clock) as store:
        run_id = store.enqueue(Event("inbox", "manual", "manual", "first"), now=clock())
        assert run_id is not None
        ballast.write_bytes(b"x" * 1_000_000)
        with pytest.raises(HomeError, match="no space left"):
            store.record_step(run_id, Step(1, "chat", "pocket", {}, "x" * 900_000, "ok"))
        assert store.steps_of(run_id) == []
        ballast.unlink()
        store.record_step(run_id, Step(1, "chat", "pocket", {}, "now it fits", "ok"))
        store.finish(run_id, Outcome(RunStatus.OK), clock())
    check_integrity(small_disk / "edgeagent.db")


def test_a_disk_without_room_for_a_database_is_said_and_can_be_used_later(small_disk: Path) -> None:
    path, ballast = small_disk / "edgeagent.db", small_disk / "ballast"
    with ballast.open("wb") as file, pytest.raises(OSError):
        while True:
            os.write(file.fileno(), b"x" * 4096)
    with pytest.raises(HomeError, match=r"edgeagent\.db"):
        open_store(path)
    ballast.unlink()
    open_store(path).close()


def test_a_limit_on_the_size_of_files_is_an_error_in_words(tmp_path: Path) -> None:
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))\n"
    path = tmp_path / "edgeagent.db"
    check_full(path, run_python(limit + FILL, str(path)))


def test_a_database_that_another_program_locks_is_waited_for(store: Store, clock: FakeClock) -> None:
    with open_store(store.path, clock=clock, busy_seconds=0.2) as impatient:
        other = sqlite3.connect(store.path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(HomeError, match="locked by another process") as caught:
            impatient.enqueue(Event("inbox", "manual", "manual", "a"), now=clock())
        assert str(store.path) in caught.value.message
        other.execute("ROLLBACK")
        other.close()
        assert impatient.enqueue(Event("inbox", "manual", "manual", "a"), now=clock()) is not None


def test_a_writer_that_holds_the_lock_file_is_waited_for(store: Store, clock: FakeClock) -> None:
    with (
        open_store(store.path, clock=clock, busy_seconds=0.2) as impatient,
        (store.path.parent / "edgeagent.db.lock").open() as lock,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)
        began = time.monotonic()
        with pytest.raises(HomeError, match="locked by another process"):
            impatient.enqueue(Event("inbox", "manual", "manual", "a"), now=clock())
        assert time.monotonic() - began >= 0.2
        assert impatient.runs() == [], "reading needs no lock"
        fcntl.flock(lock, fcntl.LOCK_UN)
        assert impatient.enqueue(Event("inbox", "manual", "manual", "a"), now=clock()) is not None


def test_a_locked_database_cannot_be_opened_and_says_so(store: Store) -> None:
    with (store.path.parent / "edgeagent.db.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(HomeError, match="locked by another process"):
            open_store(store.path, busy_seconds=0.1)


@pytest.mark.parametrize("opener", [open_store, open_read_only])
def test_a_database_of_a_newer_version_is_refused(store: Store, opener: type) -> None:
    connection = sqlite3.connect(store.path)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(HomeError, match="newer edgeagent") as caught:
        opener(store.path)
    assert "upgrade" in caught.value.hint


def test_a_database_of_another_program_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "edgeagent.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE recipes (name)")
    connection.close()
    with pytest.raises(HomeError, match="another program"):
        open_store(path)
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("recipes",)]
    connection.close()


@pytest.mark.parametrize("opener", [open_store, open_read_only])
def test_a_file_that_is_no_database_is_said(tmp_path: Path, opener: type) -> None:
    path = tmp_path / "edgeagent.db"
    path.write_bytes(b"this is no database at all" * 100)
    with pytest.raises(HomeError, match="damaged or is not a database"):
        opener(path)


def test_a_database_that_was_cut_short_is_said(store: Store, clock: FakeClock) -> None:
    for n in range(50):
        store.enqueue(Event("inbox", "manual", "manual", str(n), {"x": "y" * 2000}), now=clock())
    store.close()
    os.truncate(store.path, 20_000)
    with pytest.raises(HomeError, match="damaged"), open_store(store.path) as cut:
        cut.runs(limit=1000)


def test_a_folder_in_place_of_the_database_is_said(tmp_path: Path) -> None:
    (tmp_path / "edgeagent.db").mkdir()
    with pytest.raises(HomeError, match=r"edgeagent\.db"):
        open_store(tmp_path / "edgeagent.db")


LEAVE_WAL = """
import sqlite3
try:
    print(sqlite3.connect(path, timeout=0).execute("PRAGMA journal_mode = DELETE").fetchone())
except sqlite3.OperationalError as error:
    print(error)
"""

OPEN_AS_NOBODY = f"""
import os, edgeagent.store.migrations
if os.getuid() == 0:
    os.setgroups([])
    os.setgid({NOBODY})
    os.setuid({NOBODY})
try:
    open_store(path)
except HomeError as error:
    print(error.message, "|", error.hint)
"""


@pytest.mark.parametrize("what", ["folder", "database"])
def test_a_home_that_is_not_writable_is_said(what: str) -> None:
    """Root may write anywhere, so the process that tries becomes nobody."""
    folder = Path(tempfile.mkdtemp())
    path = folder / "edgeagent.db"
    if what == "database":
        open_store(path).close()
        path.chmod(0o444)
    folder.chmod(0o555)
    try:
        printed = run_python(OPEN_AS_NOBODY, str(path))
    finally:
        folder.chmod(0o700)
        shutil.rmtree(folder)
    assert f"cannot write {path}" in printed
    assert "EDGEAGENT_HOME" in printed


def test_opening_the_database_twice_in_one_process_keeps_its_locks(store: Store) -> None:
    """Closing a plain descriptor of the file would drop them, and another process might then delete the log."""
    open_store(store.path).close()
    assert "locked" in run_python(LEAVE_WAL, str(store.path))


def test_nobody_else_may_read_the_database(tmp_path: Path, clock: FakeClock) -> None:
    before = os.umask(0)
    try:
        with open_store(tmp_path / "home" / "edgeagent.db", clock=clock) as store:
            store.enqueue(Event("inbox", "manual", "manual", "a"), now=clock())
            files = sorted((tmp_path / "home").iterdir())
    finally:
        os.umask(before)
    assert [file.name for file in files][:2] == ["edgeagent.db", "edgeagent.db-shm"] and len(files) in (3, 4)
    store.close()
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o700
    for file in (tmp_path / "home").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name


def test_a_reader_cannot_write(store: Store, clock: FakeClock) -> None:
    with open_read_only(store.path) as reader, pytest.raises(HomeError, match="read-only"):
        reader.enqueue(Event("inbox", "manual", "manual", "a"), now=clock())


def test_reading_what_does_not_exist_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        open_read_only(tmp_path / "edgeagent.db")
    assert list(tmp_path.iterdir()) == []


def test_a_reader_says_that_the_database_is_not_up_to_date(tmp_path: Path) -> None:
    (tmp_path / "edgeagent.db").touch()
    with pytest.raises(HomeError, match="up to date"):
        open_read_only(tmp_path / "edgeagent.db")


@pytest.mark.parametrize(("setting", "level"), [("full", 2), ("normal", 1)])
def test_how_hard_a_commit_is_pressed_to_disk_can_be_chosen(tmp_path: Path, setting: str, level: int) -> None:
    with open_store(tmp_path / "edgeagent.db", synchronous=setting) as store:  # type: ignore[arg-type]
        assert store._db.value("PRAGMA synchronous") == level
        assert store._db.value("PRAGMA journal_mode") == "wal"


def test_migrations_are_numbered_without_a_gap_and_counted_by_the_schema_version() -> None:
    names = [migration.name for migration in migrations._migrations]
    assert [name[:5] for name in names] == [f"m{n:04}" for n in range(1, SCHEMA_VERSION + 1)]


def test_a_migration_that_is_interrupted_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "edgeagent.db"
    create_file(path)
    database = Database(path)
    with pytest.raises(KeyboardInterrupt), database.transaction():
        migrate(database, SCHEMA_VERSION)
        raise KeyboardInterrupt
    database.close()
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    connection.close()
    open_store(path).close()


def test_a_file_that_is_up_to_date_opens_without_the_migration_library(store: Store) -> None:
    assert run_python("open_store(path)\nprint('sqlite_utils' in sys.modules)", str(store.path)) == "False\n"
