"""Generates several turns at a time on one model: every running turn goes on by one step in each batch.

Owns the queue of turns, which of them run, what goes into a batch, and where prompts find their beginnings. One thread
runs the batches (`serve`); any thread may `submit` and `cancel`. Runs only inside the model host.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgeagent.errors import EdgeagentError, ModelCancelled, ModelError
from edgeagent.model.conversation import Conversations
from edgeagent.model.llama import (
    ABORTED,
    CHUNK,
    NO_ROOM,
    Context,
    ContextOptions,
    Part,
    Weights,
    engine_version,
)
from edgeagent.model.prefix import Maker, Prefixes
from edgeagent.model.protocol import ChatRequest, ChatResult, Sampling
from edgeagent.model.sampling import Free, Grammars, Logits, Sampler
from edgeagent.model.slots import Slots, common
from edgeagent.model.syntax.syntax import Turn as Said
from edgeagent.model.turn import Asked, Turn
from edgeagent.schema import Json

MIXED_SECONDS = 0.2
"""About how long a batch may take while some turn is writing: so long its answer pauses for another's prompt."""
FEW = 8
"""Batches of up to so many tokens are as cheap as decoding one, and get the threads for that."""
SHORT = 32
"""A beginning of fewer tokens is not worth storing or waiting for."""

