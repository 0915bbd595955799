"""The agents that the daemon has, with their triggers, and how they follow the agents folder.

A change of a file touches the triggers of that agent only. A file that has become unusable leaves the version before in
place, and says so. Who is told what to do next (workers, surfaces) asks `agents`.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from edgeagent.agents import Agent, LoadedAgents
from edgeagent.errors import EdgeagentError, Problem
from edgeagent.schema import QueueLimit
from edgeagent.store import Store
from edgeagent.triggers.base import Trigger, TriggerState

log = logging.getLogger("edgeagent.daemon")


class Crew:
    """Args:
    read: reads the agents folder.
    build: makes the triggers of an agent, not yet started.
    """

    def __init__(self, store: Store, read: Callable[[], LoadedAgents], build: Callable[[Agent], list[Trigger]]) -> None:
        self._store = store
        self._read = read
        self._build = build
        self._triggers: dict[str, list[Trigger]] = {}
        self._failed: dict[str, str] = {}
        self._problems: list[Problem] = []
        self._kept: frozenset[str] = frozenset()
        self.agents: dict[str, Agent] = {}
        """By name. Replaced as a whole, so that whoever holds it sees one state of affairs."""

    def load(self) -> list[str]:
        """Follows the files: starts, stops and changes what they say. Gives the agents that are new or have changed.

        Only one thread may call this at a time.
        """
        loaded = self._read()
        before, after = self.agents, dict(loaded.agents)
        broken = {problem.file for problem in loaded.problems}
        kept = [one for one in before.values() if one.name not in after and str(one.path) in broken]
        after |= {agent.name: agent for agent in kept}
        self._note(loaded.problems, frozenset(str(agent.path) for agent in kept))
        for name in [name for name in before if after.get(name) != before[name]]:
            self._stop(name)
        self._store.limit_queues(
            {one.name: QueueLimit(one.concurrency.mode, one.concurrency.max) for one in after.values()}
        )
        self.agents = after
        changed = [name for name, agent in after.items() if before.get(name) != agent]
        for name in changed:
            self._start(after[name])
        return changed

    def mend(self) -> None:
        """Starts what could not be started before: the disk may have been full."""
        for name in list(self._failed):
            if name in self.agents:
                self._stop(name)
                self._start(self.agents[name])

    def stop(self) -> None:
        for name in list(self._triggers):
            self._stop(name)

    def triggers(self) -> list[Trigger]:
        return [trigger for each in list(self._triggers.values()) for trigger in each]

    def states(self) -> list[tuple[Trigger, TriggerState]]:
        """Of every trigger how it is; an agent whose triggers could not be started says so with each."""
        return [
            (trigger, TriggerState("error", failed) if (failed := self._failed.get(trigger.agent)) else trigger.state())
            for trigger in self.triggers()
        ]

    def problems(self) -> list[str]:
        return [
            f"{problem} (the version before goes on)" if problem.file in self._kept else str(problem)
            for problem in self._problems
        ]

    def _note(self, problems: Iterable[Problem], kept: frozenset[str]) -> None:
        known = set(self.problems())
        self._problems, self._kept = list(problems), kept
        for told in self.problems():
            if told not in known:
                log.warning("%s", told)

    def _start(self, agent: Agent) -> None:
        if not agent.enabled:
            return
        triggers = self._build(agent)
        self._triggers[agent.name] = triggers
        try:
            for trigger in triggers:
                trigger.start()
        except EdgeagentError as error:
            if self._failed.get(agent.name) != error.message:
                log.error("%s: %s", agent.name, error.message, extra={"agent": agent.name})
            self._failed[agent.name] = error.message
        else:
            self._failed.pop(agent.name, None)

    def _stop(self, name: str) -> None:
        for trigger in self._triggers.pop(name, []):
            trigger.stop()


def fingerprint(config_file: Path, agents: Path) -> tuple[object, ...]:
    """What changes when config.toml or an agent file does. Costs some microseconds a file."""
    files = [config_file]
    with contextlib.suppress(OSError):
        files += sorted(path for path in agents.iterdir() if path.suffix == ".md" and not path.name.startswith("."))
    return tuple((str(file), *_stamp(file)) for file in files)


def _stamp(file: Path) -> tuple[int, ...]:
    try:
        status = file.stat()
    except OSError:
        return ()
    return (status.st_mtime_ns, status.st_size, status.st_ino)
