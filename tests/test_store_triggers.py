"""What triggers remember: files, baselines, own writes, schedules. The memory and its event go together."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from conftest import FakeClock

from edgeagent.schema import Event, RunStatus
from edgeagent.store import FileState, Store, open_read_only, open_store

STATE = FileState(size=12, mtime_ns=1_700_000_000_123_456_789, inode=42, sha256="ab" * 32, appearance=1)


def event(key: str) -> Event:
    return Event("inbox", "file", "file-1", key, {"path": "/in/a.txt", "change": "created"})


def test_a_file_and_its_event_are_recorded_together(store: Store, clock: FakeClock) -> None:
    run_id = store.record_file("inbox", "file-1", "/in/a.txt", STATE, event("a"), clock())
    assert run_id is not None
    assert store.run(run_id).status is RunStatus.QUEUED
    assert store.files("inbox", "file-1") == {"/in/a.txt": STATE}
    assert store.files("inbox", "file-2") == {}


def test_a_file_that_is_gone_leaves_the_manifest(store: Store, clock: FakeClock) -> None:
    store.record_file("inbox", "file-1", "/in/a.txt", STATE, None, clock())
    store.record_file("inbox", "file-1", "/in/a.txt", None, event("gone"), clock())
    assert store.files("inbox", "file-1") == {}
    assert len(store.runs()) == 1


def test_a_known_event_still_updates_the_manifest(store: Store, clock: FakeClock) -> None:
    store.record_file("inbox", "file-1", "/in/a.txt", STATE, event("a"), clock())
    assert store.record_file("inbox", "file-1", "/in/a.txt", STATE, event("a"), clock()) is None
    assert len(store.runs()) == 1


def test_an_event_that_cannot_be_written_leaves_the_manifest_as_it_was(store: Store, clock: FakeClock) -> None:
    impossible = Event("inbox", "file", "file-1", "k", {"path": object()})
    with pytest.raises(TypeError):
        store.record_file("inbox", "file-1", "/in/a.txt", STATE, impossible, clock())
    assert store.files("inbox", "file-1") == {}


def test_an_unreadable_file_is_recorded_as_skipped_with_the_reason(store: Store, clock: FakeClock) -> None:
    run_id = store.record_file(
        "inbox", "file-1", "/in/a.txt", STATE, event("a"), clock(), status=RunStatus.SKIPPED, reason="unreadable"
    )
    assert run_id is not None
    assert store.run(run_id).reason == "unreadable"


def test_each_appearance_has_a_number_of_its_own_even_after_the_file_was_gone(store: Store, clock: FakeClock) -> None:
    assert store.next_appearance("inbox", "file-1") == 1
    assert store.next_appearance("inbox", "file-1") == 1, "asking uses nothing up"
    store.record_file("inbox", "file-1", "/in/a.txt", STATE, None, clock())
    store.record_file("inbox", "file-1", "/in/a.txt", None, None, clock())
    assert store.next_appearance("inbox", "file-1") == 2
    assert store.next_appearance("inbox", "file-2") == 1


@pytest.mark.parametrize("name", [b"plain.txt", b"caf\xc3\xa9.txt", b"caf\xe9.txt", b"new\nline", b"'\"; --", b"\xff"])
def test_any_file_name_comes_back_as_it_is(store: Store, clock: FakeClock, name: bytes) -> None:
    path = "/in/" + name.decode("utf-8", "surrogateescape")
    store.record_file("inbox", "file-1", path, STATE, None, clock())
    assert list(store.files("inbox", "file-1")) == [path]
    store.record_file("inbox", "file-1", path, None, None, clock())
    assert store.files("inbox", "file-1") == {}


def test_a_baseline_holds_all_that_was_there_at_first_sight(store: Store) -> None:
    assert not store.has_baseline("inbox", "file-1")
    store.set_baseline("inbox", "file-1", {"/in/a": STATE, "/in/b": STATE})
    assert store.has_baseline("inbox", "file-1")
    assert not store.has_baseline("inbox", "file-2")
    assert set(store.files("inbox", "file-1")) == {"/in/a", "/in/b"}


def test_a_trigger_that_has_recorded_a_file_has_no_baseline_by_that(store: Store, clock: FakeClock) -> None:
    store.record_file("inbox", "file-1", "/in/a.txt", STATE, None, clock())
    assert not store.has_baseline("inbox", "file-1")
    store.set_baseline("inbox", "file-1")
    assert store.next_appearance("inbox", "file-1") == 2


def test_a_trigger_that_watches_something_else_starts_afresh(store: Store, clock: FakeClock) -> None:
    store.set_baseline("inbox", "file-1", {"/in/a": STATE})
    store.forget_files("inbox", "file-1")
    assert store.files("inbox", "file-1") == {}
    assert not store.has_baseline("inbox", "file-1")
    assert store.next_appearance("inbox", "file-1") == 2


def test_what_an_agent_wrote_is_known_until_someone_changes_it(store: Store) -> None:
    store.record_own_write("inbox", "/in/caf\udce9.txt", 10, 111, 7)
    assert store.is_own_write("inbox", "/in/caf\udce9.txt", 10, 111, 7)
    assert not store.is_own_write("inbox", "/in/caf\udce9.txt", 10, 222, 7)
    assert not store.is_own_write("digest", "/in/caf\udce9.txt", 10, 111, 7)
    store.record_own_write("inbox", "/in/caf\udce9.txt", 20, 333, 8)
    assert store.is_own_write("inbox", "/in/caf\udce9.txt", 20, 333, 8)
    assert not store.is_own_write("inbox", "/in/caf\udce9.txt", 10, 111, 7)


def test_what_an_agent_has_just_written_is_known_at_once_and_lasts_from_the_end_of_its_call(
    store: Store, tmp_path: Path
) -> None:
    store.note_own_write("inbox", "/in/a.txt", 10, 111, 7)
    store.note_own_write("other", "/in/a.txt", 10, 111, 7)
    assert store.is_own_write("inbox", "/in/a.txt", 10, 111, 7)
    assert not store.is_own_write("inbox", "/in/a.txt", 10, 222, 7)
    with open_read_only(store.path) as reader:
        assert not reader.is_own_write("inbox", "/in/a.txt", 10, 111, 7)
        store.keep_own_writes("inbox")
        assert reader.is_own_write("inbox", "/in/a.txt", 10, 111, 7)
        assert not reader.is_own_write("other", "/in/a.txt", 10, 111, 7)


def test_a_time_that_came_is_recorded_with_its_event(store: Store, clock: FakeClock) -> None:
    due = Event("digest", "cron", "cron-1", "cron-1 07:00", {"scheduled_at": "2026-11-24T07:00:00.000Z"})
    assert store.last_scheduled("digest", "cron-1") is None
    run_id = store.record_scheduled("digest", "cron-1", clock.now, due, clock())
    assert run_id is not None
    assert store.last_scheduled("digest", "cron-1") == clock.now
    assert store.record_scheduled("digest", "cron-1", clock.now, due, clock()) is None


def test_the_last_scheduled_time_never_goes_back(store: Store, clock: FakeClock) -> None:
    store.record_scheduled("digest", "cron-1", clock.now, None, clock())
    store.record_scheduled("digest", "cron-1", clock.now - timedelta(hours=1), None, clock())
    assert store.last_scheduled("digest", "cron-1") == clock.now


def test_everything_is_still_there_when_the_file_is_opened_again(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "again.db"
    with open_store(path, clock=clock) as store:
        store.set_baseline("inbox", "file-1", {"/in/a": STATE})
        store.record_scheduled("digest", "cron-1", clock.now, None, clock())
        store.remember("inbox", "the car is blue", clock())
    with open_store(path, clock=clock) as store:
        assert store.files("inbox", "file-1") == {"/in/a": STATE}
        assert store.has_baseline("inbox", "file-1")
        assert store.last_scheduled("digest", "cron-1") == clock.now
        assert store.recall("inbox", "car") == ["the car is blue"]
