"""Promise 8: one daemon a home; a lock is never stale; a process id that was used again is nobody's."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from contextlib import closing
from functools import partial
from pathlib import Path
from subprocess import Popen

from torture.tally import Tally
from torture.world import World, until


def doubles(tally: Tally, root: Path, times: int) -> None:
    """Two start at the same moment, in a home whose lock and whose runs name a living process that is no daemon."""
    world = World(root)
    with subprocess.Popen(["sleep", "100000"]) as stranger:
        try:
            for _ in range(times):
                _pretend(world, stranger.pid)
                world.put(1)
                with world.run_daemon() as one, world.run_daemon() as other:
                    until(partial(_one_has_ended, one, other), 120)
                    ended = [process for process in (one, other) if process.poll() is not None]
                    tally.check(len(ended) == 1, f"{2 - len(ended)} daemons run in one home")
                    tally.check(all(process.returncode == 1 for process in ended), "the second ended with another code")
                    living = one if other.poll() is not None else other
                    tally.check(f"process {living.pid}" in world.stderr.read_text(), "the holder is not named")
                    tally.check(until(world.all_ended, 300), f"the run of a dead daemon stays: {world.unended()}")
                    os.killpg(living.pid, 9)
                world.stderr.write_text("")
                tally.tried()
        finally:
            stranger.kill()
    world.settle(tally)


def _one_has_ended(one: Popen[bytes], other: Popen[bytes]) -> bool:
    return one.poll() is not None or other.poll() is not None


def _pretend(world: World, pid: int) -> None:
    """A lock file and a run that a daemon left whose process id now belongs to another program."""
    lock = world.home / "daemon.lock"
    lock.write_text(f"{pid}\n")
    os.utime(lock, (0, 0))  # written before that program began
    if (world.home / "edgeagent.db").exists():
        with closing(sqlite3.connect(world.home / "edgeagent.db")) as connection, connection:
            connection.execute(
                "INSERT INTO runs (id, agent, trigger, trigger_id, event_key, event, what, status, owner, created_at,"
                " attempt) SELECT 'STALE' || hex(randomblob(8)), 'desk', 'manual', 'manual', hex(randomblob(8)),"
                " json_object('name', 'stale-' || hex(randomblob(4))), '', 'running', ?, '2026-01-01T00:00:00.000Z', 1",
                [f"daemon:{pid}:1.00"],
            )
