"""Promise 9: SIGTERM in the middle of anything: the daemon ends within ten seconds, and the run goes on later."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

from torture.tally import Tally
from torture.tracing import delaying
from torture.world import World, until

STOP_SECONDS = 10.0
PLACES = ("prefill", "decode", "tool", "insert")


def terminated(tally: Tally, root: Path, times: int, seed: int) -> None:
    dice = random.Random(seed)
    world = World(root, thinking=1.5)
    for number in range(times):
        place = PLACES[number % len(PLACES)]
        world.put(1)
        with world.run_daemon(_tracer(place)) as process:
            until(lambda p=process: world.answers() or p.poll() is not None, 60)  # type: ignore[misc]
            pid = int((world.home / "daemon.lock").read_text())
            if place == "insert":
                world.put(3)
                time.sleep(dice.random() * 0.5)
            else:
                until(lambda at=place: _is_at(world, at), 30, 0.02)  # type: ignore[misc]
                time.sleep(dice.random() * 0.3)
            began = time.monotonic()
            os.kill(pid, signal.SIGTERM)
            ended = until(lambda p=process: p.poll() is not None, 30)  # type: ignore[misc]
            seconds = time.monotonic() - began
        tally.tried()
        tally.check(ended and seconds <= STOP_SECONDS, f"in {place}: it took {seconds:.1f} s to end")
        tally.check(process.returncode == 0, f"in {place}: it ended with {process.returncode}")
        tally.check(not [run for run in world.runs() if run.status == "running"], f"in {place}: a run is left running")
        tally.measured("seconds from SIGTERM to the end, at most", round(seconds, 2))
    world.notes_and_moves()
    world.finish(tally)


def _tracer(place: str) -> list[str]:
    """What makes a moment long enough to be met."""
    return {"tool": delaying("renameat2", 1.0), "insert": delaying("fdatasync", 0.2)}.get(place, [])


def _is_at(world: World, place: str) -> bool:
    """Whether a run is in its first turn (prefill), its last one (decode), or in a move (tool)."""
    for run in world.runs("inbox"):
        if run.status == "running":
            steps = world.run(run.id).steps
            if place == "prefill" or (place == "decode" and len(steps) >= 4) or (place == "tool" and len(steps) == 3):
                return True
    return False
