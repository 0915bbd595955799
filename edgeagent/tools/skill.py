"""Tools that come from skills: a call is one command in the sandbox, with what the tool needs and the agent grants.

Three kinds: a tool that a skill's tools.yaml declares, which is here; `run_skill_script` (`skill_script`) for skills
that only bring scripts; and `load_skill` (`skill_loading`), which gives instructions when the model asks for them. What
a tool says it needs is a request: a path in an argument must lie in the agent's grants like that of any other tool, and
a fixed path or host that is not granted is not there. A skill that nobody trusts, or that has changed, does not run.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeagent.errors import SkillError, ToolError
from edgeagent.sandbox import Command, Limits
from edgeagent.schema import Json, ToolSpec
from edgeagent.skills import Installed, Skill, SkillTool
from edgeagent.skills.files import program_fault
from edgeagent.tools.base import Plan, Tool, ToolContext, cut, shown
from edgeagent.tools.paths import resolve
from edgeagent.tools.skill_command import (
    Find,
    OpenSandbox,
    check_arguments,
    checked_output,
    confined,
    printed,
    same_skill,
    secrets_of,
)
from edgeagent.tools.skill_loading import LOAD_SKILL, LoadSkill
from edgeagent.tools.skill_script import RUN_SKILL_SCRIPT, RunSkillScript
from edgeagent.tools.specs import BUILTIN_SPECS


def skill_tools(
    skills: Sequence[Installed], find: Find, sandbox: OpenSandbox, servers: Collection[str] = ()
) -> list[Tool]:
    """The tools that these skills give an agent, in their order. `servers` are the MCP servers that it has.

    Raises SkillError where a tool is called as one of ours, or as a server.
    """
    readable = [one.skill for one in skills if one.skill is not None]
    for skill in readable:
        _check_names(skill, servers)
    tools: list[Tool] = [SkillCall(skill, tool, find, sandbox) for skill in readable for tool in skill.tools]
    scripted = {skill.folder.name: skill for skill in readable if skill.scripts and not skill.has_sidecar}
    if scripted:
        tools.append(RunSkillScript(scripted, find, sandbox))
    if readable:
        tools.append(LoadSkill({skill.folder.name: skill for skill in readable}, find))
    return tools


def _check_names(skill: Skill, servers: Collection[str]) -> None:
    """Secrets are bound to tools and servers by name, and so is evidence: a tool must not pass for another."""
    for tool in skill.tools:
        if tool.name in BUILTIN_SPECS or tool.name in (LOAD_SKILL, RUN_SKILL_SCRIPT, *servers):
            name = skill.folder.name
            whose = "an MCP server" if tool.name in servers else "a built-in one"
            told = f"skill {name} has a tool named {tool.name}, as {whose} is"
            raise SkillError.of(told, f"leave {name} out of the agent's skills")


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
            writes=_with_folders([path for paths in writes.values() for path in paths], context),
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
        skill = same_skill(self.find, plan)
        filled = plan.detail["filled"]
        fault = program_fault(skill.folder / self.tool.run[0], self.tool.run[0]) if self.tool.is_script else ""
        if fault:
            raise ToolError(fault)
        takes_json = self.tool.input == "stdin-json"
        outcome = confined(
            self.sandbox,
            Command(
                argv=tuple(self.tool.argv(filled)),
                folder=skill.folder.resolve(),
                reads=plan.reads,
                writes=_existing(plan.writes),
                hosts=plan.hosts,
                secrets=secrets_of(plan, context),
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


def _with_folders(paths: Sequence[Path], context: ToolContext) -> tuple[Path, ...]:
    """What would be written: a file that is to be made takes the folder that it goes into, and a person is told so."""
    folders = [path.parent for path in paths if not path.exists() and context.may_write(path.parent)]
    return tuple(dict.fromkeys((*paths, *folders)))


def _existing(planned: Sequence[Path]) -> tuple[Path, ...]:
    """What of it can be bound. Nothing that was not planned: a file may have gone since."""
    for path in planned:
        if not path.exists() and path.parent not in planned:
            raise ToolError(f"{shown(path)} does not exist, and only itself may be written; make it first")
    return tuple(path for path in planned if path.exists())
