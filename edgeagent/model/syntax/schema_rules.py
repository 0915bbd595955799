"""JSON Schema as grammar rules, for notations other than JSON and for texts that stand without quotes.

JSON itself is llguidance's own matter (`%json`). Here is the part of JSON Schema that tools use; whatever else a schema
says is a fault, told when the agent is validated, never left out in silence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from edgeagent.errors import ModelError
from edgeagent.model.syntax.lark import ANY, NOTHING, Rules, longest, quoted
from edgeagent.model.syntax.values import Style
from edgeagent.schema import Json

KINDS = ("string", "integer", "number", "boolean", "null", "array", "object")
_NOTES = frozenset(
    {"title", "description", "default", "examples", "$schema", "$id", "$comment", "$defs", "definitions", "deprecated"}
    | {"readOnly", "writeOnly", "format", "contentEncoding", "contentMediaType", "x-guidance", "$anchor"}
)
_KNOWN = {
    "string": {"minLength", "maxLength", "pattern"},
    "integer": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"},
    "number": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"},
    "boolean": set(),
    "null": set(),
    "array": {"items", "minItems", "maxItems"},
    "object": {"properties", "required", "additionalProperties"},
}
_ALL_KNOWN = frozenset().union(*_KNOWN.values(), {"type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref"}, _NOTES)
FIXED_SPACES = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


class SchemaError(ModelError):
    """A schema that cannot be written as a grammar."""

    def __init__(self, what: str) -> None:
        super().__init__(f"the schema cannot be held while generating: {what}", "write it with simpler keywords")


def json_rule(schema: Json | bool, separators: tuple[str, str] = (", ", ": ")) -> str:
    """JSON of that schema, in llguidance's own way. No choice of spaces: a weak model would write them for ever."""
    spaces = {**FIXED_SPACES, "item_separator": separators[0], "key_separator": separators[1]}
    table = schema if isinstance(schema, dict) else {} if schema else {"not": {}}
    return "%json " + json.dumps({**table, "x-guidance": spaces})


class Alternatives:
    """A schema taken apart: the schemas of one type each that a value may match, with references resolved."""

    def __init__(self, root: Json) -> None:
        self._root = root

    def of(self, schema: Any, depth: int = 0) -> Iterator[Json]:
        """Schemas that each have one `type`, an `enum` or a `const`."""
        if depth > 32:
            raise SchemaError("it refers to itself without end")
        if schema is True or schema == {}:
            schema = {"type": list(KINDS)}
        if not isinstance(schema, dict):
            raise SchemaError("it allows nothing" if schema is False else "a part of it is no schema")
        if "$ref" in schema:
            yield from self.of({**self.resolved(schema["$ref"]), **_except(schema, "$ref")}, depth + 1)
        elif "allOf" in schema:
            yield from self.of(self._merged([_except(schema, "allOf"), *schema["allOf"]]), depth + 1)
        elif "anyOf" in schema or "oneOf" in schema:
            key = "anyOf" if "anyOf" in schema else "oneOf"
            for part in schema[key]:
                yield from self.of(self._merged([_except(schema, key), part]), depth + 1)
        else:
            yield from self._single(schema)

    def _single(self, schema: Json) -> Iterator[Json]:
        if unknown := schema.keys() - _ALL_KNOWN:
            raise SchemaError(f"{sorted(unknown)[0]} is not known")
        if "enum" in schema or "const" in schema:
            yield schema
            return
        types = schema.get("type", _implied(schema))
        for kind in [types] if isinstance(types, str) else types:
            if kind not in KINDS:
                raise SchemaError(f"{kind!r} is no type")
            if kind == "integer" and "number" in types and isinstance(types, list):
                continue
            others = set().union(*(_KNOWN[other] for other in KINDS if other != kind)) - _KNOWN[kind]
            yield {**{key: value for key, value in schema.items() if key not in others}, "type": kind}

    def resolved(self, reference: Any) -> Json:
        value: Any = self._root
        for part in str(reference).removeprefix("#").split("/")[1:]:
            part = part.replace("~1", "/").replace("~0", "~")
            value = value.get(part) if isinstance(value, dict) else None
        if not str(reference).startswith("#") or not isinstance(value, dict):
            raise SchemaError(f"{reference!r} refers to nothing in it")
        return value

    def _merged(self, parts: Sequence[Any]) -> Json:
        merged: Json = {}
        for part in parts:
            if not isinstance(part, dict):
                raise SchemaError("a part of it is no schema")
            part = {**self.resolved(part["$ref"]), **_except(part, "$ref")} if "$ref" in part else part
            for key, value in part.items():
                if key == "properties":
                    merged[key] = {**merged.get(key, {}), **value}
                elif key == "required":
                    merged[key] = [*merged.get(key, []), *value]
                elif key in merged and merged[key] != value and key not in _NOTES:
                    raise SchemaError(f"its parts say two things of {key}")
                else:
                    merged[key] = value
        return merged