OnEnd = Callable[[ChatResult | EdgeagentError], None]


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How a model is run.

    `context` in tokens, capped by what the model was trained for; `slots` turns at a time; `threads` for decoding and
    `prefill_threads` for reading prompts, `chunk` tokens a batch; `kv_type` f16 or q8_0; `flash` auto, on or off;
    states of prompt beginnings in `states` (a folder), up to `states_disk` and `states_memory` bytes; `digest` names
    the model file's content. Not `constrained`, a turn is whatever the model writes.
    """

    context: int = 4096
    slots: int = 4
    threads: int = 1
    prefill_threads: int = 1
    chunk: int = CHUNK
    kv_type: str = "f16"
    flash: str = "auto"
    states: Path | None = None
    states_disk: int = 0
    states_memory: int = 0
    digest: str = ""
    constrained: bool = True


class Engine:
    def __init__(self, path: Path, weights: Weights, options: EngineOptions) -> None:
        self._weights = weights
        self._options = options
        trained = weights.trained_context
        self.context = min(options.context, trained) if trained else options.context
        self._context = Context(weights, ContextOptions(self.context, options.slots, options.kv_type, options.flash))
        self._conversations = Conversations(path, weights, self.context)
        self._grammars = Grammars(weights)
        self._slots = Slots(self._context, options.slots, self.context, weights.can_roll_back)
        self._prefixes = Prefixes(
            Maker(options.digest, f"{options.kv_type} {options.flash}", engine_version()),
            options.states,
            memory=options.states_memory,
            disk=options.states_disk,
        )
        self._ends = frozenset(weights.end_tokens())
        self._rate = 0.0
        self._waiting: deque[tuple[int, Asked]] = deque()
        self._running: dict[int, Turn] = {}
        self._in_batch: list[int] = []
        self._cancelled: set[int] = set()
        self._changed = threading.Condition()

    def facts(self) -> Json:
        """What `models show` prints of a loaded model."""
        return {
            "description": self._weights.description(),
            "parameters": self._weights.parameters,
            "bytes": self._weights.bytes,
            "vocabulary": self._weights.vocabulary,
            "context": self.context,
            "slots": self._options.slots,
            "threads": self._options.threads,
            "prefill_threads": self._options.prefill_threads,
            "kv_type": self._options.kv_type,
            "can_roll_back": self._weights.can_roll_back,
            "engine": engine_version(),
        }

    # --- from any thread ----------------------------------------------------------------------------------------

    def submit(self, number: int, request: ChatRequest, on_text: Callable[[str], None], on_end: OnEnd) -> None:
        """Puts a turn into the queue; `on_end` is called once, from another thread, unless this raises."""
        conversations = self._conversations
        prompt = conversations.prompt(request)
        room = conversations.room(request, len(prompt))
        stable = conversations.stable(request, prompt)
        asked = Asked(
            request=request,
            prompt=prompt,
            room=room,
            stable=stable if stable >= SHORT else 0,
            constraint=self._grammars.begin(conversations.grammar(request)) if self._options.constrained else Free(),
            sampler=Sampler(Sampling().of(request), self._weights.vocabulary),
            read=lambda written: self._read(request, written),
            on_text=on_text,
            on_end=on_end,
        )
        with self._changed:
            self._waiting.append((number, asked))
            self._changed.notify()

    def _read(self, request: ChatRequest, written: str) -> Said:
        """What a finished turn says. Without a constraint, what is no whole call is an answer."""
        try:
            return self._conversations.read(request, written)
        except ModelError:
            if self._options.constrained:
                raise
            return Said(written, "", None)

    def cancel(self, number: int) -> None:
        """Ends a turn soon, with ModelCancelled. One that is not known, or not yet, is cancelled when it comes."""
        with self._changed:
            self._cancelled.add(number)
            if self._in_batch and self._cancelled.issuperset(self._in_batch):
                self._context.abort(True)
            self._changed.notify()

    # --- the one thread -----------------------------------------------------------------------------------------

    def serve(self) -> None:
        """Generates what is submitted, for ever."""
        while True:
            with self._changed:
                while not self._running and not self._waiting:
                    self._changed.wait()
            self._end_cancelled()
            self._admit()
            if self._running:
                self._step()

    def _end_cancelled(self) -> None:
        with self._changed:
            cancelled = self._cancelled & {*self._running, *(number for number, _ in self._waiting)}
            self._cancelled -= cancelled
            waiting = [pair for pair in self._waiting if pair[0] in cancelled]
            for pair in waiting:
                self._waiting.remove(pair)
        for _, asked in waiting:
            _end(asked, ModelCancelled("cancelled"))
        for number in cancelled & set(self._running):
            self._finish(number, ModelCancelled("cancelled"))

    def _admit(self) -> None:
        """Starts turns that wait, in their order, while there are slots and room for them."""
        with self._changed:
            waiting = list(self._waiting)
        for number, asked in waiting:
            if self._is_being_read(asked):
                continue  # another turn reads the same beginning just now
            turn = self._started(asked)
            if turn is None:
                return
            self._running[number] = turn
            with self._changed:
                self._waiting.remove((number, asked))
            if not turn.pending:  # the very prompt is known
                self._write(number, turn, turn.slot.logits.copy())

    def _is_being_read(self, asked: Asked) -> bool:
        known = self._slots.known(asked.prompt)
        for turn in self._running.values():
            shared = min(common(turn.asked.prompt, asked.prompt), turn.asked.stable, asked.stable)
            if turn.is_reading and len(turn.slot.tokens) < shared and shared - known >= SHORT:
                return not self._prefixes.has(asked.prompt[: asked.stable])
        return False

    def _started(self, asked: Asked) -> Turn | None:
        """The turn in a slot that begins with as much of the prompt as there is; None while there is no room."""
        needed = len(asked.prompt) + asked.room
        known = self._slots.known(asked.prompt)
        stable = asked.stable
        found = self._prefixes.find(asked.prompt[:stable]) if stable > known else None
        slot = self._slots.take(asked.prompt, needed, is_fresh=found is not None)
        if slot is None:
            return None
        if found is None:
            return Turn(asked, self._weights, slot, len(slot.tokens), 0)
        if not self._context.restore(slot.number, found.state):
            return Turn(asked, self._weights, slot, 0, 0)
        self._slots.grow(slot, asked.prompt[:stable], is_prompt=True)
        from_disk = stable if found.origin == "disk" else 0
        return Turn(asked, self._weights, slot, stable - from_disk, from_disk)

    def _step(self) -> None:
        """One batch."""
        parts = self._parts()
        with self._changed:
            self._in_batch = list(parts)
            self._context.abort(self._cancelled.issuperset(parts))
        few = sum(len(part.tokens) for part in parts.values()) <= FEW
        decode = self._options.threads
        self._context.set_threads(decode, decode if few else self._options.prefill_threads)
        began = time.perf_counter()
        status = self._context.decode(list(parts.values()))
        seconds = time.perf_counter() - began
        with self._changed:
            self._in_batch = []
        if status:
            self._failed(status, parts)
            return
        self._note_rate(parts, seconds)
        row = -1
        for number, part in parts.items():
            row += len(part.tokens)
            self._went_on(number, part, row)

    def _parts(self) -> dict[int, Part]:
        """What the next batch holds: the tokens of every turn that writes, then as much of prompts as is fair."""
        parts: dict[int, Part] = {}
        room = self._context.batch
        for number, turn in self._running.items():
            if not turn.is_reading and room:
                parts[number] = turn.part(room)
                room -= len(parts[number].tokens)
        room = min(room, self._chunk(bool(parts)))
        reading = [(number, turn) for number, turn in self._running.items() if turn.is_reading]
        for number, turn in sorted(reading, key=lambda pair: len(pair[1].pending)):  # what will write soonest first
            if room <= 0:
                break
            parts[number] = turn.part(room)
            room -= len(parts[number].tokens)
        return parts

    def _chunk(self, is_mixed: bool) -> int:
        """How many tokens of prompts the next batch may hold. Always the same when nobody writes, so that a prompt is
        always read in the same batches."""
        if not is_mixed or not self._rate:
            return self._options.chunk
        return max(CHUNK // 16, min(self._options.chunk, int(MIXED_SECONDS * self._rate)))

    def _note_rate(self, parts: dict[int, Part], seconds: float) -> None:
        count = sum(len(part.tokens) for part in parts.values())
        if count >= CHUNK // 16:
            self._rate = count / max(seconds, 1e-6)

    def _went_on(self, number: int, part: Part, row: int) -> None:
        turn = self._running[number]
        self._slots.grow(turn.slot, part.tokens, is_prompt=turn.is_reading)
        turn.took(len(part.tokens))
        if turn.is_reading and len(turn.slot.tokens) == turn.asked.stable:
            self._keep_beginning(turn)
        if part.wants_logits:
            logits = self._context.logits(row)
            if turn.is_reading:
                turn.slot.end, turn.slot.logits = len(turn.slot.tokens), logits.copy()
            self._write(number, turn, logits)

    def _write(self, number: int, turn: Turn, logits: Logits) -> None:
        try:
            if not turn.next(logits, self._ends.__contains__):
                self._finish(number, turn.result())
        except EdgeagentError as error:
            self._finish(number, error)

    def _keep_beginning(self, turn: Turn) -> None:
        tokens = turn.slot.tokens
        if not self._prefixes.has(tokens):
            self._prefixes.put(tokens, self._context.save(turn.slot.number))

    def _failed(self, status: int, parts: dict[int, Part]) -> None:
        """A batch that did not go through."""
        if status == NO_ROOM and self._slots.drop_idle():
            return  # nothing has changed: again, with more room
        for number in parts:
            self._slots.mend(self._running[number].slot)
        if status == ABORTED:
            return  # each of its turns was cancelled, and ends so
        for number in parts:
            error = ModelError(f"llama.cpp could not decode (status {status})", "lower model.slots in config.toml")
            self._finish(number, error)

    def _finish(self, number: int, end: ChatResult | EdgeagentError) -> None:
        turn = self._running.pop(number)
        with self._changed:
            self._cancelled.discard(number)
        self._slots.release(turn.slot)
        _end(turn.asked, end)


def _end(asked: Asked, end: ChatResult | EdgeagentError) -> None:
    asked.sampler.close()
    asked.on_end(end)
