"""The `output` of an agent: a JSON Schema that its final answer must match. Only the schema itself is checked here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from edgeagent.schema import Json


class SchemaFaultError(ValueError):
    """A fault inside the schema; `place` is the way to it from the top of the schema."""

    def __init__(self, place: tuple[str | int, ...], message: str) -> None:
        super().__init__(message)
        self.place = place


def check_output(schema: Json) -> Json:
    """The schema as it is. Raises SchemaFaultError, a ValueError, where it is not the schema of an object."""
    # Imported late: it loads a native library and 90 modules in 100 ms, and few agents have an output.
    from jsonschema import Draft202012Validator, SchemaError

    if schema.get("type") != "object":
        raise SchemaFaultError(("type",), 'must be the JSON Schema of an object: add "type: object"')
    for place, target in _references(schema, ()):
        if not isinstance(target, str) or not target.startswith("#"):
            raise SchemaFaultError(place, f"a schema may only refer to itself, not to {target!r}")
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise SchemaFaultError(tuple(error.path), f"not a valid JSON Schema: {error.message}") from error
    if fault := _grammar_fault(schema):
        raise SchemaFaultError((), f"an answer cannot be held to it while it is generated: {fault}")
    return schema


def _grammar_fault(schema: Json) -> str:
    """Why llguidance cannot take the schema; empty where it can."""
    from llguidance import LLMatcher  # a native library, too

    found = str(LLMatcher.validate_grammar(LLMatcher.grammar_from_lark("start: %json " + json.dumps(schema))))
    reason = found.partition("failed to compile JSON schema: ")[2] or found
    told = [line.removeprefix("error: ") for line in reason.splitlines() if line.startswith("error: ")]
    return (told or reason.splitlines() or [""])[0]


def _references(value: Any, place: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Every `$ref`: one that leaves the schema would make validation reach for the network."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        if key in ("$ref", "$dynamicRef") and not isinstance(inner, dict):
            yield (*place, key), inner
        yield from _references(inner, (*place, key))
