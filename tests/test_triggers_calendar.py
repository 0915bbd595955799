"""Ten years of cron schedules in ten zones, against a calendar that is counted in another way: minute by minute."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from edgeagent.triggers.occurrences import Cron

ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "America/St_Johns",
    "America/Santiago",  # changes at midnight
    "Australia/Lord_Howe",  # by half an hour
    "Pacific/Auckland",
    "Africa/Casablanca",  # back for Ramadan
    "Asia/Tehran",  # gave it up in 2022
    "Asia/Kathmandu",  # 5:45, never changes
    "America/Sao_Paulo",  # gave it up in 2019
)
START, END = datetime(2017, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize("zone_name", ZONES)
@pytest.mark.parametrize(
    ("hour", "minute", "day", "month"),
    [(9, 0, None, None), (2, 30, None, None), (1, 15, None, None), (0, 0, None, None), (0, 0, 31, None), (6, 0, 29, 2)],
)
def test_a_time_on_the_wall_comes_once_a_day(
    zone_name: str, hour: int, minute: int, day: int | None, month: int | None
) -> None:
    zone = ZoneInfo(zone_name)
    expression = f"{minute} {hour} {day or '*'} {month or '*'} *"
    expected = [
        time
        for each in days()
        if day in (None, each.day) and month in (None, each.month)
        if START < (time := on_the_wall(each, hour, minute, zone)) <= END
    ]
    assert Cron(expression, zone).due(START, END, 10_000).times[-len(expected) :] == _recent(expected)
    assert list(walked(Cron(expression, zone))) == expected


def _recent(times: list[datetime]) -> list[datetime]:
    """Those of the last 400 days: further back a schedule is not made up for."""
    return [time for time in times if time > END - timedelta(days=400)]


def walked(cron: Cron) -> Iterator[datetime]:
    """As the alarm does it: from each time to the next."""
    now = START
    while (following := cron.following(now, now)) is not None and following <= END:
        yield following
        now = following


def days() -> Iterator[date]:
    day = START.date() - timedelta(days=1)
    while day <= END.date() + timedelta(days=1):
        yield day
        day += timedelta(days=1)


def on_the_wall(day: date, hour: int, minute: int, zone: ZoneInfo) -> datetime:
    """In UTC: the first time where it is repeated, the moment of the jump where it is left out."""
    local = datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone)
    time = local.astimezone(UTC)
    if time.astimezone(zone).replace(tzinfo=None) == local.replace(tzinfo=None):
        return time
    while time.astimezone(zone).utcoffset() == (time - MINUTE).astimezone(zone).utcoffset():
        time -= MINUTE
    return time


@pytest.mark.parametrize("zone_name", ZONES)
@pytest.mark.parametrize(("expression", "every"), [("*/15 * * * *", 15), ("* * * * *", 1), ("0 * * * *", 60)])
def test_what_comes_every_so_many_minutes_comes_so_also_when_the_clock_changes(
    zone_name: str, expression: str, every: int
) -> None:
    zone = ZoneInfo(zone_name)
    for change in changes(zone):
        first, last = change - timedelta(hours=5), change + timedelta(hours=5)
        expected = [
            time
            for n in range(1, 601)
            if (time := first + n * MINUTE) <= last and time.astimezone(zone).minute % every == 0
        ]
        assert Cron(expression, zone).due(first, last, 1000).times == expected, change


@cache
def changes(zone: ZoneInfo) -> list[datetime]:
    """The hours at which the zone's clock was changed."""
    hours = [START + timedelta(hours=n) for n in range(int((END - START) / timedelta(hours=1)))]
    offsets = [hour.astimezone(zone).utcoffset() for hour in hours]
    return [hour for hour, (before, after) in zip(hours[1:], pairwise(offsets), strict=True) if before != after]
