"""A case file: what is in it, as frozen models. docs/eval.md is its page for people.

Owns the keys and which of them go together. Whether an agent is there, and has the tools that a case expects, is found
by `reading`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from edgeagent.agents.agent import check_name
from edgeagent.agents.triggers import TRIGGER_KINDS
from edgeagent.evaluation.matching import check
from edgeagent.fields import Flag, Model, Text, Words, kind_of, not_empty
from edgeagent.schema import Json, RunStatus
from edgeagent.words import did_you_mean, one_of

EVENTS = (*(kind for kind in TRIGGER_KINDS if kind != "file"), "manual")
_SKILL = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*", re.ASCII)
_TOOL = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)
_TYPES = ("string", "number", "integer", "boolean", "array", "object")
STATUSES = tuple(status.value for status in RunStatus if status.is_terminal)


def _below_home(path: str) -> str:
    if not path.startswith("~/") or ".." in path.split("/") or path == "~/":
        raise ValueError(f'"{path}" must be below the home folder, such as ~/Inbox/a.txt')
    return path


def _event(value: Any) -> Any:
    if not isinstance(value, dict) or len(value) != 1:
        raise ValueError(f"must be one of {one_of(EVENTS)} and its data, not {kind_of(value)}")
    kind, data = next(iter(value.items()))
    if kind not in EVENTS:
        near = did_you_mean(kind, EVENTS) or f"; it is one of {one_of(EVENTS)}"
        raise ValueError(f'unknown event "{kind}"{near}')
    if data is not None and not isinstance(data, dict):
        raise ValueError(f"{kind}: must be a table of keys and values, not {kind_of(data)}")
    return {kind: data or {}}


def _call(value: Any) -> Any:
    """`TOOL`, or `TOOL: {ARGUMENT: VALUE}`, perhaps with `status`, as one form."""
    if isinstance(value, str):
        return {"tool": value}
    if not isinstance(value, dict):
        raise ValueError(f"must be a tool and its arguments, not {kind_of(value)}")
    rest = {key: inner for key, inner in value.items() if key != "status"}
    if len(rest) != 1:
        raise ValueError(f"must name one tool, not {len(rest)}; one call is one item of the list")
    tool, arguments = next(iter(rest.items()))
    return {"tool": tool, "arguments": {} if arguments is None else arguments, "status": value.get("status", "ok")}


def _argument(value: Any) -> Any:
    """A type by its name, or a whole JSON Schema."""
    if isinstance(value, str):
        if value not in _TYPES:
            raise ValueError(f'unknown type "{value}"{did_you_mean(value, _TYPES) or f"; it is {one_of(_TYPES)}"}')
        return {"type": value}
    if isinstance(value, list):
        return {"enum": value}
    return value


def _statuses(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _status(value: str) -> str:
    if value not in STATUSES:
        raise ValueError(f'unknown status "{value}"{did_you_mean(value, STATUSES) or f"; it is {one_of(STATUSES)}"}')
    return value


Path = Annotated[Words, AfterValidator(_below_home)]
EventData = Annotated[dict[str, Json], BeforeValidator(_event)]
Matcher = Annotated[Any, AfterValidator(check)]
Status = Annotated[Text, AfterValidator(_status)]


class Call(Model):
    """A call that is expected. Arguments that are not named may be anything."""

    tool: Words
    arguments: dict[str, Matcher] = Field(default_factory=dict)
    status: Literal["ok", "error", "denied"] = "ok"


class MadeTool(Model):
    """A tool that exists for the cases only, and always gives the same. It runs in the sandbox, as any skill's does."""

    name: Words
    description: Words
    arguments: dict[str, Annotated[Json, BeforeValidator(_argument)]] = Field(default_factory=dict)
    optional: tuple[Words, ...] = ()
    gives: Text = "done"
    fails: Words | None = None
    read_only: Flag = False

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        if not _TOOL.fullmatch(self.name):
            raise ValueError(f'"{self.name}" is not a name for a tool; use a-z, 0-9 and _')
        for name in self.optional:
            if name not in self.arguments:
                raise ValueError(f'optional names "{name}", which is no argument{did_you_mean(name, self.arguments)}')
        return self

    @property
    def schema_of_arguments(self) -> Json:
        required = [name for name in self.arguments if name not in self.optional]
        return {
            "type": "object",
            "properties": dict(self.arguments),
            "required": required,
            "additionalProperties": False,
        }


class MadeSkill(Model):
    description: Words
    instructions: Text = ""
    tools: Annotated[tuple[MadeTool, ...], AfterValidator(not_empty)]


class Given(Model):
    """What happens: a file that arrives (with its text, or named in `files`), or another event."""

    file: Path | None = None
    text: Text | None = None
    event: EventData | None = None

    @model_validator(mode="after")
    def _is_one_event(self) -> Self:
        if self.file is not None and self.event is not None:
            raise ValueError("a case is about a file or another event, not both")
        if self.file is None and self.event is None:
            raise ValueError("what happens? add file and text, or event")
        if self.text is not None and self.file is None:
            raise ValueError("text is the text of a file; add file")
        return self


class Case(Given):
    """One case. What it expects is one or more of `nothing`, `moved`, `calls`, `disk`, `answer` and `status`."""

    name: Words
    agent: Words | None = None
    category: Words | None = None
    split: Words | None = None
    files: dict[Path, Text] = Field(default_factory=dict)
    earlier: tuple[Given, ...] = ()
    approve: Literal["yes", "no"] = "yes"
    nothing: Flag = False
    moved: Path | None = None
    calls: tuple[Annotated[Call, BeforeValidator(_call)], ...] | None = None
    disk: dict[Path, Matcher] | None = None
    answer: Matcher = None
    status: Annotated[tuple[Status, ...], BeforeValidator(_statuses)] = ("ok",)

    @model_validator(mode="after")
    def _expects_something(self) -> Self:
        asked = self.model_fields_set
        if not self.nothing and not asked & {"moved", "calls", "disk", "answer", "status"}:
            raise ValueError("nothing is expected; add nothing: true, moved, calls, disk, answer or status")
        if self.nothing and (self.moved or self.calls or self.disk):
            raise ValueError("nothing: true does not go with moved, calls or disk")
        if self.moved and self.file is None:
            raise ValueError("moved says where the file goes; add file")
        return self

    @property
    def destination(self) -> str | None:
        """The whole path that the file is expected at."""
        if self.moved is None or self.file is None:
            return None
        return self.moved + self.file.rpartition("/")[2] if self.moved.endswith("/") else self.moved


class CaseFile(Model):
    """The keys at the top hold for each case that does not say otherwise; `files` are there in each."""

    agent: Words | None = None
    agents: dict[Annotated[Text, AfterValidator(check_name)], Words] = Field(default_factory=dict)
    category: Words = "other"
    split: Words = "other"
    files: dict[Path, Text] = Field(default_factory=dict)
    skills: dict[Text, MadeSkill] = Field(default_factory=dict)
    cases: Annotated[tuple[Case, ...], AfterValidator(not_empty)]

    @model_validator(mode="after")
    def _names(self) -> Self:
        for name in self.skills:
            if not _SKILL.fullmatch(name):
                raise ValueError(f'"{name}" is not a name for a skill; use a-z, 0-9 and -')
        return self

    def made_tools(self) -> Iterator[MadeTool]:
        for skill in self.skills.values():
            yield from skill.tools
