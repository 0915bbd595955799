"""Promise 1: killed at any point, no accepted event is lost and no effect is repeated in silence.

Kills come one after the other in one home: each daemon takes up what the one before it left. Half of them fall at a
random time, the others at a chosen call of the system, by strace's fault injection.
"""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

from torture.tally import Tally
from torture.tracing import killing, longest_counts
from torture.world import World, until

CALLS = ("pwrite64", "fdatasync", "renameat2", "write", "fsync", "ftruncate", "unlinkat,unlink", "openat")
"""What is swept, most telling first: the writes to the journal and the ledger, what makes them last, renames."""
FIRST_WORK_SECONDS = 8.0


def at_random_times(tally: Tally, root: Path, kills: int, seed: int) -> None:
    dice = random.Random(seed)
    world = World(root)
    for _ in range(kills):
        world.put(2)
        with world.run_daemon() as process:
            if dice.random() < 0.75:
                until(lambda p=process: world.answers() or p.poll() is not None, 60)  # type: ignore[misc]
                world.put(1)
                world.submit(dice.randrange(4))
                until(lambda: False, dice.random() * 0.5)
            else:
                until(lambda: False, dice.random())
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        tally.tried()
        _check_accepted(tally, world)
    world.finish(tally)


def at_calls(tally: Tally, root: Path, kills: int, seed: int) -> None:
    """The n-th call of a kind in any thread, n spread over what a start and the work of two runs take."""
    dice = random.Random(seed)
    world = World(root)
    world.put(1)
    most = longest_counts(world, CALLS)
    reached = 0
    for number in range(kills):
        call = CALLS[number % len(CALLS)]
        world.put(2)
        with world.run_daemon(killing(call, dice.randint(1, max(1, most[call])))) as process:
            until(lambda p=process: world.answers() or p.poll() is not None, 60)  # type: ignore[misc]
            if process.poll() is None:
                world.submit(1)
            if until(lambda p=process: p.poll() is not None or world.all_ended(), FIRST_WORK_SECONDS):  # type: ignore[misc]
                reached += process.poll() is not None
        tally.tried()
        _check_accepted(tally, world)
    world.finish(tally)
    tally.measured("least share of kills at a call that fell before the work was over", reached / kills, min)


def _check_accepted(tally: Tally, world: World) -> None:
    known = {run.id for run in world.runs()} if (world.home / "edgeagent.db").exists() and world.accepted else set()
    for run_id, name in world.accepted.items():
        tally.check(run_id in known, f"the accepted event {name} is lost")