def _except(schema: Json, key: str) -> Json:
    return {name: value for name, value in schema.items() if name != key}


def _implied(schema: Json) -> list[str]:
    """The types of a schema that names none."""
    kinds = [kind for kind, keys in _KNOWN.items() if keys & schema.keys()]
    return kinds if kinds and len(kinds) == 1 else list(KINDS)


class ValueRules:
    """Rules for values in one notation. One for each grammar, tool and style."""

    def __init__(self, rules: Rules, style: Style, root: Json) -> None:
        self._rules = rules
        self._style = style
        self._alternatives = Alternatives(root)
        self._known: dict[str, str] = {}

    def rule(self, schema: Any) -> str:
        """The name of a rule that writes a value of the schema."""
        key = json.dumps(schema, sort_keys=True)
        if key not in self._known:  # known before it is made: a schema may refer to itself
            name = self._known[key] = self._rules.reserve()
            options = [self._one(single) for single in self._alternatives.of(schema)]
            if not options:
                raise SchemaError("it allows nothing")
            self._rules.define(name, " | ".join(dict.fromkeys(options)))
        return self._known[key]

    def _one(self, schema: Json) -> str:
        if "enum" in schema or "const" in schema:
            values = schema.get("enum", [schema.get("const")])
            if not values:
                raise SchemaError("an enum of it is empty")
            return " | ".join(self.constant(value) for value in values)
        match schema["type"]:
            case "string":
                return self._text(schema)
            case "boolean":
                return f"{quoted(self._style.true)} | {quoted(self._style.false)}"
            case "null":
                return quoted(self._style.null)
            case "array":
                return self._list(schema)
            case "object":
                return self._table(schema)
        return self._rules.rule(json_rule(schema))

    def constant(self, value: Any) -> str:
        """Exactly this value."""
        style = self._style
        if value is None or isinstance(value, bool):
            return quoted(style.word(value))
        if isinstance(value, str):
            return self._rules.data(style.quotes[0], self._escaped(value), style.quotes[1])
        if isinstance(value, int | float):
            return quoted(json.dumps(value))
        if isinstance(value, list):
            inner = f" {quoted(style.item_separator)} ".join(map(self.constant, value))
            return f'"[" {inner} "]"' if value else '"[]"'
        entries = [f"{self._key(key)} {self.constant(item)}" for key, item in value.items()]
        inner = f" {quoted(style.item_separator)} ".join(entries)
        return f'"{{" {inner} "}}"' if value else '"{}"'

    def _escaped(self, text: str) -> str:
        style = self._style
        if style.has_escapes:
            return (
                json.dumps(text, ensure_ascii=False)[1:-1]
                .replace('\\"', '"')
                .replace(style.quotes[1], "\\" + style.quotes[1])
            )
        if style.quotes[1] in text:
            raise SchemaError(f"{style.quotes[1]} cannot stand in a text of this model's call syntax")
        return text

    def _text(self, schema: Json) -> str:
        opening, closing = self._style.quotes
        if not self._style.has_escapes:
            body = text_pattern(schema, ANY, closing)
            return f"{self._rules.text(opening)} {self._rules.up_to(body, closing)}"
        quotes = [closing] if self._style.is_json else ["'", '"']  # Python takes the one that is not in the text
        return " | ".join(self._rules.terminal(f"{quoted(q)} {_inside(schema, q)} {quoted(q)}") for q in quotes)

    def _list(self, schema: Json) -> str:
        least, most = int(schema.get("minItems", 0)), schema.get("maxItems")
        item, comma = self.rule(schema.get("items", True)), quoted(self._style.item_separator)
        if most is not None and most < max(least, 1):
            if most < least:
                raise SchemaError("maxItems is below minItems")
            return '"[]"'
        more = f"({comma} {item}){{{max(least - 1, 0)},{'' if most is None else most - 1}}}"
        whole = f'"[" {item} {more} "]"'
        return whole if least else f'"[]" | {whole}'

    def _table(self, schema: Json) -> str:
        properties, required = schema.get("properties", {}), schema.get("required", ())
        if missing := [key for key in required if key not in properties]:
            raise SchemaError(f"{missing[0]} is required and not described")
        if not properties and schema.get("additionalProperties", True) is not False:
            return self._open_table(schema.get("additionalProperties", True))
        entries = [(f"{self._key(key)} {self.rule(value)}", key in required) for key, value in properties.items()]
        return f'"{{" {chained(self._rules, entries, quoted(self._style.item_separator))} "}}"'

    def _open_table(self, schema: Any) -> str:
        name = self._rules.terminal(r"/[A-Za-z_][A-Za-z0-9_]{0,40}/")
        opening, closing = self._style.quotes if self._style.quotes_keys else ("", "")
        key = " ".join(filter(None, (opening and quoted(opening), name, closing and quoted(closing))))
        entry = f"{key} {quoted(self._style.key_separator)} {self.rule(schema)}"
        return f'"{{}}" | "{{" {entry} ({quoted(self._style.item_separator)} {entry})* "}}"'

    def _key(self, key: str) -> str:
        style = self._style
        if not style.quotes_keys:
            return self._rules.data("", key, style.key_separator)
        return self._rules.data(style.quotes[0], self._escaped(key), style.quotes[1] + style.key_separator)


