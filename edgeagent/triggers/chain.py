"""The agent trigger: a run of another agent ended. The store makes the event as it writes that end (store/chains)."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from typing import TYPE_CHECKING

from edgeagent.store import Store
from edgeagent.triggers.base import TriggerState

if TYPE_CHECKING:
    from edgeagent.agents import AgentTrigger


class ChainTrigger:
    def __init__(
        self, agent: str, settings: AgentTrigger, *, store: Store, agents: Callable[[], Collection[str]]
    ) -> None:
        """`agents` tells the names of those that there are."""
        self.agent = agent
        self.trigger_id = settings.id
        self._settings = settings
        self._store = store
        self._agents = agents

    def start(self) -> None:
        """Raises HomeError where the database cannot be used."""
        self._store.follow(self.agent, self.trigger_id, self._settings.agent, self._settings.status)

    def stop(self) -> None:
        self._store.unfollow(self.agent, self.trigger_id)

    def scan(self, now: datetime) -> None:
        """Nothing can be missed."""

    def state(self) -> TriggerState:
        upstream = self._settings.agent
        if upstream not in self._agents():
            return TriggerState("waiting", f"there is no agent {upstream} yet; see: edgeagent agents list")
        return TriggerState("ok", f"after runs of {upstream} that end {' or '.join(self._settings.status)}")
