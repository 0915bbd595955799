"""Which agents may run now: power, heat, memory. What waits for them is `deferred`, and queued again when it clears.

Owns the decision and the marks in the queue. The readings are `power`; what a model needs it knows itself (`shortage`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from edgeagent import power
from edgeagent.agents import Agent
from edgeagent.store import Store

PERIOD = 5.0
"""Seconds for which an answer holds. A machine does not cool down faster."""
FITTING_PERIOD = 1.0
"""The same for whether models fit beside each other."""


@dataclass
class Gate:
    """Args:
    rule: `[power]` of the settings, as it is now.
    shortage: what an agent's model lacks to be loaded, in words; None where it is loaded or would fit.
    fits_beside: whether an agent's model can be in memory together with those of others.
    """

    store: Store
    rule: Callable[[], power.Rule]
    shortage: Callable[[Agent], str | None]
    fits_beside: Callable[[Agent, Collection[Agent]], bool] = lambda agent, others: True
    readings: Callable[[], power.Readings] = power.read
    monotonic: Callable[[], float] = time.monotonic
    _known: dict[str, tuple[float, Agent, str | None]] = field(default_factory=dict)
    _fitting: dict[tuple[str, tuple[str, ...]], tuple[float, bool]] = field(default_factory=dict)
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

    def is_crowded(
        self, agents: Mapping[str, Agent], closed: Collection[str], in_hand: Collection[tuple[str, Agent]]
    ) -> bool:
        """Whether a run waits whose model has no room beside those of the runs in hand.

        Then no other run is to begin: the models would drive each other out of memory turn by turn, and what waits for
        room would wait for ever.
        """
        names = tuple(sorted(name for name, _ in in_hand))
        others = [agent for _, agent in in_hand]
        waiting = [one.agent for one in self.store.waiting() if one.queued and one.agent not in closed]
        return any(not self._fits(agents[name], names, others) for name in waiting if name in agents)

    def _fits(self, agent: Agent, names: tuple[str, ...], others: Collection[Agent]) -> bool:
        now = self.monotonic()
        with self._lock:
            at, fits = self._fitting.get((agent.name, names), (float("-inf"), True))
            if now - at >= FITTING_PERIOD:
                fits = self.fits_beside(agent, others)
                self._fitting = {key: known for key, known in self._fitting.items() if now - known[0] < FITTING_PERIOD}
                self._fitting[agent.name, names] = (now, fits)
            return fits

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
            self._fitting.clear()
            self._released.clear()
            self._read = None

    def _readings(self, now: float) -> power.Readings:
        if self._read is None or now - self._read[0] >= PERIOD:
            self._read = (now, self.readings())
        return self._read[1]
