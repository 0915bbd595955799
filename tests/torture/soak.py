"""Promises 11 and 12: many runs one after the other, and what is written in idleness and for a run."""

from __future__ import annotations

import time
from pathlib import Path

import psutil

from edgeagent.schema import Event, RunStatus
from edgeagent.store import Store, open_store
from edgeagent.store.store import system_clock
from torture.tally import Tally
from torture.world import World, until

BATCH = 200
WAL_BYTES = 16_000_000
IDLE_BYTES = 5_000_000
RUN_BYTES = 64_000
DAY = 86_400.0


def soak(tally: Tally, root: Path, runs: int, cap: int) -> None:
    """No-op runs, with a journal that may hold only a part of them."""
    world = World(root)
    world.config(f'[daemon]\nworkers = 1\n[journal]\nmax_size = "{cap}B"\n')
    world.agent("desk", "triggers: []\nconcurrency: {mode: queued, max: 1000000}", ["Done."])
    samples: list[tuple[int, float, int]] = []
    largest = log = 0
    with world.run_daemon() as daemon, open_store(world.home / "edgeagent.db", busy_seconds=60) as store:
        until(world.answers, 60)
        process = psutil.Process(daemon.pid)
        began = time.monotonic()
        done = 0
        while done < runs:
            _enqueue(store, done, min(BATCH, runs - done))
            done += min(BATCH, runs - done)
            world.client.submit("desk", {"name": f"bell {done}"})  # the daemon is not told of another process's events
            until(lambda: not store.counts_open().get(RunStatus.QUEUED), 120, 0.02)
            largest = max(largest, _size(world, ""))
            log = max(log, _size(world, "-wal"))
            samples.append((done, process.memory_info().rss / 1e6, process.num_fds()))
        seconds = time.monotonic() - began
        time.sleep(5)
        largest = max(largest, _size(world, ""))
    tally.tried(runs)
    files = [count for _, _, count in samples[len(samples) // 4 :]]
    slope = _slope([(n, megabytes) for n, megabytes, _ in samples[len(samples) // 2 :]]) * 1000
    tally.check(largest <= cap * 1.1, f"the database grew to {largest} bytes of {cap}")
    tally.check(log <= WAL_BYTES, f"the log grew to {log} bytes")
    tally.check(max(files) - min(files) <= 3, f"open descriptors went from {min(files)} to {max(files)}")
    tally.check(slope < 1.0, f"memory grows by {slope:.2f} MB in 1,000 runs")
    tally.measured("largest database, share of its cap", round(largest / cap, 3))
    tally.measured("largest log, MB", round(log / 1e6, 2))
    tally.measured("descriptors, most and fewest apart", max(files) - min(files))
    tally.measured("memory, MB in 1,000 runs", round(slope, 3))
    tally.measured("no-op runs a second, at least", round(runs / seconds), min)


def idle_writes(tally: Tally, root: Path, seconds: float) -> None:
    """A daemon with a watched folder and a schedule, and nothing to do."""
    world = World(root)
    world.config('[daemon]\nscan_interval = "5s"\n')
    world.agent("clock", 'triggers: [{trigger: cron, schedule: "0 0 1 1 *"}]', ["Done."])
    with world.run_daemon() as process:
        until(world.answers, 60)
        time.sleep(3)
        before = _written(process.pid)
        time.sleep(seconds)
        a_day = (_written(process.pid) - before) / seconds * DAY
    tally.tried()
    tally.check(a_day <= IDLE_BYTES, f"{a_day / 1e6:.1f} MB would be written in a day of idleness")
    tally.measured("written in a day of idleness, MB", round(a_day / 1e6, 2))


def run_writes(tally: Tally, root: Path, runs: int) -> None:
    """Runs that read nothing, note a line and move a file: two turns with calls, and an answer."""
    world = World(root)
    with world.run_daemon() as process:
        until(world.answers, 60)
        world.put(1)
        until(world.all_ended, 60)
        before = _written(process.pid)
        for _ in range(runs):
            world.put(1)
            until(world.all_ended, 60, 0.02)
        each = (_written(process.pid) - before) / runs
        process.terminate()
        process.wait(30)
    world.settle(tally)
    tally.tried(runs)
    tally.check(each <= RUN_BYTES, f"{each / 1e3:.0f} KB are written for a run")
    tally.measured("written for a run with two calls, KB", round(each / 1e3, 1))


def _enqueue(store: Store, start: int, count: int) -> None:
    with store.transaction():
        for n in range(start, start + count):
            store.enqueue(Event("desk", "manual", "manual", f"soak {n}", {"name": f"n{n}"}), now=system_clock())


def _size(world: World, suffix: str) -> int:
    path = world.home / f"edgeagent.db{suffix}"
    return path.stat().st_size if path.exists() else 0


def _written(pid: int) -> int:
    """Bytes that the process caused to be written to a device."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes"))


def _slope(points: list[tuple[int, float]]) -> float:
    """Of the straight line that fits best."""
    if len(points) < 2:
        return 0.0
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
