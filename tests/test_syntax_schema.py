"""Schemas that tools and answers may have: those that can be held, and one named error for each that cannot."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher, LLTokenizer
from templates_world import chatml, derived

from edgeagent.errors import ModelError
from edgeagent.model.inspecting import schema_fault
from edgeagent.model.protocol import ChatRequest
from edgeagent.model.syntax.syntax import CallSyntax
from edgeagent.schema import Json, Message, ToolCall, ToolSpec

TAGGED = derived(
    chatml(
        "<call><f={{ call.name }}>{% for key, value in call.arguments.items() %}<p={{ key }}>"
        "{{ value if value is string else value | tojson }}</p>{% endfor %}</f></call>"
    )
)
PYTHON = derived(
    chatml(
        "[{{ call.name }}({% for key, value in call.arguments.items() %}{{ key }}="
        "{{ value.__repr__() if false else (value | tojson if value is string else value) }}"
        "{{ '' if loop.last else ', ' }}{% endfor %})]"
    )
)
JSON = derived(chatml('<call>{"name": "{{ call.name }}", "arguments": {{ call.arguments | tojson }}}</call>'))
SYNTAXES = {"tags": TAGGED, "Python": PYTHON, "JSON": JSON}
BYTES = LLTokenizer("byte")


def tool(schema: Any, required: bool = True) -> ToolSpec:
    parameters: Json = {"type": "object", "properties": {"a": schema}, "additionalProperties": False}
    return ToolSpec("use", "Uses.", {**parameters, "required": ["a"] if required else []})


def fault_of(syntax: CallSyntax, spec: ToolSpec) -> str:
    try:
        grammar = syntax.grammar((spec,), None, 0)
    except ModelError as error:
        return error.message
    return str(LLMatcher.validate_grammar(LLMatcher.grammar_from_lark(grammar)))


def takes(syntax: CallSyntax, spec: ToolSpec, written: str) -> bool:
    matcher = LLMatcher(BYTES, LLMatcher.grammar_from_lark(syntax.grammar((spec,), None, 0)))
    assert not matcher.is_error(), matcher.get_error()
    data = list(written.encode())
    count = matcher.validate_tokens(data)
    matcher.consume_tokens(data[:count])
    return count == len(data) and (matcher.is_stopped() or matcher.is_accepting())


RECURSIVE: Json = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "inner": {"$ref": "#/$defs/node"}},
    "required": ["name"],
    "additionalProperties": False,
    "$defs": {
        "node": {
            "type": "object",
            "properties": {"v": {"type": "integer"}, "next": {"$ref": "#/$defs/node"}},
            "required": ["v"],
            "additionalProperties": False,
        }
    },
}
HUGE: Json = {
    "type": "object",
    "properties": {f"key_{n}": {"type": "string", "description": "x" * 200} for n in range(300)},
    "required": [],
    "additionalProperties": False,
}


@pytest.mark.parametrize("syntax", SYNTAXES.values(), ids=list(SYNTAXES))
@pytest.mark.parametrize(
    "schema", [RECURSIVE, HUGE, {}, {"type": "object", "properties": {}}], ids=lambda s: str(s)[:24]
)
def test_recursive_huge_and_empty_schemas_can_be_held(syntax: CallSyntax, schema: Json) -> None:
    assert fault_of(syntax, ToolSpec("use", "Uses.", schema)) == ""


@pytest.mark.parametrize("syntax", SYNTAXES.values(), ids=list(SYNTAXES))
@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nonsense"},
        {"not": {"type": "string"}},
        {"enum": []},
        False,
        {"type": "string", "pattern": "(?=x)y"},
        {"$ref": "#/nowhere"},
        {"anyOf": []},
        {"type": "array", "uniqueItems": True},
    ],
    ids=str,
)
def test_a_schema_that_cannot_be_held_is_one_named_fault(syntax: CallSyntax, schema: Any) -> None:
    assert fault_of(syntax, tool(schema)) != ""


def test_a_schema_that_refers_to_itself_without_end_is_a_fault() -> None:
    endless = {"$ref": "#/properties/a"}
    assert "without end" in fault_of(TAGGED, tool(endless))


def test_the_check_that_needs_no_model_names_the_fault() -> None:
    messages = (Message("user", "x"),)
    assert schema_fault(ChatRequest(messages, (tool({"type": "string"}),))) == ""
    assert "nonsense" in schema_fault(ChatRequest(messages, (tool({"type": "nonsense"}),)))
    assert schema_fault(ChatRequest(messages, (), {"type": "object", "not": {}})) != ""


TEXTS: dict[str, tuple[Json, list[str], list[str]]] = {
    "length": ({"type": "string", "minLength": 2, "maxLength": 4}, ["ab", "abcd"], ["a", "abcde"]),
    "pattern": ({"type": "string", "pattern": "^[a-z]+-[0-9]{2}$"}, ["ab-12"], ["ab-1", "AB-12", "xab-123"]),
    "pattern within": ({"type": "string", "pattern": "[0-9]"}, ["a1b"], ["ab"]),
    "choice": ({"type": "string", "enum": ["one", "one two"]}, ["one", "one two"], ["on", "two"]),
    "constant": ({"const": "this"}, ["this"], ["that"]),
}


@pytest.mark.parametrize("syntax", SYNTAXES.values(), ids=list(SYNTAXES))
@pytest.mark.parametrize("case", TEXTS)
def test_what_a_schema_says_of_a_text_holds_in_every_syntax(syntax: CallSyntax, case: str) -> None:
    schema, right, wrong = TEXTS[case]
    spec = tool(schema)
    assert all(takes(syntax, spec, call_of(syntax, text)) for text in right)
    assert not any(takes(syntax, spec, call_of(syntax, text)) for text in wrong)


def call_of(syntax: CallSyntax, value: str) -> str:
    if syntax is TAGGED:
        return f"<call><f=use><p=a>{value}</p></f></call>"
    if syntax is PYTHON:
        return f"[use(a={json.dumps(value)})]"
    return f'<call>{{"name": "use", "arguments": {{"a": {json.dumps(value)}}}}}</call>'


@pytest.mark.parametrize("syntax", SYNTAXES.values(), ids=list(SYNTAXES))
@pytest.mark.parametrize(
    "value",
    ["nul \0 inside", "x" * 100_000, "bell \a", "{" * 300, "\\" * 51, "ünï 漢 \U0001f600"],
    ids=lambda v: repr(v[:9]),
)
def test_odd_arguments_are_read_back_exactly(syntax: CallSyntax, value: str) -> None:
    spec = tool({"type": "string"})
    assert syntax.read(call_of(syntax, value), (spec,), False).call == ToolCall("use", {"a": value})


def test_lone_surrogates_in_arguments_are_read_as_json_escapes_them() -> None:
    written = '<call>{"name": "use", "arguments": {"a": "bad\\udcff"}}</call>'
    assert JSON.read(written, (tool({"type": "string"}),), False).call == ToolCall("use", {"a": "bad\udcff"})


@pytest.mark.parametrize("syntax", SYNTAXES.values(), ids=list(SYNTAXES))
def test_a_call_that_is_nested_without_end_is_cut_and_no_crash(syntax: CallSyntax) -> None:
    spec = tool({"type": "array"})
    deep = "[" * 100_000
    written = call_of(syntax, "@").replace('"@"', deep).replace("@", deep)
    with pytest.raises(ModelError):
        syntax.read(written, (spec,), False)


LEAF = st.one_of(st.integers(-99, 99), st.booleans(), st.none(), st.text("ab 'x", max_size=5))
VALUES = st.recursive(LEAF, lambda inner: st.lists(inner, max_size=3), max_leaves=6)


def schema_for(value: Any) -> Json:
    if isinstance(value, list):
        items = [schema_for(item) for item in value]
        return {"type": "array", "items": {"anyOf": items} if items else {"type": "null"}}
    kinds = {bool: "boolean", int: "integer", str: "string", type(None): "null"}
    return {"type": kinds[type(value)]}


@settings(max_examples=60, deadline=None)
@given(VALUES)
def test_any_value_of_a_schema_can_be_written_in_tags_and_is_read_back(value: Any) -> None:
    spec = tool(schema_for(value))
    jsonschema.validate({"a": value}, spec.parameters)
    shown = value if isinstance(value, str) else json.dumps(value)
    written = f"<call><f=use><p=a>{shown}</p></f></call>"
    assert takes(TAGGED, spec, written), written
    assert TAGGED.read(written, (spec,), False).call == ToolCall("use", {"a": value})
