"""Counts: how many cases passed, by category and by split, with the range in which the true share may lie."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from edgeagent.schema import Json

Item = TypeVar("Item")

_Z = 1.959964
"""Of the normal distribution, for 95 %."""


@dataclass(frozen=True, slots=True)
class Count:
    passed: int
    of: int

    @property
    def share(self) -> float:
        return self.passed / self.of if self.of else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's interval of the share, 95 %."""
        if not self.of:
            return 0.0, 1.0
        spread = _Z * _Z / self.of
        middle = (self.share + spread / 2) / (1 + spread)
        half = _Z * math.sqrt(self.share * (1 - self.share) / self.of + spread / (4 * self.of)) / (1 + spread)
        return max(0.0, middle - half), min(1.0, middle + half)

    def as_json(self) -> Json:
        low, high = self.interval
        return {
            "passed": self.passed,
            "cases": self.of,
            "share": round(self.share, 4),
            "interval": [round(low, 4), round(high, 4)],
        }

    def __str__(self) -> str:
        low, high = self.interval
        return f"{100 * self.share:.1f} % ({100 * low:.0f}-{100 * high:.0f})"


def count(items: Iterable[Item], passed: Callable[[Item], bool]) -> Count:
    judged = [passed(item) for item in items]
    return Count(sum(judged), len(judged))


def groups(items: Sequence[Item], name: Callable[[Item], str]) -> dict[str, list[Item]]:
    """The items by name, in the order in which the names appear."""
    found: dict[str, list[Item]] = {}
    for item in items:
        found.setdefault(name(item), []).append(item)
    return found
