"""The triggers that follow the clock: cron, every, at.

Owns which times become events. A trigger remembers in the database the last time that it dealt with; `scan` looks what
has come round since then and applies `missed` to what is late, whether the daemon was down, the machine slept or the
clock was set. The alarm (`alarms`) only says when it is worth looking. The key of an event is made of trigger and time,
so that a time that comes round twice makes one event.
"""

from __future__ import annotations

import hashlib
import threading
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Literal, assert_never

from edgeagent.errors import HomeError
from edgeagent.schema import Event, RunStatus, format_time
from edgeagent.store import Store
from edgeagent.triggers.base import TriggerState, WallClock
from edgeagent.triggers.occurrences import At, Cron, Due, Every, Occurrences

if TYPE_CHECKING:
    from edgeagent.agents.triggers import AtTrigger, CronTrigger, EveryTrigger
    from edgeagent.triggers.alarms import Alarms

GRACE = timedelta(seconds=60)
"""A time that is dealt with later than this was missed."""

MOST = 1000
"""How many of the times that were missed are dealt with one by one: the newest. One row tells of all the others."""


class ScheduleTrigger:
    """One cron, every or at trigger of one agent. `alarms` calls `scan` when a time has come."""

    def __init__(
        self,
        agent: str,
        settings: CronTrigger | EveryTrigger | AtTrigger,
        *,
        store: Store,
        alarms: Alarms,
        clock: WallClock,
        local_zone: tzinfo,
        machine: str = "",
    ) -> None:
        """`jitter` differs from time to time, and from one `machine` to the other; for the same it is the same."""
        self.agent = agent
        self.trigger_id = settings.id
        self.kind: Literal["cron", "every", "at"] = settings.trigger
        self._missed = settings.missed
        self._store = store
        self._alarms = alarms
        self._clock = clock
        self._machine = machine
        self._zone = local_zone
        self._jitter = 0.0
        if settings.trigger == "cron":
            from zoneinfo import ZoneInfo

            self._zone = ZoneInfo(settings.timezone) if settings.timezone else local_zone
            self._jitter = settings.jitter
        self._occurrences, words = _occurrences(settings, self._zone)
        # In the database the trigger goes by its schedule too: a new schedule has not missed anything yet.
        self._record = f"{settings.id} {words}"
        self._lock = threading.Lock()
        self._since = self._last = datetime.max.replace(tzinfo=UTC)
        self._trouble = ""

    def start(self) -> None:
        """Deals with what came round while nothing ran. Raises HomeError where the database cannot be used."""
        now = _whole_milliseconds(self._clock())
        last = self._store.last_scheduled(self.agent, self._record)
        if last is None:
            # A single time may well have passed before the daemon first saw it; a repeated one counts from now.
            last = datetime.fromtimestamp(0, UTC) if self.kind == "at" else now
            self._store.record_scheduled(self.agent, self._record, last, None, now)
        with self._lock:
            self._since = self._last = last
            self._deal_with_due(now)
        self._alarms.add(self)

    def stop(self) -> None:
        self._alarms.remove(self)

    def scan(self, now: datetime) -> None:
        """Makes events of the times that have come. Where the database cannot be written, the next scan does."""
        with self._lock:
            try:
                self._deal_with_due(now)
                self._trouble = ""
            except HomeError as error:
                self._trouble = error.message

    def state(self) -> TriggerState:
        if self._trouble:
            return TriggerState("error", self._trouble)
        following = self.following(self._clock())
        if following is None:
            return TriggerState("ok", "its time has passed")
        return TriggerState("ok", f"next at {following.astimezone(self._zone):%Y-%m-%d %H:%M:%S %Z}")

    @property
    def is_in_trouble(self) -> bool:
        return bool(self._trouble)

    def following(self, now: datetime) -> datetime | None:
        """The next time after `now`: when to ring."""
        return self._occurrences.following(min(self._since, now), now)

    def _deal_with_due(self, now: datetime) -> None:
        since = self._counted_from(now)
        due = self._occurrences.due(since, now, MOST)
        if due.times:
            self._record_due(due, since, now)
            self._last = max(self._last, due.times[-1])
        self._since = due.times[-1] if due.times else since

    def _counted_from(self, now: datetime) -> datetime:
        """Where to look from, also on a machine whose clock is set while it runs (a Pi has no battery for it).

        Set back: from now, for what is written down for the future must not silence the schedule until then. Set
        forward again: from what is written down, and not from the wrong time in between.
        """
        since = min(self._since, now)
        return max(since, self._last) if self._last <= now else since

    def _record_due(self, due: Due, since: datetime, now: datetime) -> None:
        """Each time that has come leaves a row, whether it is to run or not."""
        with self._store.transaction():
            self._tell_of_many(due, since, now)
            for time in due.times:
                self._store_event(time, now, skipped=self._why_not(time, due.times[-1], now))
            self._store.record_scheduled(self.agent, self._record, due.times[-1], None, now)

    def _why_not(self, time: datetime, newest: datetime, now: datetime) -> str | None:
        """Why the time is not to run any more, as `missed` has it; None where it is."""
        if self._missed == "skip" and now - time > GRACE:
            return "its time passed while the daemon was not running"
        if self._missed == "run_once" and time != newest:
            return f"missed; the run of {format_time(newest)} makes up for it"
        return None

    def _tell_of_many(self, due: Due, since: datetime, now: datetime) -> None:
        """One row for the times that are too many to have one each."""
        many = due.total - len(due.times)
        newest = self._before(due.times[0], since) if many else None
        if newest is not None:
            reason = f"{many} times were missed after {format_time(since)}, up to this one"
            self._store_event(newest, now, skipped=reason if many > 1 else reason.replace("times were", "time was"))

    def _before(self, time: datetime, since: datetime) -> datetime | None:
        earlier = self._occurrences.due(since, time - timedelta(milliseconds=1), 1)
        return earlier.times[-1] if earlier.times else None

    def _store_event(self, time: datetime, now: datetime, skipped: str | None = None) -> None:
        data = {"scheduled_at": format_time(time), "date": time.astimezone(self._zone).date().isoformat()}
        event = Event(self.agent, self.kind, self.trigger_id, f"{self.trigger_id}:{format_time(time)}", data)
        if skipped:
            self._store.enqueue(event, now=now, status=RunStatus.SKIPPED, reason=skipped)
            return
        self._store.enqueue(event, now=now, due_at=time + self._delay(event) if self._jitter else None)

    def _delay(self, event: Event) -> timedelta:
        """No dice: a time that is looked at again, or after a restart, is put off as long as before."""
        digest = hashlib.sha256(f"{self._machine}\0{self.agent}\0{event.key}".encode()).digest()
        return timedelta(seconds=self._jitter * int.from_bytes(digest[:6], "big") / 2**48)


def _occurrences(settings: CronTrigger | EveryTrigger | AtTrigger, zone: tzinfo) -> tuple[Occurrences, str]:
    """The schedule, and the words for it in the database."""
    if settings.trigger == "cron":
        return Cron(settings.expression, zone), f"{settings.expression} {settings.timezone or 'local'}"
    if settings.trigger == "every":
        return Every(timedelta(seconds=settings.interval)), f"{settings.interval:g}s"
    if settings.trigger == "at":
        time = _whole_milliseconds(settings.time.astimezone(UTC))
        return At(time), format_time(time)
    assert_never(settings)


def _whole_milliseconds(moment: datetime) -> datetime:
    """As the database keeps it, so that a time before a restart and after it is the same."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
