"""An answer of a server, put together from its pieces: server-sent events, or one JSON object."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from edgeagent.errors import ModelError
from edgeagent.model.endpoint.exchange import Head
from edgeagent.model.endpoint.refusal import error_words
from edgeagent.model.endpoint.wire import Call, Chunk, Said, Usage, parse_chunk

EVENTS = "text/event-stream"
_END = b"[DONE]"
_OPEN, _CLOSE = "<think>", "</think>"
CHARACTERS_A_TOKEN = 4
"""Where a server does not say how many tokens it wrote."""


@dataclass
class Reply:
    """What was said so far. Of several calls only the first is kept: a turn is one call."""

    text: str = ""
    reasoning: str = ""
    name: str | None = None
    arguments: str = ""
    finish: str = ""
    usage: Usage = field(default_factory=Usage)
    first_at: float = 0.0
    _first: tuple[int | None, str | None] = (None, None)
    _is_past_first: bool = False

    def add(self, chunk: Chunk, on_text: Callable[[str], None]) -> None:
        self.usage = chunk.usage or self.usage
        if not chunk.choices:
            return
        choice = chunk.choices[0]
        said = choice.delta or choice.message
        if said:
            self._say(said, on_text)
        self.finish = choice.finish_reason or self.finish

    def _say(self, said: Said, on_text: Callable[[str], None]) -> None:
        text = said.content or said.refusal or ""
        reasoning = said.reasoning_content or said.reasoning or ""
        if not self.first_at and (text or reasoning or said.tool_calls):
            self.first_at = time.monotonic()
        self.text += text
        self.reasoning += reasoning
        if text:
            on_text(text)
        for call in said.tool_calls or ():
            self._call(call)

    def _call(self, call: Call) -> None:
        """A call comes in pieces of one index. Some servers give every call the same index, or none: then another id
        is another call, and so is another name."""
        if self.name is None:
            self.name, self._first = call.function.name or "", (call.index, call.id)
        elif self._is_another(call):
            self._is_past_first = True
        if not self._is_past_first:
            self.arguments += call.function.arguments or ""

    def _is_another(self, call: Call) -> bool:
        index, name = self._first
        if call.index != index or (call.id and name and call.id != name):
            return True
        return bool(call.function.name and call.function.name != self.name)

    # --- at the end ---------------------------------------------------------------------------------------------

    def output_tokens(self) -> int:
        written = len(self.text) + len(self.reasoning) + len(self.arguments) + len(self.name or "")
        guess = -(-written // CHARACTERS_A_TOKEN)
        return self.usage.completion_tokens or max(guess, 1)

    def cached_tokens(self) -> int:
        details = self.usage.prompt_tokens_details
        return min((details.cached_tokens if details else None) or 0, self.usage.prompt_tokens or 0)

    def without_thinking(self) -> tuple[str, str]:
        """The text and the reasoning, where a server leaves the reasoning in the text."""
        text = self.text.strip()
        if text.startswith(_OPEN) and _CLOSE in text:
            thought, _, text = text.removeprefix(_OPEN).partition(_CLOSE)
            return text.strip(), f"{self.reasoning}{thought}".strip()
        return text, self.reasoning.strip()


def read_reply(head: Head, pieces: Iterable[bytes], where: object, on_text: Callable[[str], None]) -> Reply:
    """The whole answer. ModelError where it is none, or says that something failed."""
    reply = Reply()
    if head.kind != EVENTS:
        reply.add(_checked(parse_chunk(b"".join(pieces), where), where), on_text)
        if not reply.finish and not reply.first_at:
            raise ModelError(f"{where} answered with nothing", "edgeagent doctor")
        return reply
    for data in events(pieces):
        if data == _END:
            return reply
        reply.add(_checked(parse_chunk(data, where), where), on_text)
    if not reply.finish:
        raise ModelError(f"{where} broke off in the middle of its answer", "edgeagent doctor")
    return reply


def _checked(chunk: Chunk, where: object) -> Chunk:
    if chunk.error:
        raise ModelError(f"{where} failed: {error_words({'error': chunk.error})}", "edgeagent doctor")
    return chunk


def events(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The data of server-sent events, each on a line of its own; what is no such line comes as it is."""
    for line in _lines(pieces):
        name, _, value = line.partition(b":")
        if name == b"error":
            yield b'{"error": %s}' % value
        elif name == b"data" and value.strip():
            yield value.strip()
        elif line.strip() and name not in (b"", b"data", b"event", b"id", b"retry"):
            yield line


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    begun: list[bytes] = []
    for piece in pieces:
        first, *others = piece.split(b"\n")
        begun.append(first)
        if others:
            yield b"".join(begun).rstrip(b"\r")
            yield from (line.rstrip(b"\r") for line in others[:-1])
            begun = [others[-1]]
    yield b"".join(begun).rstrip(b"\r")
