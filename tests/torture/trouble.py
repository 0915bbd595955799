"""Promise 3: a full disk, a failing sync, a database that another program locks: no false success, soon well again."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from torture.tally import NotMade, Tally
from torture.tracing import failing
from torture.world import World, until

WELL_SECONDS = 10.0
LOCK_SECONDS = 60.0
BLOCK = 65_536


def full_disk(tally: Tally, root: Path, times: int) -> None:
    if os.geteuid() != 0:
        _no_room(tally, root, times)
        return
    with small_disk(root / "edgeagent"):
        world = World(root)
        with world.run_daemon() as process:
            world.wait_until_it_answers(process)
            for _ in range(times):
                ballast = _fill(world.home)
                world.put(2)
                world.submit(3)
                time.sleep(1.0)
                ballast.unlink()
                _well_again(tally, world, process, "a full disk")
            process.terminate()
            process.wait(30)
        world.settle(tally)


def _no_room(tally: Tally, root: Path, times: int) -> None:
    """As an ordinary user, who can mount nothing: SQLite's writes are refused as on a full disk."""
    _refused(tally, root, times, "pwrite64", "ENOSPC", "a full disk", "written", events=3)
    tally.note("the full disk was one whose writes strace refused, since only root can mount a small one")


def failing_syncs(tally: Tally, root: Path, times: int) -> None:
    _refused(tally, root, times, "fsync,fdatasync", "EIO", "failing syncs", "synced", events=2)


def _refused(
    tally: Tally, root: Path, times: int, calls: str, error: str, what: str, cannot_be: str, *, events: int
) -> None:
    """The daemon's calls fail for a second, in which nothing may be accepted."""
    world = World(root)
    with world.run_daemon() as process:
        world.wait_until_it_answers(process)
        for _ in range(times):
            with _calls_failing(calls, error, process.pid):
                world.put(2)
                accepted = world.submit(events)
                tally.check(accepted == 0, f"{accepted} events were accepted while nothing could be {cannot_be}")
                time.sleep(1.0)
            _well_again(tally, world, process, what)
        process.terminate()
        process.wait(30)
    world.settle(tally)


def locked(tally: Tally, root: Path, times: int, seconds: float) -> None:
    world = World(root)
    with world.run_daemon() as process:
        world.wait_until_it_answers(process)
        for _ in range(times):
            with closing(sqlite3.connect(world.home / "edgeagent.db", isolation_level=None, timeout=30)) as other:
                other.execute("BEGIN IMMEDIATE")
                end = time.monotonic() + seconds
                world.put(2)
                world.submit(1)
                time.sleep(max(0.0, end - time.monotonic()))
                other.execute("ROLLBACK")
            if seconds < LOCK_SECONDS:
                tally.note(f"locked for {seconds:g} s instead of {LOCK_SECONDS:g} s")
            _well_again(tally, world, process, "a lock")
        process.terminate()
        process.wait(30)
    world.settle(tally)


def _well_again(tally: Tally, world: World, process: subprocess.Popen[bytes], what: str) -> None:
    began = time.monotonic()
    world.put(1)
    tally.check(until(world.all_ended, 120), f"after {what} not all runs ended in two minutes: {world.unended()}")
    tally.check(process.poll() is None, f"the daemon ended: {world.stderr.read_text()[-300:]}")
    tally.measured(f"until all is done after {what}", time.monotonic() - began, "s", at_most=WELL_SECONDS)
    tally.tried()


@contextmanager
def small_disk(folder: Path, size: str = "12m") -> Iterator[Path]:
    """A file system of its own. Needs root."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _fill(folder: Path) -> Path:
    """Takes all the room that is left."""
    ballast = folder / "ballast"
    with ballast.open("wb") as file:
        for block in (BLOCK, 512):
            try:
                while True:
                    os.write(file.fileno(), bytes(block))
            except OSError:
                continue
    return ballast


@contextmanager
def _calls_failing(calls: str, error: str, pid: int) -> Iterator[None]:
    tracer = subprocess.Popen(failing(calls, error, pid))
    try:
        until(lambda: _traced(pid) or tracer.poll() is not None, 60)
        if tracer.poll() is not None:
            raise NotMade("strace could not attach to the daemon: sudo sysctl kernel.yama.ptrace_scope=0")
        yield
    finally:
        tracer.terminate()
        tracer.wait()


def _traced(pid: int) -> bool:
    """Whether every thread of the process has a tracer."""
    texts = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status")]
    return all("TracerPid:\t0\n" not in text for text in texts)
