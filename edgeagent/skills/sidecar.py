"""tools.yaml, the optional file beside SKILL.md that gives a skill typed tools (SPEC section 7).

Unlike SKILL.md it is written for edgeagent, so it is read strictly: an unknown key or a wrong type is an error with
its line. What a tool `needs` is a request; what it gets is decided by the agent's grants.
"""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

from edgeagent.agents.frontmatter import MAX_BYTES, read_yaml
from edgeagent.errors import Problem, SkillError
from edgeagent.fields import Duration, Flag, Model, Text, Words, describe, not_empty
from edgeagent.schema import Json
from edgeagent.secrets.given import NAME as SECRET_NAME
from edgeagent.skills.files import open_inside, read_head
from edgeagent.skills.plain import check_schema
from edgeagent.skills.schemas import check_bounded
from edgeagent.words import did_you_mean

_TOOL_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)
_SLOT = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_INTERPRETERS = frozenset({"python3", "python", "sh", "bash", "node", "perl", "ruby"})


def _is_schema(value: Json) -> Json:
    check_schema(value)
    return check_bounded(value)


def _is_object_schema(value: Json) -> Json:
    if value.get("type") != "object":
        raise ValueError("arguments are an object: it must have type: object")
    return _is_schema(value)


def _is_host(value: str) -> str:
    if not re.fullmatch(r"[^\s/@]+:[0-9]{1,5}", value):
        raise ValueError(f'"{value}" is no host:port, such as ntfy.sh:443')
    return value


def _is_secret(value: str) -> str:
    if not SECRET_NAME.fullmatch(value):
        raise ValueError(f'"{value}" is not the name of a secret, such as NTFY_TOKEN')
    return value


class Annotations(Model):
    """What a tool says of itself. It decides nothing about what the tool may do."""

    read_only: Flag = False
    destructive: Flag = False
    idempotent: Flag = False


class Needs(Model):
    """What a tool asks for: names of arguments that hold paths, or paths; hosts as host:port; names of secrets."""

    read: tuple[Words, ...] = ()
    write: tuple[Words, ...] = ()
    network: tuple[Annotated[Words, AfterValidator(_is_host)], ...] = ()
    secrets: tuple[Annotated[Words, AfterValidator(_is_secret)], ...] = ()


def _is_base64(value: str) -> str:
    try:
        base64.b64decode(value, validate=True)
    except ValueError as error:
        raise ValueError("is no base64") from error
    return value


class Encoded(Model):
    """What a file of a test holds that is no text."""

    base64: Annotated[Text, AfterValidator(_is_base64)]


class SkillTest(Model):
    """One call that must give what is expected. `files` are made in a folder of their own, where the call runs.

    `expect` may hold `status` (ok or error), `output` (the whole result), `contains` (part of it), `exists` (paths that
    are there afterwards), or keys of the JSON that the tool prints.
    """

    arguments: Json = Field(default_factory=dict)
    expect: Json = Field(default_factory=dict)
    files: dict[Words, Text | Encoded] = Field(default_factory=dict)


