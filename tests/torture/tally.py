"""What trials gave: how many there were, which of them broke the promise, and what was measured on the way."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

MOST_TOLD = 20
"""Violations that are written out; all are counted."""


@dataclass
class Tally:
    """Trials of one promise. Any thread may add to it."""

    n: int = 0
    violations: int = 0
    told: list[str] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

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

    def measured(self, name: str, value: float, worse: Callable[[float, float], float] = max) -> None:
        """Keeps the worst value of that name."""
        with self._lock:
            self.figures[name] = worse(value, self.figures[name]) if name in self.figures else value