def _inside(schema: Json, quote: str) -> str:
    """A terminal expression: a text between quotes, with escapes."""
    if schema.keys() & _KNOWN["string"]:  # its characters are counted as they stand, so none is escaped
        return text_pattern(schema, rf"/[^\\{quote}\x00-\x1f\x7f]*/")
    return rf"/([^\\{quote}\x00-\x1f\x7f]|\\([{quote}\\nrt]|u[0-9a-f]{{4}}))*/"


def text_pattern(schema: Json, base: str, closing: str = "") -> str:
    """A terminal expression: texts that a string schema allows, within the expression `base`, before `closing`.

    A bound of the length that is too large to be counted is lowered.
    """
    parts = [base]
    least, most = int(schema.get("minLength", 0)), schema.get("maxLength")
    if least or most is not None:
        most = min(int(most), longest(closing)) if most is not None else None
        if least > (longest(closing) if most is None else most):
            raise SchemaError(f"a text of {least} characters is too long to be asked for")
        parts.append(rf"/(.|\n){{{least},{'' if most is None else most}}}/")
    if "pattern" in schema:
        parts.append(_anchored(schema["pattern"]))
    return parts[0] if len(parts) == 1 else f"({' & '.join(parts)})"


def _anchored(pattern: str) -> str:
    """JSON Schema looks for a pattern anywhere in a text; a grammar matches the whole."""
    begins, ends = pattern.startswith("^"), bool(re.search(r"(?<!\\)(\\\\)*\$$", pattern))
    inner = pattern[begins : len(pattern) - ends]
    is_odd = re.search(r"(?<![\\\[])\^|(?<!\\)\$|\(\?[=!<]|\\[bB1-9]", inner) or ("|" in inner and (begins or ends))
    if is_odd and not re.fullmatch(r"\((?:[^()]|\([^()]*\))*\)", inner):
        raise SchemaError(f"the pattern {pattern!r} has parts that a grammar cannot hold")
    inner = re.sub(r"(?<!\\)/", r"\\/", inner).replace("\n", r"\n")
    anything = r"(.|\n)*"
    return f"/{'' if begins else anything}({inner}){'' if ends else anything}/"


def chained(rules: Rules, entries: Sequence[tuple[str, bool]], separator: str) -> str:
    """The entries in order, optional ones (False) left out or not, with the separator between those that are there."""
    first = following = NOTHING
    for body, is_required in reversed(entries):
        written = f"{body} {following}"
        omitted_first, omitted_following = ("", "") if is_required else (f" | {first}", f" | {following}")
        first, following = rules.rule(written + omitted_first), rules.rule(f"{separator} {written}{omitted_following}")
    return first
