"""One line of the benchmark's table, and how much is measured for it."""

from __future__ import annotations

import math
import statistics
from dataclasses import asdict, dataclass, field

from edgeagent.schema import Json


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured. `quick` only shows that the harness works; its figures mean nothing."""

    pairs: int = 5
    context: int = 4096
    prefix: int = 1500
    agents_prefix: int = 700
    prompt: int = 512
    written: int = 64
    long_written: int = 128
    idle_seconds: float = 60.0
    settle_seconds: float = 15.0
    generations: int = 500


QUICK = Scale(1, 1024, 200, 100, 100, 8, 16, 2.0, 1.0, 12)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    `ours` and `peers` are the figures of each pair, in `unit`; `ratios` compares them pair by pair. The row is met when
    the median ratio (or figure, where there is no peer) is at least, or at most, the target.
    """

    what: str
    peer: str
    unit: str
    ours: list[float]
    peers: list[float]
    at_least: bool
    target: float
    note: str = ""
    ratios: list[float] = field(default_factory=list)

    @property
    def is_ratio(self) -> bool:
        return bool(self.peer)

    @property
    def values(self) -> list[float]:
        """What is held against the target."""
        return self.ratios if self.is_ratio else self.ours

    @property
    def median(self) -> float | None:
        return statistics.median(self.values) if self.values else None

    @property
    def is_met(self) -> bool | None:
        if self.median is None:
            return None
        return self.median >= self.target if self.at_least else self.median <= self.target

    def as_json(self) -> Json:
        return asdict(self)


def compared(
    what: str, peer: str, unit: str, pairs: list[tuple[float, float]], *, at_least: bool, target: float, note: str = ""
) -> Row:
    """A row from pairs of our figure and the peer's; the latter is not a number where there was no peer."""
    measured = [pair for pair in pairs if not math.isnan(pair[1])]
    ratios = [own / other for own, other in measured]
    peers = [other for _, other in measured]
    return Row(what, peer, unit, [own for own, _ in pairs], peers, at_least, target, note, ratios)


def alone(what: str, unit: str, value: float, *, at_least: bool, target: float, note: str) -> Row:
    """A row that is compared with nobody."""
    return Row(what, "", unit, [value], [], at_least, target, note)
