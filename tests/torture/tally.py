"""What trials gave: how many there were, which of them broke the promise, and what was measured on the way."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

MOST_TOLD = 20
"""Violations that are written out; all are counted."""


class NotMade(Exception):
    """The trial could not be made (the machine was too busy, say): it is neither a pass nor a violation."""


@dataclass(frozen=True)
class Figure:
    """A measured value, the worst of all trials, and what it is to be."""

    value: float
    unit: str
    at_most: float | None = None
    at_least: float | None = None

    @property
    def holds(self) -> bool:
        is_small = self.at_most is None or self.value <= self.at_most
        return is_small and (self.at_least is None or self.value >= self.at_least)

    @property
    def target(self) -> str:
        if self.at_most is not None:
            return f"at most {self.at_most:g} {self.unit}".rstrip()
        return "" if self.at_least is None else f"at least {self.at_least:g} {self.unit}".rstrip()

    def worse(self, other: Figure) -> Figure:
        pick = min if self.at_least is not None else max
        return replace(self, value=pick(self.value, other.value))


@dataclass
class Tally:
    """Trials of one promise. Any thread may add to it."""

    n: int = 0
    violations: int = 0
    told: list[str] = field(default_factory=list)
    figures: dict[str, Figure] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """What was scaled down or left out, in words."""
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False, compare=False)

    def tried(self, count: int = 1) -> None:
        with self._lock:
            self.n += count

    def check(self, holds: object, what: str) -> bool:
        """Counts a violation where it does not hold; gives whether it does."""
        if not holds:
            with self._lock:
                self.violations += 1
                if len(self.told) < MOST_TOLD:
                    self.told.append(what)
        return bool(holds)

    def measured(
        self, name: str, value: float, unit: str = "", *, at_most: float | None = None, at_least: float | None = None
    ) -> None:
        """Keeps the worst value of that name; one beyond its target is a violation."""
        figure = Figure(round(value, 3), unit, at_most, at_least)
        self.check(figure.holds, f"{name}: {figure.value:g} {unit}, and it is to be {figure.target}")
        self._keep(name, figure)

    def _keep(self, name: str, figure: Figure) -> None:
        with self._lock:
            known = self.figures.get(name)
            self.figures[name] = known.worse(figure) if known else figure

    def note(self, words: str) -> None:
        with self._lock:
            if words not in self.notes:
                self.notes.append(words)

    def as_json(self) -> dict[str, Any]:
        figures = {name: vars(figure) for name, figure in self.figures.items()}
        return {"n": self.n, "violations": self.violations, "told": self.told, "figures": figures, "notes": self.notes}


def summed(each: Iterable[dict[str, Any]]) -> Tally:
    """Several tallies, as `as_json` gives them, in one."""
    whole = Tally()
    for one in each:
        whole.n += one["n"]
        whole.violations += one["violations"]
        whole.told += one["told"]
        for name, figure in one["figures"].items():
            whole._keep(name, Figure(**figure))
        for words in one["notes"]:
            whole.note(words)
    return whole