class SkillTool(Model):
    """One typed tool of a skill. `run` is an argv list in which `{name}` stands for an argument, never a shell line."""

    name: Text
    description: Words
    run: Annotated[tuple[Text, ...], AfterValidator(not_empty)]
    input: Literal["argv", "stdin-json"] = "argv"
    input_schema: Annotated[Json, AfterValidator(_is_object_schema)]
    output_schema: Annotated[Json, AfterValidator(_is_schema)] | None = None
    annotations: Annotations = Annotations()
    needs: Needs = Needs()
    timeout: Duration = 30.0
    tests: tuple[SkillTest, ...] = ()

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        if not _TOOL_NAME.fullmatch(self.name):
            raise ValueError(f'"{self.name}" is not a name for a tool; use a-z, 0-9 and _')
        known = set(self.input_schema.get("properties", {}))
        for part in self.run:
            for slot in _SLOT.findall(part):
                if slot not in known:
                    raise ValueError(f"run names {{{slot}}}, which input_schema does not have")
        for name in self.input_schema.get("required", ()):
            if name not in known:
                raise ValueError(f'input_schema requires "{name}", which is not among its properties')
        for kind, needs in (("read", self.needs.read), ("write", self.needs.write)):
            for need in needs:
                if need not in known and not need.startswith(("/", "~")):
                    near = did_you_mean(need, known)
                    raise ValueError(f'needs.{kind} names "{need}", which is neither an argument nor a full path{near}')
        if _SLOT.search(self.run[0]):
            raise ValueError("run must begin with a fixed program, not with an argument")
        if not 0 < self.timeout <= 3600:
            raise ValueError("timeout must be more than 0s and at most 1h")
        return self

    @property
    def script(self) -> str | None:
        """The file of the skill that `run` executes; None where it is a program of the system."""
        first = 1 if self.run[0] in _INTERPRETERS and len(self.run) > 1 else 0
        candidate = self.run[first]
        return candidate if "/" in candidate and not candidate.startswith("/") else None

    @property
    def is_script(self) -> bool:
        """Whether the program of `run` is a file of the skill itself, started without an interpreter."""
        return self.script == self.run[0]

    def argv(self, arguments: Json) -> list[str]:
        """The command of one call. An option whose argument was not given falls away, with the word before it.

        An argument is one word of the command, whatever is in it. Lists are written out as several words where the
        slot stands alone; true is the bare option before it, and false drops it.
        """
        words: list[str] = []
        for part in self.run:
            alone = _SLOT.fullmatch(part)
            if alone:
                self._fill_word(words, arguments.get(alone[1]))
                continue
            slots = _SLOT.findall(part)
            if any(arguments.get(slot) is None for slot in slots):
                continue
            words.append(_SLOT.sub(lambda slot: _as_word(arguments[slot[1]]), part))
        return words

    def _fill_word(self, words: list[str], value: Any) -> None:
        has_option = bool(words) and words[-1].startswith("-")
        if value is None or value is False:
            if has_option:
                words.pop()
        elif value is True and has_option:
            return
        elif isinstance(value, list):
            words.extend(_as_word(item) for item in value)
        else:
            words.append(_as_word(value))


class Sidecar(Model):
    version: Literal[1]
    tools: Annotated[tuple[SkillTool, ...], AfterValidator(not_empty)]

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [tool.name for tool in self.tools]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f'two tools are named "{name}"')
        return self


def read_sidecar(folder: Path, name: str) -> tuple[SkillTool, ...]:
    """The tools that a skill's sidecar declares. SkillError has every fault as FILE:LINE: message."""
    file = folder / name
    try:
        raw = read_head(open_inside(folder, name), MAX_BYTES)
    except FileNotFoundError:
        raise SkillError([Problem(str(file), 1, "metadata names this file, and it is not there")]) from None
    document = read_yaml(raw)
    problems = [Problem(str(file), line, message) for line, message in document.problems]
    tools: tuple[SkillTool, ...] = ()
    if not problems:
        try:
            tools = Sidecar.model_validate(document.data, context={}).tools
        except ValidationError as error:
            for fault in error.errors():
                place = ".".join(str(part) for part in fault["loc"])
                message = describe(fault, SkillTool.model_fields)
                line = document.line_of(fault["loc"])
                problems.append(Problem(str(file), line, f"{place}: {message}" if place else message))
    problems += [
        Problem(
            str(file), document.line_of(("tools", number, "run")), f"{tool.name}: {tool.script} is not in the skill"
        )
        for number, tool in enumerate(tools)
        if tool.script is not None and not _is_there(folder, tool.script)
    ]
    if problems:
        raise SkillError(problems)
    return tools


def _is_there(folder: Path, name: str) -> bool:
    try:
        open_inside(folder, name)
    except FileNotFoundError:
        return False
    return True


def _as_word(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)
