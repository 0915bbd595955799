"""The toolbox: finds the tool that a model named and takes the call through check, policy and application.

Owns the order of those and that whatever a model can cause comes back as a result. Does not own any tool, nor the
policy (it is handed in), nor the journal (it is told before anything happens).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TypeVar

from edgeagent.errors import EdgeagentError, SkillError
from edgeagent.schema import Decision, Json, ToolCall, ToolResult, ToolSpec
from edgeagent.tools.base import Plan, Tool, ToolContext, Varying, cut, shown
from edgeagent.tools.database import QueryDatabase
from edgeagent.tools.memory import Recall, Remember
from edgeagent.tools.moving import DeleteFile, MoveFile
from edgeagent.tools.notify import Notify
from edgeagent.tools.paths import reason
from edgeagent.tools.reading import GetFileInfo, ListDirectory, ReadFile, SearchFiles
from edgeagent.tools.web import HttpRequest
from edgeagent.tools.writing import AppendFile, CreateDirectory, WriteFile

T = TypeVar("T")
Decide = Callable[[ToolSpec, Plan], Decision]


class Toolbox:
    """The tools that exist for one agent."""

    def __init__(self, tools: Iterable[Tool]) -> None:
        self._tools = {tool.spec.name: tool for tool in tools}

    def names(self) -> tuple[str, ...]:
        return tuple(self._tools)

    def tools(self) -> tuple[Tool, ...]:
        return tuple(self._tools.values())

    def specs(self, names: Collection[str] | None = None) -> tuple[ToolSpec, ...]:
        """The specs of `names`, in that order (all where None). An unknown name is a KeyError: files are checked."""
        return tuple(self._tools[name].spec for name in (self._tools if names is None else names))

    def spec_of(self, name: str, arguments: Json) -> ToolSpec | None:
        """The spec as it holds for one call; None where there is no such tool."""
        tool = self._tools.get(name)
        if tool is None:
            return None
        return _spec_of(tool, arguments)

    def limited_to(self, names: Collection[str]) -> Toolbox:
        """A toolbox in which nothing but `names` exists."""
        return Toolbox(self._tools[name] for name in names)

    def joined(self, tools: Iterable[Tool]) -> Toolbox:
        """A toolbox with these tools as well. SkillError where one has a name that is taken."""
        every = [*self._tools.values(), *tools]
        names = [tool.spec.name for tool in every]
        for name in names:
            if names.count(name) > 1:
                raise SkillError.of(f"two tools of this agent are named {name}", "leave out one of the skills")
        return Toolbox(every)

    def call(
        self, call: ToolCall, context: ToolContext, *, decide: Decide, record_started: Callable[[Plan], object]
    ) -> ToolResult:
        """Takes one call from the model's words to its result.

        `record_started` stores the plan before anything changes; what it, `decide` or `own_write` raise goes through,
        since no model caused it. A call that waits for a yes has status "waiting" and was not recorded nor applied.
        """
        tool = self._tools.get(call.name)
        if tool is None:
            return _error(f"no tool named {shown(call.name)}; there is {', '.join(self._tools) or 'none'}", context)
        planned = _guarded(lambda: tool.plan(call.arguments, context), context)
        if isinstance(planned, ToolResult):
            return planned
        decision = decide(_spec_of(tool, planned.arguments), planned)
        if decision.verdict == "deny":
            return ToolResult("denied", cut(f"denied: {decision.reason}", context.result_limit))
        if decision.verdict == "ask":
            return ToolResult("waiting", cut(f"waiting for approval: {decision.reason}", context.result_limit))
        record_started(planned)
        return self.apply(planned, context)

    def apply(self, plan: Plan, context: ToolContext) -> ToolResult:
        """Carries out a plan that was allowed."""
        tool = self._tools.get(plan.tool)
        if tool is None:
            return _error(f"no tool named {shown(plan.tool)}", context)
        return _finished(_guarded(lambda: tool.apply(plan, context), context), plan, context)

    def resume(self, plan: Plan, context: ToolContext, *, decide: Decide) -> ToolResult | None:
        """Ends a call that was begun before a crash, exactly once; None where nobody can tell whether it was made.

        A call that may be repeated is repeated, under the same key. What was asked for then was answered with yes, or
        the plan would not have been recorded; what the agent's file no longer grants is denied.
        """
        tool = self._tools.get(plan.tool)
        if tool is None:
            return None
        found = _guarded(lambda: tool.was_applied(plan, context), context)
        if found is not None:
            return _finished(found, plan, context)
        spec = _spec_of(tool, plan.arguments)
        if not (spec.read_only or spec.idempotent):
            return None
        decision = decide(spec, plan)
        if decision.verdict == "deny":
            return ToolResult("denied", cut(f"denied: {decision.reason}", context.result_limit))
        return self.apply(plan, context)


def _spec_of(tool: Tool, arguments: Json) -> ToolSpec:
    return tool.spec_of(arguments) if isinstance(tool, Varying) else tool.spec


def builtin_tools() -> tuple[Tool, ...]:
    """Every built-in tool, in the order of the specs."""
    return (
        ReadFile(),
        WriteFile(),
        AppendFile(),
        ListDirectory(),
        SearchFiles(),
        GetFileInfo(),
        CreateDirectory(),
        MoveFile(),
        DeleteFile(),
        Remember(),
        Recall(),
        QueryDatabase(),
        HttpRequest(),
        Notify(),
    )


def _guarded(action: Callable[[], T], context: ToolContext) -> T | ToolResult:
    """What `action` gives, or its failure as a result.

    One of the two places that catch broadly: a fault in a tool is shown to the model and recorded with the step, and
    never takes the run down.
    """
    try:
        return action()
    except EdgeagentError as error:
        return _error(error.message, context)
    except OSError as error:
        return _error(reason(error), context)
    except Exception as error:
        return _error(f"the tool failed: {type(error).__name__}: {error}", context)


def _finished(outcome: str | ToolResult, plan: Plan, context: ToolContext) -> ToolResult:
    if isinstance(outcome, ToolResult):
        return outcome
    for path in plan.writes:
        context.own_write(path)
    return ToolResult("ok", context.redact(outcome))


def _error(message: str, context: ToolContext) -> ToolResult:
    return ToolResult("error", cut(f"error: {context.redact(message)}", context.result_limit))
