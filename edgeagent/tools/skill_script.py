"""`run_skill_script`, the one generic tool of skills that bring scripts and no tools.yaml.

Scripts get all that the agent grants. A secret that their SKILL.md requires (`requires.env`), and that the agent grants
to `run_skill_script`, is in the environment of the script, where such scripts look for it: a shell in the sandbox takes
it from its descriptor, so that it is in no argument and no environment outside.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from edgeagent.errors import ToolError
from edgeagent.sandbox import Command, Limits
from edgeagent.schema import Json, ToolSpec
from edgeagent.skills import Skill
from edgeagent.skills.files import INTERPRETERS, program_fault, shebang
from edgeagent.tools.base import Plan, ToolContext, cut, shown
from edgeagent.tools.skill_command import Find, OpenSandbox, check_arguments, confined, printed, same_skill, secrets_of

RUN_SKILL_SCRIPT = "run_skill_script"
SCRIPT_SECONDS = 60.0
_SHELLS = frozenset({"sh", "bash", "dash", "ksh", "zsh"})
_WITH_SECRETS = 'for name in {names}; do eval "export $name=\\"\\$(cat \\"\\$${{name}}_FILE\\")\\""; done; exec "$@"'


@dataclass(frozen=True, slots=True)
class RunSkillScript:
    """Runs a script of one of these skills: their names, with what they say."""

    skills: dict[str, Skill]
    find: Find
    sandbox: OpenSandbox

    @property
    def spec(self) -> ToolSpec:
        every = sorted({script.removeprefix("scripts/") for skill in self.skills.values() for script in skill.scripts})
        properties = {
            "skill": {"type": "string", "enum": sorted(self.skills)},
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
        return replace(self.spec, origin=f"skill {name if name in self.skills else ''}".strip())

    def plan(self, arguments: Json, context: ToolContext) -> Plan:
        check_arguments(arguments, self.spec.parameters)
        name, script = arguments["skill"], f"scripts/{arguments['script']}"
        skill = self.skills[name]
        if script not in skill.scripts:
            raise ToolError(f"skill {name} has no script {shown(arguments['script'])}")
        return Plan(
            tool=RUN_SKILL_SCRIPT,
            arguments=arguments,
            reads=tuple(path for path in context.read_roots if path.exists()),
            writes=tuple(path for path in context.write_roots if path.exists()),
            detail={"skill": name, "fingerprint": self.find(name).fingerprint, "script": script},
            hosts=tuple(sorted(context.network)),
            secrets=tuple(key for key in skill.requirements.env if context.may_use(RUN_SKILL_SCRIPT, key)),
        )

    def apply(self, plan: Plan, context: ToolContext) -> str:
        skill = same_skill(self.find, plan)
        script = plan.detail["script"]
        argv = (*_program(skill.folder / script, script), *plan.arguments["arguments"])
        if plan.secrets:
            argv = ("sh", "-c", _WITH_SECRETS.format(names=" ".join(plan.secrets)), "sh", *argv)
        outcome = confined(
            self.sandbox,
            Command(
                argv=argv,
                folder=skill.folder.resolve(),
                reads=plan.reads,
                writes=plan.writes,
                hosts=plan.hosts,
                environment={"PYTHONPATH": str(skill.folder.resolve())},  # public ones `import scripts.utils`
                secrets=secrets_of(plan, context),
                limits=Limits(wall_seconds=SCRIPT_SECONDS, cpu_seconds=SCRIPT_SECONDS),
                idempotency_key=context.key,
            ),
        )
        text = printed(outcome, script, SCRIPT_SECONDS, context.redact)
        return cut(text.rstrip("\n") or "done", context.result_limit)

    def was_applied(self, plan: Plan, context: ToolContext) -> str | None:
        return None


def _program(path: Path, script: str) -> tuple[str, ...]:
    """How a script is started: by its ending, by itself where it may be executed, or by what it says that runs it."""
    named = shebang(path)
    interpreter = INTERPRETERS.get(path.suffix)
    if interpreter in _SHELLS and Path(named).name in _SHELLS:
        return (Path(named).name, script)  # much that ends in .sh is written for bash, and says so
    if interpreter or Path(named).name == "python":
        return (interpreter or "python3", script)
    fault = program_fault(path, script)
    if not fault:
        return (f"./{script}",)
    if not named:
        raise ToolError(fault)
    return (named, script)  # it lost its mark of a program on the way here, as it does in a zip archive
