"""Promise 7: years of schedules in many zones, on a clock that jumps, with a machine that sleeps and restarts.

The real trigger and the real store, on a simulated clock. What should have come round is counted by another, simpler
calendar: every day's time on the wall, once where daylight saving repeats it, at the jump where it leaves it out.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from edgeagent.agents import CronTrigger
from edgeagent.schema import RunStatus, parse_time
from edgeagent.store import Store, open_store
from edgeagent.triggers.alarms import Alarms
from edgeagent.triggers.schedule import ScheduleTrigger
from torture.tally import Tally

ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",  # half an hour of daylight saving
    "Asia/Kolkata",
    "America/Sao_Paulo",
    "Pacific/Auckland",
    "Africa/Casablanca",  # back for Ramadan
    "Asia/Tehran",
    "Pacific/Apia",  # lost a day in 2011
    "America/St_Johns",
)
START = datetime(2024, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
GRACE = timedelta(minutes=1)


@dataclass(frozen=True)
class Rule:
    """A time on the wall on certain days, as cron writes it and as a calendar counts it."""

    hour: int
    minute: int
    day: int | None = None
    month: int | None = None

    @property
    def expression(self) -> str:
        return f"{self.minute} {self.hour} {self.day or '*'} {self.month or '*'} *"

    def falls_on(self, day: date) -> bool:
        return self.day in (None, day.day) and self.month in (None, day.month)


RULES = (Rule(9, 0), Rule(2, 30), Rule(1, 30), Rule(8, 15, day=31), Rule(6, 0, day=29, month=2))


def years(tally: Tally, root: Path, zone: str, count: int) -> None:
    """So many years of five schedules, with each policy for what was missed."""
    for policy in ("run_all", "run_once", "skip"):
        for rule in RULES:
            with open_store(root / f"{zone.replace('/', '-')}-{policy}-{rule.hour}.db", synchronous="normal") as store:
                life = _Life(store, rule, zone, policy, random.Random(f"{zone} {policy} {rule}"))
                life.live(START + timedelta(days=365.25 * count))
                life.judge(tally)
    tally.note(f"n counts times that came round in {count} years")


class _Life:
    def __init__(self, store: Store, rule: Rule, zone: str, policy: str, dice: random.Random) -> None:
        self.store, self.rule, self.zone, self.policy, self.dice = store, rule, ZoneInfo(zone), policy, dice
        self.name = f"{zone}, {rule.expression}, {policy}"
        self.settings = CronTrigger.model_validate(
            {"trigger": "cron", "id": "cron-1", "schedule": rule.expression, "timezone": zone, "missed": policy}
        )
        self.now = START
        self.late: set[datetime] = set()
        """What came round while nobody looked."""

    def live(self, end: datetime) -> None:
        trigger = self._started()
        next_trouble = self._later()
        with self.store.transaction():
            while self.now < end:
                following = trigger.following(self.now)
                if following is not None and following < next_trouble:
                    self.now = following
                    trigger.scan(self.now)
                    continue
                self.now = next_trouble
                trigger.scan(self.now)
                trigger = self._trouble(trigger)
                next_trouble = self._later()
            self.end = self.now

    def judge(self, tally: Tally) -> None:
        expected = set(self._calendar(self.end))
        runs = self.store.runs(limit=1_000_000)
        queued = [parse_time(str(run.event["scheduled_at"])) for run in runs if run.status is RunStatus.QUEUED]
        skipped = [run for run in runs if run.status is RunStatus.SKIPPED]
        tally.check(len(queued) == len(set(queued)), f"{self.name}: a time made two runs")
        for time in {*queued, *(parse_time(str(run.event["scheduled_at"])) for run in skipped)} - expected:
            tally.check(False, f"{self.name}: {time} is none of its times")
        summed = sum(_summed(run.reason) for run in skipped)
        told = len(queued) + summed
        tally.check(told == len(expected), f"{self.name}: {told} of {len(expected)} times are accounted for")
        tally.tried(len(expected))
        on_time = expected - self.late
        tally.check(on_time <= set(queued), f"{self.name}: {len(on_time - set(queued))} times on time did not run")
        if self.policy == "run_all":
            tally.check(set(queued) == expected, f"{self.name}: {len(expected - set(queued))} times did not run")
        if self.policy == "skip":
            tally.check(not self.late & set(queued), f"{self.name}: {len(self.late & set(queued))} late times ran")

    def _started(self) -> ScheduleTrigger:
        trigger = ScheduleTrigger(
            "clerk",
            self.settings,
            store=self.store,
            alarms=Alarms(lambda: self.now, monotonic=lambda: 0.0),
            clock=lambda: self.now,
            local_zone=UTC,
        )
        trigger.start()
        return trigger

    def _later(self) -> datetime:
        return self.now + timedelta(minutes=self.dice.randrange(60, 60 * 24 * 40))

    def _trouble(self, trigger: ScheduleTrigger) -> ScheduleTrigger:
        kind = self.dice.choice(("suspend", "forward", "back", "restart", "long"))
        if kind == "back":
            self.now -= HOUR
            trigger.scan(self.now)
            return trigger
        length = {"suspend": 8 * HOUR, "forward": HOUR, "restart": HOUR / 2, "long": timedelta(days=9)}[kind]
        before, self.now = self.now, self.now + length
        self.late |= {time for time in self._calendar(self.now, before) if self.now - time > GRACE}
        if kind in ("restart", "long"):
            trigger.stop()
            return self._started()
        trigger.scan(self.now)
        return trigger

    def _calendar(self, end: datetime, start: datetime = START) -> Iterator[datetime]:
        """The times after `start` up to `end`."""
        day = start.astimezone(self.zone).date() - timedelta(days=1)
        while day <= end.astimezone(self.zone).date():
            if self.rule.falls_on(day):
                time = _on_the_wall(day, self.rule, self.zone)
                if start < time <= end:
                    yield time
            day += timedelta(days=1)


def _on_the_wall(day: date, rule: Rule, zone: ZoneInfo) -> datetime:
    """In UTC. A time that is left out comes at the jump, one that is repeated the first time."""
    local = datetime(day.year, day.month, day.day, rule.hour, rule.minute, tzinfo=zone)
    utc = local.astimezone(UTC)
    if utc.astimezone(zone).replace(tzinfo=None) == local.replace(tzinfo=None):
        return utc
    jump = utc.replace(second=0)
    while jump.astimezone(zone).utcoffset() != (jump - timedelta(minutes=1)).astimezone(zone).utcoffset():
        return jump
    for minutes in range(1, 24 * 60):
        earlier = utc - timedelta(minutes=minutes)
        if earlier.astimezone(zone).utcoffset() != (earlier - timedelta(minutes=1)).astimezone(zone).utcoffset():
            return earlier
    raise AssertionError(f"{local} is left out and there is no jump")


def _summed(reason: str | None) -> int:
    """How many times a skipped row stands for."""
    found = re.match(r"(\d+) times? (?:was|were) missed", reason or "")
    return int(found[1]) if found else 1
