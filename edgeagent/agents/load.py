"""From files to agents: reads, validates, and says what is wrong as FILE:LINE: message, all of it at once."""

from __future__ import annotations

import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from edgeagent.agents.agent import (
    Agent,
    Concurrency,
    Expectation,
    Frontmatter,
    Grants,
    Known,
    Limits,
    Memory,
    ModelTable,
    Power,
)
from edgeagent.agents.conditions import Condition
from edgeagent.agents.frontmatter import MAX_BYTES, Document, read_document
from edgeagent.agents.output import SchemaFaultError
from edgeagent.agents.risk import objection
from edgeagent.agents.triggers import TRIGGER_KINDS
from edgeagent.errors import AgentFileError, NotFound, Problem
from edgeagent.fields import Location, describe, kind_of
from edgeagent.home import Home
from edgeagent.words import did_you_mean, one_of

_NOT_WRITTEN = frozenset(Agent.model_fields) - frozenset(Frontmatter.model_fields)
_TABLES: dict[str | int, type[BaseModel]] = {
    "model": ModelTable,
    "grants": Grants,
    "limits": Limits,
    "concurrency": Concurrency,
    "memory": Memory,
    "when": Condition,
    "power": Power,
    "expect": Expectation,
}


@dataclass(frozen=True, slots=True)
class LoadedAgents:
    """The agents of a folder by name, and what is wrong with the files that could not be used."""

    agents: dict[str, Agent] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def parse_agent(
    path: Path,
    text: bytes,
    *,
    known_tools: Collection[str],
    known_models: Collection[str] | None = None,
    known_skills: Collection[str] | None = None,
    known_servers: Collection[str] | None = None,
    home: Home | None = None,
) -> Agent:
    """The agent in the bytes of a file. Raises AgentFileError with every fault, in the order of the lines."""
    return _parse(path, text, Known(known_tools, known_models, known_skills, home, known_servers))[0]


def load_agent(
    path: Path,
    *,
    known_tools: Collection[str],
    known_models: Collection[str] | None = None,
    known_skills: Collection[str] | None = None,
    known_servers: Collection[str] | None = None,
    home: Home | None = None,
) -> Agent:
    """The agent in one file. Raises NotFound where there is none, AgentFileError where it cannot be used."""
    if not path.exists() and not path.is_symlink():
        raise NotFound(f"no such agent file: {path}", "edgeagent agents list")
    return _parse(path, _read(path), Known(known_tools, known_models, known_skills, home, known_servers))[0]


def load_agents(
    folder: Path,
    *,
    known_tools: Collection[str],
    known_models: Collection[str] | None = None,
    known_skills: Collection[str] | None = None,
    known_servers: Collection[str] | None = None,
    home: Home | None = None,
) -> LoadedAgents:
    """Every `*.md` in a folder. A file that cannot be used does not hide the others; a missing folder has none."""
    known = Known(known_tools, known_models, known_skills, home, known_servers)
    loaded = LoadedAgents()
    try:
        files = sorted(path for path in folder.glob("*.md") if not path.name.startswith("."))
    except OSError as error:
        return LoadedAgents(problems=[Problem(str(folder), 1, f"cannot be read: {error.strerror}")])
    for path in files:
        try:
            agent, document = _parse(path, _read(path), known)
        except AgentFileError as error:
            loaded.problems.extend(error.problems)
            continue
        first = loaded.agents.setdefault(agent.name, agent)
        if first is not agent:
            message = f'a second agent named "{agent.name}"; the first is {first.path}'
            loaded.problems.append(Problem(str(path), document.line_of(("name",)), message))
    return loaded


