"""What a vocabulary, a schema or a full context can do to a turn: it ends in words, and the host serves the next."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from templates_world import chatml
from tiny_models import make_model

from edgeagent.model.client import HostModel, HostOptions
from edgeagent.model.protocol import ChatRequest, ChatResult
from edgeagent.schema import Json, Message, ToolSpec

LONG_TAG = f"<|{'call' * 30}|>"
LONG_WORD = "Donaudampfschifffahrtsgesellschaftskapitaen" * 3
TAGGED = chatml(
    f"{LONG_TAG}{{{{ call.name }}}} {{{{ call.arguments | tojson }}}}", tools="{{ tools[0].function.name }}"
)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Callable[..., HostModel]]:
    hosts: list[HostModel] = []

    def make(context: int = 4096, **model: Any) -> HostModel:
        path = make_model(tmp_path / f"{len(hosts)}.gguf", **model)
        hosts.append(HostModel("tiny", path, HostOptions(context=context, threads=1, cache=str(tmp_path / "cache"))))
        return hosts[-1]

    yield make
    for one in hosts:
        one.close()


def ask(model: HostModel, pieces: list[str], tools: tuple[ToolSpec, ...] = (), **options: Any) -> ChatResult:
    options = {"max_thinking_tokens": 0, "temperature": 1.0} | options
    messages = (Message("system", "Do it."), Message("user", "now"))
    return model.chat(ChatRequest(messages, tools, **options), threading.Event(), pieces.append)


def only(value: str) -> Json:
    properties = {"a": {"const": value}}
    return {"type": "object", "properties": properties, "required": ["a"], "additionalProperties": False}


def called(model: HostModel, spec: ToolSpec, **options: Any) -> tuple[ChatResult, str]:
    """A turn that is a call, or begins one; and what was told of it while it was written."""
    pieces: list[str] = []
    result = ask(model, pieces, (spec,), **options)
    return result, "".join(pieces)


@pytest.fixture
def caller(host: Callable[..., HostModel]) -> Callable[..., HostModel]:
    """Models that call a tool whenever they may."""
    return partial(host, architecture="qwen2", template=TAGGED, special=[LONG_TAG], favourite=LONG_TAG)


def test_token_pieces_of_any_length_are_written_and_read(caller: Callable[..., HostModel]) -> None:
    model = caller(words=[LONG_WORD])
    result, told = called(model, ToolSpec("use", "", only(LONG_WORD)), max_tokens=200)
    assert result.call and result.call.arguments == {"a": LONG_WORD} and LONG_TAG in told
    assert result.output_tokens < 30, "each is one token"


@pytest.mark.parametrize("value", ["😀 漢字 ünï 👩‍👩‍👧", "漢" * 60, "e\u0301" * 20])
def test_characters_that_are_split_over_tokens_are_whole_in_the_end_and_on_the_way(
    host: Callable[..., HostModel], value: str
) -> None:
    pieces: list[str] = []
    result = ask(host(), pieces, output_schema=only(value), max_tokens=400)
    assert result.text == f'{{"a": "{value}"}}' == "".join(pieces)
    assert result.output_tokens > len(value), "there is no token for any of them"


def test_a_context_that_is_full_in_the_middle_of_a_call_cuts_it_and_the_next_turn_goes_on(
    caller: Callable[..., HostModel],
) -> None:
    model = caller(context=256)
    long = ToolSpec(
        "use", "", {"type": "object", "properties": {"a": {"type": "string", "minLength": 900}}, "required": ["a"]}
    )
    result, told = called(model, long, max_tokens=5000)
    assert (result.finish, result.call) == ("length", None) and '"a"' in told
    assert 200 < result.input_tokens + result.output_tokens <= 256
    assert ask(model, [], max_tokens=5).output_tokens
    forced, _ = called(model, ToolSpec("use", "", only("q" * 3000)), max_tokens=5000)
    assert (forced.finish, forced.call) == ("length", None), "what the grammar forces does not fit either"
    assert ask(model, [], max_tokens=5).output_tokens


RECURSIVE: Json = {
    "type": "object",
    "properties": {"v": {"type": "integer"}, "next": {"$ref": "#"}},
    "required": ["v"],
    "additionalProperties": False,
}
HUGE: Json = {
    "type": "object",
    "properties": {f"key_{n}": {"enum": [f"v{m}" for m in range(5)]} for n in range(150)},
    "required": ["key_0", "key_149"],
    "additionalProperties": False,
}
EMPTY: Json = {"type": "object", "properties": {}, "additionalProperties": False}


@pytest.mark.parametrize("schema", [RECURSIVE, HUGE, EMPTY], ids=["recursive", "huge", "empty"])
def test_a_model_is_held_to_schemas_that_are_recursive_huge_or_empty(
    caller: Callable[..., HostModel], schema: Json
) -> None:
    model = caller(context=8192)
    result, told = called(model, ToolSpec("use", "", schema), max_tokens=1500, max_prompt_tokens=0)
    assert LONG_TAG in told
    assert result.call or result.finish == "length"
    if result.call:
        jsonschema.validate(result.call.arguments, schema)
