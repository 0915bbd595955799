"""Which promise has which trials, how many at full scale, and about how long they take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torture import absence, bursts, doubles, kills, poison, power, schedules, signals, soak, trouble, upgrade
from torture import partial as parts
from torture.tally import Tally

Trials = Callable[[Tally, Path], None]


@dataclass(frozen=True)
class Batch:
    """Trials that are made in one go, and need not be made again when a run is cut. The label never changes.

    `seconds` is what it takes about. `kind` says what may go on beside it: `busy` keeps a core busy, `waiting` mostly
    sleeps, `alone` measures what other work would disturb.
    """

    label: str
    trials: Trials
    seconds: float
    kind: Literal["busy", "waiting", "alone"] = "busy"


@dataclass(frozen=True)
class Promise:
    number: int
    title: str
    full: str
    """What is tried at full scale."""
    batches: Callable[[float], Iterator[Batch]]


def find_batch(number: int, label: str, scale: float) -> Batch:
    promise = next(promise for promise in PROMISES if promise.number == number)
    return next(batch for batch in promise.batches(scale) if batch.label == label)


def _batch(label: str, trials: Callable[..., None], *given: Any, seconds: float, kind: Any = "busy") -> Batch:
    return Batch(label, lambda tally, root: trials(tally, root, *given), seconds, kind)


def _chains(label: str, trials: Callable[..., None], total: int, most: int, seconds: float) -> Iterator[Batch]:
    """So many trials, split into chains with a seed each. `seconds` is for one."""
    for number, count in enumerate(_split(total, most)):
        yield _batch(f"{label} {number}", trials, count, number, seconds=seconds * count + 4)


def _split(total: int, most: int) -> Iterator[int]:
    for start in range(0, total, most):
        yield min(most, total - start)


def _scaled(full: int, scale: float, least: int = 1) -> int:
    return max(least, round(full * scale))


def _kills(scale: float) -> Iterator[Batch]:
    yield from _chains("random", kills.at_random_times, _scaled(500, scale, 2), 20, 1.6)
    yield from _chains("calls", kills.at_calls, _scaled(500, scale, 2), 20, 4.0)


def _power(scale: float) -> Iterator[Batch]:
    yield from _chains("images", power.cuts, _scaled(500, scale, 5), 50, 0.15)


def _trouble(scale: float) -> Iterator[Batch]:
    times, lock_seconds = _scaled(20, scale), max(6.0, min(1.0, 10 * scale) * trouble.LOCK_SECONDS)
    for number, count in enumerate(_split(times, 5)):
        yield _batch(f"full disk {number}", trouble.full_disk, count, seconds=5.0 * count, kind="waiting")
    for number, count in enumerate(_split(times, 5)):
        yield _batch(f"syncs {number}", trouble.failing_syncs, count, seconds=5.0 * count, kind="waiting")
    for number in range(times):
        yield _batch(f"lock {number}", trouble.locked, 1, lock_seconds, seconds=lock_seconds + 5, kind="waiting")


def _bursts(scale: float) -> Iterator[Batch]:
    files, behind = _scaled(10_000, scale, 40), _scaled(50_000, scale, 40)
    yield _batch("burst", bursts.burst, files, seconds=files / 200 + 5, kind="alone")
    yield _batch("overflow", bursts.overflow, behind, seconds=behind / 200 + 5, kind="alone")


def _partial(scale: float) -> Iterator[Batch]:
    append_seconds = max(2.0, 60 * scale)
    for number, count in enumerate(_split(_scaled(200, scale), 50)):
        seconds = append_seconds + 20
        yield _batch(
            f"five ways {number}", parts.written_in_parts, count, append_seconds, seconds=seconds, kind="waiting"
        )


def _absence(scale: float) -> Iterator[Batch]:
    files = _scaled(1000, scale, 6)
    yield _batch("while down", absence.while_down, files, seconds=8 + files / 50)


def _schedules(scale: float) -> Iterator[Batch]:
    years = max(1, round(10 * scale))
    for zone in schedules.ZONES if scale >= 0.01 else schedules.ZONES[:1]:
        yield _batch(zone, schedules.years, zone, years, seconds=4.0 * years)


def _doubles(scale: float) -> Iterator[Batch]:
    for number, count in enumerate(_split(_scaled(50, scale), 10)):
        yield _batch(f"pairs {number}", doubles.doubles, count, seconds=2.5 * count)


def _signals(scale: float) -> Iterator[Batch]:
    for number, count in enumerate(_split(_scaled(100, scale, 4), 12)):
        yield _batch(f"SIGTERM {number}", signals.terminated, count, number, seconds=6.0 * count + 4)


def _poison(scale: float) -> Iterator[Batch]:
    events, attempts = _scaled(20, scale, 2), 3 if scale >= 0.1 else 2
    yield _batch("poison", poison.poisoned, events, attempts, seconds=6.0 * 3 ** (attempts - 1), kind="waiting")


def _soak(scale: float) -> Iterator[Batch]:
    runs, cap = _scaled(100_000, scale, 200), max(2_000_000, round(64_000_000 * scale))
    yield _batch("soak", soak.soak, runs, cap, seconds=runs / 120 + 8)


def _writes(scale: float) -> Iterator[Batch]:
    seconds, runs = max(3.0, 300 * scale), _scaled(300, scale, 6)
    yield _batch("idle", soak.idle_writes, seconds, seconds=seconds + 8, kind="waiting")
    yield _batch("runs", soak.run_writes, runs, seconds=runs / 4 + 4)


def _upgrades(scale: float) -> Iterator[Batch]:
    stride = 1 if scale >= 0.1 else 7 if scale >= 0.01 else 40
    yield _batch("statements", upgrade.killed_upgrades, stride, seconds=40 / stride)


PROMISES = (
    Promise(1, "kill -9 at any point: nothing accepted is lost, no effect repeated in silence", "1,000 kills", _kills),
    Promise(2, "power cut: the database is valid, what was accepted is there", "500 images", _power),
    Promise(
        3, "disk full, sync error, locked for 60 s: no false success, well again in 10 s", "20 times each", _trouble
    ),
    Promise(
        4,
        "a burst of files: one run each, memory +64 MB at most, 300 a second",
        "10,000 files, and 50,000 while it is stopped",
        _bursts,
    ),
    Promise(5, "files written in parts are seen whole, once", "200 files each of five ways", _partial),
    Promise(6, "what happened while it was down is found, nothing twice", "1,000 files", _absence),
    Promise(
        7, "schedules follow their policy over clock changes, suspend and jumps", "10 years in ten zones", _schedules
    ),
    Promise(8, "one daemon a home, no stale lock, no stranger's process id", "50 pairs", _doubles),
    Promise(9, "SIGTERM in the middle of anything: over in 10 s, the run goes on later", "100 signals", _signals),
    Promise(10, "a poison event is parked after its attempts, others go on", "20 events", _poison),
    Promise(11, "soak: database, log, descriptors and memory stay bounded", "100,000 runs", _soak),
    Promise(12, "little is written: 5 MB a day when idle, 64 KB a run", "300 s, 300 runs", _writes),
    Promise(13, "an upgrade that is killed leaves the old schema or the new", "every statement", _upgrades),
)
