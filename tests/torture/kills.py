"""Promise 1: killed at any point, no accepted event is lost and no effect is repeated in silence.

Kills come one after the other in one home: each daemon takes up what the one before it left. Half of them fall at a
random time, the others at a chosen call of the system, by strace's fault injection. Three agents have effects: a line
and a move for each file, a line for each event by hand, and a request to a server for each event by hand.
"""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

from torture.effects import outside
from torture.tally import NotMade, Tally
from torture.tracing import killing, longest_counts
from torture.world import World, until

CALLS = ("pwrite64", "fdatasync", "renameat2", "sendto", "write", "fsync", "ftruncate", "unlinkat,unlink", "openat")
"""What is swept, most telling first: the writes to the journal and the ledger, what makes them last, renames, what is
sent to servers and as answers."""
WORK_SECONDS = 20.0
"""How long a call that is to be the last is waited for, beyond the end of all work."""


def at_random_times(tally: Tally, root: Path, kills: int, seed: int) -> None:
    dice = random.Random(seed)
    world = World(root)
    with outside(world.ledger("caller")) as server:
        world.calls_out(server)
        for _ in range(kills):
            world.put(2)
            with world.run_daemon() as process:
                if dice.random() < 0.75:
                    world.wait_until_it_answers(process)
                    world.put(1)
                    world.submit(dice.randrange(4))
                    world.submit(dice.randrange(3), "caller")
                    until(lambda: False, dice.random() * 0.5)
                else:
                    until(lambda: False, dice.random())
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            tally.tried()
            _check_accepted(tally, world)
        world.finish(tally)


def at_calls(tally: Tally, root: Path, kills: int, seed: int) -> None:
    """The n-th call of a kind in any thread, n spread over what a start and the work of some runs take.

    Where the work is over before, that was no kill at a call, and another one is tried.
    """
    dice = random.Random(seed)
    world = World(root)
    with outside(world.ledger("caller")) as server:
        world.calls_out(server)
        world.put(1)
        most = longest_counts(world, CALLS)
        reached = 0
        for number in range(4 * kills):
            call = CALLS[number % len(CALLS)]
            reached += _killed_at(world, killing(call, dice.randint(1, max(1, most[call]))))
            _check_accepted(tally, world)
            if reached == kills:
                break
        else:
            raise NotMade(f"only {reached} of {4 * kills} daemons came to the call at which they were to be killed")
        tally.tried(kills)
        world.finish(tally)


def _killed_at(world: World, tracer: list[str]) -> bool:
    """Whether it was killed by its tracer while there was work."""
    world.put(2)
    with world.run_daemon(tracer) as process:
        world.wait_until_it_answers(process)
        if process.poll() is None:
            world.submit(1)
            world.submit(1, "caller")
        until(lambda: process.poll() is not None or world.all_ended(), WORK_SECONDS)
        return process.poll() is not None


def _check_accepted(tally: Tally, world: World) -> None:
    known = {run.id for run in world.runs()} if (world.home / "edgeagent.db").exists() and world.accepted else set()
    for run_id, name in world.accepted.items():
        tally.check(run_id in known, f"the accepted event {name} is lost")
