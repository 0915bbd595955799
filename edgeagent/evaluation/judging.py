"""Whether what was done is what a case expects, and if not, in what ways. Pure: looks at a run and at two snapshots.

Evidence first: the calls that were made and the files that are there. What the model says counts only where the case
asks for an answer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from edgeagent.evaluation.cases import Call, Case
from edgeagent.evaluation.matching import faults, shown
from edgeagent.schema import Run, Step
from edgeagent.tools.specs import BUILTIN_SPECS
from edgeagent.words import one_of

_ON_DISK = frozenset({"write_file", "append_file", "create_directory", "move_file", "delete_file"})
"""Tools whose effect is seen in the files, so that these decide where a case says how they must be."""
assert BUILTIN_SPECS.keys() > _ON_DISK


@dataclass(frozen=True, slots=True)
class Done:
    """What was done: the run, the scratch home folder, and its files (`~/...` and their text) before and after."""

    run: Run
    home: str
    before: Mapping[str, str]
    after: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong. `was_done`: something was done that should not have been; else something is missing."""

    text: str
    was_done: bool = False

    def __str__(self) -> str:
        return self.text


def faults_of(case: Case, done: Done, harmless: Collection[str]) -> Iterator[Fault]:
    """What is wrong; nothing where the case passed. `harmless` are the tools that only read."""
    if done.run.status.value not in case.status:
        reason = f" ({done.run.reason}: {done.run.error})" if done.run.reason else ""
        yield Fault(f"the run ended {done.run.status.value}{reason}, not {one_of(case.status)}")
    yield from _calls(case, done, harmless)
    yield from _files(case, done)
    if "answer" in case.model_fields_set:
        yield from (Fault(f"answer: {fault}") for fault in faults(case.answer, done.run.output, done.home))


def tool_steps(run: Run) -> list[Step]:
    return [step for step in run.steps if step.kind == "tool"]


# --- calls --------------------------------------------------------------------------------------------------------


def _calls(case: Case, done: Done, harmless: Collection[str]) -> Iterator[Fault]:
    """The calls that are expected, in their order. Others are wrong where they were carried out and may have changed
    something, unless the files decide."""
    expected = list(case.calls or ())
    ignored = set(harmless)
    if case.calls is None and (case.moved or case.disk is not None):
        ignored |= _ON_DISK
    judged = case.calls is not None or case.nothing or case.moved is not None or case.disk is not None
    near: list[str] = []
    for step in tool_steps(done.run):
        if expected and step.name == expected[0].tool:
            wrong = list(_call_faults(expected[0], step, done.home))
            if not wrong:
                expected.pop(0)
                near = []
                continue
            near = wrong
        if judged and step.status == "ok" and step.name not in ignored:
            yield Fault(f"a call that is not expected: {call_text(step.name, step.arguments)}", was_done=True)
    for call in expected:
        why = f" ({'; '.join(near)})" if near and call is expected[0] else ""
        status = "" if call.status == "ok" else f", {call.status}"
        yield Fault(f"no call {call_text(call.tool, call.arguments)}{status}{why}")


def _call_faults(call: Call, step: Step, home: str) -> Iterator[str]:
    if step.status != call.status:
        yield f"status: {step.status} is not {call.status}"
    yield from faults(call.arguments, step.arguments, home)


def call_text(tool: str, arguments: Mapping[str, Any]) -> str:
    return f"{tool}({', '.join(f'{name}={shown(value)}' for name, value in arguments.items())})"


# --- files --------------------------------------------------------------------------------------------------------


def _files(case: Case, done: Done) -> Iterator[Fault]:
    """The files that are expected; all others must be as they were."""
    if not (case.nothing or case.moved or case.disk is not None):
        return
    named = dict(case.disk or {})
    if case.moved:
        named[case.destination or ""] = done.before[case.file or ""]
        named[case.file or ""] = False
    for path, wanted in named.items():
        yield from _file(path, wanted, done)
    for path in sorted({*done.before, *done.after} - named.keys()):
        if done.before.get(path) != done.after.get(path):
            what = "new" if path not in done.before else "gone" if path not in done.after else "changed"
            yield Fault(f"{path} is {what}", was_done=True)


def _file(path: str, wanted: Any, done: Done) -> Iterator[Fault]:
    found = done.after.get(path)
    if wanted is False:
        if found is not None:
            yield Fault(f"{path} is still there")
    elif found is None:
        yield Fault(f"{path} is not there", was_done=path in done.before)
    elif wanted is not True:
        changed = found != done.before.get(path)
        yield from (Fault(f"{path}: {fault}", was_done=changed) for fault in faults(wanted, found))