def _read(path: Path) -> bytes:
    """At most one byte more than an agent file may have, so that a huge file is refused and not loaded."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            _fail(path, "not a file")
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise AgentFileError([Problem(str(path), 1, f"cannot be read: {error.strerror}")]) from error


def _fail(path: Path, message: str) -> NoReturn:
    raise AgentFileError([Problem(str(path), 1, message)])


def _parse(path: Path, raw: bytes, known: Known) -> tuple[Agent, Document]:
    document = read_document(raw)
    found = list(document.problems)
    agent: Agent | None = None
    if document.lines:  # else there was no frontmatter to look into
        found += [(document.line_of(place), message) for place, message in _cross_checks(document.data, path)]
        given = {key: value for key, value in document.data.items() if key not in _NOT_WRITTEN}
        try:
            agent = Agent.model_validate(
                {"name": path.stem, **given, "body": document.body or "-", "path": path}, context=known
            )
        except ValidationError as error:
            told = {line for line, _ in document.problems}
            found += [place for place in (_place(document, fault) for fault in error.errors()) if place[0] not in told]
    if agent is not None and (message := objection(agent)):
        found.append((document.line_of(("grants", "network")), message))
    if found or agent is None:
        raise AgentFileError([Problem(str(path), line, _one_line(message)) for line, message in sorted(set(found))])
    return agent, document


def _one_line(message: str) -> str:
    """What a file holds may have line breaks and control characters, which must not reach a terminal as they are."""
    shown = "".join(character if character.isprintable() else repr(character)[1:-1] for character in message)
    return shown if len(shown) <= 400 else shown[:400] + "..."


def _place(document: Document, fault: ErrorDetails) -> tuple[int, str]:
    """The line and the words of one validation error."""
    location: Location = fault["loc"]
    form_at = {"triggers": 2, "model": 1}.get(str(location[0]))
    if form_at:  # pydantic puts the kind of trigger or the form of model there, which is no key of the file
        location = location[:form_at] + location[form_at + 1 :]
    cause = fault.get("ctx", {}).get("error")
    if isinstance(cause, SchemaFaultError):
        location += cause.place
    if fault["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return _trigger_kind(document, location, fault["input"])
    if fault["type"] == "extra_forbidden" and location == ("on",):
        return document.line_of(location), 'unknown key "on"; what starts an agent is listed under "triggers"'
    message = describe(fault, _keys_beside(fault["loc"]))
    if not message.startswith(("unknown ", "missing ")):
        message = f"{'.'.join(part for part in location if isinstance(part, str))}: {message}"
    return document.line_of(location), message


def _trigger_kind(document: Document, location: Location, item: Any) -> tuple[int, str]:
    if not isinstance(item, dict):
        return document.line_of(location), f"must be a table of keys and values, not {kind_of(item)}"
    if "trigger" in item:
        kind = item["trigger"]
        shown = f'"{kind}"' if isinstance(kind, str) else kind_of(kind)
        near = did_you_mean(kind, TRIGGER_KINDS) or f"; it is one of {one_of(TRIGGER_KINDS)}"
        return document.line_of((*location, "trigger")), f"unknown trigger {shown}{near}"
    if "on" in item:
        return document.line_of((*location, "on")), 'unknown key "on"; the key is "trigger"'
    return document.line_of(location), f'missing key "trigger"; it is one of {one_of(TRIGGER_KINDS)}'


def _keys_beside(location: Location) -> Collection[str]:
    """The keys that may stand where an unknown one was found."""
    if len(location) == 1:
        return Frontmatter.model_fields
    if len(location) == 2 and location[0] == "triggers":
        return ()
    table = TRIGGER_KINDS.get(str(location[2])) if location[0] == "triggers" else _TABLES.get(location[0])
    return table.model_fields if table else ()


def _cross_checks(data: dict[str, Any], path: Path) -> Iterator[tuple[Location, str]]:
    """Faults between keys. Works on what was written, so that they are reported beside those of single keys."""
    for key in _NOT_WRITTEN & data.keys():
        yield (key,), f'unknown key "{key}"'
    name = data.get("name", path.stem)
    for position, trigger in _tables(data.get("triggers")):
        if trigger.get("trigger") == "agent" and trigger.get("agent") == name:
            yield ("triggers", position, "agent"), "an agent cannot start itself"
    tools = data.get("tools", [])
    if data.get("skills") or data.get("mcp") or not isinstance(tools, list):
        return  # their tools are not known here
    for position, expectation in _tables(data.get("expect")):
        tool = expectation.get("tool")
        if isinstance(tool, str) and tool not in tools:
            near = did_you_mean(tool, [known for known in tools if isinstance(known, str)])
            yield ("expect", position, "tool"), f'"{tool}" is not among the tools of this agent{near}'


def _tables(items: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    if isinstance(items, list):
        yield from ((position, item) for position, item in enumerate(items) if isinstance(item, dict))
