"""From case files to cases that can be run: reads them, finds their agents, and says as FILE:LINE: what is wrong.

Everything is checked before anything runs: keys and values, that each case has an agent, that the agent is valid, that
it has the tools which the case expects, and that running it stays in the scratch home.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

from edgeagent.agents import Agent, parse_agent
from edgeagent.agents.frontmatter import Document, read_yaml
from edgeagent.errors import AgentFileError, CaseFileError, EdgeagentError, NotFound, Problem
from edgeagent.evaluation.agents import adapted, objection
from edgeagent.evaluation.cases import Call, Case, CaseFile, Given, MadeSkill, MadeTool
from edgeagent.fields import Location, describe
from edgeagent.home import Home
from edgeagent.schema import Json
from edgeagent.tools.specs import BUILTIN_SPECS
from edgeagent.words import did_you_mean

_TABLES: dict[str, type[BaseModel]] = {
    "cases": Case,
    "earlier": Given,
    "skills": MadeSkill,
    "tools": MadeTool,
    "calls": Call,
}


@dataclass(frozen=True, slots=True)
class Known:
    """This installation, as far as agents of cases need it.

    Args:
        agent_file: the file of an installed agent. NotFound where there is none.
        schemas: the arguments of the tools of installed skills, by name.
    """

    home: Home
    tools: Collection[str]
    skills: Collection[str]
    models: Collection[str]
    schemas: Mapping[str, Json]
    agent_file: Callable[[str], Path]


@dataclass(frozen=True, slots=True)
class Prepared:
    """One case that can be run. `agent_text` is the agent's file with `~` for the home folder; `line` is the case's."""

    file: Path
    line: int
    case: Case
    category: str
    split: str
    files: Mapping[str, str]
    agent: Agent
    agent_text: str
    skills: Mapping[str, MadeSkill]

    @property
    def harmless(self) -> frozenset[str]:
        """Tools that only read: calls of them are never wrong."""
        made = {tool.name for skill in self.skills.values() for tool in skill.tools if tool.read_only}
        return frozenset({name for name, spec in BUILTIN_SPECS.items() if spec.read_only} | made | {"load_skill"})


@dataclass(frozen=True, slots=True)
class _Source:
    """The text of an agent, and where it comes from: the case file (`line` is that of its key) or a file of its own."""

    path: Path
    text: str
    line: int = 0

    def problem(self, problem: Problem) -> Problem:
        return Problem(str(self.path), problem.line + self.line, problem.message)


def read_cases(file: Path, known: Known, agent: str | None = None, *, is_real: bool = False) -> list[Prepared]:
    """The cases of a file. `agent` takes the place of the one that the file names for all; with `is_real` agents may
    have effects outside the scratch home. CaseFileError has every fault."""
    try:
        document = read_yaml(file.read_bytes())
    except OSError as error:
        raise CaseFileError([Problem(str(file), 1, f"cannot be read: {error.strerror}")]) from error
    problems = [Problem(str(file), line, message) for line, message in document.problems]
    if problems:
        raise CaseFileError(problems)
    try:
        cases = CaseFile.model_validate(document.data, context={})
    except ValidationError as error:
        raise CaseFileError(sorted(_problems(file, document, error), key=lambda problem: problem.line)) from error
    return _Reader(file, document, cases, known, agent, is_real).prepared()


def _problems(file: Path, document: Document, error: ValidationError) -> Iterator[Problem]:
    for fault in error.errors():
        place: Location = tuple(part for part in fault["loc"] if part != "[key]")
        message = describe(fault, _keys_beside(place))
        where = ".".join(str(part) for part in place[2 if place[:1] == ("cases",) else 0 :] if isinstance(part, str))
        if where and not message.startswith(("unknown key", "missing ")):
            message = f"{where}: {message}"
        yield Problem(str(file), document.line_of(place), message)


def _keys_beside(place: Location) -> Collection[str]:
    named = [_TABLES[part] for part in place[:-1] if isinstance(part, str) and part in _TABLES]
    return (named[-1] if named else CaseFile).model_fields


class _Reader:
    """The second look at one file: at what its cases refer to."""

    def __init__(
        self, file: Path, document: Document, cases: CaseFile, known: Known, agent: str | None, is_real: bool
    ) -> None:
        self._file, self._document, self._cases = file, document, cases
        self._known, self._is_real = known, is_real
        self._asked = agent
        self._problems: list[Problem] = []
        self._agents: dict[str, tuple[Agent, str] | None] = {}

    def prepared(self) -> list[Prepared]:
        self._check_names()
        found = [self._case(at, case) for at, case in enumerate(self._cases.cases)]
        if self._problems:
            raise CaseFileError(sorted(set(self._problems), key=lambda problem: (problem.file, problem.line)))
        return [case for case in found if case]

    def _problem(self, place: Location, message: str) -> None:
        self._problems.append(Problem(str(self._file), self._document.line_of(place), message))

    def _check_names(self) -> None:
        first: dict[str, int] = {}
        for at, case in enumerate(self._cases.cases):
            if case.name in first:
                line = self._document.line_of(("cases", first[case.name]))
                self._problem(("cases", at, "name"), f'a second case named "{case.name}"; the first is on line {line}')
            first.setdefault(case.name, at)

    def _case(self, at: int, case: Case) -> Prepared | None:
        name = case.agent or self._asked or self._cases.agent
        place: Location = ("cases", at, "agent") if case.agent else ("agent",)
        if name is None:
            self._problem(("cases", at), "no agent; name one in the case, at the top of the file, or in the command")
            return None
        found = self._agent(name, place)
        files = {**self._cases.files, **case.files}
        self._check_files(at, case, files)
        if found is None:
            return None
        for number, call in enumerate(case.calls or ()):
            self._check_call(("cases", at, "calls", number), call, found[0])
        return Prepared(
            self._file,
            self._document.line_of(("cases", at)),
            case,
            case.category or self._cases.category,
            case.split or self._cases.split,
            files,
            *found,
            self._cases.skills,
        )

    def _check_files(self, at: int, case: Case, files: Mapping[str, str]) -> None:
        for event in (case, *case.earlier):
            if event.file is not None and event.text is None and event.file not in files:
                near = did_you_mean(event.file, files)
                self._problem(("cases", at, "file"), f"{event.file} has no text, and is not among files{near}")

    def _check_call(self, place: Location, call: Call, agent: Agent) -> None:
        schemas = self._schemas(agent)
        if call.tool not in schemas:
            if not agent.mcp and "/" not in call.tool:
                near = did_you_mean(call.tool, schemas) or f"; it has {', '.join(schemas) or 'none'}"
                self._problem(place, f'agent {agent.name} has no tool "{call.tool}"{near}')
            return
        properties = schemas[call.tool].get("properties", {})
        for argument in call.arguments:
            if argument not in properties:
                near = did_you_mean(argument, properties) or f"; it has {', '.join(properties)}"
                self._problem((*place, call.tool, argument), f'{call.tool} has no argument "{argument}"{near}')

    def _schemas(self, agent: Agent) -> dict[str, Json]:
        """The arguments of every tool that the agent has, apart from those of MCP servers."""
        made = {tool.name: tool.schema_of_arguments for tool in self._cases.made_tools()}
        named = [name for name in agent.tools if name in BUILTIN_SPECS]
        of_skills = {**self._known.schemas, **made} if agent.skills else {}
        return {**{name: BUILTIN_SPECS[name].parameters for name in named}, **of_skills}

    # --- agents -------------------------------------------------------------------------------------------------

    def _agent(self, name: str, place: Location) -> tuple[Agent, str] | None:
        if name not in self._agents:
            self._agents[name] = self._found(name, place)
        return self._agents[name]

    def _found(self, name: str, place: Location) -> tuple[Agent, str] | None:
        try:
            source = self._source(name, place)
        except EdgeagentError as error:
            self._problem(place, error.message)
            return None
        text = adapted(source.text, str(self._known.home.user))
        try:
            agent = self._parsed(source, name, text)
        except AgentFileError as error:
            self._problems += [source.problem(problem) for problem in error.problems]
            return None
        if not self._is_real and (danger := objection(agent)):
            self._problem(place, f"agent {agent.name} {danger}; with --real it may")
            return None
        return agent, text

    def _source(self, name: str, place: Location) -> _Source:
        if name in self._cases.agents and name != self._asked:
            return _Source(self._file, self._cases.agents[name], self._document.line_of(("agents", name)))
        if name.lstrip().startswith("---"):
            return _Source(self._file, name, self._document.line_of(place))
        if name.endswith(".md") or "/" in name:
            path = Path(name) if name == self._asked else self._file.parent / Path(name).expanduser()
            if not path.is_file():
                raise NotFound(f"no agent file {path}")
        else:
            path = self._installed(name)
        return _Source(path, path.read_text(encoding="utf-8", errors="replace"))

    def _installed(self, name: str) -> Path:
        try:
            return self._known.agent_file(name)
        except NotFound as error:
            raise NotFound(f"{error.message}{did_you_mean(name, self._cases.agents)}") from None

    def _parsed(self, source: _Source, name: str, text: str) -> Agent:
        made = [tool.name for tool in self._cases.made_tools()]
        stem = name if name in self._cases.agents else source.path.stem if not source.line else "agent"
        return parse_agent(
            source.path.with_name(f"{stem}.md"),
            text.encode(),
            known_tools=(*self._known.tools, *made),
            known_skills=(*self._known.skills, *self._cases.skills),
            known_models=self._known.models,
            home=self._known.home,
        )
