"""Whether a JSON Schema is one. What is plain to see is seen here; the rest is asked of jsonschema.

That library takes 4 MB and 0.1 s to load, and a daemon reads the schemas of every skill whether it runs one or not.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from edgeagent.schema import Json

_TYPES = {"array", "boolean", "integer", "null", "number", "object", "string"}


def check_schema(schema: Json) -> None:
    """Raises ValueError where it is no schema of draft 2020-12."""
    if is_plain(schema):
        return
    from jsonschema import Draft202012Validator, SchemaError

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise ValueError(f"is no JSON Schema: {error.message}") from error


def is_plain(schema: Any) -> bool:
    """Whether it is a schema, of common keywords alone. False says nothing."""
    if isinstance(schema, bool):
        return True
    return isinstance(schema, dict) and all(key in _PLAIN and _PLAIN[key](value) for key, value in schema.items())


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_pattern(value: Any) -> bool:
    try:
        re.compile(value)
    except (re.error, TypeError, OverflowError, RecursionError):
        return False
    return isinstance(value, str)


def _is_type(value: Any) -> bool:
    return isinstance(value, str) and value in _TYPES


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value) and len(set(value)) == len(value)


def _are_schemas(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(is_plain(one) for one in value)


def _are_named_schemas(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(name, str) and is_plain(one) for name, one in value.items())


_PLAIN: dict[Any, Callable[[Any], bool]] = {
    "type": _is_type,
    "pattern": _is_pattern,
    "required": _are_names,
    "enum": lambda value: isinstance(value, list),
    "const": lambda value: True,
    "default": lambda value: True,
    "multipleOf": lambda value: _is_number(value) and value > 0,
    **dict.fromkeys(("title", "description"), _is_text),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), _is_number),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"), _is_count),
    "uniqueItems": _is_flag,
    "properties": _are_named_schemas,
    **dict.fromkeys(("items", "additionalProperties", "not"), is_plain),
    **dict.fromkeys(("anyOf", "oneOf", "allOf"), _are_schemas),
}
