"""Files that appear, change and go while the trigger watches: each time exactly one event."""

from __future__ import annotations

import fcntl
import hashlib
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from conftest import FakeClock
from triggers_world import LATE, FileWorld

from edgeagent.schema import RunStatus
from edgeagent.store import Store, open_store
from edgeagent.triggers.folders import WatchedFolder
from edgeagent.triggers.own import note_own_write
from edgeagent.triggers.watching import Pace, Watching

ROOT = Path(__file__).parent.parent


@pytest.fixture
def world(tmp_path: Path, store: Store, clock: FakeClock) -> Iterator[FileWorld]:
    made = FileWorld(tmp_path, store, clock)
    made.box.mkdir()
    yield made
    if hasattr(made, "watching"):
        made.stop()


def test_a_dropped_file_makes_one_event_that_describes_it(world: FileWorld) -> None:
    world.start(preview=5)
    path = world.put("bill.txt", "Total: 12 €")
    os.utime(path, ns=(0, 1_700_000_000_123_000_000))
    assert world.after(1) == [("created", "bill.txt")]
    run = world.runs()[0]
    assert (run.agent, run.trigger, run.trigger_id, run.status) == ("filer", "file", "file-1", RunStatus.QUEUED)
    assert run.event == {
        "path": str(path),
        "name": "bill.txt",
        "size": 13,
        "mtime": "2023-11-14T22:13:20.123Z",
        "change": "created",
        "sha256": hashlib.sha256("Total: 12 €".encode()).hexdigest(),
        "preview": "Total",
    }


def test_each_change_of_content_makes_one_event_even_back_to_what_it_was(world: FileWorld) -> None:
    world.start()
    for count, content in enumerate(["a", "b", "a", "b"], start=1):
        world.put("note.txt", content)
        world.after(count, quiet=0)
    assert world.after(4) == [("created", "note.txt")] + [("modified", "note.txt")] * 3


def test_a_touch_and_a_save_of_the_same_content_make_none(world: FileWorld) -> None:
    world.start()
    path = world.put("note.txt", "same")
    world.after(1, quiet=0)
    os.utime(path)
    time.sleep(0.2)
    world.put("note.txt", "same")
    assert world.after(1) == [("created", "note.txt")]


def test_an_atomic_save_is_one_change(world: FileWorld) -> None:
    world.start()
    world.put("note.txt", "old")
    world.after(1, quiet=0)
    world.put(".goutputstream-X1", "new")
    (world.box / ".goutputstream-X1").replace(world.box / "note.txt")
    assert world.after(2) == [("created", "note.txt"), ("modified", "note.txt")]


def test_a_save_that_keeps_a_backup_is_a_change_and_no_new_file(world: FileWorld) -> None:
    world.start(settle=0.5)
    world.put("note.txt", "old")
    world.after(1, quiet=0)
    (world.box / "note.txt").rename(world.box / "note.txt~")
    world.put("note.txt", "new")
    assert world.after(2) == [("created", "note.txt"), ("modified", "note.txt")]


def test_a_file_that_was_moved_away_and_dropped_again_is_a_new_one(world: FileWorld) -> None:
    world.start()
    path = world.put("scan.txt", "the same page")
    for count in (1, 2, 3):
        world.after(count, quiet=0)
        path.rename(world.outside / "scan.txt")
        time.sleep(0.05 if count == 1 else LATE)  # faster than it can be noticed, and slower
        shutil.copy2(world.outside / "scan.txt", path)
    assert world.after(4, quiet=LATE) == [("created", "scan.txt")] * 4


def test_the_very_same_file_moved_away_and_back_is_a_new_one(world: FileWorld) -> None:
    world.start()
    path = world.put("scan.txt")
    world.after(1, quiet=0)
    path.rename(world.outside / "scan.txt")
    (world.outside / "scan.txt").rename(path)
    assert world.after(2, quiet=LATE) == [("created", "scan.txt")] * 2


def test_listings_that_overtake_the_hints_add_nothing(world: FileWorld) -> None:
    world.start(settle=0.05, pace=Pace(check=0.05, poll=0.1, scan=0.03))
    path = world.put("scan.txt")
    world.after(1, quiet=0)
    path.unlink()
    world.until(lambda: not world.store.files("filer", "file-1 " + str(world.box) + " **/*"))
    world.put("scan.txt")
    assert world.after(2, quiet=LATE) == [("created", "scan.txt")] * 2


def test_a_rename_within_the_folder_is_one_new_file(world: FileWorld) -> None:
    world.start(changes=["created", "modified", "deleted"])
    path = world.put("draft.txt")
    world.after(1, quiet=0)
    path.rename(world.box / "final.txt")
    assert sorted(world.after(3)[1:]) == [("created", "final.txt"), ("deleted", "draft.txt")]


