"""`load_skill`: the instructions of a skill, and the texts that they send a reader to, when the model asks for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgeagent.errors import ToolError
from edgeagent.schema import Json, ToolSpec
from edgeagent.skills import Skill
from edgeagent.skills.files import open_inside, read_head
from edgeagent.tools.base import Plan, ToolContext, cut, shown
from edgeagent.tools.skill_command import Find, check_arguments, usable

LOAD_SKILL = "load_skill"
_MOST_BYTES = 1_000_000
_MOST_NAMES = 20
_BASE = "{baseDir}"
"""What public skills write for their own folder, which is where their scripts start."""


@dataclass(frozen=True, slots=True)
class LoadSkill:
    """Gives the instructions of a skill, so that they cost tokens only where they are wanted."""

    skills: dict[str, Skill]
    find: Find

    @property
    def spec(self) -> ToolSpec:
        about = " ".join(f"{name}: {_sentence(skill.description)}" for name, skill in sorted(self.skills.items()))
        properties: dict[str, Any] = {"name": {"type": "string", "enum": sorted(self.skills)}}
        if any(skill.documents for skill in self.skills.values()):
            properties["file"] = {"type": "string"}
        schema = {"type": "object", "properties": properties, "required": ["name"], "additionalProperties": False}
        return ToolSpec(LOAD_SKILL, f"Read how to use a skill. {about}", schema, read_only=True, idempotent=True)

    def plan(self, arguments: Json, context: ToolContext) -> Plan:
        check_arguments(arguments, self.spec.parameters)
        return Plan(LOAD_SKILL, arguments)

    def apply(self, plan: Plan, context: ToolContext) -> str:
        skill = usable(self.find(plan.arguments["name"]))
        file = plan.arguments.get("file")
        text = _document(skill, file) if file else _instructions(skill)
        return cut(text.replace(_BASE, "."), context.result_limit)

    def was_applied(self, plan: Plan, context: ToolContext) -> str | None:
        return None


def _instructions(skill: Skill) -> str:
    text = skill.instructions or "(no instructions)"
    if not skill.documents:
        return text
    return f"{text}\n\nMore to read, by name and file: {_names(skill)}"


def _document(skill: Skill, file: str) -> str:
    """One text of a skill. ToolError for one that it does not have."""
    name = file.removeprefix(_BASE).lstrip("./")
    if name not in skill.documents:
        raise ToolError(f"{skill.name} has no text {shown(file)}; it has {_names(skill) or 'none'}")
    raw = read_head(open_inside(skill.folder, name), _MOST_BYTES)
    return raw.decode("utf-8", "replace").strip() or "(empty)"


def _names(skill: Skill) -> str:
    more = len(skill.documents) - _MOST_NAMES
    return ", ".join(skill.documents[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _sentence(text: str, limit: int = 120) -> str:
    first = text.split(". ")[0].rstrip(".") + "."
    return first if len(first) <= limit else first[: limit - 1] + "…"
