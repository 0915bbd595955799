"""Takes runs from the queue to their end: claim, gate, loop, finish; and decides what a failure means.

One of the two places that catch broadly: whatever goes wrong in a run becomes the end of that run, never of the
daemon. Knows the store and the loop; not how events come about.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from edgeagent.agents import Agent
from edgeagent.errors import EdgeagentError, HomeError, ModelError, NotFound
from edgeagent.loop import AgentLoop, Approve, Begun, nobody
from edgeagent.model.protocol import Model
from edgeagent.policy import AgentPolicy
from edgeagent.schema import Event, Json, Outcome, Reason, Run, RunStatus, Step, ToolCall
from edgeagent.store import Store
from edgeagent.tools.base import Plan, ToolContext
from edgeagent.tools.toolbox import Toolbox
from edgeagent.triggers.own import note_own_write

BACKOFF_SECONDS = 5.0
"""Pause before the second attempt; doubled for each further one, plus up to a quarter by chance."""
CHARACTERS_A_TOKEN = 3
"""Rough, for cutting tool results to the prompt budget."""


@dataclass(frozen=True, slots=True)
class _Notes:
    """The notes of one agent, as tools see them."""

    store: Store
    agent: str
    clock: Callable[[], datetime]

    def remember(self, text: str) -> None:
        self.store.remember(self.agent, text, self.clock())

    def recall(self, query: str, limit: int = 5) -> list[str]:
        return self.store.recall(self.agent, query, limit)


@dataclass(frozen=True, slots=True)
class _Journal:
    """Writes a run's steps as they happen, and tells whoever watches."""

    store: Store
    run_id: str
    on_step: Callable[[Step], None]

    def started(self, n: int, call: ToolCall, plan: Json) -> None:
        self.store.record_step_started(self.run_id, n, "tool", call.name, call.arguments, plan)

    def ended(self, step: Step) -> None:
        self.store.record_step(self.run_id, step)
        self.on_step(step)


@dataclass(frozen=True, slots=True)
class Given:
    """An agent that was handed over with a run, rather than found by the run's agent name."""

    agent: Agent
    dry_run: bool = False


