"""Promise 2: after a power cut the database is valid, what was accepted is there, and no effect precedes its plan."""

from __future__ import annotations

import os
import random
import re
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

from edgeagent.errors import EdgeagentError
from edgeagent.store import open_store
from torture.cuts import CALLS, OPTIONS, Call, image, read_log
from torture.tally import NotMade, Tally
from torture.tracing import logging
from torture.world import World, is_whole, memory_disk, scratch, until

KEEPS = ("none", "some", "torn", "torn", "all")
_ULID = re.compile(rb'"id": ?"([0-9A-HJKMNP-TV-Z]{26})"')


def cuts(tally: Tally, root: Path, images: int, seed: int, *, synchronous: str = "full", rounds: int = 4) -> None:
    """One daemon, traced while it accepts and works, and images of its database at random moments."""
    dice = random.Random(seed)
    world = World(root)
    world.config(f'[daemon]\nworkers = 2\n[journal]\nsynchronous = "{synchronous}"\n')
    log = root / "calls.log"
    with world.run_daemon(logging(CALLS, log, *OPTIONS)) as process:
        world.wait_until_it_answers(process)
        for _ in range(rounds):
            world.put(2)
            world.submit(3)
            until(world.all_ended, 300)
        os.killpg(process.pid, signal.SIGKILL)
    if not world.all_ended():
        raise NotMade("the work that was to be traced did not end")
    calls = read_log(log)
    told = {found: call.begun for call in calls if call.name in ("sendto", "write") for found in _accepted(call)}
    known = {run_id: line for run_id, line in told.items() if run_id in world.accepted}
    tally.check(set(known) == set(world.accepted), "the log does not show every answer that was given")
    moments = [call.begun + dice.randint(0, 1) for call in calls]
    for number in range(images):
        cut = dice.choice(moments)
        _check(tally, world, calls, known, image(calls, _files(world), cut, dice, KEEPS[number % len(KEEPS)]), cut)
        tally.tried()


def _accepted(call: Call) -> list[str]:
    return [found.decode() for found in _ULID.findall(call.data)]


def _files(world: World) -> list[str]:
    path = world.home / "edgeagent.db"
    return [str(path), f"{path}-wal", f"{path}-journal"]


def _check(
    tally: Tally, world: World, calls: list[Call], known: dict[str, int], content: dict[str, bytes], cut: int
) -> None:
    with scratch(memory_disk()) as folder:
        for path, data in content.items():
            (folder / Path(path).name).write_bytes(data)
        database = folder / "edgeagent.db"
        try:
            open_store(database).close()
        except EdgeagentError as error:
            tally.check(False, f"cut at {cut}: {error.message}")
            return
        tally.check(is_whole(database), f"cut at {cut}: the database is damaged")
        with closing(sqlite3.connect(database)) as connection:
            runs = dict(connection.execute("SELECT id, event ->> 'name' FROM runs").fetchall())
            begun = {
                name
                for (name,) in connection.execute(
                    "SELECT event ->> 'name' FROM runs JOIN steps ON run_id = id WHERE steps.name = 'append_file'"
                )
            }
        for run_id, line in known.items():
            tally.check(line >= cut or run_id in runs, f"cut at {cut}: accepted event {run_id} is lost")
        for name in _effects(world, calls, cut):
            tally.check(name in begun, f"cut at {cut}: the effect of {name} is there and its plan is not")


def _effects(world: World, calls: list[Call], cut: int) -> set[str]:
    """The events whose line may be in a ledger by then."""
    ledgers = {str(world.ledger(agent)) for agent in ("inbox", "desk")}
    writes = (call for call in calls if call.path in ledgers and call.name in ("write", "pwrite64"))
    lines = [call.data for call in writes if call.begun < cut]
    return {line for data in lines for line in data.decode(errors="replace").split()}
