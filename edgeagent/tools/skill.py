"""Tools that come from skills: a call is one command in the sandbox, with what the tool needs and the agent grants.

Three kinds: a tool that a skill's tools.yaml declares; `run_skill_script` for skills that only bring scripts; and
`load_skill`, which gives a skill's instructions when the model asks for them. What a tool says it needs is a request:
a path in an argument must lie in the agent's grants like that of any other tool, and a fixed path or host that is not
granted is not there. A skill that nobody trusts, or that has changed, does not run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jsonschema

from edgeagent.errors import SandboxError, ToolError
from edgeagent.sandbox import Command, Limits, Outcome, Sandbox, run
from edgeagent.schema import Json, ToolSpec
from edgeagent.skills import Installed, Skill, SkillTool
from edgeagent.tools.base import Plan, Tool, ToolContext, cut, shown
from edgeagent.tools.paths import resolve

LOAD_SKILL = "load_skill"
RUN_SKILL_SCRIPT = "run_skill_script"
SCRIPT_SECONDS = 60.0
_ERROR_CHARACTERS = 400
_INTERPRETERS = {".py": "python3", ".sh": "sh", ".bash": "bash", ".js": "node", ".pl": "perl"}

Find = Callable[[str], Installed]
"""The skill of a name as it is now, so that a change between two calls is seen."""
OpenSandbox = Callable[[], Sandbox]
"""The sandbox of this machine. SandboxError where it has none that a skill may run in."""


def skill_tools(skills: Sequence[Installed], find: Find, sandbox: OpenSandbox) -> list[Tool]:
    """The tools that these skills give an agent, in their order."""
    readable = [one.skill for one in skills if one.skill is not None]
    tools: list[Tool] = [SkillCall(skill, tool, find, sandbox) for skill in readable for tool in skill.tools]
    scripted = {skill.folder.name: skill.scripts for skill in readable if skill.scripts and not skill.has_sidecar}
    if scripted:
        tools.append(RunSkillScript(scripted, find, sandbox))
    if readable:
        tools.append(LoadSkill({skill.folder.name: skill for skill in readable}, find))
    return tools


@dataclass(frozen=True, slots=True)
class SkillCall:
    """One typed tool of a skill."""

    skill: Skill
    tool: SkillTool
    find: Find
    sandbox: OpenSandbox

    @property
    def spec(self) -> ToolSpec:
        told = self.tool.annotations
        return ToolSpec(
            self.tool.name,
            self.tool.description,
            self.tool.input_schema,
            read_only=told.read_only,
            destructive=told.destructive,
            idempotent=told.idempotent,
            origin=f"skill {self.skill.folder.name}",
        )

    def plan(self, arguments: Json, context: ToolContext) -> Plan:
        """Checks the arguments against the schema and resolves those that are paths."""
        check_arguments(arguments, self.tool.input_schema)
        reads, writes = self._paths("read", arguments, context), self._paths("write", arguments, context)
        filled = dict(arguments)
        for name, paths in (reads | writes).items():
            if name in arguments:
                places = [str(path) for path in paths]
                filled[name] = places if isinstance(arguments[name], list) else places[0]
        name = self.skill.folder.name
        return Plan(
            tool=self.tool.name,
            arguments=arguments,
            reads=tuple(path for paths in reads.values() for path in paths),
            writes=tuple(path for paths in writes.values() for path in paths),
            detail={"skill": name, "fingerprint": self.find(name).fingerprint, "filled": filled},
            hosts=tuple(host for host in self.tool.needs.network if host.lower() in context.network),
            secrets=tuple(name for name in self.tool.needs.secrets if context.may_use(self.tool.name, name)),
        )

    def _paths(self, kind: str, arguments: Json, context: ToolContext) -> dict[str, list[Path]]:
        """The paths of one kind of need, by need: those in arguments, and fixed ones as far as they are granted."""
        found: dict[str, list[Path]] = {}
        for need in getattr(self.tool.needs, kind):
            if need in self.tool.input_schema.get("properties", {}):
                value = arguments.get(need, [])
                items = value if isinstance(value, list) else [value]
                found[need] = [resolve(str(item), context.home_dir) for item in items]
            elif need.startswith(("/", "~")):
                path = resolve(need, context.home_dir)
                if context.may_write(path) if kind == "write" else context.may_read(path):
                    found[need] = [path]
        return found

    def apply(self, plan: Plan, context: ToolContext) -> str:
        """Runs the command and gives what it printed."""
        skill = _same(self.find, plan)
        filled = plan.detail["filled"]
        takes_json = self.tool.input == "stdin-json"
        outcome = _confined(
            self.sandbox,
            Command(
                argv=tuple(self.tool.argv(filled)),
                folder=skill.folder.resolve(),
                reads=plan.reads,
                writes=_existing(plan.writes, context),
                hosts=plan.hosts,
                secrets={name: context.secret(self.tool.name, name) for name in plan.secrets},
                stdin=json.dumps(filled, ensure_ascii=False).encode("utf-8", "surrogateescape") if takes_json else b"",
                limits=Limits(wall_seconds=self.tool.timeout, cpu_seconds=self.tool.timeout),
                idempotency_key=context.key,
            ),
        )
        text = printed(outcome, self.tool.name, self.tool.timeout, context.redact)
        if self.tool.output_schema is not None:
            text = checked_output(text, self.tool.output_schema, self.tool.name)
        return cut(text.rstrip("\n") or "done", context.result_limit)

    def was_applied(self, plan: Plan, context: ToolContext) -> str | None:
        """A program of somebody else's: nobody can tell."""
        return None


