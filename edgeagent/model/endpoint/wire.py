"""A conversation as OpenAI-compatible servers take it, and the shapes of what they answer.

Names of tools are sent in the letters that these servers allow. What comes back is parsed here once; whatever does not
look like an answer is a ModelError.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from edgeagent.errors import ModelError
from edgeagent.schema import Json, Message, ToolSpec

_LETTER = re.compile(r"[^A-Za-z0-9_-]")
LONGEST_NAME = 64


class ToolNames:
    """The names of tools on the wire, one for each, and back."""

    def __init__(self, tools: Sequence[ToolSpec]) -> None:
        self._sent: dict[str, str] = {}
        for tool in tools:
            plain = _LETTER.sub("_", tool.name)[:LONGEST_NAME]
            name, number = plain, 1
            while name in self._sent.values():
                number += 1
                name = f"{plain[: LONGEST_NAME - 4]}_{number}"
            self._sent[tool.name] = name
        self._meant = {name: tool for tool, name in self._sent.items()}

    def sent(self, tool: str) -> str:
        return self._sent.get(tool) or _LETTER.sub("_", tool)[:LONGEST_NAME]

    def meant(self, name: str) -> str:
        return self._meant.get(name, name)


def messages_json(messages: Sequence[Message], names: ToolNames) -> list[Json]:
    """The messages, with an id for each call that its result names again. Reasoning is not sent back."""
    shown: list[Json] = []
    calls = 0
    for message in messages:
        said: Json = {"role": message.role, "content": message.content}
        if message.role == "tool":
            said |= {"tool_call_id": _id(calls - 1), "name": names.sent(message.name)}
        elif message.calls:
            said["tool_calls"] = [
                {
                    "id": _id(calls + number),
                    "type": "function",
                    "function": {
                        "name": names.sent(call.name),
                        "arguments": json.dumps(call.arguments, ensure_ascii=False),
                    },
                }
                for number, call in enumerate(message.calls)
            ]
            calls += len(message.calls)
        shown.append(said)
    return shown


def tools_json(tools: Sequence[ToolSpec], names: ToolNames) -> list[Json]:
    functions = [tool.as_function() for tool in tools]
    for tool, function in zip(tools, functions, strict=True):
        function["function"]["name"] = names.sent(tool.name)
    return functions


def encoded(body: Json) -> bytes:
    """A request as bytes. Halves of characters, as in names of files that are not UTF-8, are no JSON to servers."""
    return json.dumps(_whole(body)).encode()


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_whole(key): _whole(item) for key, item in value.items()}
    return [_whole(item) for item in value] if isinstance(value, list | tuple) else value


def _id(number: int) -> str:
    """Nine letters and digits: some templates behind such servers insist."""
    return f"call{max(number, 0):05d}"


# --- answers ------------------------------------------------------------------------------------------------------


def _text(value: Any) -> Any:
    """Text, of which some servers send a list of parts."""
    if isinstance(value, list):
        value = "".join(str(part.get("text", "")) for part in value if isinstance(part, dict))
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _arguments(value: Any) -> Any:
    """JSON as text, which some servers send as an object."""
    return json.dumps(value) if isinstance(value, dict) else _text(value)


Text = Annotated[str | None, BeforeValidator(_text)]


class _Shape(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Function(_Shape):
    name: Text = None
    arguments: Annotated[str | None, BeforeValidator(_arguments)] = None


class Call(_Shape):
    index: int | None = None
    id: Text = None
    function: Function = Function()


class Said(_Shape):
    """A message, or a piece of one."""

    content: Text = None
    reasoning_content: Text = None
    reasoning: Text = None
    refusal: Text = None
    tool_calls: list[Call] | None = None


class Choice(_Shape):
    delta: Said | None = None
    message: Said | None = None
    finish_reason: str | None = None


class Details(_Shape):
    cached_tokens: int | None = Field(default=None, ge=0)


class Usage(_Shape):
    prompt_tokens: int | None = Field(default=None, ge=0, lt=2**53)
    completion_tokens: int | None = Field(default=None, ge=0, lt=2**53)
    prompt_tokens_details: Details | None = None


class Chunk(_Shape):
    """An answer, or a piece of one."""

    choices: list[Choice] = []
    usage: Usage | None = None
    error: Any = None


class Listed(_Shape):
    id: str


class Listing(_Shape):
    data: list[Listed]


def parse_json(data: bytes | str) -> Any:
    """Raises ValueError for everything that is not JSON; also for what is nested too deep."""
    try:
        return json.loads(data, parse_constant=_no_number)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number in JSON")


def parse_chunk(data: bytes, where: object) -> Chunk:
    try:
        return Chunk.model_validate(parse_json(data))
    except (ValidationError, ValueError) as error:
        raise rubbish(data, where) from error


def rubbish(data: bytes, where: object) -> ModelError:
    shown = " ".join(data[:200].decode("utf-8", "replace").split())[:80]
    told = f"{where} answered with what is no chat completion: {shown}" if shown else f"{where} answered with nothing"
    return ModelError(told, "is it an OpenAI-compatible server, and does its address end with /v1?")
