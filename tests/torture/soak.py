"""Promises 11 and 12: many runs one after the other, and what is written in idleness and for a run."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import psutil
from daemon_world import MOVE

from edgeagent.store import open_read_only
from torture.tally import NotMade, Tally
from torture.world import World, together, until

BATCH = 500
HANDS = 4
DAY = 86_400.0
RUN_KILOBYTES = 64


def soak(tally: Tally, root: Path, runs: int, cap: int) -> None:
    """No-op runs, with a journal that may hold only a part of them."""
    world = World(root)
    world.config(f'[daemon]\nworkers = 1\n[journal]\nmax_size = "{cap}B"\n')
    world.agent("desk", "triggers: []\nconcurrency: {mode: queued, max: 1000000}", ["Done."])
    samples: list[tuple[int, float, int]] = []
    largest = log = 0
    with world.run_daemon() as process:
        world.wait_until_it_answers(process)
        daemon = psutil.Process(process.pid)
        began = time.monotonic()
        done = 0
        while done < runs:
            _hand_in(world, min(BATCH, runs - done))
            done += min(BATCH, runs - done)
            if not until(lambda: _is_idle(world), 300, 0.02):
                raise NotMade(f"{BATCH} runs did not end in 300 s")
            largest = max(largest, _size(world, ""))
            log = max(log, _size(world, "-wal"))
            samples.append((done, daemon.memory_info().rss / 1e6, daemon.num_fds()))
        seconds = time.monotonic() - began
        time.sleep(5)
        largest = max(largest, _size(world, ""))
    tally.tried(runs)
    open_files = [count for _, _, count in samples[len(samples) // 4 :]]
    slope = _slope([(n, megabytes) for n, megabytes, _ in samples[len(samples) // 2 :]]) * 1000
    tally.measured("largest database, of what it may have", 100 * largest / cap, "%", at_most=110)
    tally.measured("largest write-ahead log", log / 1e6, "MB", at_most=16)
    tally.measured("descriptors, between the most and the fewest", max(open_files) - min(open_files), at_most=3)
    tally.measured("memory grown in 1,000 runs", slope, "MB", at_most=1)
    tally.note(f"{runs / seconds:.0f} runs a second, beside whatever else the machine did")


def idle_writes(tally: Tally, root: Path, seconds: float) -> None:
    """A daemon with a watched folder and a schedule, and nothing to do."""
    world = World(root)
    world.config('[daemon]\nscan_interval = "5s"\n')
    world.agent("clock", 'triggers: [{trigger: cron, schedule: "0 0 1 1 *"}]', ["Done."])
    with world.run_daemon() as process:
        world.wait_until_it_answers(process)
        time.sleep(3)
        before = _written(process.pid)
        time.sleep(seconds)
        a_day = (_written(process.pid) - before) / seconds * DAY
    tally.tried()
    tally.measured("written in a day of idleness", a_day / 1e6, "MB", at_most=5)
    tally.note(f"idleness was watched for {seconds:g} s")


def run_writes(tally: Tally, root: Path, runs: int) -> None:
    """Runs of a file each: one that only answers, one that moves its file, one that notes a line before."""
    for calls, at_most in ((0, RUN_KILOBYTES), (1, None), (2, None)):
        folder = root / str(calls)
        folder.mkdir()
        each = _written_for_a_run(tally, folder, runs // 3, calls)
        tally.measured(f"written for a run of a file with {calls} calls", each / 1e3, "KB", at_most=at_most)
    tally.tried(runs)


def _written_for_a_run(tally: Tally, root: Path, runs: int, calls: int) -> float:
    """Bytes. Each call changes something, and is recorded and synced before and after."""
    world = World(root)
    if calls < 2:
        world.agent("inbox", world.settings, [MOVE, "Filed."] if calls else ["Seen."])
    with world.run_daemon() as process:
        world.wait_until_it_answers(process)
        world.put(1)
        until(world.all_ended, 60)
        before = _written(process.pid)
        for _ in range(runs):
            world.put(1)
            until(world.all_ended, 60, 0.02)
        each = (_written(process.pid) - before) / runs
        process.terminate()
        process.wait(30)
    if calls == 2:
        world.settle(tally)
    return each


def _hand_in(world: World, count: int) -> None:
    """So many events by hand, by several hands."""
    client = world.client

    def some(number: int) -> None:
        for n in range(number, count, HANDS):
            client.submit("desk", {"name": f"n{n}"})

    together([partial(some, number) for number in range(HANDS)])


def _is_idle(world: World) -> bool:
    with open_read_only(world.home / "edgeagent.db") as store:
        return not store.counts_open()


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
