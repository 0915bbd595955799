"""cron, every and at: which times become events, also after the daemon was down or the clock was set."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from conftest import FakeClock
from triggers_world import PATIENCE

from edgeagent.agents import AtTrigger, CronTrigger, EveryTrigger
from edgeagent.schema import RunStatus, format_time
from edgeagent.store import Store, open_store
from edgeagent.triggers.alarms import Alarms
from edgeagent.triggers.occurrences import Cron, Every
from edgeagent.triggers.schedule import ScheduleTrigger

BERLIN = ZoneInfo("Europe/Berlin")


class Schedule:
    """Triggers of the agent `clerk`, on a clock that the test moves (it begins at 07:00 UTC)."""

    def __init__(self, store: Store, clock: FakeClock) -> None:
        self.store = store
        self.clock = clock
        self.alarms = Alarms(clock, monotonic=lambda: 0.0)

    def start(self, settings: CronTrigger | EveryTrigger | AtTrigger, **options: Any) -> ScheduleTrigger:
        trigger = ScheduleTrigger(
            "clerk", settings, store=self.store, alarms=self.alarms, clock=self.clock, local_zone=BERLIN, **options
        )
        trigger.start()
        return trigger

    def advance(self, trigger: ScheduleTrigger, **by: float) -> list[str]:
        trigger.scan(self.clock.advance(timedelta(**by).total_seconds()))
        return self.queued()

    def queued(self) -> list[str]:
        """Hour and minute (UTC) of what is to run, in the order of the events."""
        return [self._time(run.event) for run in reversed(self.store.runs(limit=5000)) if run.status == "queued"]

    def skipped(self) -> list[tuple[str, str | None]]:
        runs = reversed(self.store.runs(limit=5000, status=RunStatus.SKIPPED))
        return [(self._time(run.event), run.reason) for run in runs]

    @staticmethod
    def _time(event: dict[str, Any]) -> str:
        return str(event["scheduled_at"])[11:16]


@pytest.fixture
def schedule(store: Store, clock: FakeClock) -> Schedule:
    return Schedule(store, clock)


def cron(expression: str, **settings: Any) -> CronTrigger:
    return CronTrigger(trigger="cron", id="cron-1", schedule=expression, **settings)


def every(**settings: Any) -> EveryTrigger:
    return EveryTrigger(trigger="every", id="every-1", **settings)


def at(moment: str, **settings: Any) -> AtTrigger:
    return AtTrigger(trigger="at", id="at-1", time=datetime.fromisoformat(moment), **settings)


def test_a_time_that_comes_makes_one_event_with_time_and_local_date(schedule: Schedule) -> None:
    trigger = schedule.start(cron("30 0 * * *"))  # half past midnight in Berlin is 23:30 UTC
    assert schedule.advance(trigger, hours=16) == []
    assert schedule.advance(trigger, minutes=30) == ["23:30"]
    assert schedule.advance(trigger, minutes=1) == ["23:30"]
    run = schedule.store.runs()[0]
    assert (run.agent, run.trigger, run.trigger_id) == ("clerk", "cron", "cron-1")
    assert run.event == {"scheduled_at": "2026-11-24T23:30:00.000Z", "date": "2026-11-25"}


def test_a_cron_schedule_follows_its_own_time_zone(schedule: Schedule) -> None:
    trigger = schedule.start(cron("@daily", timezone="Asia/Tokyo"))
    assert schedule.advance(trigger, hours=8) == ["15:00"]
    assert schedule.store.runs()[0].event["date"] == "2026-11-25"


def test_an_interval_counts_from_the_first_start_and_goes_on_after_a_restart(schedule: Schedule) -> None:
    trigger = schedule.start(every(interval="10m"))
    assert schedule.advance(trigger, minutes=9) == []
    assert schedule.advance(trigger, minutes=1) == ["07:10"]
    schedule.clock.advance(500)
    trigger = schedule.start(every(interval="10m"))
    assert schedule.queued() == ["07:10"]
    assert trigger.following(schedule.clock.now) == datetime(2026, 11, 24, 7, 20, tzinfo=UTC)


@pytest.mark.parametrize(
    ("missed", "queued", "skipped"),
    [
        ("run_once", ["10:00"], ["08:00", "09:00"]),
        ("run_all", ["08:00", "09:00", "10:00"], []),
        ("skip", [], ["08:00", "09:00", "10:00"]),
    ],
)
def test_what_was_missed_while_down_is_made_up_for_as_the_agent_says(
    schedule: Schedule, missed: str, queued: list[str], skipped: list[str]
) -> None:
    schedule.start(cron("0 * * * *", missed=missed))
    schedule.clock.advance(3.5 * 3600)
    trigger = schedule.start(cron("0 * * * *", missed=missed))
    assert schedule.queued() == queued
    assert [time for time, _ in schedule.skipped()] == skipped
    schedule.start(cron("0 * * * *", missed=missed))
    assert (schedule.queued(), len(schedule.skipped())) == (queued, len(skipped))
    assert schedule.advance(trigger, minutes=30) == [*queued, "11:00"]


def test_each_time_that_was_missed_has_a_row_and_those_beyond_a_thousand_share_one(schedule: Schedule) -> None:
    schedule.start(every(interval="1m"))
    schedule.clock.advance(7 * 86400)
    schedule.start(every(interval="1m"))
    shared, *single = schedule.skipped()
    assert shared == ("14:20", "9080 times were missed after 2026-11-24T07:00:00.000Z, up to this one")
    assert len(single) == 999 and single[-1] == ("06:59", "missed; the run of 2026-12-01T07:00:00.000Z makes up for it")
    assert schedule.queued() == ["07:00"]


def test_run_all_stops_at_a_thousand(schedule: Schedule) -> None:
    schedule.start(every(interval="1m", missed="run_all"))
    schedule.clock.advance(2000 * 60)
    schedule.start(every(interval="1m", missed="run_all"))
    assert len(schedule.queued()) == 1000
    assert len(schedule.skipped()) == 1


def test_a_ring_that_is_a_little_late_is_not_missed(schedule: Schedule) -> None:
    trigger = schedule.start(every(interval="10s", missed="skip"))
    assert len(schedule.advance(trigger, seconds=45)) == 4
    assert schedule.skipped() == []


def test_a_new_schedule_has_missed_nothing(schedule: Schedule) -> None:
    schedule.start(cron("0 0 1 1 *"))
    schedule.clock.advance(5 * 3600)
    schedule.start(cron("0 * * * *"))
    assert schedule.queued() == []


def test_a_single_time_comes_once_also_when_it_passed_before_the_first_start(schedule: Schedule) -> None:
    for _ in range(2):
        schedule.start(at("2026-11-24T06:00+00:00"))
    trigger = schedule.start(AtTrigger(trigger="at", id="at-2", time=datetime(2026, 11, 24, 8, tzinfo=UTC)))
    assert schedule.advance(trigger, hours=2) == ["06:00", "08:00"]
    assert trigger.following(schedule.clock.now) is None
    assert trigger.state().text == "its time has passed"


def test_a_single_time_that_was_missed_can_be_skipped(schedule: Schedule) -> None:
    schedule.start(at("2026-11-24T06:00+00:00", missed="skip"))
    assert schedule.queued() == []
    assert schedule.skipped() == [("06:00", "its time passed while the daemon was not running")]


def test_jitter_delays_the_run_and_not_the_event(schedule: Schedule) -> None:
    trigger = schedule.start(cron("0 8 * * *", timezone="UTC", jitter="10m"))
    assert schedule.advance(trigger, hours=1) == ["08:00"]
    assert schedule.store.claim("me", schedule.clock.now) is None
    due = schedule.store.next_due()
    assert due is not None and 0 < (due - schedule.clock.now).total_seconds() < 600
    assert schedule.store.claim("me", due) is not None


def test_jitter_is_the_same_for_the_same_time_and_another_for_others(tmp_path: Path) -> None:
    def delays(machine: str) -> list[float]:
        clock = FakeClock()
        found = []
        with open_store(tmp_path / f"{len(list(tmp_path.iterdir()))}.db", clock=clock) as store:
            schedule = Schedule(store, clock)
            trigger = schedule.start(cron("0 * * * *", jitter="30m"), machine=machine)
            for _ in range(20):
                schedule.advance(trigger, hours=1)
                due = store.next_due(clock.now)
                assert due is not None
                found.append((due - clock.now).total_seconds())
        return found

    assert delays("a") == delays("a") != delays("b")
    assert len(set(delays("a"))) == 20 and max(delays("a")) - min(delays("a")) > 600


def test_a_clock_that_was_far_ahead_does_not_silence_the_schedule(schedule: Schedule) -> None:
    trigger = schedule.start(every(interval="1h"))
    schedule.advance(trigger, days=1000)
    schedule.store.cancel(schedule.store.runs()[0].id, schedule.clock.now)
    before = schedule.queued()
    schedule.clock.advance(-timedelta(days=1000).total_seconds())
    trigger.scan(schedule.clock.now)
    assert schedule.advance(trigger, hours=1) == [*before, "08:00"]
    trigger = schedule.start(every(interval="1h"))
    assert schedule.advance(trigger, hours=1) == [*before, "08:00", "09:00"]


def test_a_machine_that_boots_in_the_past_makes_up_from_where_it_was(schedule: Schedule) -> None:
    schedule.start(cron("0 * * * *", missed="run_all"))
    schedule.clock.now = datetime(1970, 1, 1, tzinfo=UTC)
    trigger = schedule.start(cron("0 * * * *", missed="run_all"))
    schedule.clock.now = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
    trigger.scan(schedule.clock.now)
    assert schedule.queued() == ["08:00", "09:00"]


def test_a_database_that_cannot_be_written_is_tried_again(tmp_path: Path, clock: FakeClock) -> None:
    with open_store(tmp_path / "edgeagent.db", clock=clock, busy_seconds=0.05) as store:
        schedule = Schedule(store, clock)
        trigger = schedule.start(every(interval="1h"))
        with (tmp_path / "edgeagent.db.lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            trigger.scan(clock.advance(3600))
            assert trigger.state().condition == "error"
        schedule.alarms.look()
        assert schedule.queued() == ["08:00"]
        assert trigger.state().text == "next at 2026-11-24 10:00:00 CET"


@pytest.mark.parametrize(
    ("expression", "since", "times"),
    [
        ("0 9 * * 0", "2026-11-24", ["2026-11-29T08:00", "2026-12-06T08:00"]),  # Sunday is 0
        ("0 9 * * 7", "2026-11-24", ["2026-11-29T08:00", "2026-12-06T08:00"]),  # and 7
        ("0 9 13 * 5", "2026-11-01", ["2026-11-06T08:00", "2026-11-13T08:00"]),  # the 13th or a Friday
        ("30 2 * * *", "2026-03-28T12:00", ["2026-03-29T01:00", "2026-03-30T00:30"]),  # an hour left out: right after
        ("30 2 * * *", "2026-10-24T12:00", ["2026-10-25T00:30", "2026-10-26T01:30"]),  # an hour repeated: once
        ("30 * * * *", "2026-10-24T23:45", ["2026-10-25T00:30", "2026-10-25T01:30"]),  # each hour: both of them
    ],
)
def test_the_calendar_is_right(expression: str, since: str, times: list[str]) -> None:
    moment = datetime.fromisoformat(since).replace(tzinfo=UTC)
    due = Cron(expression, BERLIN).due(moment, moment + timedelta(days=40), keep=1000)
    assert [format_time(time)[:16] for time in due.times[:2]] == times


def test_a_single_time_within_a_repeated_hour_is_not_found_twice() -> None:
    daily = Cron("30 2 * * *", BERLIN)
    start = datetime(2026, 10, 24, 12, tzinfo=UTC)
    found, since = [], start
    for minutes in range(0, 48 * 60, 7):
        now = start + timedelta(minutes=minutes)
        due = daily.due(since, now, keep=10)
        following = daily.following(since, now)
        assert following is not None and following > now
        found += due.times
        since = due.times[-1] if due.times else since
    assert [format_time(time)[:16] for time in found] == ["2026-10-25T00:30", "2026-10-26T01:30"]


def test_years_of_short_intervals_are_counted_at_once() -> None:
    since = datetime(2020, 1, 1, tzinfo=UTC)
    due = Every(timedelta(seconds=0.1)).due(since, since + timedelta(days=2000), keep=3)
    assert (due.total, len(due.times)) == (1_728_000_000, 3)


@pytest.fixture
def alarms() -> Iterator[Alarms]:
    made = Alarms(lambda: datetime.now(UTC), look_every=0.05)
    made.start()
    yield made
    made.stop()


def test_alarms_ring_in_real_time_and_not_after_the_stop(store: Store, alarms: Alarms) -> None:
    trigger = _hourly_or_sooner(store, alarms, "200ms")
    trigger.start()
    wait_until(lambda: len(store.runs()) >= 4)
    trigger.stop()
    runs = store.runs()
    times = [datetime.fromisoformat(run.event["scheduled_at"]) for run in runs]
    assert {(times[0] - moment) % timedelta(milliseconds=200) for moment in times} == {timedelta()}
    assert len(set(times)) == len(times)
    time.sleep(0.5)
    assert len(store.runs()) == len(runs)


def test_a_jump_of_the_clock_is_noticed_and_what_it_passed_over_is_made_up_for(store: Store) -> None:
    shift = timedelta()
    alarms = Alarms(lambda: datetime.now(UTC) + shift, look_every=0.05)
    alarms.start()
    trigger = _hourly_or_sooner(store, alarms, "1h", lambda: datetime.now(UTC) + shift)
    trigger.start()
    assert store.runs() == []
    shift = timedelta(hours=2, minutes=5)  # as after a sleep
    wait_until(lambda: len(store.runs()) == 2)
    alarms.stop()
    assert sorted(run.status for run in store.runs()) == ["queued", "skipped"]


def _hourly_or_sooner(
    store: Store, alarms: Alarms, interval: str, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> ScheduleTrigger:
    settings = every(interval=interval)
    return ScheduleTrigger("clerk", settings, store=store, alarms=alarms, clock=clock, local_zone=BERLIN)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
