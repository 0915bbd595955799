"""Rings for scheduled triggers when their time has come: APScheduler, and an eye on the clock.

Owns the scheduler's thread and one that compares the clock on the wall with the one that only counts seconds: when they
drift apart the machine slept or its clock was set, which APScheduler does not notice, and every trigger is rung and its
alarm set anew. Which times become events is decided in `schedule`.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from edgeagent.triggers.base import MonotonicClock, WallClock

if TYPE_CHECKING:
    from apscheduler.schedulers.background import BackgroundScheduler

JUMP = 5.0
"""Seconds by which the clocks may drift apart between two looks before it counts as a jump."""


class Ringable(Protocol):
    """A scheduled trigger, as this module sees it."""

    @property
    def is_in_trouble(self) -> bool:
        """Whether the last scan could not be written and must be repeated."""

    def following(self, now: datetime) -> datetime | None: ...

    def scan(self, now: datetime) -> None: ...


class Alarms:
    """One per daemon. Start it before the triggers, stop it after them."""

    def __init__(self, clock: WallClock, monotonic: MonotonicClock = time.monotonic, look_every: float = 10.0) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._look_every = look_every
        self._scheduler: BackgroundScheduler | None = None
        self._triggers: dict[str, Ringable] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._drift = 0.0
        self._thread = threading.Thread(target=self._watch_clock, name="clock watch", daemon=True)

    def start(self) -> None:
        from apscheduler.executors.pool import ThreadPoolExecutor
        from apscheduler.schedulers.background import BackgroundScheduler

        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={"default": ThreadPoolExecutor(1)},
            # By default a ring that comes a second late is dropped, and so is one while the last is being dealt with.
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1000},
        )
        self._scheduler.start()
        self._drift = self._measure()
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._scheduler is not None:
            self._scheduler.shutdown()
            self._scheduler = None

    def add(self, trigger: Ringable) -> None:
        with self._lock:
            self._triggers[str(id(trigger))] = trigger
        self._set(trigger)
        trigger.scan(self._clock())  # a time that came before the alarm was set

    def remove(self, trigger: Ringable) -> None:
        with self._lock:
            self._triggers.pop(str(id(trigger)), None)
        if self._scheduler is not None and self._scheduler.get_job(str(id(trigger))):
            self._scheduler.remove_job(str(id(trigger)))

    def look(self) -> None:
        """Deals with a jump of the clock, and with triggers whose last scan could not be written."""
        drift = self._measure()
        jumped = abs(drift - self._drift) > JUMP
        self._drift = drift
        with self._lock:
            triggers = list(self._triggers.values())
        for trigger in triggers:
            if jumped:
                self._set(trigger)
            if jumped or trigger.is_in_trouble:
                trigger.scan(self._clock())

    def _watch_clock(self) -> None:
        while not self._stopping.wait(self._look_every):
            self.look()

    def _measure(self) -> float:
        return self._clock().timestamp() - self._monotonic()

    def _set(self, trigger: Ringable) -> None:
        """Sets the alarm for the trigger's next time, and thereby for all that follow."""
        from edgeagent.triggers.alarm import Alarm

        if self._scheduler is not None:
            self._scheduler.add_job(
                lambda: trigger.scan(self._clock()),
                Alarm(trigger.following),
                id=str(id(trigger)),
                replace_existing=True,
            )
