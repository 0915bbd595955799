"""Chat requests and results as JSON objects, for the pipe between the daemon and the model host."""

from __future__ import annotations

from dataclasses import asdict

from edgeagent.model.protocol import ChatRequest, ChatResult
from edgeagent.schema import Json, Message, ToolCall, ToolSpec


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
