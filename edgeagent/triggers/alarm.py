"""The one kind of APScheduler trigger that is used: it asks a function for the next time.

A module of its own because it needs APScheduler to be imported, which only a daemon pays for.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from apscheduler.triggers.base import BaseTrigger


class Alarm(BaseTrigger):  # type: ignore[misc]  # APScheduler 3 has no types
    """`following` gives the first time after the one it is handed, or None for never again."""

    def __init__(self, following: Callable[[datetime], datetime | None]) -> None:
        self._following = following

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        return self._following(now)
