"""Which promise has which trials, how many at full scale, and about how long they take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torture import absence, bursts, doubles, kills, poison, power, schedules, signals, soak, trouble, upgrade
from torture import partial as parts
from torture.tally import Tally

Trials = Callable[[Tally, Path], None]


@dataclass(frozen=True)
class Batch:
    """Trials that are made in one go. `kind` says what may run beside them.

    busy     as many at a time as there are cores for
    waiting  many at a time: they sleep
    alone    nothing else: they measure
    """

    label: str
    trials: Trials
    seconds: float
    kind: str = "busy"


@dataclass(frozen=True)
class Promise:
    number: int
    title: str
    full: str
    """What is tried at full scale."""
    batches: Callable[[float], Iterator[Batch]]


def _chains(
    label: str, trials: Callable[..., None], total: int, most: int, seconds: float, **more: object
) -> Iterator[Batch]:
    """So many trials, split into chains with a seed each."""
    for number, start in enumerate(range(0, total, most)):
        count = min(most, total - start)
        yield Batch(f"{label} {number}", partial(_seeded, trials, count, number, more), seconds * count + 4)


def _seeded(
    trials: Callable[..., None], count: int, seed: int, more: dict[str, object], tally: Tally, root: Path
) -> None:
    trials(tally, root, count, seed, **more)


def _with(trials: Callable[..., None], *more: object) -> Trials:
    return lambda tally, root: trials(tally, root, *more)


def _scaled(full: int, scale: float, least: int = 1) -> int:
    return max(least, round(full * scale))


def _kills(scale: float) -> Iterator[Batch]:
    yield from _chains("random", kills.at_random_times, _scaled(500, scale, 3), 20, 1.6)
    yield from _chains("calls", kills.at_calls, _scaled(500, scale, 3), 20, 3.0)


def _power(scale: float) -> Iterator[Batch]:
    yield from _chains("images", power.cuts, _scaled(500, scale, 20), 50, 0.15)


def _trouble(scale: float) -> Iterator[Batch]:
    times = _scaled(20, scale)
    lock_seconds = 60.0 if scale >= 0.5 else max(6.0, 60 * scale)
    for number, start in enumerate(range(0, times, 5)):
        count = min(5, times - start)
        yield Batch(
            f"full disk {number}",
            _with(trouble.full_disk, count),
            5.0 * count,
            "waiting",
        )
        yield Batch(
            f"syncs {number}",
            _with(trouble.failing_syncs, count),
            5.0 * count,
            "waiting",
        )
    for number in range(times):
        yield Batch(
            f"lock {number}",
            lambda tally, root: trouble.locked(tally, root, 1, lock_seconds),
            lock_seconds + 5,
            "waiting",
        )


def _bursts(scale: float) -> Iterator[Batch]:
    files, behind = _scaled(10_000, scale, 100), _scaled(50_000, scale, 100)
    yield Batch("burst", lambda tally, root: bursts.burst(tally, root, files), files / 150 + 5, "alone")
    yield Batch("overflow", lambda tally, root: bursts.overflow(tally, root, behind), behind / 150 + 5, "alone")


def _partial(scale: float) -> Iterator[Batch]:
    files, seconds = _scaled(200, scale, 2), max(2.0, 60 * scale)
    yield Batch(
        "five ways", lambda tally, root: parts.written_in_parts(tally, root, files, seconds), seconds + 15, "waiting"
    )


def _absence(scale: float) -> Iterator[Batch]:
    files = _scaled(1000, scale, 30)
    yield Batch("while down", lambda tally, root: absence.while_down(tally, root, files), 8 + files / 50)


def _schedules(scale: float) -> Iterator[Batch]:
    for zone in schedules.ZONES:
        yield Batch(zone, _with(schedules.years, zone, max(1, round(10 * scale))), 40 * scale + 1)


def _doubles(scale: float) -> Iterator[Batch]:
    total = _scaled(50, scale, 2)
    for number, start in enumerate(range(0, total, 10)):
        count = min(10, total - start)
        yield Batch(f"pairs {number}", _with(doubles.doubles, count), 2.5 * count)


def _signals(scale: float) -> Iterator[Batch]:
    yield from _chains("SIGTERM", signals.terminated, _scaled(100, scale, 4), 12, 3.5)


def _poison(scale: float) -> Iterator[Batch]:
    events, attempts = _scaled(20, scale, 2), 3 if scale >= 0.1 else 2
    yield Batch(
        "poison",
        lambda tally, root: poison.poisoned(tally, root, events, attempts),
        6.0 * 3 ** (attempts - 1),
        "waiting",
    )


def _soak(scale: float) -> Iterator[Batch]:
    runs, cap = _scaled(100_000, scale, 600), max(2_000_000, round(64_000_000 * scale))
    yield Batch("soak", lambda tally, root: soak.soak(tally, root, runs, cap), runs / 200 + 8, "alone")


def _writes(scale: float) -> Iterator[Batch]:
    seconds, runs = max(5.0, 300 * scale), _scaled(300, scale, 10)
    yield Batch("idle", lambda tally, root: soak.idle_writes(tally, root, seconds), seconds + 5, "alone")
    yield Batch("runs", lambda tally, root: soak.run_writes(tally, root, runs), runs / 4 + 4, "alone")


def _upgrades(scale: float) -> Iterator[Batch]:
    stride = 1 if scale >= 0.1 else 7
    yield Batch("statements", lambda tally, root: upgrade.killed_upgrades(tally, root, stride), 40 / stride)


PROMISES = (
    Promise(1, "kill -9 at any point: nothing accepted is lost, no effect repeated in silence", "1,000 kills", _kills),
    Promise(2, "power cut: the database is valid, what was accepted is there", "500 images", _power),
    Promise(
        3, "disk full, sync error, locked for 60 s: no false success, well again in 10 s", "20 times each", _trouble
    ),
    Promise(
        4,
        "a burst of files: one run each, memory +64 MB at most, 300 a second",
        "10,000, and 50,000 behind its back",
        _bursts,
    ),
    Promise(5, "files written in parts are seen whole, once", "200 files, five ways", _partial),
    Promise(6, "what happened while it was down is found, nothing twice", "1,000 files", _absence),
    Promise(
        7, "schedules follow their policy over clock changes, suspend and jumps", "10 years, ten zones", _schedules
    ),
    Promise(8, "one daemon a home, no stale lock, no stranger's process id", "50 pairs", _doubles),
    Promise(9, "SIGTERM in the middle of anything: over in 10 s, the run goes on later", "100 times", _signals),
    Promise(10, "a poison event is parked after its attempts, others go on", "20 events", _poison),
    Promise(11, "soak: database, log, descriptors and memory stay bounded", "100,000 runs", _soak),
    Promise(12, "little is written: 5 MB a day when idle, 64 KB a run", "measured", _writes),
    Promise(13, "an upgrade that is killed leaves the old schema or the new", "every statement", _upgrades),
)
