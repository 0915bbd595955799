"""Takes runs from the queue to their end: claim, gate, loop, finish; and decides what a failure means.

One of the two places that catch broadly: whatever goes wrong in a run becomes the end of that run, never of the
daemon. Knows the store and the loop; not how events come about.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from edgeagent.agents import Agent
from edgeagent.approval import Approval, Subject
from edgeagent.approver import Approver, Ask, nobody_there
from edgeagent.earlier import earlier_messages
from edgeagent.errors import Denied, EdgeagentError, HomeError, ModelError, ModelHostDied, NotEnoughMemory, NotFound
from edgeagent.lookout import Lookout
from edgeagent.loop import AgentLoop, Begun
from edgeagent.model.protocol import Model
from edgeagent.policy import bound_secrets, policy_of
from edgeagent.recording import Recording
from edgeagent.redaction import Redactor
from edgeagent.schema import Decision, Event, Outcome, Reason, Run, RunStatus, Step, Terms, ToolCall
from edgeagent.store import Store
from edgeagent.tools.base import Plan, ToolContext
from edgeagent.tools.toolbox import Toolbox
from edgeagent.triggers.own import note_own_write

log = logging.getLogger("edgeagent.worker")

BACKOFF_SECONDS = 5.0
"""Pause before the second attempt; doubled for each further one, plus up to a quarter by chance."""
MOST_CRASHES = 3
"""An event with which the model host dies so often is parked, however many attempts it may have."""
LONGEST_BACKOFF = 3600.0
DAY_SECONDS = 86400.0
REWRITE_SECONDS = 1.0
"""Pause before what came of a run is written again where the journal could not be."""
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
class Claimed:
    """A run that was taken out of the queue, and its agent as it is now."""

    run: Run
    agent: Agent
    dry_run: bool


def _no_secrets(name: str) -> str:
    raise NotFound(f"the secret {name} is not set")


@dataclass
class Worker:
    """Executes runs.

    Args:
        toolbox: gives the tools of an agent, and nothing else.
        models: gives the model of an agent.
        home_dir: what `~` means.
        trash: where deleted files go.
        owner: who claims; must differ between processes.
        load: reads the agent in a file, for runs that were asked for by path.
        on_step, on_end: told, with the agent's name, of every step and every end.
        obstacle: why an agent may not run for now (power, heat, memory), in words; None where it may.
        approval_seconds: how long a person's answer is waited for.
        announce: told of each question that a run waits for.
        secret: looks up the value of a secret.
        redactor: hides the values of those that were looked up, in whatever is recorded or told to a model.
    """

    store: Store
    toolbox: Callable[[Agent], Toolbox]
    models: Callable[[Agent], Model]
    home_dir: Path
    trash: Path
    owner: str
    clock: Callable[[], datetime]
    load: Callable[[Path], Agent]
    obstacle: Callable[[Agent], str | None] = lambda agent: None
    on_step: Callable[[str, Step], None] = lambda agent, step: None
    on_end: Callable[[str, Outcome], None] = lambda agent, outcome: None
    random: random.Random = field(default_factory=random.Random)
    approval_seconds: Callable[[], float] = lambda: DAY_SECONDS
    announce: Callable[[Approval], object] = lambda approval: None
    secret: Callable[[str], str] = _no_secrets
    redactor: Redactor = field(default_factory=Redactor)

    def __post_init__(self) -> None:
        self._lookout = Lookout(self.store.cancel_requests)

    @property
    def _is_foreground(self) -> bool:
        """Whether a person waits at the terminal: nothing is then put off or tried again."""
        return self.owner.startswith("cli:")

    def work(self, agents: Mapping[str, Agent], stop: threading.Event, closed: Collection[str] = ()) -> bool:
        """Claims the next due run of these agents and executes it. False where there was none."""
        if claimed := self.claim(agents, stop, closed):
            self.carry_out(claimed, stop)
        return claimed is not None

    def claim(self, agents: Mapping[str, Agent], stop: threading.Event, closed: Collection[str] = ()) -> Claimed | None:
        """The next due run of these agents, which is this worker's from now on. None where there is none.

        Runs of agents that are disabled, or `closed` for now, are left; those that a person asked for are not.
        """
        names = [name for name, agent in agents.items() if agent.enabled and name not in closed]
        while run := self.store.claim(self.owner, self.clock(), names):
            terms = self.store.terms(run.id)
            try:
                return Claimed(run, self._agent_of(run, terms, agents), terms.dry_run)
            except EdgeagentError as error:
                lost = Outcome(RunStatus.FAILED, Reason.CRASHED, error=error.message)
                self._write(partial(self.store.finish, run.id, lost, self.clock()), stop)
        return None

    def carry_out(self, claimed: Claimed, stop: threading.Event) -> None:
        """Takes a claimed run to its end, or back to the queue."""
        run = claimed.run
        self.execute(
            run, claimed.agent, stop, dry_run=claimed.dry_run, on_step=lambda step: self.on_step(run.agent, step)
        )

    def _agent_of(self, run: Run, terms: Terms, agents: Mapping[str, Agent]) -> Agent:
        """The agent as it is now: the one that triggers made the run for, or the one in the file that was given."""
        known = agents.get(run.agent)
        if known and terms.agent_path in (None, str(known.path)):
            return known
        if terms.agent_path is None:
            raise NotFound(f"agent {run.agent} is gone")
        return self.load(Path(terms.agent_path))

    def execute(
        self,
        run: Run,
        agent: Agent,
        stop: threading.Event,
        *,
        ask: Ask = nobody_there,
        dry_run: bool = False,
        on_step: Callable[[Step], None] = lambda step: None,
    ) -> None:
        """Takes a claimed run to its end, or back to the queue. `stop` ends it soon and leaves it resumable."""
        model: Model | None = None
        run_stop = threading.Event()
        may_act = partial(self._may_act, agent)
        recording = Recording(self.store, run.agent, run.id, on_step, self.redactor, may_act)
        try:
            outcome = self._gate(run, agent)
            if outcome is None:
                model = self.models(agent)
                with self._lookout.watching(run.id, stop, run_stop):
                    outcome = self._run(run, agent, model, run_stop, ask, dry_run, recording)
        except HomeError as error:  # the journal itself cannot be written: nothing about this run can be told
            if self._is_foreground:
                raise
            self._put_back(run, error.message, stop)
            return
        except NotEnoughMemory as error:
            outcome = self._deferred(error.message)
        except NotFound as error:
            outcome = Outcome(RunStatus.FAILED, Reason.MODEL_ERROR, error=error.message)
        except ModelError as error:
            outcome = Outcome(RunStatus.FAILED, Reason.MODEL_ERROR, error=error.message)
        except EdgeagentError as error:
            outcome = Outcome(RunStatus.FAILED, Reason.CRASHED, error=error.message)
        except Exception as error:
            outcome = Outcome(RunStatus.FAILED, Reason.CRASHED, error=f"{type(error).__name__}: {error}")
        self._write(lambda: self._end(run, agent, outcome, model, recording, stop), stop)

    def _put_back(self, run: Run, told: str, stop: threading.Event) -> None:
        log.error("%s", told, extra={"agent": run.agent, "run": run.id})
        due = self.clock() + timedelta(seconds=BACKOFF_SECONDS)
        self._write(lambda: self.store.requeue(run.id, due, told, counts=False), stop)

    def _deferred(self, reason: str) -> Outcome:
        if self._is_foreground:
            return Outcome(RunStatus.FAILED, Reason.MODEL_ERROR, error=reason)
        return Outcome(RunStatus.DEFERRED, reason)

    def _gate(self, run: Run, agent: Agent) -> Outcome | None:
        """What needs no model to be decided: a miss of `when` is recorded as skipped, a machine unfit as deferred."""
        for condition in agent.when:
            if miss := condition.miss({"event": run.event}):
                return Outcome(RunStatus.SKIPPED, f"when: {miss}", error=f"when: {miss}")
        if not self._is_foreground and (reason := self.obstacle(agent)):
            return Outcome(RunStatus.DEFERRED, reason)
        return None

    def _run(
        self,
        run: Run,
        agent: Agent,
        model: Model,
        stop: threading.Event,
        ask: Ask,
        dry_run: bool,
        recording: Recording,
    ) -> Outcome:
        approver = Approver(self.store, self.clock, self.approval_seconds(), self.redactor, ask, self.announce)

        def approve(subject: Subject, decision: Decision) -> Decision:
            recording.write()
            return approver(subject, decision)

        loop = AgentLoop(
            agent=agent,
            event=Event(run.agent, run.trigger, run.trigger_id, run.id, run.event),
            model=model,
            toolbox=self.toolbox(agent),
            context=lambda n: self._context(run.id, agent, n, stop),
            policy=policy_of(agent, self.home_dir),
            record=recording,
            stop=stop,
            approve=approve,
            may_act=lambda: self._may_act(agent),
            alarm=self._lookout.alarm,
            dry_run=dry_run,
            steps=list(run.steps),
            earlier=earlier_messages(self.store, agent, run),
        )
        begun = self._begun(run)
        if run.attempt <= agent.limits.attempts or self._is_foreground:
            return loop.run(begun)
        # Each attempt ended with its process: what does that is not tried for ever.
        told = f"the process ended in the middle of each of its {agent.limits.attempts} attempts"
        return (loop.settle(begun) if begun else None) or Outcome(RunStatus.FAILED, Reason.CRASHED, error=told)

    def _begun(self, run: Run) -> Begun | None:
        unfinished = self.store.unfinished_step(run.id)
        if unfinished is None or unfinished.plan is None:
            return None
        call = ToolCall(unfinished.name, unfinished.arguments)
        return Begun(unfinished.n, call, Plan.from_json(unfinished.plan))

    def _may_act(self, agent: Agent) -> bool:
        """Whether the last hour, over all runs and restarts, leaves room for one more call that changes something."""
        used = self.store.tool_calls_since(agent.name, self.clock() - timedelta(hours=1))
        return used < agent.limits.actions_per_hour

    def _context(self, run_id: str, agent: Agent, n: int, stop: threading.Event) -> ToolContext:
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
            network=frozenset(host.lower() for host in agent.grants.network),
            secrets={tool: frozenset(names) for tool, names in agent.grants.secrets.items()},
            secret=lambda tool, name: self._secret(agent, tool, name),
            redact=self.redactor.text,
            stopped=stop.is_set,
        )

    def _secret(self, agent: Agent, tool: str, name: str) -> str:
        """The value, fetched at this moment, for a tool that the agent's file binds it to."""
        if name not in bound_secrets(agent.grants.secrets, tool):
            raise Denied(f"{tool} may not use the secret {name}")
        return self.secret(name)

    def _end(
        self,
        run: Run,
        agent: Agent,
        outcome: Outcome,
        model: Model | None,
        recording: Recording,
        stop: threading.Event,
    ) -> None:
        """Writes the end; or puts the run back when the daemon stops, or when another attempt may help."""
        told = {"agent": run.agent, "run": run.id}
        if outcome.status is RunStatus.WAITING:
            recording.end(lambda: self.store.await_approval(run.id, model.name if model else None))
            log.info("run %s of %s waits for approval", run.id, run.agent, extra=told)
            return
        if outcome.status is RunStatus.DEFERRED:
            self.store.put_aside(run.id, outcome.reason or "")
            log.info("run %s of %s is deferred: %s", run.id, run.agent, outcome.reason, extra=told)
            return
        if outcome.status is RunStatus.CANCELLED and stop.is_set() and not self._is_foreground:
            recording.end(lambda: self.store.requeue(run.id, None, counts=False))
            log.info("run %s of %s goes on at the next start", run.id, run.agent, extra=told)
            return
        may_help = outcome.reason in (Reason.MODEL_ERROR, Reason.CRASHED) and self._crashes(run) < MOST_CRASHES
        if may_help and run.attempt < agent.limits.attempts and not self._is_foreground:
            pause = self._backoff(run.attempt)
            due = self.clock() + timedelta(seconds=pause)
            recording.end(lambda: self.store.requeue(run.id, due, outcome.error))
            log.warning(
                "run %s of %s is tried again in %.0f s: %s", run.id, run.agent, pause, outcome.error, extra=told
            )
            return
        outcome = self._hidden(outcome)
        recording.end(lambda: self.store.finish(run.id, outcome, self.clock(), model.name if model else None))
        self.on_end(run.agent, outcome)
        words = f" ({outcome.reason}): {outcome.error}" if outcome.reason else ""
        log.info("run %s of %s ended %s%s", run.id, run.agent, outcome.status.value, words, extra=told)

    def _hidden(self, outcome: Outcome) -> Outcome:
        error = None if outcome.error is None else self.redactor.text(outcome.error)
        return replace(outcome, output=self.redactor.json(outcome.output), error=error)

    def _crashes(self, run: Run) -> int:
        """How often the model host died in this round of the run."""
        steps = self.store.steps_of(run.id)
        return sum(step.status == "error" and step.error.startswith(ModelHostDied.WORDS) for step in steps)

    def _backoff(self, attempt: int) -> float:
        """Seconds until the next attempt."""
        return float(min(LONGEST_BACKOFF, BACKOFF_SECONDS * 2 ** min(attempt - 1, 20)) * (1 + self.random.random() / 4))

    def _write(self, written: Callable[[], object], stop: threading.Event) -> None:
        """Writes what came of a run; where the journal cannot be written (a full disk), until it can.

        When the daemon stops before that, the run stands as running, and the next start takes it up.
        """
        is_told = False
        while True:
            try:
                written()
                return
            except HomeError as error:
                if self._is_foreground:
                    raise
                if not is_told:
                    log.error("%s", error.message)
                    is_told = True
                if stop.wait(REWRITE_SECONDS):
                    return
