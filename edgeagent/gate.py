"""Which agents may run now: power, heat, memory. What waits for them is `deferred`, and queued again when it clears.

Owns the decision and the marks in the queue. The readings are `power`; what a model needs it knows itself (`shortage`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from edgeagent import power
from edgeagent.agents import Agent
from edgeagent.store import Store

PERIOD = 5.0
"""Seconds for which an answer holds. A machine does not cool down faster."""


@dataclass
class Gate:
    """Args:
    rule: `[power]` of the settings, as it is now.
    shortage: what an agent's model lacks to be loaded, in words; None where it is loaded or would fit.
    """

    store: Store
    rule: Callable[[], power.Rule]
    shortage: Callable[[Agent], str | None]
    readings: Callable[[], power.Readings] = power.read
    monotonic: Callable[[], float] = time.monotonic
    _known: dict[str, tuple[float, Agent, str | None]] = field(default_factory=dict)
    _released: dict[str, float] = field(default_factory=dict)
    _read: tuple[float, power.Readings] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def obstacle(self, agent: Agent) -> str | None:
        """Why the agent may not run now; None where it may."""
        with self._lock:
            now = self.monotonic()
            at, known, reason = self._known.get(agent.name, (float("-inf"), agent, None))
            if now - at >= PERIOD or known is not agent:
                reason = power.obstacle(self._readings(now), self.rule(), agent.power) or self.shortage(agent)
                self._known[agent.name] = (now, agent, reason)
            return reason

    def look(self, agents: Mapping[str, Agent]) -> frozenset[str]:
        """Defers and releases what waits. Gives the agents that may not run now.

        Raises HomeError where the journal cannot be written.
        """
        closed = set()
        for waiting in self.store.waiting():
            agent = agents.get(waiting.agent)
            if agent and (reason := self.obstacle(agent)):
                closed.add(waiting.agent)
                if waiting.queued:
                    self.store.defer(waiting.agent, reason)
            elif waiting.deferred and self._may_release(waiting.agent):
                self.store.release(waiting.agent)
        return frozenset(closed)

    def _may_release(self, agent: str) -> bool:
        """Not more often than answers change: what is put aside as soon as it is claimed must not go in circles."""
        with self._lock:
            now = self.monotonic()
            is_due = now - self._released.get(agent, float("-inf")) >= PERIOD
            if is_due:
                self._released[agent] = now
            return is_due

    def look_again(self) -> None:
        """The settings have changed: nothing that is known holds any longer."""
        with self._lock:
            self._known.clear()
            self._released.clear()
            self._read = None

    def _readings(self, now: float) -> power.Readings:
        if self._read is None or now - self._read[0] >= PERIOD:
            self._read = (now, self.readings())
        return self._read[1]
