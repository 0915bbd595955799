"""Whether a skill's scripts can be started, and those in Python take the arguments that its tools.yaml hands them.

Compares the command line that a script reads (`parsers`) with `run` and `input_schema`. What cannot be told from the
source is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from edgeagent.skills.files import program_fault
from edgeagent.skills.manifest import Skill
from edgeagent.skills.parsers import Argument, CommandLine, command_line
from edgeagent.skills.sidecar import SkillTool

_SLOT = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


def drift(skill: Skill) -> list[str]:
    """What does not fit, one line each."""
    found: list[str] = []
    for tool in skill.tools:
        script = tool.script
        if script is not None and tool.is_script:
            fault = program_fault(skill.folder / script, script)
            found += [f"{skill.folder / script}: {fault}"] if fault else []
        if script is None or not script.endswith(".py") or tool.input == "stdin-json":
            continue
        path = skill.folder / script
        try:
            line = command_line(path)
        except (OSError, ValueError, SyntaxError) as error:
            found.append(f"{path}: cannot be read as Python: {error}")
            continue
        if line is not None:
            found += [f"{path}: {fault}" for fault in dict.fromkeys(_faults(tool, line))]
    return found


@dataclass(frozen=True, slots=True)
class _Given:
    """One thing that `run` hands over: to an option, or by its place (`name` empty). `slot` names what fills it."""

    name: str
    slot: str
    word: str


def _faults(tool: SkillTool, line: CommandLine) -> Iterator[str]:
    words = tool.run[tool.run.index(tool.script or "") + 1 :]
    command = next((word for word in words if word in line.commands), "")
    taken = [argument for argument in line.arguments if argument.command in ("", command)]
    options = {name: argument for argument in taken if argument.is_option for name in argument.names}
    booleans = {name for name, schema in tool.input_schema.get("properties", {}).items() if _is_boolean(schema)}
    has_places = any(not argument.is_option for argument in taken)
    given = list(_given([word for word in words if word != command], options, booleans if has_places else None))
    if line.commands and not command and not any(one.slot for one in given if not one.name):
        yield f"it wants one of the commands {', '.join(sorted(line.commands))}, and tools.yaml gives {tool.name} none"
    for one in given:
        if not one.name:
            continue
        argument = _option(one.name, options)
        if argument is not None:
            yield from _misfits(tool, one, argument)
        elif line.is_whole:
            yield f"tools.yaml hands {tool.name} the option {one.name}, which it does not take"
    yield from _missing(tool, given, taken, options)
    yield from _misplaced(tool, given, taken, line)


def _is_boolean(schema: Any) -> bool:
    return isinstance(schema, dict) and schema.get("type") == "boolean"


def _given(words: list[str], options: dict[str, Argument], booleans: set[str] | None) -> Iterator[_Given]:
    """What the words of `run` hand over, in their order.

    A slot behind a bare option belongs to it, unless it may be an argument that goes by its place: `booleans` are then
    the slots that cannot.
    """
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        if not word.startswith("-") or len(word) == 1:
            yield _Given("", _slot(word), word)
            continue
        name, joined, value = word.partition("=")
        argument = _option(name, options)
        follows = words[position] if position < len(words) else ""
        is_slot = _SLOT.fullmatch(follows) is not None
        if argument is None or not argument.takes_value:
            follows = (
                follows if is_slot and (booleans is None or argument is None or _slot(follows) in booleans) else ""
            )
        if not joined and follows and not follows.startswith("-"):
            value, position = follows, position + 1
        yield _Given(name, _slot(value), value)


def _slot(word: str) -> str:
    found = _SLOT.search(word)
    return found[1] if found else ""


def _option(name: str, options: dict[str, Argument]) -> Argument | None:
    """The option of that name, or of the one that it abbreviates."""
    if name in options:
        return options[name]
    longer = {id(argument): argument for full, argument in options.items() if full.startswith(name)}
    return next(iter(longer.values())) if name.startswith("--") and len(longer) == 1 else None


def _misfits(tool: SkillTool, given: _Given, argument: Argument) -> Iterator[str]:
    """What the schema allows for one argument and the script refuses."""
    where = given.name or f"the argument {argument.names[0]}"
    if not given.slot:
        if given.word and argument.choices and given.word not in argument.choices:
            yield f"tools.yaml hands {tool.name} {where} {given.word}, which it does not take"
        return
    schema: dict[str, Any] = tool.input_schema.get("properties", {}).get(given.slot, {})
    kind = schema.get("type")
    if kind == "boolean" and argument.takes_value and given.name:
        yield f"{where} takes a value, and {given.slot} is a boolean, which gives the bare option"
    elif kind != "boolean" and not argument.takes_value:
        yield f"{where} takes no value, so {given.slot} must be a boolean"
    elif kind == "array" and not argument.takes_many:
        yield f"{where} takes one value, and {given.slot} is an array"
    elif (
        argument.kind
        and "enum" not in schema
        and kind not in ("integer", "boolean", "number" if argument.kind == "float" else "integer")
    ):
        yield f"{where} takes {argument.kind}, and {given.slot} is {kind or 'anything'} in tools.yaml"
    yield from _choices(given, argument, schema, where)
    if argument.is_required and given.slot not in tool.input_schema.get("required", ()):
        yield f"it needs {where}, and {given.slot} is not required in tools.yaml"


def _choices(given: _Given, argument: Argument, schema: dict[str, Any], where: str) -> Iterator[str]:
    items = schema.get("items", {}) if schema.get("type") == "array" else schema
    allowed = [items["const"]] if "const" in items else items.get("enum")
    if not argument.choices:
        return
    if allowed is None:
        yield f"{where} takes {', '.join(argument.choices)} alone, and {given.slot} has no enum in tools.yaml"
        return
    for value in sorted(set(map(str, allowed)) - set(argument.choices)):
        yield f"tools.yaml allows {where} {value}, which it does not take"


def _missing(
    tool: SkillTool, given: list[_Given], taken: list[Argument], options: dict[str, Argument]
) -> Iterator[str]:
    got = {id(_option(one.name, options)) for one in given if one.name}
    for argument in taken:
        if argument.is_option and argument.is_required and id(argument) not in got:
            yield f"it needs the option {argument.names[0]}, which tools.yaml does not give {tool.name}"
    used = {slot for word in tool.run for slot in _SLOT.findall(word)}
    for name in tool.input_schema.get("properties", {}):
        if name not in used:
            yield f"the argument {name} of {tool.name} is in no word of run, so it never arrives"


def _misplaced(tool: SkillTool, given: list[_Given], taken: list[Argument], line: CommandLine) -> Iterator[str]:
    """What goes by its place: more or fewer words than the script takes."""
    words = [one for one in given if not one.name]
    places = [argument for argument in taken if not argument.is_option]
    if len(words) > len(places) and line.is_whole and not any(argument.takes_many for argument in places):
        yield f"tools.yaml hands {tool.name} {len(words)} words without an option, and it takes {len(places)}"
    for number, argument in enumerate(places):
        if number < len(words):
            yield from _misfits(tool, words[number], argument)
        elif argument.is_required:
            yield f"it needs the argument {argument.names[0]}, which tools.yaml does not give {tool.name}"
        if argument.takes_many:
            break