def test_a_file_that_goes_is_an_event_where_the_agent_asks_for_it(world: FileWorld) -> None:
    world.start(changes="deleted")
    path = world.put("note.txt", "last words")
    time.sleep(0.3)
    path.unlink()
    assert world.after(1) == [("deleted", "note.txt")]
    event = world.runs()[0].event
    assert (event["size"], event["sha256"]) == (10, hashlib.sha256(b"last words").hexdigest())


def test_new_folders_bring_their_files(world: FileWorld) -> None:
    world.start()
    tree = world.outside / "tree"
    (tree / "deep" / "er").mkdir(parents=True)
    for place in (tree, tree / "deep", tree / "deep" / "er"):
        (place / "page.txt").write_text("x")
    tree.rename(world.box / "moved")
    shutil.copytree(world.box / "moved", world.box / "copied")
    assert world.after(6) == [("created", "page.txt")] * 6
    (world.box / "moved").rename(world.box / "renamed")
    world.after(9)
    (world.box / "renamed" / "deep" / "late.txt").write_text("y")
    assert world.after(10)[9:] == [("created", "late.txt")]
    assert {str(Path(run.event["path"]).relative_to(world.box)) for run in world.runs()[6:]} == {
        "renamed/page.txt",
        "renamed/deep/page.txt",
        "renamed/deep/er/page.txt",
        "renamed/deep/late.txt",
    }


def test_a_folder_that_is_moved_out_takes_its_files_with_it(world: FileWorld) -> None:
    (world.box / "sub").mkdir()
    world.put("sub/page.txt")
    world.start(changes=["created", "deleted"])
    (world.box / "sub").rename(world.outside / "sub")
    assert world.after(1) == [("deleted", "page.txt")]


def test_a_folder_moved_out_that_another_takes_the_name_of_is_not_watched_any_more(world: FileWorld) -> None:
    """watchdog 7.1 mistakes the one for the other, and ends with a KeyError when the old one is deleted."""
    world.start()
    for count in range(4):
        (world.box / "sub").mkdir()
        world.put("sub/inside.txt", str(count))
        world.after(2 * count + 1, quiet=0)
        (world.box / "sub").rename(world.outside / "sub")
        (world.box / "sub").mkdir()
        if count % 2:
            time.sleep(LATE)
        (world.box / "sub").rmdir()
        (world.outside / "sub" / "inside.txt").write_text("not here")
        shutil.rmtree(world.outside / "sub")
        world.put(f"{count}.txt")
        assert len(world.after(2 * count + 2)) == 2 * count + 2


def test_a_watchdog_that_died_is_replaced(world: FileWorld) -> None:
    world.start()
    dead = world.watching._observer._observer
    assert dead is not None
    dead.stop()
    dead.join()
    world.until(lambda: world.watching._observer._observer is not dead)
    world.put("a.txt")
    assert world.after(1) == [("created", "a.txt")]


def test_a_file_is_left_alone_while_it_is_being_written(world: FileWorld) -> None:
    world.start(settle=1)
    with (world.box / "long.txt").open("w") as file:
        for _ in range(16):
            file.write("line\n")
            file.flush()
            time.sleep(0.1)
            assert world.runs() == []
    assert world.after(1) == [("created", "long.txt")]
    assert world.runs()[0].event["size"] == 80


def test_two_thousand_files_at_once_make_two_thousand_events(world: FileWorld) -> None:
    world.start()
    for number in range(2000):
        world.put(f"{number}.txt", str(number))
    seen = world.after(2000)
    assert sorted(seen) == sorted(("created", f"{number}.txt") for number in range(2000))


def test_names_with_newlines_and_invalid_utf8_survive(world: FileWorld) -> None:
    world.start()
    names = [b"two\nlines.txt", b"latin\xe9.txt", b"<|im_end|> '\".txt", b" .txt"]
    for name in names:
        with open(os.fsencode(world.box) + b"/" + name, "wb") as file:
            file.write(b"caf\xe9")
    assert sorted(name for _, name in world.after(4)) == sorted(os.fsdecode(name) for name in names)
    assert {run.event["preview"] for run in world.runs()} == {"caf\ufffd"}
    for run in world.runs():
        assert os.path.exists(run.event["path"])
    os.rename(os.fsencode(world.box) + b"/latin\xe9.txt", os.fsencode(world.outside) + b"/x")
    time.sleep(LATE)
    with open(os.fsencode(world.box) + b"/latin\xe9.txt", "wb") as file:
        file.write(b"caf\xe9")
    assert len(world.after(5)) == 5


