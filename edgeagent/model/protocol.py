"""What a model is to the rest of the program: something that continues a conversation.

Implementations: `ScriptedModel` (tests), `HostModel` (llama.cpp in a child process).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from edgeagent.schema import Json, Message, ToolCall, ToolSpec


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One turn to generate.

    Either one call of `tools` comes back, or a final answer: free text, or JSON that matches `output_schema`.
    Limits are in tokens. Temperature 0 is greedy; with the same seed, model, machine and build the same tokens come.
    """

    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    output_schema: Json | None = None
    max_tokens: int = 512
    max_prompt_tokens: int = 0
    max_thinking_tokens: int = 256
    temperature: float = 0.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class ChatResult:
    """What the model wrote, parsed. `finish` is `length` where the token limit cut it: then `call` is None."""

    text: str
    reasoning: str
    call: ToolCall | None
    finish: Literal["call", "stop", "length"]
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    seconds: float
    time_to_first_token: float


class Model(Protocol):
    name: str

    def chat(self, request: ChatRequest, stop: threading.Event, on_text: Callable[[str], None]) -> ChatResult:
        """Generates one turn.

        Args:
            stop: set by another thread to end the generation soon.
            on_text: gets pieces of text as they are generated.

        Raises:
            ModelCancelled: `stop` was set.
            PromptTooLong: the conversation has more tokens than the context or `max_prompt_tokens`.
            ModelError: the model cannot be loaded, or its host died.
        """

    def close(self) -> None:
        """Ends the model's process, if it has one. It starts again when asked again."""
