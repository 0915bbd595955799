"""What came of an evaluation, as people see it: every failure whole, then the table; or all of it as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgeagent.cli.app import App
from edgeagent.cli.screen import Column, one_line, printable
from edgeagent.cli.words import as_text, duration, status_of
from edgeagent.evaluation.judging import call_text
from edgeagent.evaluation.running import Judged
from edgeagent.evaluation.tally import Count, count, groups
from edgeagent.schema import Json, Run

_LABEL = 10
_NAMES: dict[str, Callable[[Judged], str]] = {
    "category": lambda judged: judged.prepared.category,
    "split": lambda judged: judged.prepared.split,
}


class Report:
    """Takes cases as they are judged. `is_quiet`: prints nothing of its own, since JSON is asked for."""

    def __init__(self, app: App, total: int, *, is_quiet: bool) -> None:
        self._app, self._total, self._is_quiet = app, total, is_quiet
        self._judged: list[Judged] = []
        self._free: list[Judged] = []

    @property
    def count(self) -> Count:
        return count(self._judged, lambda judged: judged.passed)

    def add(self, judged: Judged) -> None:
        """One case, held to the grammar as in life."""
        self._judged.append(judged)
        self._tell(judged, "")
        if not self._is_quiet and not judged.passed:
            self._failure(judged)

    def add_free(self, judged: Judged) -> None:
        """The same case without."""
        self._free.append(judged)
        self._tell(judged, "free, ")

    def _tell(self, judged: Judged, how: str) -> None:
        """Where it stands, for who waits at a terminal or asked for it."""
        if self._app.verbose or (self._app.notes.fits and not self._app.quiet):
            number = len(self._free) if how else len(self._judged)
            told = "ok" if judged.passed else "FAILED"
            self._app.notes.line(
                f"{number}/{self._total} {how}{one_line(judged.prepared.case.name)}: {told}, {judged.seconds:.1f} s"
            )

    # --- a failure ----------------------------------------------------------------------------------------------

    def _failure(self, judged: Judged) -> None:
        screen, prepared = self._app.screen, judged.prepared
        place = f"{prepared.file}:{prepared.line}"
        title = f"{screen.style('FAILED', 'red', 'bold')}  {one_line(prepared.case.name)}"
        screen.line(f"{title}  {screen.style(f'{place}, {prepared.category}, {prepared.split}', 'dim')}")
        self._lines("expected", _expected(judged))
        home = judged.done.home
        self._lines("done", "\n".join(_done(judged.done.run)).replace(home, "~"))
        self._lines("wrong", "\n".join(map(str, judged.faults)).replace(home, "~"))
        screen.line()
        screen.flush()

    def _lines(self, label: str, text: str) -> None:
        lead = f"  {label}".ljust(_LABEL + 2)
        for line in printable(text).splitlines() or [""]:
            self._app.screen.wrapped(line, " " * (_LABEL + 2), lead)
            lead = " " * (_LABEL + 2)

    # --- the whole ----------------------------------------------------------------------------------------------

    def table(self) -> None:
        screen = self._app.screen
        columns = [Column("", flexible=True), Column("cases", right=True), Column("passed", right=True)]
        columns += [Column("share (95 %)"), Column("acted wrongly")] + (
            [Column("without grammar")] if self._free else []
        )
        rows: list[Sequence[str]] = []
        for kind in _NAMES:
            names = groups(self._judged, _NAMES[kind])
            if len(names) > 1 or kind == "category":
                rows += [self._row(name, items) for name, items in names.items()]
                rows.append([""] * len(columns))
        screen.table(columns, [*rows, self._row("all", self._judged)])
        seconds = sum(judged.seconds for judged in self._judged)
        models = ", ".join(self._models())
        screen.line()
        screen.line(f"{models}: {self.count.passed} of {self.count.of} cases passed, in {duration(seconds)}")

    def _row(self, name: str, judged: list[Judged]) -> list[str]:
        counted = count(judged, lambda one: one.passed)
        row = [name, str(counted.of), str(counted.passed), str(counted), str(_wrong(judged))]
        return [*row, str(self._freely(judged))] if self._free else row

    def _freely(self, judged: list[Judged]) -> Count:
        cases = {id(one.prepared) for one in judged}
        return count([one for one in self._free if id(one.prepared) in cases], lambda one: one.passed)

    def _models(self) -> list[str]:
        return sorted({Path(judged.done.run.model or "no model").stem for judged in self._judged})

    def as_json(self) -> Json:
        by = {
            kind: {name: self._counts(items) for name, items in groups(self._judged, _NAMES[kind]).items()}
            for kind in _NAMES
        }
        free = {id(one.prepared): one for one in self._free}
        return {
            "models": self._models(),
            **self._counts(self._judged),
            "by": by,
            "seconds": round(sum(judged.seconds for judged in self._judged), 3),
            "results": [_result(judged, free.get(id(judged.prepared))) for judged in self._judged],
        }

    def _counts(self, judged: list[Judged]) -> Json:
        counted = count(judged, lambda one: one.passed).as_json()
        counted["wrong_action"] = _wrong(judged).as_json()
        return counted | ({"free": self._freely(judged).as_json()} if self._free else {})


def _wrong(judged: list[Judged]) -> Count:
    return count(judged, lambda one: one.acted_wrongly)


def _result(judged: Judged, free: Judged | None) -> Json:
    prepared = judged.prepared
    result: Json = {
        "file": str(prepared.file),
        "line": prepared.line,
        "name": prepared.case.name,
        "agent": prepared.agent.name,
        "category": prepared.category,
        "split": prepared.split,
        "passed": judged.passed,
        "wrong_action": judged.acted_wrongly,
        "faults": list(map(str, judged.faults)),
        "seconds": round(judged.seconds, 3),
        "run": judged.done.run.as_json(),
    }
    if free is not None:
        result["free"] = {"passed": free.passed, "faults": list(map(str, free.faults)), "run": free.done.run.as_json()}
    return result


def _expected(judged: Judged) -> str:
    """What the case asks for, as it is written in the file."""
    case = judged.prepared.case
    told: list[str] = ["nothing"] if case.nothing else []
    if case.moved:
        told.append(f"{case.file} moved to {case.destination}")
    for call in case.calls or ():
        status = "" if call.status == "ok" else f", {call.status}"
        told.append(call_text(call.tool, call.arguments) + status)
    if case.calls == ():
        told.append("no call that changes something")
    told += [f"{path}: {_wanted(wanted)}" for path, wanted in (case.disk or {}).items()]
    if "answer" in case.model_fields_set:
        told.append(f"answer: {_wanted(case.answer)}")
    if case.status != ("ok",):
        told.append(f"status: {' or '.join(case.status)}")
    return "\n".join(told)


def _wanted(value: Any) -> str:
    if isinstance(value, bool):
        return "is there" if value else "is not there"
    return json.dumps(value, ensure_ascii=False)


def _done(run: Run) -> list[str]:
    """What the model thought, called and said, in order."""
    told = []
    for step in run.steps:
        if step.kind == "tool":
            told.append(f"{step.status}: {step.result or step.error}")
            continue
        if step.reasoning:
            told.append(f"thought: {'; '.join(step.reasoning.splitlines())}")
        told += [call_text(call.name, call.arguments) for call in step.calls]
        if step.status != "ok":
            told.append(f"error: {step.error}")
        elif not step.calls:
            told.append(f"said: {step.result}")
    return (
        [*told, f"{status_of(run)}{f': {run.error}' if run.error else ''}"]
        if told
        else [f"{status_of(run)}: {as_text(run.error or run.reason)}"]
    )