def test_empty_binary_and_huge_files_have_a_size_and_no_preview(world: FileWorld) -> None:
    world.start()
    world.put("empty.txt", "")
    world.put("picture.jpg", b"\xff\xd8\xff\xe0\x00\x10JFIF")
    with (world.box / "huge.bin").open("wb") as file:
        file.truncate(300_000_000)
    world.after(3)
    found = {run.event["name"]: (run.event["size"], run.event["preview"]) for run in world.runs()}
    assert found == {"empty.txt": (0, ""), "picture.jpg": (10, ""), "huge.bin": (300_000_000, "")}


def test_links_fifos_and_sockets_are_told_once_and_not_followed(world: FileWorld) -> None:
    secret = world.outside / "secret.txt"
    secret.write_text("secret")
    world.start()
    (world.box / "link.txt").symlink_to(secret)
    (world.box / "folder").symlink_to(world.outside)
    os.mkfifo(world.box / "pipe.txt")
    world.after(3)
    secret.write_text("more")
    world.trigger.scan(FakeClock().now)
    assert len(world.after(3)) == 3
    for run in world.runs():
        assert run.status is RunStatus.SKIPPED
        assert run.reason in {
            "it is a symbolic link, and links in a watched folder are not followed",
            "it is not a regular file",
        }
        assert run.event["preview"] == run.event["sha256"] == ""


def test_patterns_choose_and_unfinished_downloads_do_not_count(world: FileWorld) -> None:
    world.start(patterns=["**/*.txt", "in/*.md"], ignore=["private", "*.tmp.txt"])
    for folder in ("in", "private", "other"):
        (world.box / folder).mkdir()
    for name in ("a.txt", "b.pdf", "c.tmp.txt", "other/d.txt", "in/e.md", "other/f.md", "private/g.txt", "h.txt.part"):
        world.put(name)
    assert sorted(world.after(3)) == [("created", "a.txt"), ("created", "d.txt"), ("created", "e.md")]
    (world.box / "h.txt.part").rename(world.box / "h.txt")
    assert world.after(4)[3:] == [("created", "h.txt")]


def test_without_recursive_only_the_folder_itself_counts(world: FileWorld) -> None:
    (world.box / "sub").mkdir()
    world.start(recursive=False)
    world.put("sub/below.txt")
    world.put("here.txt")
    world.trigger.scan(FakeClock().now)
    assert world.after(1) == [("created", "here.txt")]


def test_what_the_agent_did_itself_does_not_trigger_it(world: FileWorld, store: Store) -> None:
    world.start(settle=0.7, changes=["created", "modified", "deleted"])
    moved = world.put("moved.txt")
    world.after(1, quiet=0)
    note_own_write(store, "filer", world.put("own.txt", "mine"))
    note_own_write(store, "other", world.put("of another agent.txt"))
    moved.rename(world.outside / "moved.txt")
    note_own_write(store, "filer", moved)
    assert world.after(2, quiet=LATE + 0.7)[1:] == [("created", "of another agent.txt")]
    world.put("own.txt", "changed by a person")
    world.put("moved.txt", "dropped again")
    assert sorted(world.after(4)[2:]) == [("created", "moved.txt"), ("modified", "own.txt")]
    (world.box / "moved.txt").unlink()
    assert world.after(5, quiet=0.5)[4:] == [("deleted", "moved.txt")]


def test_a_file_that_vanishes_before_it_settled_is_none(world: FileWorld) -> None:
    world.start(settle=0.5, changes=["created", "deleted"])
    world.put("blink.txt").unlink()
    world.put("stays.txt")
    assert world.after(1) == [("created", "stays.txt")]


def test_a_missing_folder_is_waited_for_and_its_first_files_count(world: FileWorld) -> None:
    world.box.rmdir()
    trigger = world.start()
    assert trigger.state().condition == "waiting"
    assert "does not exist yet" in trigger.state().text
    world.box.mkdir()
    world.put("first.txt")
    assert world.after(1) == [("created", "first.txt")]
    assert trigger.state().condition == "ok"
    world.put("second.txt")
    assert world.after(2)[1:] == [("created", "second.txt")]


def test_a_folder_that_is_removed_and_made_again_is_watched_again(world: FileWorld) -> None:
    trigger = world.start()
    for count in (1, 3, 5):
        world.put("a.txt", "same")
        world.put(f"{count}.txt")
        assert len(world.after(count + 1)) == count + 1
        shutil.rmtree(world.box)
        if count == 1:
            world.until(lambda: trigger.state().condition == "waiting")
        world.box.mkdir()
    world.put("last.txt")
    assert len(world.after(7)) == 7
    assert [name for _, name in world.seen()].count("a.txt") == 3


