"""Whether a skill's Python scripts take the arguments that its tools.yaml hands them. Read from the source, never run.

Looks at `add_argument` calls of argparse with literal names. What cannot be told from the source is left alone.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from edgeagent.skills.manifest import Skill
from edgeagent.skills.sidecar import SkillTool


@dataclass(frozen=True, slots=True)
class _Option:
    names: tuple[str, ...]
    is_required: bool
    choices: tuple[str, ...]


def drift(skill: Skill) -> list[str]:
    """What does not fit, one line each."""
    found: list[str] = []
    for tool in skill.tools:
        script = tool.script
        if script is None or not script.endswith(".py") or tool.input == "stdin-json":
            continue
        try:
            source = (skill.folder / script).read_text(encoding="utf-8")
            options = list(_options(ast.parse(source)))
        except (OSError, ValueError, SyntaxError) as error:
            found.append(f"{skill.folder / script}: cannot be read as Python: {error}")
            continue
        if options:
            found += [f"{skill.folder / script}: {fault}" for fault in _faults(tool, options)]
    return found


def _faults(tool: SkillTool, options: list[_Option]) -> Iterator[str]:
    known = {name: option for option in options for name in option.names}
    given = {word.split("=")[0] for word in tool.run if word.startswith("-") and len(word) > 1}
    for name in sorted(given - set(known)):
        yield f"tools.yaml hands {tool.name} the option {name}, which it does not take"
    for option in options:
        if option.is_required and option.names[0].startswith("-") and not given & set(option.names):
            yield f"it needs the option {option.names[0]}, which tools.yaml does not give {tool.name}"
    properties = tool.input_schema.get("properties", {})
    for before, word in zip(tool.run, tool.run[1:], strict=False):
        allowed = properties.get(word.strip("{}"), {}).get("enum")
        if before in known and allowed and known[before].choices:
            for value in sorted(set(map(str, allowed)) - set(known[before].choices)):
                yield f"tools.yaml allows {before} {value}, which it does not take"


def _options(tree: ast.AST) -> Iterator[_Option]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if node.func.attr != "add_argument":
            continue
        names = tuple(one.value for one in node.args if isinstance(one, ast.Constant) and isinstance(one.value, str))
        if names:
            settings = {keyword.arg: keyword.value for keyword in node.keywords}
            required = settings.get("required")
            yield _Option(
                names,
                isinstance(required, ast.Constant) and bool(required.value),
                tuple(_literals(settings.get("choices"))),
            )


def _literals(node: ast.expr | None) -> Iterator[str]:
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        yield from (str(one.value) for one in node.elts if isinstance(one, ast.Constant))
