"""The agent loop: model, call, policy, tool, result, model, until a final answer or a limit.

Owns the conversation of one run and what counts as success. Knows neither triggers nor SQL: what it does is told to a
`Record`. The model's own words never decide: `expect`, `output` and the results of the tools do.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from edgeagent.agents import Agent, Expectation, render
from edgeagent.agents.agent import ModelTable
from edgeagent.approval import Subject
from edgeagent.errors import ModelCancelled, ModelError, NotEnoughMemory, PromptTooLong
from edgeagent.lookout import timer
from edgeagent.model.protocol import SAMPLING, ChatRequest, ChatResult, Model
from edgeagent.policy import AgentPolicy, acts, decide
from edgeagent.prompt import messages_of_steps, opening_messages
from edgeagent.schema import (
    Decision,
    Event,
    Json,
    Message,
    Outcome,
    Reason,
    RunStatus,
    Step,
    ToolCall,
    ToolResult,
    ToolSpec,
)
from edgeagent.tools.base import Plan, ToolContext
from edgeagent.tools.toolbox import Toolbox

Approve = Callable[[Subject, Decision], Decision]
"""What a person says of one exact call that policy asks about: allow, deny, or `ask` where the run must wait."""


class Record(Protocol):
    """Keeps what happens. Both are on disk when they return."""

    def started(self, n: int, call: ToolCall, plan: Json) -> bool:
        """False, and nothing was written, where the hour's actions are used up."""

    def ended(self, step: Step) -> None: ...


def nobody(subject: Subject, decision: Decision) -> Decision:
    """Stands for the approver where there is none."""
    return Decision("deny", "needs approval and nobody gave it")


@dataclass(frozen=True, slots=True)
class Begun:
    """A tool call that was begun before a crash, and its plan."""

    n: int
    call: ToolCall
    plan: Plan


