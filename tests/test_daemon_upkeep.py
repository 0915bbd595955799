"""The real daemon and its journal: damaged, copied, too large."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from daemon_world import Place, wait_for
from test_store_crash import check_integrity

from edgeagent.schema import RunStatus
from edgeagent.store import open_read_only


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    place.agent()
    return place


def damaged(place: Place) -> Path:
    """A journal that a daemon wrote and a bad card then spoiled."""
    place.drop("before.txt")
    with place.daemon() as process:
        wait_for(lambda: place.ended())
        process.terminate()
        process.wait(60)
    path = place.home / "edgeagent.db"
    with path.open("r+b") as file:
        file.seek(8192)
        file.write(os.urandom(16_384))
    return path


def test_the_daemon_goes_on_with_a_fresh_journal_and_says_where_the_damaged_one_lies(place: Place) -> None:
    path = damaged(place)
    with place.daemon():
        place.drop("after.txt")
        wait_for(lambda: place.ended())
        (aside,) = path.parent.glob("edgeagent.db.damaged-*Z")
        assert str(aside) in place.stderr.read_text()
        assert any(str(aside) in problem for problem in place.json("status")["problems"])
    assert place.ended()[0].status is RunStatus.OK


def test_the_daemon_does_not_start_on_a_damaged_journal_where_the_setting_says_so(place: Place) -> None:
    path = damaged(place)
    place.config('[journal]\ndamaged = "refuse"\n')
    before = path.read_bytes()
    with place.daemon(ready=False) as process:
        assert process.wait(60) == 1
    assert path.read_bytes() == before
    assert "error:" in place.stderr.read_text() and "restore a backup" in place.stderr.read_text()


def test_a_backup_is_made_beside_the_running_daemon_and_serves_in_its_place(place: Place, tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    with place.daemon():
        place.drop(*(f"{n}.txt" for n in range(5)))
        wait_for(lambda: len(place.ended()) == 5)
        told = place.json("backup", str(target))
        assert told == {"path": str(target), "bytes": target.stat().st_size}
        assert "not a backup" in place_error(place, "backup", str(place.stderr))
    check_integrity(target)
    with open_read_only(target) as copy:
        assert copy.counts() == {RunStatus.OK: 5}
    for path in place.home.glob("edgeagent.db*"):
        path.unlink()
    target.rename(place.home / "edgeagent.db")
    with place.daemon():
        place.drop("more.txt")
        wait_for(lambda: len(place.ended()) == 6)


def place_error(place: Place, *arguments: str) -> str:
    with place.started(*arguments) as process:
        stderr: str = process.communicate(timeout=120)[1]
    assert process.returncode == 2
    return stderr
