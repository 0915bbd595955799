"""Promise 4: ten thousand files at once, and fifty thousand behind the back of a daemon that is stopped."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import psutil

from torture.tally import Tally
from torture.world import World, until

MEGABYTE = 1 << 20
NO_LIMIT = "concurrency: {mode: queued, max: 1000000}"
GROWN_MEGABYTES, RUNS_A_SECOND, FOUND_SECONDS = 64, 300, 60
AT_FULL = 10_000
"""With fewer files than this a rate says little: it is told, and not judged."""


def burst(tally: Tally, root: Path, files: int) -> None:
    """Files appear as fast as they can be made."""
    world = _noop_world(root)
    with world.run_daemon() as process:
        world.wait_until_it_answers(process)
        daemon = psutil.Process(process.pid)
        resident = most = daemon.memory_info().rss
        _make(world.inbox, files)
        began = time.monotonic()
        while _ended(world) < files and time.monotonic() - began < 120 + files / 10:
            most = max(most, daemon.memory_info().rss)
            time.sleep(0.5)
        seconds = time.monotonic() - began
        time.sleep(2)
    tally.tried(files)
    _each_once(tally, world, files)
    least = RUNS_A_SECOND if files >= AT_FULL else None
    tally.measured("memory grown in a burst", (most - resident) / MEGABYTE, "MB", at_most=GROWN_MEGABYTES)
    tally.measured(f"runs a second, of {files} files at once", files / seconds, at_least=least)


def overflow(tally: Tally, root: Path, files: int) -> None:
    """The daemon is stopped (SIGSTOP) until the kernel's queue of events overflows, which loses some."""
    world = _noop_world(root)
    with world.run_daemon() as process:
        world.wait_until_it_answers(process)
        daemon = psutil.Process(process.pid)
        resident = most = daemon.memory_info().rss
        os.kill(process.pid, signal.SIGSTOP)
        _make(world.inbox, files)
        os.kill(process.pid, signal.SIGCONT)
        began = time.monotonic()
        while _known(world) < files and time.monotonic() - began < 120 + files / 20:
            most = max(most, daemon.memory_info().rss)
            time.sleep(0.25)
        seconds = time.monotonic() - began
        tally.check(_known(world) >= files, f"only {_known(world)} of {files} files were found")
        until(lambda: _ended(world) >= files, 120 + files / 10, 0.5)
        most = max(most, daemon.memory_info().rss)
    tally.tried(files)
    _each_once(tally, world, files)
    tally.measured(f"until {files} files behind the daemon's back were found", seconds, "s", at_most=FOUND_SECONDS)
    tally.measured(
        f"memory grown by {files} files behind its back", (most - resident) / MEGABYTE, "MB", at_most=GROWN_MEGABYTES
    )


def _noop_world(root: Path) -> World:
    world = World(root)
    world.config("[daemon]\nworkers = 1\n")
    (world.home / "agents" / "desk.md").unlink()
    world.agent("inbox", f"limits: {{attempts: 5}}\n{NO_LIMIT}", ["Seen."])
    return world


def _make(folder: Path, files: int) -> None:
    for n in range(files):
        (folder / f"{n}.txt").write_text(f"This is file {n}.\n")


def _count(world: World, condition: str) -> int:
    with closing(sqlite3.connect(f"file:{world.home / 'edgeagent.db'}?mode=ro", uri=True, timeout=30)) as connection:
        count: int = connection.execute(f"SELECT count(*) FROM runs WHERE {condition}").fetchone()[0]
        return count


def _known(world: World) -> int:
    return _count(world, "1")


def _ended(world: World) -> int:
    return _count(world, "status = 'ok'")


def _each_once(tally: Tally, world: World, files: int) -> None:
    with closing(sqlite3.connect(world.home / "edgeagent.db")) as connection:
        counts = dict(
            connection.execute("SELECT event ->> 'name', count(*) FROM runs WHERE status = 'ok' GROUP BY 1").fetchall()
        )
    for n in range(files):
        count = counts.pop(f"{n}.txt", 0)
        tally.check(count == 1, f"file {n} has {count} runs that ended ok")
    tally.check(not counts, f"runs of files that were never there: {list(counts)[:3]}")
