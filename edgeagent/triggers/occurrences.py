"""When a schedule comes round: pure functions of time for `cron`, `every` and `at`.

Owns the calendar, time zones and daylight saving included. cronsim is right about Sundays, about day-of-month or
weekday, and about hours that daylight saving repeats or leaves out; APScheduler's own cron trigger is not.
What is made of a time that was missed is decided in `schedule`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice
from typing import Protocol

LONGEST_LOOK_BACK = timedelta(days=400)
"""A schedule of every minute has half a million times in it, which takes seconds to count."""


@dataclass(frozen=True, slots=True)
class Due:
    """The times that have come, in UTC, oldest first: the newest of them, and how many there are in all."""

    times: list[datetime]
    total: int


class Occurrences(Protocol):
    """`since` is the last time that was dealt with, or the moment from which the schedule counts."""

    def due(self, since: datetime, now: datetime, keep: int) -> Due:
        """The times after `since` up to `now`; at most `keep` of them are listed."""

    def following(self, since: datetime, now: datetime) -> datetime | None:
        """The first time after `now`, in UTC; None where there is none."""


@dataclass(frozen=True, slots=True)
class Cron:
    """Five fields of cron, on the clock of `zone`."""

    expression: str
    zone: tzinfo

    def due(self, since: datetime, now: datetime, keep: int) -> Due:
        newest: deque[datetime] = deque(maxlen=keep)
        total = 0
        for time in self._times(max(since, now - LONGEST_LOOK_BACK)):
            if time > now:
                break
            newest.append(time)
            total += 1
        return Due(list(newest), total)

    def following(self, since: datetime, now: datetime) -> datetime | None:
        return next(self._times(now), None)

    def _times(self, moment: datetime) -> Iterator[datetime]:
        from cronsim import CronSim

        for time in CronSim(self.expression, moment.astimezone(self.zone)):
            in_utc = time.astimezone(UTC)
            if in_utc > moment:  # cronsim reads the clock on the wall: within a repeated hour it can step back
                yield in_utc


@dataclass(frozen=True, slots=True)
class Every:
    """Each `interval` after the last one, however late that was dealt with."""

    interval: timedelta

    def due(self, since: datetime, now: datetime, keep: int) -> Due:
        total = max(0, (now - since) // self.interval)
        first = max(1, total - keep + 1)
        return Due([since + n * self.interval for n in range(first, total + 1)], total)

    def following(self, since: datetime, now: datetime) -> datetime | None:
        return since + (max(0, (now - since) // self.interval) + 1) * self.interval


@dataclass(frozen=True, slots=True)
class At:
    """Once."""

    time: datetime

    def due(self, since: datetime, now: datetime, keep: int) -> Due:
        times = list(islice([self.time], keep)) if since < self.time <= now else []
        return Due(times, len(times))

    def following(self, since: datetime, now: datetime) -> datetime | None:
        return self.time if self.time > now else None
