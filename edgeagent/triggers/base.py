"""What every trigger is: the protocol, and how its condition is told to people. It knows no kind of trigger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

WallClock = Callable[[], datetime]
"""The time of day, as an aware datetime in UTC. May jump."""

MonotonicClock = Callable[[], float]
"""Seconds that never go back and stand still while the machine sleeps."""


@dataclass(frozen=True, slots=True)
class TriggerState:
    """How a trigger is: `waiting` is for what is not there yet, `error` for what a person has to mend."""

    condition: Literal["ok", "waiting", "error"]
    text: str


class Trigger(Protocol):
    """One trigger of one agent. All methods may be called from any thread."""

    @property
    def agent(self) -> str: ...

    @property
    def trigger_id(self) -> str: ...

    def start(self) -> None:
        """Begin. When this returns, whatever happens from now on will be noticed."""

    def stop(self) -> None:
        """End, without losing anything: what was not recorded yet is found at the next start."""

    def scan(self, now: datetime) -> None:
        """Look again for what may have been missed."""

    def state(self) -> TriggerState: ...
