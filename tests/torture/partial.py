"""Promise 5: files that are written in parts are seen whole, once."""

from __future__ import annotations

import hashlib
import mmap
import os
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from torture.tally import NotMade, Tally
from torture.world import World, journal_runs, together, until

PAUSE = 0.25
"""Seconds between two parts."""
SETTLE = 2.0
"""Seconds after which a file that has not changed counts as written."""
LONGEST_PAUSE = 0.75 * SETTLE
"""A writer that was held up for longer than this, by a busy machine, was not one that writes without a break."""
PART = 4096


class Pen:
    """Waits between parts, and knows how long the longest wait really was."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self.longest = 0.0

    def rest(self, seconds: float = PAUSE) -> None:
        time.sleep(seconds)
        self.wrote()

    def wrote(self) -> None:
        now = time.monotonic()
        self.longest, self._last = max(self.longest, now - self._last), now


def slowly(path: Path, parts: list[bytes], pen: Pen) -> None:
    with path.open("wb", buffering=0) as file:
        for part in parts:
            file.write(part)
            pen.rest()


def rewritten(path: Path, parts: list[bytes], pen: Pen) -> None:
    """Something else stands there at first, and is cut off and written anew."""
    path.write_bytes(b"".join(parts) + b"what was there before")
    pen.rest()
    slowly(path, parts, pen)


def renamed_in(path: Path, parts: list[bytes], pen: Pen) -> None:
    outside = path.parent.parent / "outside" / path.name
    outside.parent.mkdir(exist_ok=True)
    slowly(outside, parts, pen)
    os.replace(outside, path)


def appended(path: Path, parts: list[bytes], pen: Pen) -> None:
    """Opened anew for each part, as a logger does."""
    for part in parts:
        with path.open("ab", buffering=0) as file:
            file.write(part)
        pen.rest()


def mapped(path: Path, parts: list[bytes], pen: Pen) -> None:
    """The size is final at once, and the content comes through memory."""
    with path.open("w+b") as file:
        file.truncate(PART * len(parts))
        with mmap.mmap(file.fileno(), PART * len(parts)) as memory:
            for n, part in enumerate(parts):
                memory[n * PART : (n + 1) * PART] = part
                pen.rest()
            memory.flush()


WAYS: dict[str, Callable[[Path, list[bytes], Pen], None]] = {
    "slowly": slowly,
    "rewritten": rewritten,
    "renamed": renamed_in,
    "appended": appended,
    "mapped": mapped,
}


def written_in_parts(tally: Tally, root: Path, files: int, append_seconds: float, *, settle: float = SETTLE) -> None:
    """So many files each way, all at the same time."""
    world = World(root)
    world.agent(
        "inbox",
        f'triggers: [{{trigger: file, path: "{world.inbox}", settle: {settle:g}s, process_existing: true}}]\n'
        "concurrency: {mode: queued, max: 1000000}",
        ["Seen."],
    )
    expected: dict[str, str] = {}
    halting: set[str] = set()
    lock = threading.Lock()

    def write(way: str, number: int) -> None:
        count = max(4, int(append_seconds / PAUSE)) if way == "appended" else 6
        parts = [os.urandom(PART) for _ in range(count)]
        name = f"{way}-{number}.txt"
        time.sleep((number % 20) / 10)
        pen = Pen()
        WAYS[way](world.inbox / name, parts, pen)
        with lock:
            expected[name] = hashlib.sha256(b"".join(parts)).hexdigest()
            if pen.longest > LONGEST_PAUSE:
                halting.add(name)

    with world.run_daemon() as process:
        world.wait_until_it_answers(process)
        together([partial(write, way, number) for way in WAYS for number in range(files)])
        until(lambda: len(journal_runs(world.home)) >= len(expected) and world.all_ended(), 300)
        time.sleep(2 * SETTLE)
    seen: dict[str, list[str]] = {name: [] for name in expected}
    for run in journal_runs(world.home):
        seen.setdefault(str(run.event["name"]), []).append(str(run.event["sha256"]))
    if len(halting) > len(expected) / 2:
        raise NotMade(f"{len(halting)} of {len(expected)} writers were held up for more than {LONGEST_PAUSE:g} s")
    if halting:
        tally.note(f"{len(halting)} files do not count: their writers were held up by a busy machine")
    for name in seen.keys() - halting:
        sums = seen[name]
        tally.tried()
        tally.check(sums == [expected.get(name)], f"{name} was seen {len(sums)} times, partly written or not at all")
