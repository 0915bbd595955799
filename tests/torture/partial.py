"""Promise 5: files that are written in parts are seen whole, once."""

from __future__ import annotations

import hashlib
import mmap
import os
import time
from collections.abc import Callable
from pathlib import Path

from torture.tally import Tally
from torture.world import World, journal_runs, together, until

PAUSE = 0.25
"""Between two parts, in seconds. A file has settled when nothing has changed for four times as long."""
SETTLE = "1s"
PART = 4096


def slowly(path: Path, parts: list[bytes]) -> None:
    with path.open("wb", buffering=0) as file:
        for part in parts:
            file.write(part)
            time.sleep(PAUSE)


def rewritten(path: Path, parts: list[bytes]) -> None:
    """Something else stands there at first, and is cut off and written anew."""
    path.write_bytes(b"".join(parts) + b"what was there before")
    time.sleep(PAUSE)
    slowly(path, parts)


def renamed_in(path: Path, parts: list[bytes]) -> None:
    outside = path.parent.parent / "outside" / path.name
    outside.parent.mkdir(exist_ok=True)
    slowly(outside, parts)
    os.replace(outside, path)


def appended(path: Path, parts: list[bytes]) -> None:
    """Opened anew for each part, as a logger does."""
    for part in parts:
        with path.open("ab", buffering=0) as file:
            file.write(part)
        time.sleep(PAUSE)


def mapped(path: Path, parts: list[bytes]) -> None:
    """The size is final at once, and the content comes through memory."""
    with path.open("w+b") as file:
        file.truncate(PART * len(parts))
        with mmap.mmap(file.fileno(), PART * len(parts)) as memory:
            for n, part in enumerate(parts):
                memory[n * PART : (n + 1) * PART] = part
                time.sleep(PAUSE)
            memory.flush()


WAYS: dict[str, Callable[[Path, list[bytes]], None]] = {
    "slowly": slowly,
    "rewritten": rewritten,
    "renamed": renamed_in,
    "appended": appended,
    "mapped": mapped,
}


def written_in_parts(tally: Tally, root: Path, files: int, append_seconds: float) -> None:
    """So many files each way, all at the same time."""
    world = World(root)
    world.agent(
        "inbox",
        f'triggers: [{{trigger: file, path: "{world.inbox}", settle: {SETTLE}, process_existing: true}}]',
        ["Seen."],
    )
    expected: dict[str, str] = {}

    def write(way: str, number: int) -> None:
        count = max(4, int(append_seconds / PAUSE)) if way == "appended" else 6
        parts = [os.urandom(PART) for _ in range(count)]
        name = f"{way}-{number}.txt"
        expected[name] = hashlib.sha256(b"".join(parts)).hexdigest()
        time.sleep((number % 20) / 10)
        WAYS[way](world.inbox / name, parts)

    with world.run_daemon():
        until(world.answers, 60)
        together([lambda w=way, n=number: write(w, n) for way in WAYS for number in range(files)])  # type: ignore[misc]
        until(lambda: len(journal_runs(world.home)) >= len(expected) and world.all_ended(), 90)
        time.sleep(2)
    seen: dict[str, list[str]] = {name: [] for name in expected}
    for run in journal_runs(world.home):
        seen.setdefault(str(run.event["name"]), []).append(str(run.event["sha256"]))
    for name, sums in seen.items():
        tally.tried()
        tally.check(sums == [expected.get(name)], f"{name} was seen {len(sums)} times, partly written or not at all")
