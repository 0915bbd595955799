"""What came, changed or went while nothing watched, and what was there before."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import FakeClock
from triggers_world import PATIENCE, FileWorld

from edgeagent.store import Store
from edgeagent.triggers import contents

ROOT = Path(__file__).parent.parent


@pytest.fixture
def world(tmp_path: Path, store: Store, clock: FakeClock) -> Iterator[FileWorld]:
    made = FileWorld(tmp_path, store, clock)
    made.box.mkdir()
    yield made
    if hasattr(made, "watching") and made.watching.is_alive:
        made.stop()


def test_what_is_there_at_the_first_start_is_no_event(world: FileWorld) -> None:
    world.put("old.txt")
    world.start()
    assert world.after(0, quiet=0.5) == []
    world.put("old.txt", "changed")
    assert world.after(1) == [("modified", "old.txt")]


def test_with_process_existing_it_is_one_each_and_only_once(world: FileWorld) -> None:
    world.put("old.txt")
    (world.box / "sub").mkdir()
    world.put("sub/older.txt")
    for _ in range(2):
        world.start(process_existing=True)
        assert sorted(world.after(2)) == [("created", "old.txt"), ("created", "older.txt")]
        world.stop()


def test_what_came_changed_and_went_while_down_makes_one_event_each(world: FileWorld) -> None:
    for name in ("same.txt", "changes.txt", "goes.txt", "touched.txt", "copied.txt"):
        world.put(name, "first")
    changes = ["created", "modified", "deleted"]
    world.start(changes=changes)
    world.stop()
    world.put("changes.txt", "other")  # of the same length
    world.put("comes.txt")
    (world.box / "goes.txt").unlink()
    os.utime(world.box / "touched.txt")
    shutil.copy2(world.box / "copied.txt", world.outside / "copied.txt")
    (world.outside / "copied.txt").replace(world.box / "copied.txt")
    for _ in range(2):
        world.start(changes=changes)
        assert sorted(world.after(3)) == [
            ("created", "comes.txt"),
            ("deleted", "goes.txt"),
            ("modified", "changes.txt"),
        ]
        world.stop()


def test_a_file_moved_away_before_and_dropped_again_while_down_is_new(world: FileWorld) -> None:
    world.start()
    path = world.put("scan.txt")
    world.after(1, quiet=0)
    path.rename(world.outside / "scan.txt")
    world.until(lambda: not world.trigger._manifest.files)
    world.stop()
    (world.outside / "scan.txt").rename(path)
    world.start()
    assert world.after(2) == [("created", "scan.txt")] * 2


def test_files_that_had_not_settled_at_the_stop_are_found_at_the_start(world: FileWorld) -> None:
    world.start(settle=5)
    for number in range(20):
        world.put(f"{number}.txt")
    time.sleep(0.1)
    world.stop()
    assert world.seen() == []
    world.start()
    assert len(set(world.after(20))) == len(world.seen()) == 20


def test_a_folder_that_was_missing_at_the_first_start_has_only_new_files(world: FileWorld) -> None:
    world.box.rmdir()
    world.start()
    world.stop()
    world.box.mkdir()
    world.put("came while down.txt")
    world.start()
    assert world.after(1) == [("created", "came while down.txt")]


def test_a_folder_that_is_missing_for_one_start_has_nothing_new_afterwards(world: FileWorld) -> None:
    world.start(changes=["created", "deleted"])
    world.put("kept.txt")
    world.after(1, quiet=0)
    world.stop()
    world.box.rename(world.outside / "box")
    world.start(changes=["created", "deleted"])
    time.sleep(0.3)
    (world.outside / "box").rename(world.box)
    assert world.after(1) == [("created", "kept.txt")]


def test_a_trigger_that_is_pointed_elsewhere_begins_anew(world: FileWorld) -> None:
    (world.outside / "old.pdf").write_text("x")
    world.put("old.pdf")
    world.put("old.txt")
    world.start(patterns=["*.txt"], changes=["created", "deleted"])
    world.stop()
    world.start(patterns=["*.txt", "*.pdf"], changes=["created", "deleted"])
    world.stop()
    world.start(path=str(world.outside), changes=["created", "deleted"])
    assert world.after(0, quiet=0.4) == []
    (world.outside / "new.pdf").write_text("y")
    assert world.after(1) == [("created", "new.pdf")]


def test_a_very_large_collection_is_remembered_without_reading_it(
    world: FileWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeagent.triggers.file.BASELINE_BYTES", 10)
    world.put("film.mkv", "a" * 100)
    world.put("other.mkv", "a" * 100)
    world.start()
    copy = world.outside / "film.mkv"
    shutil.copy2(world.box / "film.mkv", copy)
    copy.replace(world.box / "film.mkv")
    world.put("other.mkv", "b" * 100)
    assert world.after(1) == [("modified", "other.mkv")]


KILLED = """
import sys
from pathlib import Path
from conftest import FakeClock
from edgeagent.store import open_store
from triggers_world import PATIENCE, FileWorld

clock, place = FakeClock(), Path(sys.argv[1])
world = FileWorld(place, open_store(place / "edgeagent.db", clock=clock), clock)
world.start(process_existing=True)
world.until(lambda: False)
"""


def test_a_kill_in_the_middle_leaves_one_event_for_each_file(world: FileWorld, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    world.outside.rmdir()
    for number in range(400):
        world.put(f"{number}.txt", str(number))
    for stop_at in (1, 150):
        killed = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], env=environment)
        deadline = time.monotonic() + PATIENCE
        while len(world.runs()) < stop_at and time.monotonic() < deadline:
            time.sleep(0.002)
        killed.kill()
        killed.wait()
        world.outside.rmdir()
    world.start(process_existing=True)
    seen = world.after(400)
    assert len(set(seen)) == len(seen) == 400


def test_stopping_does_not_wait_for_a_large_file(world: FileWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "PIECE", 16)  # so that it takes minutes to read
    world.start()
    with (world.box / "huge.bin").open("wb") as file:
        file.truncate(2_000_000_000)
    time.sleep(0.5)
    began = time.monotonic()
    world.stop()
    assert time.monotonic() - began < 20
    assert world.seen() == []