@dataclass
class Worker:
    """Executes runs.

    Args:
        models: gives the model of an agent.
        home_dir: what `~` means.
        trash: where deleted files go.
        owner: who claims; must differ between processes.
    """

    store: Store
    toolbox: Toolbox
    models: Callable[[Agent], Model]
    home_dir: Path
    trash: Path
    owner: str
    clock: Callable[[], datetime]
    random: random.Random = field(default_factory=random.Random)

    def work(self, agents: Mapping[str, Agent], stop: threading.Event, given: Mapping[str, Given]) -> bool:
        """Claims the next due run of these agents and executes it. False where there was none.

        `given` holds the agents of runs that came with one, by run id.
        """
        names = {*agents, *(one.agent.name for one in given.values())}
        run = self.store.claim(self.owner, self.clock(), names)
        if run is None:
            return False
        one = given.get(run.id)
        if one is None and run.agent not in agents:
            self.store.finish(
                run.id, Outcome(RunStatus.FAILED, Reason.CRASHED, error=f"agent {run.agent} is gone"), self.clock()
            )
            return True
        self.execute(run, one.agent if one else agents[run.agent], stop, dry_run=one.dry_run if one else False)
        return True

    def execute(
        self,
        run: Run,
        agent: Agent,
        stop: threading.Event,
        *,
        approve: Approve = nobody,
        dry_run: bool = False,
        on_step: Callable[[Step], None] = lambda step: None,
    ) -> None:
        """Takes a claimed run to its end, or back to the queue. `stop` ends it soon and leaves it resumable."""
        model: Model | None = None
        run_stop = threading.Event()
        watcher = _Watcher(self.store, run.id, stop, run_stop)
        try:
            outcome = self._gate(run, agent)
            if outcome is None:
                model = self.models(agent)
                outcome = self._run(run, agent, model, run_stop, approve, dry_run, on_step)
        except HomeError:
            raise  # the journal itself cannot be written: nothing about this run can be told
        except NotFound as error:
            outcome = Outcome(RunStatus.FAILED, Reason.MODEL_ERROR, error=error.message)
        except ModelError as error:
            outcome = Outcome(RunStatus.FAILED, Reason.MODEL_ERROR, error=error.message)
        except EdgeagentError as error:
            outcome = Outcome(RunStatus.FAILED, Reason.CRASHED, error=error.message)
        except Exception as error:
            outcome = Outcome(RunStatus.FAILED, Reason.CRASHED, error=f"{type(error).__name__}: {error}")
        finally:
            watcher.close()
        self._end(run, agent, outcome, model, stop)

    def _gate(self, run: Run, agent: Agent) -> Outcome | None:
        """The model-free conditions: a miss is recorded as skipped."""
        for condition in agent.when:
            if miss := condition.miss({"event": run.event}):
                return Outcome(RunStatus.SKIPPED, error=f"when: {miss}")
        return None

    def _run(
        self,
        run: Run,
        agent: Agent,
        model: Model,
        stop: threading.Event,
        approve: Approve,
        dry_run: bool,
        on_step: Callable[[Step], None],
    ) -> Outcome:
        loop = AgentLoop(
            agent=agent,
            event=Event(run.agent, run.trigger, run.trigger_id, run.id, run.event),
            model=model,
            toolbox=self.toolbox.limited_to(agent.tools),
            context=lambda n: self._context(run.id, agent, n),
            policy=AgentPolicy(
                read_roots=agent.read_roots(self.home_dir),
                write_roots=agent.write_roots(self.home_dir),
                approval=agent.approval,
                approve=frozenset(agent.approve),
            ),
            record=_Journal(self.store, run.id, on_step),
            stop=stop,
            approve=approve,
            actions_left=self._actions_left(agent),
            dry_run=dry_run,
            steps=list(run.steps),
        )
        return loop.run(self._begun(run))

    def _begun(self, run: Run) -> Begun | None:
        unfinished = self.store.unfinished_step(run.id)
        if unfinished is None or unfinished.plan is None:
            return None
        call = ToolCall(unfinished.name, unfinished.arguments)
        return Begun(unfinished.n, call, Plan.from_json(unfinished.plan))

    def _actions_left(self, agent: Agent) -> int:
        acting = [spec.name for spec in self.toolbox.limited_to(agent.tools).specs() if not spec.read_only]
        used = self.store.tool_calls_since(agent.name, self.clock() - timedelta(hours=1), acting)
        return max(0, agent.limits.actions_per_hour - used)

    def _context(self, run_id: str, agent: Agent, n: int) -> ToolContext:
        return ToolContext(
            home_dir=self.home_dir,
            read_roots=agent.read_roots(self.home_dir),
            write_roots=agent.write_roots(self.home_dir),
            trash=self.trash,
            memory=_Notes(self.store, agent.name, self.clock),
            result_limit=agent.limits.prompt_tokens * CHARACTERS_A_TOKEN // 2,
            own_write=lambda path: note_own_write(self.store, agent.name, path),
            run_id=run_id,
            step=n,
            now=self.clock,
        )

    def _end(self, run: Run, agent: Agent, outcome: Outcome, model: Model | None, stop: threading.Event) -> None:
        """Writes the end; or puts the run back when the daemon stops, or when another attempt may help."""
        now = self.clock()
        is_foreground = self.owner.startswith("cli:")
        if outcome.status is RunStatus.CANCELLED and stop.is_set() and not is_foreground:
            self.store.requeue(run.id, None)
            return
        may_help = outcome.reason in (Reason.MODEL_ERROR, Reason.CRASHED)
        if may_help and run.attempt < agent.limits.attempts and not is_foreground:
            pause = BACKOFF_SECONDS * 2 ** (run.attempt - 1) * (1 + self.random.random() / 4)
            self.store.requeue(run.id, now + timedelta(seconds=pause), outcome.error)
            return
        self.store.finish(run.id, outcome, now, model.name if model else None)


class _Watcher:
    """Passes a stop of the daemon, or a cancel from outside, on to the run in hand."""

    def __init__(self, store: Store, run_id: str, stop: threading.Event, run_stop: threading.Event) -> None:
        self._store, self._run_id, self._stop, self._run_stop = store, run_id, stop, run_stop
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._closed.wait(0.2):
            if self._stop.is_set() or self._store.cancel_requested(self._run_id):
                self._run_stop.set()
                return

    def close(self) -> None:
        self._closed.set()
        self._thread.join()
