"""What an agent remembers of a thread: the events and answers of its earlier runs with the same thread text.

Owns which runs belong to a thread (agent key `memory`). How they are shown is the matter of `prompt`; how many of them
fit is found where tokens are counted.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgeagent.agents import Agent, render
from edgeagent.errors import UsageError
from edgeagent.prompt import messages_of_earlier
from edgeagent.schema import Message, Run, RunStatus
from edgeagent.store import Store

LOOKED_THROUGH = 500
"""Of an agent's runs, the newest that ended well: those further back are forgotten."""


def earlier_messages(store: Store, agent: Agent, run: Run) -> Sequence[Message]:
    """The last turns of the run's thread, oldest first. Only what had ended when the run was made: so a run that is
    taken up again sees the same."""
    if agent.memory is None or (thread := _thread_of(agent, run)) is None:
        return ()
    found: list[Run] = []
    for other in store.runs(agent=run.agent, status=RunStatus.OK, limit=LOOKED_THROUGH):
        is_before = other.ended_at is not None and other.ended_at <= run.created_at and other.id != run.id
        if is_before and _thread_of(agent, other) == thread:
            found.append(other)
        if len(found) == agent.memory.turns:
            break
    return messages_of_earlier(found[::-1])


def _thread_of(agent: Agent, run: Run) -> str | None:
    assert agent.memory
    try:
        return render(agent.memory.thread, {"event": run.event, "agent": {"name": agent.name}})
    except UsageError:
        return None  # an event of another trigger, which lacks what the thread is named by
