"""The sequences of a context: which tokens each holds, and where a new prompt finds its beginning.

A sequence keeps its tokens when a turn is over, so that the next turn of that conversation decodes only what is new.
What is kept is used up to a place where a batch ended, never in the middle of one, so that a prompt is decoded in the
same batches whether its beginning was known or not. All sequences share the cells of one memory; a beginning that two
of them have in common is held once. Owns what is dropped to make room. Decodes nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


class Memory(Protocol):
    """What `llama.Context` offers for sequences."""

    def cut(self, sequence: int, length: int) -> bool: ...

    def clear(self, sequence: int) -> None: ...

    def copy(self, source: int, target: int, length: int) -> None: ...


@dataclass
class Slot:
    """One sequence.

    `cells` names the place of each token in the memory; copies share places. `limit` is how many tokens the running
    turn may bring it to. `marks` are the lengths at which a batch of a prompt ended; `end` is the length of the last
    whole prompt, and `logits` are those after it.
    """

    number: int
    tokens: list[int] = field(default_factory=list)
    cells: list[int] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    end: int = 0
    logits: Any = None
    is_busy: bool = False
    limit: int = 0
    used_at: int = 0


def common(first: Sequence[int], second: Sequence[int]) -> int:
    """How many leading tokens are the same."""
    size = min(len(first), len(second))
    if list(first[:size]) == list(second[:size]):
        return size
    return next(n for n in range(size) if first[n] != second[n])


class Slots:
    """All sequences of one context.

    Args:
        room: cells of the memory, in tokens.
        can_roll_back: whether the end of a sequence can be dropped, or copied in part.
    """

    def __init__(self, memory: Memory, count: int, room: int, can_roll_back: bool) -> None:
        self._memory = memory
        self._room = room
        self._can_roll_back = can_roll_back
        self._slots = [Slot(number) for number in range(count)]
        self._turns = itertools.count(1)
        self._cells = itertools.count()

    def known(self, prompt: Sequence[int]) -> int:
        """How many leading tokens of the prompt some sequence holds, to be reused."""
        return max(self._usable(slot, prompt) for slot in self._slots)

    def take(self, prompt: Sequence[int], needed: int, *, is_fresh: bool = False) -> Slot | None:
        """A free sequence that begins with as much of the prompt as there is; None while there is no room.

        Args:
            needed: how many tokens it may come to hold in all.
            is_fresh: an empty one is wanted, since a saved state will be put there.
        """
        idle = [slot for slot in self._slots if not slot.is_busy]
        if not idle:
            return None
        source = max(self._slots, key=lambda slot: (self._usable(slot, prompt), not slot.is_busy))
        length = 0 if is_fresh else self._usable(source, prompt)
        for target in self._targets(idle, source, length):
            kept = source.cells[:length] if target is source else source.cells if length else ()
            if self._make_room(target, source if length else target, kept, needed - length):
                self._fill(target, source, length)
                target.is_busy, target.limit = True, needed
                return target
        return None

    def _fill(self, target: Slot, source: Slot, length: int) -> None:
        if target is source and length:
            self._cut(target, length)
            return
        self.drop(target)
        if length:
            self._memory.copy(source.number, target.number, length)
            target.tokens, target.cells = source.tokens[:length], source.cells[:length]
            target.marks = [mark for mark in source.marks if mark <= length]
            target.end, target.logits = (length, source.logits) if length == source.end else (0, None)

    def grow(self, slot: Slot, tokens: Sequence[int], *, is_prompt: bool) -> None:
        """Notes that the tokens were decoded, or restored, at the end of the sequence."""
        slot.tokens.extend(tokens)
        slot.cells.extend(itertools.islice(self._cells, len(tokens)))
        if is_prompt:
            slot.marks.append(len(slot.tokens))

    def release(self, slot: Slot) -> None:
        """The turn is over; the tokens stay until the room is wanted."""
        slot.is_busy = False
        slot.used_at = next(self._turns)

    def mend(self, slot: Slot) -> None:
        """After a batch that did not go through: what it may have left of this sequence goes."""
        if not self._can_roll_back or not self._memory.cut(slot.number, len(slot.tokens)):
            self.drop(slot)

    def drop(self, slot: Slot) -> None:
        self._memory.clear(slot.number)
        slot.tokens, slot.cells, slot.marks = [], [], []
        slot.end, slot.logits = 0, None

    def drop_idle(self) -> bool:
        """Drops the idle sequence that was used longest ago. False where none holds anything."""
        held = [slot for slot in self._slots if not slot.is_busy and slot.tokens]
        if not held:
            return False
        self.drop(min(held, key=lambda slot: slot.used_at))
        return True

    def _usable(self, slot: Slot, prompt: Sequence[int]) -> int:
        length = common(slot.tokens, prompt)
        if length == len(prompt) == slot.end and (self._can_roll_back or length == len(slot.tokens)):
            return length
        if length == len(slot.tokens) < len(prompt) and not slot.is_busy:
            return length
        if not self._can_roll_back:
            return 0
        return max((mark for mark in slot.marks if mark <= length and mark < len(prompt)), default=0)

    def _targets(self, idle: list[Slot], source: Slot, length: int) -> list[Slot]:
        """Where the prompt may go, best first: to the source where it goes on from its end or is the very same, else,
        so that the source keeps its end, to an empty or long unused one."""
        oldest = min(idle, key=lambda slot: (bool(slot.tokens), slot.used_at))
        if source.is_busy or not length:
            return [oldest]
        if length in (len(source.tokens), source.end) or not self._can_roll_back:
            return [source]
        return [oldest, source]

    def _make_room(self, target: Slot, source: Slot, kept: Sequence[int], more: int) -> bool:
        """Drops idle sequences, those used longest ago first, until `more` tokens fit beside the `kept` ones and beside
        what running turns hold and may come to hold. Drops nothing where that does not help."""
        spare = [slot for slot in self._slots if not slot.is_busy and slot.tokens and slot not in (target, source)]
        spare.sort(key=lambda slot: slot.used_at)
        busy = [slot for slot in self._slots if slot.is_busy]
        promised = sum(max(0, slot.limit - len(slot.tokens)) for slot in busy)
        for count in range(len(spare) + 1):
            held = set(kept).union(*(slot.cells for slot in (*busy, *spare[count:])))
            if len(held) + promised + more <= self._room:
                for slot in spare[:count]:
                    self.drop(slot)
                return True
        return False

    def _cut(self, slot: Slot, length: int) -> None:
        if length == len(slot.tokens):
            return
        if not length or not self._memory.cut(slot.number, length):
            self.drop(slot)
            return
        del slot.tokens[length:]
        del slot.cells[length:]
        slot.marks = [mark for mark in slot.marks if mark <= length]
        if slot.end > length:
            slot.end, slot.logits = 0, None
