"""Tiny models with random weights, for each public template and each architecture: what they write is always valid."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import jsonschema
import pytest
from templates_world import NAMES, chatml, needs_public, public, special_of
from tiny_models import ARCHITECTURES, make_model

from edgeagent.model.client import HostModel, HostOptions
from edgeagent.model.protocol import ChatRequest
from edgeagent.schema import Json, Message, ToolCall, ToolSpec

EACH = 21
"""Generations a template: 24 of them make 504."""
SHORT: Json = {"type": "string", "maxLength": 12}
SORT: Json = {
    "type": "object",
    "properties": {
        "path": SHORT,
        "count": {"type": "integer", "minimum": 1, "maximum": 99},
        "is_final": {"type": "boolean"},
        "labels": {"type": "array", "items": SHORT, "maxItems": 3},
        "place": {
            "type": "object",
            "properties": {"folder": SHORT, "ratio": {"enum": [0.5, 2]}},
            "required": ["folder"],
            "additionalProperties": False,
        },
        "kind": {"enum": ["letter", "bill", 'it\'s "other"']},
        "note": {"type": ["string", "null"], "maxLength": 8},
    },
    "required": ["path", "kind"],
    "additionalProperties": False,
}
TOOLS = (
    ToolSpec("sort_file", "Sorts one file.", SORT),
    ToolSpec("sort", "Sorts all.", {"type": "object", "properties": {}, "additionalProperties": False}),
)
OUTPUT: Json = {
    "type": "object",
    "properties": {"kind": {"enum": ["a", "b"]}},
    "required": ["kind"],
    "additionalProperties": False,
}
TALK = (
    Message("system", "You file documents."),
    Message("user", "event: file\nname: x.txt"),
    Message("assistant", "", "a reason", (ToolCall("sort_file", {"path": "x", "kind": "bill", "labels": ["y"]}),)),
    Message("tool", "error: no such file", name="sort_file"),
)


def fault_of(model: HostModel, seed: int, share_of_talk: int) -> tuple[str, bool]:
    """What is wrong with one generation, and whether it is a call."""
    asked = ChatRequest(
        TALK[:share_of_talk], TOOLS, OUTPUT, max_tokens=900, max_thinking_tokens=16, temperature=1.0, seed=seed
    )
    result = model.chat(asked, threading.Event(), lambda text: None)
    if result.finish == "length":
        return f"cut: {result}", False
    schema = next(tool.parameters for tool in TOOLS if tool.name == result.call.name) if result.call else OUTPUT
    value = result.call.arguments if result.call else json.loads(result.text)
    fault = next(jsonschema.Draft202012Validator(schema).iter_errors(value), None)
    return fault.message if fault else "", result.call is not None


def generate(path: Path, count: int) -> tuple[list[str], int]:
    model = HostModel(path.stem, path, HostOptions(threads=1))
    try:
        found = [fault_of(model, seed, 2 if seed % 2 else 4) for seed in range(count)]
    finally:
        model.close()
    return [fault for fault, _ in found if fault], sum(is_call for _, is_call in found)


@needs_public
@pytest.mark.parametrize("name", NAMES)
def test_whatever_a_model_of_a_public_template_writes_is_valid(name: str, tmp_path: Path) -> None:
    source = public(name)
    path = make_model(tmp_path / "tiny.gguf", template=source, special=special_of(source))
    faults, calls = generate(path, EACH)
    assert faults == [] and calls > 0


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_whatever_the_architecture_what_is_written_is_valid(architecture: str, tmp_path: Path) -> None:
    faults, calls = generate(make_model(tmp_path / "tiny.gguf", architecture), EACH)
    assert faults == [] and calls > 0


TAGS = (
    "<invoke name='{{ call.name }}'>{% for key, value in call.arguments.items() %}<parameter name='{{ key }}'>"
    "{{ value if value is string else value | tojson }}</parameter>{% endfor %}</invoke>"
)


def test_a_vocabulary_without_the_template_s_tokens_writes_them_as_text(tmp_path: Path) -> None:
    source = chatml(f"<think>{{{{ message.reasoning_content }}}}</think>{TAGS}")
    faults, calls = generate(make_model(tmp_path / "tiny.gguf", template=source), EACH)
    assert faults == [] and calls > 0