@dataclass(frozen=True, slots=True)
class RunSkillScript:
    """The one generic tool of skills that bring scripts and no tools.yaml. Scripts get all that the agent grants."""

    scripts: dict[str, tuple[str, ...]]
    find: Find
    sandbox: OpenSandbox

    @property
    def spec(self) -> ToolSpec:
        every = sorted({script.removeprefix("scripts/") for names in self.scripts.values() for script in names})
        properties = {
            "skill": {"type": "string", "enum": sorted(self.scripts)},
            "script": {"type": "string", "enum": every},
            "arguments": {"type": "array", "items": {"type": "string"}},
        }
        schema = {
            "type": "object",
            "properties": properties,
            "required": ["skill", "script", "arguments"],
            "additionalProperties": False,
        }
        return ToolSpec(RUN_SKILL_SCRIPT, "Run a script of a skill.", schema)

    def spec_of(self, arguments: Json) -> ToolSpec:
        """Whose script it is."""
        name = arguments.get("skill") if isinstance(arguments, dict) else None
        return replace(self.spec, origin=f"skill {name if name in self.scripts else ''}".strip())

    def plan(self, arguments: Json, context: ToolContext) -> Plan:
        check_arguments(arguments, self.spec.parameters)
        name, script = arguments["skill"], f"scripts/{arguments['script']}"
        if script not in self.scripts[name]:
            raise ToolError(f"skill {name} has no script {shown(arguments['script'])}")
        return Plan(
            tool=RUN_SKILL_SCRIPT,
            arguments=arguments,
            reads=tuple(path for path in context.read_roots if path.exists()),
            writes=tuple(path for path in context.write_roots if path.exists()),
            detail={"skill": name, "fingerprint": self.find(name).fingerprint, "script": script},
            hosts=tuple(sorted(context.network)),
        )

    def apply(self, plan: Plan, context: ToolContext) -> str:
        skill = _same(self.find, plan)
        script = plan.detail["script"]
        outcome = _confined(
            self.sandbox,
            Command(
                argv=(*_program(skill.folder / script, script), *plan.arguments["arguments"]),
                folder=skill.folder.resolve(),
                reads=plan.reads,
                writes=plan.writes,
                hosts=plan.hosts,
                limits=Limits(wall_seconds=SCRIPT_SECONDS, cpu_seconds=SCRIPT_SECONDS),
                idempotency_key=context.key,
            ),
        )
        text = printed(outcome, script, SCRIPT_SECONDS, context.redact)
        return cut(text.rstrip("\n") or "done", context.result_limit)

    def was_applied(self, plan: Plan, context: ToolContext) -> str | None:
        return None


