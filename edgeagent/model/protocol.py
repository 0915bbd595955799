"""What a model is to the rest of the program: something that continues a conversation.

Implementations: `ScriptedModel` (tests), `ScriptModel` (a file), `HostModel` (llama.cpp in a child process),
`EndpointModel` (a server elsewhere).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from edgeagent.schema import Json, Message, ToolCall, ToolSpec

SAMPLING = ("temperature", "seed", "top_k", "top_p", "min_p", "repetition_penalty")
"""The fields of `Sampling`, which are those of a request and of an agent's model table too."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are picked. Temperature 0 always takes the likeliest; then `top_k`, `top_p`, `min_p` mean nothing.

    Off are `top_k` 0, `top_p` 1, `min_p` 0, `repetition_penalty` 1. docs/models.md says when the same seed gives the
    same tokens.
    """

    temperature: float = 0.0
    seed: int = 0
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    repetition_penalty: float = 1.0

    def of(self, request: ChatRequest) -> Sampling:
        """This, with what the request asks for itself."""
        asked = {name: getattr(request, name) for name in SAMPLING}
        return replace(self, **{name: value for name, value in asked.items() if value is not None})


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One turn to generate.

    Either one call of `tools` comes back, or a final answer: free text, or JSON that matches `output_schema`.
    Limits are in tokens. The last six say how tokens are picked, see `Sampling`; None: as the model is set up.
    """

    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    output_schema: Json | None = None
    max_tokens: int = 512
    max_prompt_tokens: int = 0
    max_thinking_tokens: int = 256
    temperature: float | None = None
    seed: int | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None


@dataclass(frozen=True, slots=True)
class ChatResult:
    """What the model wrote, parsed. `finish` is `length` where the token limit cut it: then `call` is None.

    Of the input tokens, `cached_tokens` were not read again: their state was in memory, or in a file (`disk_tokens`).
    """

    text: str
    reasoning: str
    call: ToolCall | None
    finish: Literal["call", "stop", "length"]
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    seconds: float
    time_to_first_token: float
    disk_tokens: int = 0


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
            ModelError: the model cannot be loaded or reached, its host died, or what it wrote is no valid call.
            NotFound, SecretError: the key of an endpoint is not to be had.
        """

    def close(self) -> None:
        """Ends the model's process, if it has one. It starts again when asked again."""
