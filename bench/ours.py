"""edgeagent's model host as the benchmark drives it, and prompts of an exact length for it and for its peers."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil
from lines import LineProcess

from edgeagent.model.client import HostModel
from edgeagent.model.conversation import Conversations
from edgeagent.model.llama import Weights
from edgeagent.model.protocol import ChatRequest, ChatResult
from edgeagent.model.wire import HostOptions
from edgeagent.schema import Json, Message, ToolSpec

WORDS = (
    "the clerk put each letter into a folder by its date and wrote one line about it in the index of that year then"
    " took the next one from the tray and read who had sent it what it asked for and when an answer was due so that"
    " nothing was late and every paper could be found again by whoever came to look for it after the office had closed"
).split()

FIRST = sorted(set(WORDS))


@dataclass(frozen=True, slots=True)
class Timed:
    """`seconds` from asking to the end of the turn, as the caller sees it."""

    seconds: float
    result: ChatResult


class Ours:
    """One `HostModel`. Restarting it loses what is in memory and keeps what is in the cache folder."""

    def __init__(self, path: Path, threads: int, context: int, cache: Path, slots: int = 4) -> None:
        self._path = path
        self._options = HostOptions(context=context, threads=threads, slots=slots, cache=str(cache))
        self._model = HostModel("bench", path, self._options)

    def load(self) -> None:
        self._model.facts()

    def restart(self) -> None:
        """A new process with the model loaded."""
        self._model.close()
        self._model = HostModel("bench", self._path, self._options)
        self.load()

    def ask(self, request: ChatRequest) -> Timed:
        began = time.perf_counter()
        result = self._model.chat(request, threading.Event(), lambda text: None)
        return Timed(time.perf_counter() - began, result)

    def results(self, requests: list[ChatRequest]) -> list[ChatResult]:
        with ThreadPoolExecutor(len(requests)) as pool:
            return [timed.result for timed in pool.map(self.ask, requests)]

    def resident(self) -> int:
        return int(psutil.Process(self._model.process_id).memory_info().rss)

    def close(self) -> None:
        self._model.close()


class FreeLoop:
    """Our own decoding without any constraint: bench/free_loop.py."""

    def __init__(self, path: Path, threads: int, context: int) -> None:
        self._process = LineProcess("free_loop.py", str(path), str(threads), str(context))

    def rate(self, tokens: list[int], written: int) -> float:
        """Tokens a second, the first one not counted."""
        return float(self._process.ask({"tokens": tokens, "written": written})["rate"])

    def close(self) -> None:
        self._process.close()


class Prompts:
    """Requests of a given number of tokens, and those tokens, as the model's own template renders them."""

    def __init__(self, path: Path) -> None:
        self._conversations = Conversations(path, Weights(path), 1 << 20)

    def tokens(self, request: ChatRequest) -> list[int]:
        return self._conversations.prompt(request)

    def request(
        self,
        agent: int,
        event: int,
        *,
        system: int,
        user: int,
        written: int = 1,
        tools: tuple[ToolSpec, ...] = (),
        output: Json | None = None,
    ) -> ChatRequest:
        """A turn of an agent (its instructions differ from every other agent's) about an event.

        Args:
            system: about how many tokens its fixed part has. user: about how many the rest has.
        """

        def made(instructions: int, words: int, event: int = event) -> ChatRequest:
            texts = (_text(1000 + agent, instructions), _text(5000 + 97 * agent + event, words))
            messages = (Message("system", texts[0]), Message("user", texts[1]))
            return ChatRequest(messages, tools, output, max_tokens=written, max_thinking_tokens=max(1, written))

        instructions = self._fitted(lambda words: made(words, 1, 0), system)  # the same for every event
        return made(instructions, self._fitted(lambda words: made(instructions, words), system + user))

    def _fitted(self, make: object, wanted: int) -> int:
        """How many words give that many tokens, or as near as words can come."""
        assert callable(make)
        words = max(1, wanted)
        for _ in range(12):
            missing = wanted - len(self.tokens(make(words)))
            if not missing:
                break
            words = max(1, words + missing)
        return words


def _text(seed: int, words: int) -> str:
    """Words in an order of its own for each seed; seeds near each other differ from the first token on."""
    first = FIRST[seed % len(FIRST)]
    step = 1 + seed % (len(WORDS) - 1)
    rest = " ".join(WORDS[(seed + step * n + n // len(WORDS)) % len(WORDS)] for n in range(words))
    return f"{first} {seed}: {rest}"
