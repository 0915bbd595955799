"""The model host is killed again and again while a daemon works: it answers throughout, and no run is lost.

EDGEAGENT_KILLS says how often; a few times in the usual run of the tests, 50 times before a release.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import psutil
import pytest
from daemon_world import Place, wait_for

from edgeagent.errors import EdgeagentError
from edgeagent.schema import RunStatus

KILLS = int(os.environ.get("EDGEAGENT_KILLS", "4"))
EVENTS = max(8, KILLS)
PATIENCE = 240.0 + 15 * KILLS
ANSWER_SECONDS = 10.0


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    place.config("[daemon]\nworkers = 3\n")
    (place.home / "agents" / "filer.md").write_text(
        "---\nname: filer\nmodel: pocket\nconcurrency: {mode: parallel}\nlimits: {attempts: 30}\n"
        "output: {type: object, properties: {kind: {enum: [bill, letter]}}, required: [kind],"
        " additionalProperties: false}\n---\nWhat is it?\n"
    )
    return place


def hosts(daemon: int) -> list[psutil.Process]:
    try:
        children = psutil.Process(daemon).children()
        return [child for child in children if "edgeagent.model.host" in child.cmdline()]
    except psutil.Error:
        return []


def test_a_host_that_is_killed_again_and_again_loses_no_run(place: Place) -> None:
    source = random.Random(KILLS)
    killed = 0
    slowest = 0.0
    with place.daemon() as daemon:
        submitted = [
            place.client.submit("filer", {"name": f"{n}.txt", "preview": f"Letter {n}."}) for n in range(EVENTS)
        ]
        until = time.monotonic() + PATIENCE
        while killed < KILLS:
            assert time.monotonic() < until, f"only {killed} kills"
            for host in hosts(daemon.pid):
                time.sleep(source.uniform(0.2, 1.5))
                if host.is_running():
                    host.kill()
                    killed += 1
            asked = time.monotonic()
            assert place.client.status()["pid"] == daemon.pid
            slowest = max(slowest, time.monotonic() - asked)
            if not any(not run.status.is_terminal for run in place.runs()):
                submitted += [place.client.submit("filer", {"name": "more.txt", "n": killed})]
            time.sleep(0.05)
        wait_for(lambda: len(place.ended()) == len(submitted), PATIENCE)
        parked = [run for run in place.ended() if run.status is not RunStatus.OK]
        assert {(run.status.value, run.reason) for run in parked} <= {("failed", "model_error")}, parked
        for run in parked:
            place.client.retry(run.id)
        wait_for(lambda: all(run.status is RunStatus.OK for run in place.runs()), PATIENCE)
    assert sorted(run.id for run in place.runs()) == sorted(submitted)
    assert slowest < ANSWER_SECONDS
    print(f"{killed} kills, {len(submitted)} runs, {len(parked)} parked, slowest answer {slowest:.2f} s")  # noqa: T201


def test_the_daemon_answers_while_its_model_cannot_be_loaded(place: Place) -> None:
    broken = place.root / "broken.gguf"
    broken.write_bytes(b"GGUF" + b"\xff" * 5000)
    agent = place.home / "agents" / "filer.md"
    agent.write_text(agent.read_text().replace("model: pocket", f"model: {broken}").replace("30", "1"))
    with place.daemon() as daemon:
        run_id = place.client.submit("filer", {"name": "a.txt"})
        wait_for(lambda: place.run(run_id).status.is_terminal)
        assert place.client.status()["pid"] == daemon.pid
    run = place.run(run_id)
    assert (run.status, run.reason) == (RunStatus.FAILED, "model_error")
    assert run.error and "broken.gguf is damaged" in run.error and "\n" not in run.error
    with pytest.raises(EdgeagentError):
        place.client.status()
