"""Processes that die in the middle, and several at once: nothing that was accepted is lost, nothing is done twice."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from conftest import FakeClock

from edgeagent.schema import Event, RunStatus
from edgeagent.store import Store, open_read_only, open_store

PRELUDE = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from edgeagent.errors import HomeError
from edgeagent.schema import Event, Step
from edgeagent.store import FileState, open_store
now = datetime.now(UTC)
path = Path(sys.argv[1])
"""

WRITE_FOR_EVER = """
store = open_store(path)
for n in range(1_000_000):
    state = FileState(n, n, n, "00", n)
    run_id = store.record_file("inbox", "file-1", f"/in/{n}", state, Event("inbox", "file", "file-1", str(n)), now)
    if n % 3 == 0:
        store.claim("daemon:dead", now)
        store.record_step_started(run_id, 1, "tool", "move_file", {"n": n}, {"n": n})
        if n % 2 == 0:
            store.record_step(run_id, Step(1, "tool", "move_file", {"n": n}, "x" * 5000, "ok"))
    print(run_id, flush=True)
"""

ENQUEUE_AND_CLAIM = """
store = open_store(path, busy_seconds=60)
for n in range(60):
    run_id = store.enqueue(Event("inbox", "manual", "manual", str(n)), now=now)
    if run_id:
        print("made", run_id)
    claimed = store.claim(f"daemon:{sys.argv[2]}", now)
    if claimed:
        print("claimed", claimed.id)
"""


def start(program: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + program, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)},
    )


def check_integrity(path: Path) -> None:
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()


def write_and_kill(path: Path, after: int) -> set[str]:
    """The ids that a writer had said were written when it was killed with SIGKILL."""
    with start(WRITE_FOR_EVER, str(path)) as writer:
        assert writer.stdout is not None
        said = [writer.stdout.readline().strip() for _ in range(after)]
        writer.send_signal(signal.SIGKILL)
        said += [line.strip() for line in writer.stdout.readlines() if line.endswith("\n")]
    assert writer.returncode == -signal.SIGKILL
    return set(said)


@pytest.mark.parametrize("after", [1, 7, 30])
def test_what_was_accepted_survives_a_kill_and_nothing_is_half_written(
    tmp_path: Path, clock: FakeClock, after: int
) -> None:
    path = tmp_path / "edgeagent.db"
    said = write_and_kill(path, after)
    with open_store(path, clock=clock) as store:
        written = {run.id for run in store.runs(limit=1_000_000)}
        assert said <= written
        assert len(store.files("inbox", "file-1")) == len(written), "an event without its file, or a file without"
        recovered = store.recover(clock(), lambda _: False)
        assert recovered
        assert RunStatus.RUNNING not in store.counts()
    check_integrity(path)


def test_a_reader_can_look_at_what_a_killed_process_left(tmp_path: Path) -> None:
    path = tmp_path / "edgeagent.db"
    said = write_and_kill(path, 10)
    with open_read_only(path) as reader:
        assert said <= {run.id for run in reader.runs(limit=1_000_000)}


def test_two_processes_make_each_event_once_and_claim_each_run_once(tmp_path: Path) -> None:
    path = tmp_path / "edgeagent.db"
    both = [start(ENQUEUE_AND_CLAIM, str(path), str(n)) for n in range(2)]
    lines = [line for process in both for line in process.communicate()[0].splitlines()]
    assert [process.returncode for process in both] == [0, 0]
    made = [line.split()[1] for line in lines if line.startswith("made")]
    claimed = [line.split()[1] for line in lines if line.startswith("claimed")]
    assert len(made) == 60
    assert sorted(claimed) == sorted(made)
    check_integrity(path)


def test_several_processes_may_create_the_database_at_once(tmp_path: Path) -> None:
    path = tmp_path / "edgeagent.db"
    several = [start("open_store(path, busy_seconds=60).close()", str(path)) for _ in range(4)]
    for process in several:
        process.communicate()
    assert [process.returncode for process in several] == [0, 0, 0, 0]
    open_read_only(path).close()


def test_many_threads_share_one_store(store: Store, clock: FakeClock) -> None:
    claimed: list[str] = []

    def work(name: int) -> None:
        for n in range(20):
            store.enqueue(Event("inbox", "manual", "manual", f"{name}-{n}"), now=clock())
            run = store.claim(f"daemon:{name}", clock())
            store.runs(limit=5)
            if run:
                claimed.append(run.id)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claimed) == len(set(claimed)) == 80
