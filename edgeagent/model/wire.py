"""What goes over the pipe between the daemon and the model host: options, chat requests and results as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from edgeagent.model.protocol import ChatRequest, ChatResult
from edgeagent.schema import Json, Message, ToolCall, ToolSpec


@dataclass(frozen=True, slots=True)
class HostOptions:
    """How the host loads its model.

    `context` in tokens; `threads` 0 for what was measured to suit; `memory_reserve` in bytes that must stay free;
    `slots` conversations at a time; `kv_type` f16 or q8_0; `flash_attention` auto, on or off. In `cache`, a folder, lie
    the measurements and the states of prompts (empty: none are kept), of these up to `states_disk` bytes on disk and
    `states_memory` in memory. Not `constrained`, it writes what it likes: for measuring
    what the constraint is worth.
    """

    context: int = 4096
    threads: int = 0
    memory_reserve: int = 256_000_000
    slots: int = 4
    kv_type: str = "f16"
    flash_attention: str = "auto"
    mmap: bool = True
    mlock: bool = False
    cache: str = ""
    states_disk: int = 512_000_000
    states_memory: int = 256_000_000
    constrained: bool = True

    def as_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> HostOptions:
        return cls(**json.loads(text))


def request_to_json(request: ChatRequest) -> Json:
    return asdict(request)


def request_from_json(data: Json) -> ChatRequest:
    messages = tuple(
        Message(**{**message, "calls": tuple(ToolCall(**call) for call in message["calls"])})
        for message in data["messages"]
    )
    return ChatRequest(**{**data, "messages": messages, "tools": tuple(ToolSpec(**tool) for tool in data["tools"])})


def result_to_json(result: ChatResult) -> Json:
    return asdict(result)


def result_from_json(data: Json) -> ChatResult:
    return ChatResult(**{**data, "call": ToolCall(**data["call"]) if data["call"] else None})
