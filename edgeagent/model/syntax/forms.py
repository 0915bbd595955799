"""The two families of ways to write the arguments of a call, each with its grammar and its reading.

`JsonArguments`: all of them as one JSON object. `Parameters`: one after the other, each with something before its key,
between key and value and after the value, which may depend on the type of the value: tags, Python-like calls, and
notations of single model families. What stands around the arguments is the matter of `call`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from edgeagent.model.syntax.lark import ANY, Rules, quoted
from edgeagent.model.syntax.schema_rules import (
    Alternatives,
    SchemaError,
    ValueRules,
    chained,
    json_rule,
    text_pattern,
)
from edgeagent.model.syntax.values import JSON, Style, UnreadableError, read_value
from edgeagent.schema import Json


class Arguments(Protocol):
    """A way to write arguments."""

    def rule(self, rules: Rules, schema: Json) -> str:
        """A grammar expression of arguments that match the schema. SchemaError where there is none."""

    def read(self, text: str, at: int, schema: Json) -> tuple[Json, int]:
        """The arguments that begin at `at`, and where they end. UnreadableError where they are cut."""


@dataclass(frozen=True, slots=True)
class JsonArguments:
    """One JSON object."""

    separators: tuple[str, str] = (", ", ": ")

    def rule(self, rules: Rules, schema: Json) -> str:
        return rules.rule(json_rule(schema, self.separators))

    def read(self, text: str, at: int, schema: Json) -> tuple[Json, int]:
        value, end = read_value(text, at, JSON)
        if not isinstance(value, dict):
            raise UnreadableError()
        return value, end

    def written(self, arguments: Json) -> str:
        return json.dumps(arguments, ensure_ascii=False, separators=self.separators)


@dataclass(frozen=True, slots=True)
class Unit:
    """How one parameter is written: texts around its key and value. `{key}` in them stands for the key.

    `style` is the notation of the value; None: a text as it is, which then cannot contain `after`.
    """

    before: str
    between: str
    after: str
    style: Style | None

    def head(self, key: str) -> str:
        return self.before + key + self.between.replace("{key}", key)

    def tail(self, key: str) -> str:
        return self.after.replace("{key}", key)


@dataclass(frozen=True, slots=True)
class Parameters:
    """One parameter after the other.

    Args:
        units: by the type of the value.
        separator: between two parameters.
        is_sorted: whether the template puts them in the order of their names.
    """

    units: Mapping[str, Unit]
    separator: str = ""
    is_sorted: bool = False

    # --- grammar ------------------------------------------------------------------------------------------------

    def rule(self, rules: Rules, schema: Json) -> str:
        if schema.get("type", "object") != "object":
            raise SchemaError("the arguments of a tool are an object")
        properties, required = self._properties(schema)
        keys = sorted(properties) if self.is_sorted else list(properties)
        entries = [(self._entry(rules, schema, key, properties[key]), key in required) for key in keys]
        return chained(rules, entries, quoted(self.separator))

    def _properties(self, schema: Json) -> tuple[Json, set[str]]:
        root = Alternatives(schema)
        found = [single for single in root.of({**schema, "type": "object"}) if single.get("type") == "object"]
        if len(found) != 1:
            raise SchemaError("the arguments of a tool are one object, without alternatives")
        properties, required = found[0].get("properties", {}), set(found[0].get("required", ()))
        if missing := sorted(required - properties.keys()):
            raise SchemaError(f"{missing[0]} is required and not described")
        return properties, required

    def _entry(self, rules: Rules, root: Json, key: str, schema: Any) -> str:
        if key in ("", "{key}") or not key.isprintable() or rules.has_special(key):
            raise SchemaError(f"{key!r} cannot be written as the name of a parameter")
        by_unit: dict[Unit, list[str]] = {}
        for single in Alternatives(root).of(schema):
            for unit, value in self._values(rules, root, key, single):
                by_unit.setdefault(unit, []).append(value)
        options = [
            f"{rules.text(unit.head(key))} ({' | '.join(dict.fromkeys(values))})" for unit, values in by_unit.items()
        ]
        if not options:
            raise SchemaError(f"{key} allows nothing")
        return rules.rule(" | ".join(options))

    def _values(self, rules: Rules, root: Json, key: str, single: Json) -> list[tuple[Unit, str]]:
        if "enum" in single or "const" in single:
            values = single.get("enum", [single.get("const")])
            return [self._constant(rules, root, key, value) for value in values]
        unit = self.unit(single["type"])
        if unit.style is None:
            return [(unit, rules.up_to(text_pattern(single, ANY, unit.tail(key)), unit.tail(key)))]
        value = ValueRules(rules, unit.style, root).rule(single)
        if unit.style.is_json and single["type"] != "boolean" and not _refers_to_root(single):
            separators = (unit.style.item_separator, unit.style.key_separator)
            value = rules.rule(json_rule(_with_definitions(single, root), separators))
        return [(unit, f"{value} {rules.text(unit.tail(key))}")]

    def _constant(self, rules: Rules, root: Json, key: str, value: Any) -> tuple[Unit, str]:
        unit = self.unit(kind_of(value))
        if unit.style is None:
            if unit.tail(key) in str(value):
                raise SchemaError(f"{value!r} contains what ends a parameter in this model's call syntax")
            return unit, rules.data("", str(value), unit.tail(key))
        return unit, f"{ValueRules(rules, unit.style, root).constant(value)} {rules.text(unit.tail(key))}"

    def unit(self, kind: str) -> Unit:
        return self.units["number" if kind == "integer" else kind]

    # --- reading ------------------------------------------------------------------------------------------------

    def read(self, text: str, at: int, schema: Json) -> tuple[Json, int]:
        properties, _ = self._properties(schema)
        arguments: Json = {}
        while found := self._read_one(text, at, schema, properties, bool(arguments)):
            key, value, at = found
            arguments[key] = value
        return arguments, at

    def _read_one(
        self, text: str, at: int, root: Json, properties: Json, is_later: bool
    ) -> tuple[str, Any, int] | None:
        if is_later:
            if not text.startswith(self.separator, at):
                return None
            at += len(self.separator)
        for key in sorted(properties, key=len, reverse=True):
            kinds = _kinds(Alternatives(root), properties[key])
            for kind in sorted(kinds, key=_LAST_READ.__contains__):
                unit = self.unit(kind)
                if not text.startswith(unit.head(key), at):
                    continue
                read = _read_unit(text, at + len(unit.head(key)), unit, key, kind)
                if read is not None:
                    return key, *read
        return None


_LAST_READ = frozenset({"string"})
"""A text can look like anything, so it is tried when nothing else fits."""


def _read_unit(text: str, at: int, unit: Unit, key: str, kind: str) -> tuple[Any, int] | None:
    if unit.style is None:
        value, mark, _ = text[at:].partition(unit.tail(key))
        if not mark:
            raise UnreadableError()
        end = at + len(value) + len(mark)
        return value.removeprefix(_CDATA[0]).removesuffix(_CDATA[1]) if _is_cdata(value) else value, end
    try:
        read, end = read_value(text, at, unit.style)
    except UnreadableError:
        return None
    is_of_kind = kind_of(read) == kind or (kind == "number" and kind_of(read) == "integer")
    if not is_of_kind or not text.startswith(unit.tail(key), end):
        return None
    return read, end + len(unit.tail(key))


_CDATA = ("<![CDATA[", "]]>")


def _is_cdata(text: str) -> bool:
    """Whether a text is written as XML writes one with tags in it; some models do."""
    return text.startswith(_CDATA[0]) and text.endswith(_CDATA[1])


def kind_of(value: Any) -> str:
    """The JSON type of a value."""
    if value is None:
        return "null"
    for kind, python in (("boolean", bool), ("integer", int), ("number", float), ("string", str), ("array", list)):
        if isinstance(value, python):
            return kind
    return "object"


def _kinds(alternatives: Alternatives, schema: Any) -> set[str]:
    kinds: set[str] = set()
    for single in alternatives.of(schema):
        if "enum" in single or "const" in single:
            kinds |= {kind_of(value) for value in single.get("enum", [single.get("const")])}
        else:
            kinds.add(single["type"])
    return kinds


def _refers_to_root(schema: Json) -> bool:
    """Whether it refers to parts of the whole that `_with_definitions` does not bring along."""
    return re.search(r'"\$ref": "#(?!/\$defs/|/definitions/)', json.dumps(schema)) is not None


def _with_definitions(schema: Json, root: Json) -> Json:
    definitions: Json = {key: root[key] for key in ("$defs", "definitions") if key in root}
    return {**definitions, **schema}
