"""A model that says what it was told to say: for tests, and for trying an agent's plumbing without a model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from edgeagent.errors import ModelCancelled, ModelError
from edgeagent.model.protocol import ChatRequest, ChatResult
from edgeagent.schema import ToolCall


class ScriptedModel:
    """Answers with the given turns in order: a ToolCall, a final text, or an exception to raise.

    `requests` keeps what was asked, so that a test can look at it.
    """

    name = "scripted"

    def __init__(self, turns: Iterable[ToolCall | str | Exception]) -> None:
        self._turns = iter(turns)
        self.requests: list[ChatRequest] = []

    def chat(self, request: ChatRequest, stop: threading.Event, on_text: Callable[[str], None]) -> ChatResult:
        self.requests.append(request)
        if stop.is_set():
            raise ModelCancelled("cancelled")
        turn = next(self._turns, None)
        if turn is None:
            raise ModelError("the script has no more turns")
        if isinstance(turn, Exception):
            raise turn
        call = turn if isinstance(turn, ToolCall) else None
        text = "" if isinstance(turn, ToolCall) else turn
        on_text(text)
        size = sum(len(message.content) for message in request.messages)
        return ChatResult(text, "", call, "call" if call else "stop", size, 0, 1, 0.0, 0.0)

    def close(self) -> None:
        """Nothing to end."""