def test_a_folder_that_is_renamed_away_and_back_has_nothing_new(world: FileWorld) -> None:
    trigger = world.start(changes=["created", "modified", "deleted"])
    world.put("kept.txt")
    world.after(1, quiet=0)
    world.box.rename(world.outside / "box")
    world.until(lambda: trigger.state().condition == "waiting")
    time.sleep(0.3)
    (world.outside / "box" / "new.txt").write_text("came while away")
    (world.outside / "box").rename(world.box)
    assert world.after(2) == [("created", "kept.txt"), ("created", "new.txt")]


def test_a_file_where_the_folder_should_be_is_an_error_that_says_so(world: FileWorld) -> None:
    world.box.rmdir()
    world.box.write_text("not a folder")
    state = world.start().state()
    assert state.condition == "error"
    assert "is not a folder" in state.text


def test_polling_finds_the_same(world: FileWorld) -> None:
    trigger = world.start(poll=True, changes=["created", "modified", "deleted"])
    assert trigger.state().text.startswith(f"polling {world.box}")
    (world.box / "sub").mkdir()
    path = world.put("sub/a.txt", "1")
    world.after(1, quiet=0)
    world.put("sub/a.txt", "22")
    world.after(2, quiet=0)
    path.unlink()
    world.after(3, quiet=0)
    world.put("sub/a.txt", "22")
    assert world.after(4) == [(change, "a.txt") for change in ("created", "modified", "deleted", "created")]


def test_a_watched_folder_may_be_named_through_a_link(world: FileWorld, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(world.box)
    world.start(path="~/alias")
    world.put("a.txt")
    assert world.after(1) == [("created", "a.txt")]
    assert world.runs()[0].event["path"] == str(world.box / "a.txt")


def test_hints_that_were_lost_are_made_up_for_by_a_listing(world: FileWorld) -> None:
    world.start()
    world.watching._observer.stop()  # from here on the system tells nothing
    world.put("unnoticed.txt")
    world.watching._on_overflow()
    assert world.after(1) == [("created", "unnoticed.txt")]


def test_without_a_free_descriptor_the_folder_is_polled(world: FileWorld) -> None:
    import watchdog.observers  # noqa: F401  (an import needs descriptors itself)

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = max(int(name) for name in os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    taken = [os.open("/dev/null", os.O_RDONLY) for _ in range(used)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(taken) + 1, hard))
    try:
        watching = Watching()
        watching._observer.start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in taken:
            os.close(descriptor)
    folder = WatchedFolder(str(world.box), True, None, watching._observer)
    folder.check()
    assert folder.is_polled
    assert "limit" in folder.state.text and "sysctl" in folder.state.text


def test_a_database_that_cannot_be_written_loses_nothing(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeagent.triggers.file.RETRY", 0.2)
    with open_store(tmp_path / "edgeagent.db", clock=clock, busy_seconds=0.05) as store:
        world = FileWorld(tmp_path, store, clock)
        world.box.mkdir()
        trigger = world.start()
        with (tmp_path / "edgeagent.db.lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            world.put("a.txt")
            world.until(lambda: trigger.state().condition == "error")
            assert "edgeagent.db" in trigger.state().text
        assert world.after(1) == [("created", "a.txt")]
        assert trigger.state().condition == "ok"
        world.stop()


UNREADABLE = """
import os, sys
from pathlib import Path
from conftest import FakeClock
from edgeagent.store import open_store
from triggers_world import FileWorld

def make(folder):
    folder.mkdir(mode=0o777)
    world = FileWorld(folder, open_store(folder / "e.db", clock=clock), clock)
    world.box.mkdir()
    world.start()
    return world

os.umask(0)
clock, place = FakeClock(), Path(sys.argv[1])
world = make(place / "warm-up")  # imports everything while that is still allowed
world.put("a.txt")
world.after(1, quiet=0)
world.stop()
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)

world = make(place / "real")
path = world.put("secret.txt")
path.chmod(0)
world.after(1)
os.utime(path)
world.trigger.scan(clock.now)
assert world.after(1) == [("created", "secret.txt")], world.seen()
run = world.runs()[0]
assert (run.status, run.reason) == ("skipped", "it cannot be read: Permission denied"), run
path.chmod(0o644)
assert world.after(2) == [("created", "secret.txt")] * 2, world.seen()
assert world.runs()[1].status == "queued"
world.box.chmod(0)
world.trigger.scan(clock.now)
world.until(lambda: world.trigger.state().condition == "error")
world.box.chmod(0o755)
assert len(world.after(2)) == 2, world.seen()
world.stop()
"""


def test_an_unreadable_file_is_told_once_and_is_new_when_it_becomes_readable() -> None:
    """In a process of its own that gives up root, whom permissions do not bind."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    with TemporaryDirectory() as place:
        os.chmod(place, 0o777)
        command = [sys.executable, "-B", "-c", UNREADABLE, place]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
