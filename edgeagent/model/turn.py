"""One turn while it is generated: what is left to read of the prompt, what was written, when it ends.

Owns sampling under the constraint and the text that is handed on. Knows neither batches nor other turns: the engine
says which tokens were decoded and hands over the logits.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from edgeagent.errors import EdgeagentError, ModelError
from edgeagent.model.llama import Part, Weights
from edgeagent.model.protocol import ChatRequest, ChatResult
from edgeagent.model.sampling import Constraint, Free, Logits, Sampler
from edgeagent.model.slots import Slot
from edgeagent.model.syntax.syntax import Turn as Said

TEXT_SECONDS = 0.05
"""Text that was generated is handed on this often at most."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A turn that is ready to be generated.

    Args:
        prompt: the tokens of the conversation.
        room: how many tokens may be written.
        stable: how many leading tokens of the prompt are the same for every event of the agent.
        read: makes of the written text what was said; ModelError where it was cut.
        on_text: gets the text piece by piece.
        on_end: gets the result, or why there is none.
    """

    request: ChatRequest
    prompt: list[int]
    room: int
    stable: int
    constraint: Constraint | Free
    sampler: Sampler
    read: Callable[[str], Said]
    on_text: Callable[[str], None]
    on_end: Callable[[ChatResult | EdgeagentError], None]
    began: float = field(default_factory=time.monotonic)


class Turn:
    """One turn, in a slot of its own."""

    def __init__(self, asked: Asked, weights: Weights, slot: Slot, from_memory: int, from_disk: int) -> None:
        self.asked = asked
        self.slot = slot
        self._weights = weights
        self._from_memory, self._from_disk = from_memory, from_disk
        self._written: list[int] = []
        self._text = _Text(asked.on_text)
        self._first_at = 0.0
        self._is_cut = False
        self.pending = asked.prompt[len(slot.tokens) :]
        """Tokens to decode next: the rest of the prompt, then what was picked and what the grammar forced."""

    @property
    def is_reading(self) -> bool:
        """Whether the prompt is still being read."""
        return not self._written

    def part(self, most: int) -> Part:
        """What goes into the next batch: at most that many tokens. A part ends where the stable beginning of the prompt
        does, since the state is kept at exactly this place."""
        length = len(self.slot.tokens)
        count = min(most, len(self.pending))
        if length < self.asked.stable:
            count = min(count, self.asked.stable - length)
        return Part(self.slot.number, length, self.pending[:count], count == len(self.pending))

    def took(self, count: int) -> None:
        """`count` of the pending tokens were decoded."""
        del self.pending[:count]

    def next(self, logits: Logits, is_end: Callable[[int], bool]) -> bool:
        """Picks a token after the pending ones were decoded. False where that was the end of the turn."""
        asked = self.asked
        token = asked.constraint.pick(asked.sampler, logits)
        if not self._first_at:
            self._first_at = time.monotonic()
        if is_end(token):
            return False
        new = [token, *asked.constraint.consume(token)]
        is_complete = asked.constraint.is_complete
        self._write(new)
        self.pending = new
        # What is forced comes in one piece, which may end the turn and be too much all the same.
        self._is_cut = len(self._written) >= asked.room + is_complete
        return not is_complete and not self._is_cut

    def _write(self, tokens: list[int]) -> None:
        self._written += tokens
        for token in tokens:
            self.asked.sampler.accept(token)
        self._text.feed(b"".join(map(self._weights.piece, tokens)))

    def result(self) -> ChatResult:
        """The turn at its end. ModelError where what was written cannot be read."""
        self._text.flush()
        asked, text = self.asked, self._weights.text(self._written)
        try:
            said = asked.read(text)
        except ModelError:
            if not self._is_cut:
                raise
            said = Said(text, "", None)
        now = time.monotonic()
        return ChatResult(
            text=said.text,
            reasoning=said.reasoning,
            call=None if self._is_cut else said.call,
            finish="length" if self._is_cut else "call" if said.call else "stop",
            input_tokens=len(asked.prompt),
            cached_tokens=self._from_memory + self._from_disk,
            disk_tokens=self._from_disk,
            output_tokens=len(self._written),
            seconds=now - asked.began,
            time_to_first_token=(self._first_at or now) - asked.began,
        )


class _Text:
    """Hands on text as whole characters, though a token may end inside one, and not more often than is of use."""

    def __init__(self, on_text: Callable[[str], None]) -> None:
        self._on_text = on_text
        self._rest = b""
        self._sent_at = 0.0

    def feed(self, data: bytes) -> None:
        self._rest += data
        if time.monotonic() - self._sent_at < TEXT_SECONDS:
            return
        whole = _whole(self._rest)
        if whole:
            self._send(whole)

    def flush(self) -> None:
        if self._rest:
            self._send(len(self._rest))

    def _send(self, count: int) -> None:
        self._on_text(self._rest[:count].decode("utf-8", "replace"))
        self._rest = self._rest[count:]
        self._sent_at = time.monotonic()


def _whole(data: bytes) -> int:
    """How many leading bytes are whole characters; bytes that can never become one count as whole."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 == 0x80:
            continue  # the middle of a character
        size = 1 if byte < 0x80 else 2 if byte >> 5 == 6 else 3 if byte >> 4 == 14 else 4 if byte >> 3 == 30 else 1
        return len(data) - back if size > back else len(data)
    return len(data)
