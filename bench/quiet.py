"""How much of the machine others take while a row is measured: its figures count only where that is next to nothing.

The load average does not tell: for minutes it remembers what the row before did. So the processor time of the whole
machine is compared with that of this process and of the children that it has waited for.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import psutil

BUSY_CORES = 0.3
"""Cores that others may take, on average, while a row is measured."""
LOOK_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Around:
    """What went on around a row: the load average before it, and the cores that others took before and during it."""

    load_before: float
    others_before: float
    others: float

    @property
    def is_quiet(self) -> bool:
        return self.others <= BUSY_CORES


class Watch:
    """Begins when made; `end` when all processes of the row have been waited for."""

    def __init__(self, others_before: float) -> None:
        self._load = os.getloadavg()[0]
        self._before = others_before
        self._began, self._busy, self._own = time.monotonic(), _busy(), _own()

    def end(self) -> Around:
        seconds = max(time.monotonic() - self._began, 1e-6)
        others = (_busy() - self._busy - (_own() - self._own)) / seconds
        return Around(self._load, self._before, max(0.0, others))


def others_now(seconds: float = LOOK_SECONDS) -> float:
    """Cores that others take just now."""
    watch = Watch(0.0)
    time.sleep(seconds)
    return watch.end().others


def wait_for_quiet(patience: float) -> float:
    """Waits up to `patience` seconds until nobody else does much; the cores that others still take."""
    until = time.monotonic() + patience
    while True:
        others = others_now()
        if others <= BUSY_CORES or time.monotonic() > until:
            return others


def _busy() -> float:
    """Seconds that the processors of the machine have worked."""
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    guests = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)  # counted in `user` and `nice` too
    return float(sum(times) - idle - guests - getattr(times, "steal", 0.0))


def _own() -> float:
    return sum(os.times()[:4])
