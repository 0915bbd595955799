"""The startup trigger: once after each boot of the machine. The kernel's own id of the boot makes the event's key."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from edgeagent.errors import HomeError
from edgeagent.schema import Event
from edgeagent.store import Store
from edgeagent.triggers.base import TriggerState, WallClock

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class StartupTrigger:
    def __init__(
        self, agent: str, trigger_id: str, *, store: Store, clock: WallClock, boot_id: Callable[[], str]
    ) -> None:
        self.agent = agent
        self.trigger_id = trigger_id
        self._store = store
        self._clock = clock
        self._boot_id = boot_id
        self._state = TriggerState("waiting", "not started")

    def start(self) -> None:
        """Raises HomeError where the database cannot be used."""
        self.scan(self._clock())

    def stop(self) -> None: ...

    def scan(self, now: datetime) -> None:
        try:
            boot = self._boot_id()
        except HomeError as error:
            self._state = TriggerState("error", error.message)
            return
        event = Event(self.agent, "startup", self.trigger_id, f"{self.trigger_id}:{boot}", {"boot_id": boot})
        self._store.enqueue(event, now=now)
        self._state = TriggerState("ok", f"done for boot {boot}")

    def state(self) -> TriggerState:
        return self._state


def boot_id() -> str:
    """A word that changes with each boot. HomeError where this system has none."""
    try:
        if sys.platform == "darwin":  # kern.boottime moves when the clock is set
            asked = ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"]
            done = subprocess.run(asked, capture_output=True, check=True, text=True, timeout=10, env={})
            return done.stdout.strip()
        return BOOT_ID.read_text("ascii").strip()
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise HomeError(f"this system does not tell its boots apart: {error}", "use `every` or `cron`") from error
