"""Promise 10: an event that fails each time is parked after its attempts, and the others go on meanwhile."""

from __future__ import annotations

import time
from pathlib import Path

from edgeagent.schema import RunStatus
from torture.tally import NotMade, Tally
from torture.world import World, journal_runs, until


def poisoned(tally: Tally, root: Path, events: int, attempts: int) -> None:
    world = World(root)
    world.agent(
        "inbox",
        f"limits: {{attempts: {attempts}, actions_per_hour: 100000}}",
        {"*poison*": [{"error": "the model broke"}], "*": ["Seen."]},
    )
    world.drop(*(f"poison-{n}.txt" for n in range(events)))
    with world.run_daemon() as process:
        world.wait_until_it_answers(process)
        if not until(lambda: len(journal_runs(world.home)) >= events, 120):
            raise NotMade("the poison was not found in two minutes")
        began = time.monotonic()
        world.drop(*(f"good-{n}.txt" for n in range(events)))
        until(lambda: _ended(world, "good") == events, 120)
        tally.measured(f"until {events} good events beside the poison had ended", time.monotonic() - began, "s")
        until(lambda: _ended(world, "poison") == events, 120 + 15 * 2**attempts)
    for run in journal_runs(world.home):
        if str(run.event["name"]).startswith("poison"):
            tally.tried()
            parked = run.status is RunStatus.FAILED and run.attempt == attempts and run.reason == "model_error"
            tally.check(parked, f"{run.event['name']} is {run.status} ({run.reason}) after {run.attempt} attempts")
        else:
            tally.check(run.status is RunStatus.OK, f"{run.event['name']} is {run.status}: {run.error}")
    tally.check(_ended(world, "good") == events, "good events did not end")


def _ended(world: World, name: str) -> int:
    return sum(run.status.is_terminal and str(run.event["name"]).startswith(name) for run in journal_runs(world.home))
