"""A model's way of holding a conversation: its chat template, how it writes a call, and what of a prompt never varies.

Turns a request into tokens and a grammar, and written text back into what was said. The engine knows of templates and
call syntax only through this. Safe to use from several threads.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from edgeagent.errors import ModelError, PromptTooLong
from edgeagent.model.fitting import fitted
from edgeagent.model.llama import Weights
from edgeagent.model.protocol import ChatRequest
from edgeagent.model.slots import common
from edgeagent.model.syntax.derive import derive_syntax
from edgeagent.model.syntax.syntax import Turn
from edgeagent.model.template import ChatTemplate
from edgeagent.schema import Message, ToolSpec

_PROBES = ("event", "\n\n1", " (", "Zürich")
"""Stand for the part of a prompt that varies. They begin so differently that no token reaches over from what is before
them in all of them."""
_SHORTEST_ANSWER = 8
"""Tokens that must be left in the context for an answer."""


class Conversations:
    """The conversations that one model can hold. `context` is the longest, in tokens."""

    def __init__(self, path: Path, weights: Weights, context: int) -> None:
        source = weights.chat_template()
        if not source:
            raise ModelError(f"{path.name} has no chat template", "use an instruction-tuned model")
        self._weights = weights
        self._context = context
        special = weights.special_texts()
        self._template = ChatTemplate(
            source, special, bos=weights.begin_text(), eos=weights.end_text(), in_own_process=True
        )
        self._syntax = derive_syntax(self._template, special, [weights.text([token]) for token in weights.end_tokens()])
        self._stable: dict[str, list[int]] = {}

    def prompt(self, request: ChatRequest) -> list[int]:
        """The conversation as tokens, fitted to its budget."""
        tools = request.tools
        messages = fitted(
            request.messages, self._budget(request), lambda part: len(self._tokens(part, tools)), self._count
        )
        return self._tokens(messages, tools)

    def _budget(self, request: ChatRequest) -> int:
        room = self._context - min(request.max_tokens, self._context // 4)
        return min(request.max_prompt_tokens or room, room)

    def _count(self, text: str) -> int:
        return len(self._weights.tokenize(text, special=False))

    def _tokens(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> list[int]:
        """The rendered conversation as tokens. Special-token texts inside messages stay text: they are cut in two."""
        tokens: list[int] = []
        tokenize = self._weights.tokenize
        for text, is_literal in self._template.render(messages, tools, habits=self._syntax.habits):
            if is_literal:
                tokens += tokenize(text[:1], special=False) + tokenize(text[1:], special=False)
                continue
            first = not tokens
            new = tokenize(text, special=True, first=first)
            twice = first and len(new) > 1 and new[0] == new[1] == self._weights.begin_token
            tokens += new[1:] if twice else new
        return tokens

    def room(self, request: ChatRequest, prompt: int) -> int:
        """How many tokens may be written after a prompt of that many. PromptTooLong where that is none."""
        limit = request.max_prompt_tokens
        if limit and prompt > limit:
            raise PromptTooLong(
                f"the conversation has {prompt} tokens and may have {limit}", "raise limits.prompt_tokens"
            )
        if self._context - prompt < _SHORTEST_ANSWER:
            raise PromptTooLong(
                f"the conversation has {prompt} tokens and the context holds {self._context}", "raise model.context"
            )
        return min(request.max_tokens, self._context - prompt)

    def stable(self, request: ChatRequest, prompt: list[int]) -> int:
        """How many leading tokens of the prompt are the same whatever the event: found by rendering other events."""
        head = []
        for message in request.messages:
            if message.role != "system":
                break
            head.append(message)
        key = hashlib.sha256(
            json.dumps([asdict(message) for message in head] + [asdict(tool) for tool in request.tools]).encode()
        ).hexdigest()
        known = self._stable.get(key)
        if known is None or common(known, prompt) < len(known):
            others = [replace(request, messages=(*head, Message("user", text))) for text in _PROBES]
            known = self._common_to(prompt, others)
            self._stable[key] = known
        return len(known)

    def _common_to(self, prompt: list[int], others: list[ChatRequest]) -> list[int]:
        try:
            length = min(common(prompt, self.prompt(other)) for other in others)
            return prompt[: min(length, len(prompt) - 1)]
        except ModelError:  # a template that takes only some conversations: then nothing is known to be stable
            return []

    def grammar(self, request: ChatRequest) -> str:
        """What may be written in this turn, in llguidance's Lark dialect."""
        return self._syntax.grammar(request.tools, request.output_schema, request.max_thinking_tokens)

    def read(self, request: ChatRequest, written: str) -> Turn:
        """What a finished turn says. ModelError where the text is not of the grammar, which means it was cut."""
        return self._syntax.read(written, request.tools, request.output_schema is not None)
