"""The real daemon in a process of its own, on the bundled model: killed, doubled, stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgeagent.schema import Run
from edgeagent.store import open_read_only

AGENT = """\
---
name: inbox
triggers: [{{trigger: file, path: "{inbox}", settle: 200ms, process_existing: true}}]
tools: [move_file]
grants: {{write: ["{inbox}", "{done}"]}}
approval: never
---
Recipes go to {done}. Leave the rest.
"""
RECIPE = "Lentil soup\nIngredients: 200 g lentils, one onion, cumin.\nSimmer for 20 minutes. Number {n}.\n"


class Place:
    """A home with one agent, and daemons started in it."""

    def __init__(self, root: Path) -> None:
        self.home, self.inbox, self.done = root / "edgeagent", root / "in", root / "done"
        for folder in (self.home / "agents", self.inbox, self.done):
            folder.mkdir(parents=True)
        (self.home / "agents" / "inbox.md").write_text(AGENT.format(inbox=self.inbox, done=self.done))

    @contextmanager
    def daemon(self) -> Iterator[subprocess.Popen[str]]:
        environment = {**os.environ, "EDGEAGENT_HOME": str(self.home), "EDGEAGENT_MODEL_THREADS": "1"}
        command = [sys.executable, "-m", "edgeagent.cli", "daemon"]
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        try:
            yield process
        finally:
            process.kill()
            process.wait()
            assert process.stderr
            process.stderr.close()

    def runs(self) -> list[Run]:
        if not (self.home / "run" / "edgeagent.sock").exists():
            return []  # no daemon has got as far as making its database
        with open_read_only(self.home / "edgeagent.db") as store:
            return store.runs(limit=500)

    def ended(self) -> list[Run]:
        return [run for run in self.runs() if run.status.is_terminal]

    def drop(self, numbers: range) -> None:
        for n in numbers:
            (self.inbox / f"file {n}.txt").write_text(RECIPE.format(n=n))


def wait_for(condition: Callable[[], bool], seconds: float = 90) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.05)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_each_file_has_exactly_one_finished_run_though_the_daemon_is_killed(place: Place) -> None:
    place.drop(range(6))
    with place.daemon() as process:
        wait_for(lambda: len(place.ended()) >= 2)
        place.drop(range(6, 10))
        process.kill()
    place.drop(range(10, 12))
    with place.daemon():
        wait_for(lambda: len(place.ended()) >= 12)
        time.sleep(1)
    runs = place.runs()
    assert Counter(run.event["name"] for run in runs) == {f"file {n}.txt": 1 for n in range(12)}
    assert all(run.status.is_terminal for run in runs)
    there = sorted(path.name for folder in (place.inbox, place.done) for path in folder.iterdir())
    assert there == sorted(f"file {n}.txt" for n in range(12)), "a file is lost, or there twice"


def test_a_second_daemon_is_refused_and_names_the_first(place: Place) -> None:
    with place.daemon() as first:
        wait_for((place.home / "run" / "edgeagent.sock").exists)
        with place.daemon() as second:
            assert second.wait(30) == 1
            assert second.stderr and f"process {first.pid}" in second.stderr.read()
        assert first.poll() is None


def test_a_killed_daemon_leaves_no_lock_behind(place: Place) -> None:
    for _ in range(2):
        with place.daemon() as process:
            wait_for(lambda: process.poll() is not None or (place.home / "run" / "edgeagent.sock").exists())
            assert process.poll() is None


def test_a_daemon_that_is_told_to_stop_ends_in_order(place: Place) -> None:
    place.drop(range(3))
    with place.daemon() as process:
        wait_for(lambda: len(place.runs()) >= 1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert not any(run.status == "running" for run in place.runs())


def test_a_broken_agent_file_does_not_keep_the_others_from_working(place: Place) -> None:
    (place.home / "agents" / "broken.md").write_text("---\nnmae: x\n---\nbody\n")
    place.drop(range(1))
    with place.daemon():
        wait_for(lambda: len(place.ended()) == 1)