@dataclass(frozen=True, slots=True)
class LoadSkill:
    """Gives the instructions of a skill, so that they cost tokens only where they are wanted."""

    skills: dict[str, Skill]
    find: Find

    @property
    def spec(self) -> ToolSpec:
        about = " ".join(f"{name}: {_sentence(skill.description)}" for name, skill in sorted(self.skills.items()))
        schema = {
            "type": "object",
            "properties": {"name": {"type": "string", "enum": sorted(self.skills)}},
            "required": ["name"],
            "additionalProperties": False,
        }
        return ToolSpec(LOAD_SKILL, f"Read how to use a skill. {about}", schema, read_only=True, idempotent=True)

    def plan(self, arguments: Json, context: ToolContext) -> Plan:
        check_arguments(arguments, self.spec.parameters)
        return Plan(LOAD_SKILL, arguments)

    def apply(self, plan: Plan, context: ToolContext) -> str:
        skill = self.find(plan.arguments["name"]).usable()
        return cut(skill.instructions or "(no instructions)", context.result_limit)

    def was_applied(self, plan: Plan, context: ToolContext) -> str | None:
        return None


# --- what they share ------------------------------------------------------------------------------------------------


def check_arguments(arguments: Json, schema: Json) -> None:
    """ToolError, in one line, for arguments that a schema does not take."""
    fault = next(iter(jsonschema.Draft202012Validator(schema).iter_errors(arguments)), None)
    if fault is not None:
        where = ".".join(str(part) for part in fault.absolute_path)
        raise ToolError(shown(f"{where}: {fault.message}" if where else fault.message)[:_ERROR_CHARACTERS])


def printed(outcome: Outcome, what: str, seconds: float, redact: Callable[[str], str] = str) -> str:
    """What a command printed, redacted before it is cut. ToolError where it failed, was ended, or printed no text."""
    if outcome.limit is not None:
        raise ToolError(f"{what} was ended: {_LIMITS[outcome.limit].format(seconds=seconds)}")
    if outcome.exit_code:
        said = redact((outcome.stderr or outcome.stdout).decode("utf-8", "replace")).strip()[-_ERROR_CHARACTERS:]
        raise ToolError(f"{what} ended with exit code {outcome.exit_code}: {said or 'it said nothing'}")
    try:
        return redact(outcome.stdout.decode("utf-8"))
    except UnicodeDecodeError:
        raise ToolError(f"{what} printed something that is not UTF-8 text") from None


_LIMITS = {
    "memory": "it used more memory than a tool may",
    "cpu": "it used more processor time than a tool may",
    "wall": "it took longer than {seconds:g} s",
    "processes": "it started more processes than a tool may",
    "scratch": "it wrote more than a tool may",
    "output": "it printed more than a tool may",
    "stopped": "the run was stopped",
}


def checked_output(text: str, schema: Json, what: str) -> str:
    """Output that must be JSON of a schema, on one line as the model reads it."""
    try:
        value: Any = json.loads(text)
    except ValueError:
        raise ToolError(f"{what} did not print the JSON that it declares") from None
    fault = next(iter(jsonschema.Draft202012Validator(schema).iter_errors(value)), None)
    if fault is not None:
        raise ToolError(f"{what} printed JSON that does not match its schema: {fault.message[:_ERROR_CHARACTERS]}")
    return json.dumps(value, ensure_ascii=False)


def _confined(sandbox: OpenSandbox, command: Command) -> Outcome:
    try:
        return run(sandbox(), command)
    except SandboxError as error:
        raise ToolError(f"{error.message}; {error.hint}" if error.hint else error.message) from error


def _same(find: Find, plan: Plan) -> Skill:
    """The skill of a plan, if it is still the one that the plan was made and allowed for."""
    found = find(plan.detail["skill"])
    skill = found.usable()
    if found.fingerprint != plan.detail["fingerprint"]:
        raise ToolError(f"skill {found.name} has changed since this call was planned")
    return skill


def _existing(paths: Sequence[Path], context: ToolContext) -> tuple[Path, ...]:
    """What can be bound for writing: a file that is to be made needs the folder that it goes into."""
    bound = []
    for path in paths:
        folder = path if path.exists() else path.parent
        if not context.may_write(folder):
            raise ToolError(f"{shown(path)} does not exist, and only itself may be written; make it first")
        bound.append(folder)
    return tuple(dict.fromkeys(bound))


def _program(path: Path, script: str) -> tuple[str, ...]:
    """How a script is started: by its ending, or by itself where it may be executed."""
    interpreter = _INTERPRETERS.get(path.suffix)
    if interpreter:
        return (interpreter, script)
    if path.stat().st_mode & 0o111:
        return (f"./{script}",)
    raise ToolError(f"{script} may not be executed and its ending names no interpreter")


def _sentence(text: str, limit: int = 120) -> str:
    first = text.split(". ")[0].rstrip(".") + "."
    return first if len(first) <= limit else first[: limit - 1] + "…"
