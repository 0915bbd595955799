"""JSON Schemas of strangers, cut to what can be held while a model writes and checked in bounded time.

What is dropped only loosens: the server checks its arguments itself. References are written out, so that no schema
doubles at each step; patterns go, since a regular expression of a stranger can take for ever; nothing is fetched.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgeagent.mcp.texts import visible
from edgeagent.schema import Json

_MOST_PARTS = 2_000
_DEEPEST = 24
_TEXT = 300
_TYPES = frozenset({"string", "integer", "number", "boolean", "null", "array", "object"})
_PLAIN = frozenset(
    {"minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}
    | {"minItems", "maxItems", "enum", "const", "default", "examples", "required", "format"}
)
_TEXTS = frozenset({"title", "description", "$schema"})
_CHOICES = ("anyOf", "oneOf", "allOf")


class SchemaFault(Exception):
    """A schema that cannot be held, in words."""


def held(told: Any, *, arguments: bool = False) -> Json:
    """The schema, or SchemaFault. `arguments`: it must describe an object, as the arguments of a tool are."""
    if not isinstance(told, dict):
        raise SchemaFault("it has no schema")
    schema = _Cutter(told).cut(told, 0, ())
    if not arguments:
        return schema
    if schema.get("type", "object") != "object" or any(key in schema for key in _CHOICES):
        raise SchemaFault("its arguments are no object")
    return {"type": "object", "properties": {}, **schema}


class _Cutter:
    def __init__(self, root: Json) -> None:
        self._root = root
        self._parts = 0

    def cut(self, told: Any, depth: int, within: tuple[str, ...]) -> Json:
        """`within`: the references that are being written out."""
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise SchemaFault(f"its schema has more than {_MOST_PARTS} parts")
        if depth > _DEEPEST or not isinstance(told, dict):
            return {}
        reference = told.get("$ref")
        if isinstance(reference, str):
            beside = {key: value for key, value in told.items() if key != "$ref"}
            if reference in within:
                return self.cut(beside, depth + 1, within)  # it refers to itself: anything may stand there
            target = self._resolved(reference)
            merged = {**target, **beside} if isinstance(target, dict) else beside
            return self.cut(merged, depth + 1, (*within, reference))
        return self._keywords(told, lambda part: self.cut(part, depth + 1, within))

    def _keywords(self, told: Json, cut: Callable[[Any], Json]) -> Json:
        kept: Json = {}
        for key, value in told.items():
            if key == "type" and (kinds := _types(value)):
                kept[key] = kinds
            elif key in _TEXTS and isinstance(value, str):
                kept[key] = visible(value, _TEXT)
            elif key in _PLAIN:
                kept[key] = value
            elif key == "properties" and isinstance(value, dict):
                kept[key] = {str(name): cut(part) for name, part in value.items()}
            elif (key == "items" and isinstance(value, dict)) or key == "additionalProperties":
                kept[key] = value if isinstance(value, bool) else cut(value)
            elif key in _CHOICES and isinstance(value, list) and value:
                kept[key] = [cut(part) for part in value]
        return _consistent(kept)

    def _resolved(self, reference: str) -> Any:
        """Within the schema alone."""
        place: Any = self._root
        if reference == "#":
            return place
        if not reference.startswith("#/"):
            return {}
        for part in reference[2:].split("/"):
            key = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(place, dict) or key not in place:
                return {}
            place = place[key]
        return place


def _types(value: Any) -> str | list[str] | None:
    if isinstance(value, str):
        return value if value in _TYPES else None
    if not isinstance(value, list):
        return None
    return [kind for kind in value if isinstance(kind, str) and kind in _TYPES] or None


def _consistent(schema: Json) -> Json:
    """Without keywords whose values make no sense, which would fail later and elsewhere."""
    properties = schema.get("properties")
    if "required" in schema:
        required = schema["required"]
        names = [name for name in required if isinstance(name, str)] if isinstance(required, list) else []
        schema["required"] = [name for name in dict.fromkeys(names) if properties is None or name in properties]
    for key in ("minLength", "maxLength", "minItems", "maxItems"):
        if key in schema and not (isinstance(schema[key], int) and 0 <= schema[key] <= 10**9):
            del schema[key]
    for key in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"):
        value = schema.get(key)
        if key in schema and (isinstance(value, bool) or not isinstance(value, int | float)):
            del schema[key]
    if "enum" in schema and not (isinstance(schema["enum"], list) and schema["enum"]):
        del schema["enum"]
    if schema.get("multipleOf", 1) <= 0:
        del schema["multipleOf"]
    return schema