class _Ended(Exception):
    """The run is over, in the middle of a call that will not be made."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)
        self.outcome = outcome


@dataclass
class AgentLoop:
    """One run of one agent.

    Args:
        context: what tools may know, for step n.
        alarm: calls something after so many seconds; gives what takes that back.
        may_act: whether the hour allows one more call that changes something.
        stop: set to end the run soon; it then ends `cancelled` (or by `limit_seconds`, when time was up).
        steps: what was recorded before an interruption; the run goes on from there.
        dry_run: ends before the first call that would change something.
        earlier: what was said in earlier runs of the same thread.
    """

    agent: Agent
    event: Event
    model: Model
    toolbox: Toolbox
    context: Callable[[int], ToolContext]
    policy: AgentPolicy
    record: Record
    stop: threading.Event
    approve: Approve = nobody
    may_act: Callable[[], bool] = lambda: True
    dry_run: bool = False
    on_text: Callable[[str], None] = lambda text: None
    alarm: Callable[[float, Callable[[], None]], Callable[[], None]] = timer
    steps: list[Step] = field(default_factory=list)
    earlier: Sequence[Message] = ()

    def __post_init__(self) -> None:
        if self.steps and self.steps[-1].status == "waiting":
            self.steps.pop()  # the call of the turn before it is made again, now with an answer
        system, user = opening_messages(render(self.agent.body, self._data()), self.event)
        self.messages: list[Message] = [system, *self.earlier, user, *messages_of_steps(self.steps)]
        self.specs = self.toolbox.specs()
        self._time_is_up = False

    def run(self, begun: Begun | None = None) -> Outcome:
        """Runs to the end and says how it was. `begun` is the call that was under way when the process ended.

        Raises:
            ModelError: the model failed; the steps so far are recorded, so another attempt can go on from them.
        """
        take_back = self.alarm(max(0.0, self.agent.limits.seconds - self._seconds_spent()), self._end_time)
        try:
            if begun:
                self._resume(begun)
            elif self.steps and (pending := self._unanswered()):
                self._act(pending)
            elif self.steps and (answer := self._unjudged()) is not None:
                return self._judged(answer)
            while True:
                outcome = self._step()
                if outcome:
                    return outcome
        except _Ended as ended:
            return ended.outcome
        except ModelCancelled:
            return self._stopped()
        finally:
            take_back()

    def settle(self, begun: Begun) -> Outcome | None:
        """Ends the call that was under way when the process ended; the run's end where that cannot be told."""
        try:
            self._resume(begun)
        except _Ended as ended:
            return ended.outcome
        return None

    def _step(self) -> Outcome | None:
        """One turn of the model and what follows from it. None: go on."""
        if over := self._over_limit():
            return over
        try:
            result = self._ask()
        except PromptTooLong as error:
            return _failed(Reason.LIMIT_TOKENS, error.message)
        if result.finish == "length":
            return _failed(Reason.LIMIT_TOKENS, f"the answer was cut after {result.output_tokens} tokens")
        if result.call is None:
            return self._judged(result.text)
        self._act(result.call)
        return self._stopped() if self.stop.is_set() else None

    # --- the model ----------------------------------------------------------------------------------------------

    def _ask(self) -> ChatResult:
        limits = self.agent.limits
        table = self.agent.model if not isinstance(self.agent.model, str | None) else None
        request = ChatRequest(
            messages=tuple(self.messages),
            tools=self.specs,
            output_schema=self.agent.output,
            max_tokens=limits.output_tokens - self._tokens(),
            max_prompt_tokens=limits.prompt_tokens,
            **_sampling(table),
        )
        began = time.monotonic()
        try:
            result = self.model.chat(request, self.stop, self.on_text)
        except (ModelCancelled, NotEnoughMemory):
            raise  # nothing was tried
        except ModelError as error:
            self._keep(
                Step(self._next(), "chat", self.model.name, {}, "", "error", error.message, time.monotonic() - began)
            )
            raise
        calls = (result.call,) if result.call else ()
        self._keep(
            Step(
                n=self._next(),
                kind="chat",
                name=self.model.name,
                arguments={},
                result=result.text,
                status="ok",
                seconds=time.monotonic() - began,
                time_to_first_token=result.time_to_first_token,
                input_tokens=result.input_tokens,
                cached_tokens=result.cached_tokens,
                disk_tokens=result.disk_tokens,
                output_tokens=result.output_tokens,
                reasoning=result.reasoning,
                calls=calls,
            )
        )
        self.messages.append(Message("assistant", result.text, result.reasoning, calls))
        return result

    # --- tools --------------------------------------------------------------------------------------------------

    def _act(self, call: ToolCall) -> None:
        n = self._next()
        began = time.monotonic()
        result = self.toolbox.call(
            call,
            self.context(n),
            decide=lambda spec, plan: self._decide(spec, plan, call, n),
            record_started=lambda plan: self._begin(n, call, plan),
        )
        self._tool_ended(n, call, result, time.monotonic() - began)
        if result.status == "waiting":
            raise _Ended(Outcome(RunStatus.WAITING))

    def _begin(self, n: int, call: ToolCall, plan: Plan) -> None:
        if not self.record.started(n, call, self._as_stored(plan)):
            raise _Ended(self._no_action_left())

    def _as_stored(self, plan: Plan) -> Json:
        """With a word on whether it changes something, for the limit on actions."""
        spec = self.toolbox.spec_of(plan.tool, plan.arguments)
        return plan.as_json() | {"reads_only": spec is not None and not acts(spec, plan.writes, plan.hosts)}

    def _resume(self, begun: Begun) -> None:
        began = time.monotonic()
        result = self.toolbox.resume(begun.plan, self.context(begun.n), decide=self._policy)
        if result is None:
            told = f"{begun.call.name} may have been carried out when the process ended; it is not repeated"
            self._tool_ended(begun.n, begun.call, ToolResult("error", told), time.monotonic() - began)
            raise _Ended(Outcome(RunStatus.INTERRUPTED, error=told))
        self._tool_ended(begun.n, begun.call, result, time.monotonic() - began)

    def _tool_ended(self, n: int, call: ToolCall, result: ToolResult, seconds: float) -> None:
        error = "" if result.is_ok else result.text
        self._keep(Step(n, "tool", call.name, call.arguments, result.text, result.status, error, seconds))
        self.messages.append(Message("tool", result.text, name=call.name))

    def _policy(self, spec: ToolSpec, plan: Plan) -> Decision:
        return decide(spec, plan.reads, plan.writes, self.policy, plan.hosts, plan.secrets)

    def _decide(self, spec: ToolSpec, plan: Plan, call: ToolCall, n: int) -> Decision:
        decision = self._policy(spec, plan)
        if decision.verdict == "deny":
            return decision
        if acts(spec, plan.writes, plan.hosts):
            self._check_action(call)
        if decision.verdict == "allow":
            return decision
        if self.dry_run:
            return Decision("deny", f"dry run: it would wait for approval, since {decision.reason}")
        return self.approve(self._subject(spec, plan, n), decision)

    def _subject(self, spec: ToolSpec, plan: Plan, n: int) -> Subject:
        return Subject(
            run_id=self.context(n).run_id,
            agent=self.agent.name,
            step=n,
            tool=spec.name,
            arguments=plan.arguments,
            reads=tuple(map(str, plan.reads)),
            writes=tuple(map(str, plan.writes)),
            hosts=plan.hosts,
            secrets=plan.secrets,
            origin=spec.origin,
            fingerprint=str(plan.detail.get("fingerprint", "")) if spec.origin else "",
        )

    def _check_action(self, call: ToolCall) -> None:
        """Ends the run before a call that changes something and may not be made now."""
        if self.dry_run:
            told = f"dry run: would call {call.name} {json.dumps(call.arguments)}"
            raise _Ended(Outcome(RunStatus.OK, output=told))
        if not self.may_act():
            raise _Ended(self._no_action_left())

    def _no_action_left(self) -> Outcome:
        return _failed(Reason.LIMIT_ACTIONS, f"{self.agent.limits.actions_per_hour} actions an hour are used up")

    def _unanswered(self) -> ToolCall | None:
        """The call of the last recorded turn, where the process ended before it was begun."""
        last = self.steps[-1]
        return last.calls[0] if last.kind == "chat" and last.calls else None

    def _unjudged(self) -> str | None:
        """The final answer, where the process ended between it and the end of the run. One that was cut is none."""
        last = self.steps[-1]
        is_answer = last.kind == "chat" and last.status == "ok" and not last.calls
        return last.result if is_answer and self._tokens() < self.agent.limits.output_tokens else None

    def _tokens(self) -> int:
        return sum(step.output_tokens for step in self.steps)

    def _reads_only(self, name: str, arguments: Json) -> bool:
        spec = self.toolbox.spec_of(name, arguments)
        return spec is not None and spec.read_only

    def _seconds_spent(self) -> float:
        """What earlier attempts took, so that a restart does not give a run its time anew."""
        return sum(step.seconds for step in self.steps if step.kind == "tool" or step.status == "ok")

    # --- limits and the end -------------------------------------------------------------------------------------

    def _next(self) -> int:
        return self.steps[-1].n + 1 if self.steps else 1

    def _keep(self, step: Step) -> None:
        self.record.ended(step)
        self.steps.append(step)

    def _over_limit(self) -> Outcome | None:
        limits = self.agent.limits
        if sum(step.kind == "chat" and step.status == "ok" for step in self.steps) >= limits.steps:
            return _failed(Reason.LIMIT_STEPS, f"no end after {limits.steps} steps")
        if self._tokens() >= limits.output_tokens:
            return _failed(Reason.LIMIT_TOKENS, f"no end after {limits.output_tokens} tokens")
        return self._stopped() if self.stop.is_set() else None

    def _end_time(self) -> None:
        self._time_is_up = True
        self.stop.set()

    def _stopped(self) -> Outcome:
        if self._time_is_up:
            return _failed(Reason.LIMIT_SECONDS, f"no end after {self.agent.limits.seconds:g} seconds")
        return Outcome(RunStatus.CANCELLED)

    def _judged(self, answer: str) -> Outcome:
        """The end of the run by the evidence."""
        output: object = answer
        if self.agent.output is not None:
            try:
                output = json.loads(answer)
            except ValueError:
                return Outcome(RunStatus.FAILED, Reason.INVALID_OUTPUT, answer, "the answer is not JSON")
            if fault := _schema_fault(output, self.agent.output):
                return Outcome(RunStatus.FAILED, Reason.INVALID_OUTPUT, output, fault)
        if last := self._last_failure():
            reason = Reason.DENIED if last.status == "denied" else Reason.TOOL_ERROR
            return Outcome(RunStatus.FAILED, reason, output, f"{last.name}: {last.error}")
        for expectation in self.agent.expect:
            if missing := self._missing(expectation):
                return Outcome(RunStatus.FAILED, Reason.EXPECTATION, output, missing)
        return Outcome(RunStatus.OK, output=output)

    def _last_failure(self) -> Step | None:
        """The last call that was meant to change something and did not, with no later success of that tool."""
        last: dict[str, Step] = {}
        for step in self.steps:
            if step.kind == "tool" and (step.status == "denied" or not self._reads_only(step.name, step.arguments)):
                last[step.name] = step
            elif step.kind == "tool" and step.status == "ok":
                last.pop(step.name, None)
        return next((step for step in reversed(last.values()) if step.status in ("error", "denied")), None)

    def _missing(self, expectation: Expectation) -> str | None:
        """What is missing of an expectation; None where it holds."""
        if expectation.tool is not None:
            done = any(
                step.kind == "tool" and step.name == expectation.tool and step.status == "ok" for step in self.steps
            )
            return None if done else f"expected a successful call of {expectation.tool}"
        written = expectation.gone if expectation.gone is not None else expectation.exists or ""
        home = self.context(0).home_dir
        path = _expanded(render(written, self._data()), home)
        exists = os.path.lexists(path)
        if expectation.gone is not None:
            return f"expected {path} to be gone" if exists else None
        return None if exists else f"expected {path} to exist"

    def _data(self) -> Json:
        return {"event": self.event.data, "agent": {"name": self.agent.name}}


def _sampling(table: ModelTable | None) -> dict[str, Any]:
    """How the agent wants its tokens picked, where it says so."""
    return table.model_dump(include=set(SAMPLING), exclude_none=True) if table else {}


def _failed(reason: Reason, error: str) -> Outcome:
    return Outcome(RunStatus.FAILED, reason, error=error)


def _expanded(path: str, home: Path) -> str:
    return str(home) + path[1:] if path == "~" or path.startswith("~/") else path


def _schema_fault(value: Any, schema: Json) -> str | None:
    import jsonschema  # heavy, and only agents with `output` need it

    found = next(jsonschema.validators.validator_for(schema)(schema).iter_errors(value), None)
    return None if found is None else f"the answer does not match output: {found.message}"
