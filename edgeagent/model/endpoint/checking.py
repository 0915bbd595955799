"""Whether what a server's model wrote is a call of a tool that exists, with arguments of its schema; or an answer.

A local model cannot write anything else. One elsewhere can, and is told so once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from edgeagent.model.endpoint.wire import ToolNames, parse_json
from edgeagent.schema import Json, ToolCall, ToolSpec

_TAGGED = re.compile(r"<tool_call>\s*(\{.*\})\s*</tool_call>", re.DOTALL)
_FENCED = re.compile(r"```(?:json)?\s*\n(.*?)\n?\s*```", re.DOTALL)
LONGEST_FAULT = 300
_UNUSABLE = "its schema cannot be used"


class FaultError(Exception):
    """What is wrong with a call or an answer, in words for the model."""


def checked_call(name: str, arguments: str, tools: Sequence[ToolSpec], names: ToolNames) -> ToolCall:
    """Raises FaultError."""
    meant = names.meant(name)
    tool = next((tool for tool in tools if tool.name == meant), None)
    if tool is None:
        there = ", ".join(names.sent(tool.name) for tool in tools) or "none"
        raise FaultError(f"there is no tool {_short(repr(name))}; there is {there}")
    try:
        given = parse_json(arguments) if arguments.strip() else {}
    except ValueError as error:
        raise FaultError(f"the arguments of {name} are not JSON: {error}") from error
    if not isinstance(given, dict):
        raise FaultError(f"the arguments of {name} are not a JSON object")
    if fault := schema_fault(given, tool.parameters):
        raise FaultError(f"the arguments of {name} do not match its schema: {fault}")
    return ToolCall(tool.name, given)


def call_in_text(text: str, tools: Sequence[ToolSpec], names: ToolNames) -> ToolCall | None:
    """The call, where a server left one in the text: only where the whole text is that one call."""
    found = _TAGGED.fullmatch(text) or _FENCED.fullmatch(text)
    try:
        written = parse_json(found[1] if found else text)
    except ValueError:
        return None
    if not isinstance(written, dict) or set(written) not in ({"name", "arguments"}, {"name", "parameters"}):
        return None
    arguments = written.get("arguments", written.get("parameters"))
    tool = next((tool for tool in tools if written["name"] in (tool.name, names.sent(tool.name))), None)
    if tool is None or not isinstance(arguments, dict) or schema_fault(arguments, tool.parameters):
        return None
    return ToolCall(tool.name, arguments)


def checked_output(text: str, schema: Json) -> str:
    """The JSON of a final answer, without a fence around it. Raises FaultError."""
    fenced = _FENCED.fullmatch(text)
    text = fenced[1] if fenced else text
    try:
        value = parse_json(text)
    except ValueError as error:
        raise FaultError(f"the answer is not JSON: {error}") from error
    if fault := schema_fault(value, schema):
        raise FaultError(f"the answer does not match its schema: {fault}")
    return text


def schema_fault(value: Any, schema: Json) -> str:
    """Why a value does not match; empty where it does. A schema refers to itself only: nothing is fetched."""
    import jsonschema  # heavy, and only models elsewhere need it
    import referencing

    validator = jsonschema.validators.validator_for(schema, jsonschema.Draft202012Validator)
    try:
        validator.check_schema(schema)
        fault = next(validator(schema, registry=referencing.Registry()).iter_errors(value), None)
    except (referencing.exceptions.Unresolvable, jsonschema.SchemaError, re.error, RecursionError) as error:
        return f"{_UNUSABLE}: {_short(str(error))}"
    if fault is None:
        return ""
    place = ".".join(map(str, fault.absolute_path))
    return _short(f"{place}: {fault.message}" if place else fault.message)


def schemas_fault(tools: Sequence[ToolSpec]) -> str:
    """What is wrong with the schema of a tool; empty where calls can be checked by all of them."""
    for tool in tools:
        if (fault := schema_fault({}, tool.parameters)).startswith(_UNUSABLE):
            return f"{tool.name}: {fault}"
    return ""


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= LONGEST_FAULT else f"{text[:LONGEST_FAULT]}…"
