"""How fast a model is on this machine: what `edgeagent models bench` prints.

Everything is measured through `HostModel`, as an agent's runs go: a system prompt that stays, an event that varies.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psutil

from edgeagent.errors import ModelError
from edgeagent.model.client import HostModel
from edgeagent.model.protocol import ChatRequest, ChatResult
from edgeagent.model.wire import HostOptions
from edgeagent.schema import Json, Message

_WORDS = (
    "the clerk put each letter into a folder by its date and wrote one line about it in the index of that year".split()
)
_ANSWERS = 4
"""Turns of one measurement of the decode rate: a model ends its answer when it likes."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Rates in tokens a second, times in seconds, memory in bytes; `prompt_tokens` is the prompt they were taken with.

    `first_token_cold` reads all of the prompt; `first_token_stored` finds the state of the agent's part in a file,
    after a restart; `first_token_warm` finds it in memory. `agent_prompt_tokens`: the longest prompt that is read
    within `patience` seconds.
    """

    name: str
    load_seconds: float
    memory: int
    prompt_tokens: int
    prefill_rate: float
    decode_rate: float
    first_token_cold: float
    first_token_stored: float
    first_token_warm: float
    stored_tokens: int
    context: int
    patience: float
    agent_prompt_tokens: int

    def as_json(self) -> Json:
        return asdict(self)


def measure(
    name: str, path: Path, options: HostOptions, *, tokens: int, patience: float, say: Callable[[str], None]
) -> Measured:
    """Measures one model. `tokens`: about how long the agent's part of the prompt is.

    Raises ModelError where the model cannot be loaded or does not answer.
    """
    with tempfile.TemporaryDirectory(prefix="edgeagent-bench-") as cache:
        options = replace(options, cache=cache, slots=1)
        model = HostModel(name, path, options)
        try:
            say("loading")
            load = _load(model)
            tokens = _fitting(model, tokens)
            say(f"reading a prompt of about {tokens} tokens")
            cold = _ask(model, bench_messages(tokens, 0))
            memory = _resident(model)
            warm = _ask(model, bench_messages(tokens, 1))
            say("writing")
            rate = _decode_rate(model, bench_messages(tokens, 2))
            memory = max(memory, _resident(model))
            say("again after a restart")
            model.close()
            _load(model)
            stored = _ask(model, bench_messages(tokens, 3))
            facts = model.facts()
        finally:
            model.close()
    prefill = (cold.input_tokens - cold.cached_tokens) / cold.time_to_first_token
    context = int(facts.get("context", options.context))
    return Measured(
        name=name,
        load_seconds=load,
        memory=memory,
        prompt_tokens=cold.input_tokens,
        prefill_rate=prefill,
        decode_rate=rate,
        first_token_cold=cold.time_to_first_token,
        first_token_stored=stored.time_to_first_token,
        first_token_warm=warm.time_to_first_token,
        stored_tokens=stored.disk_tokens,
        context=context,
        patience=patience,
        agent_prompt_tokens=min(context, int(prefill * patience)),
    )


def _load(model: HostModel) -> float:
    began = time.perf_counter()
    model.facts()
    return time.perf_counter() - began


def _resident(model: HostModel) -> int:
    try:
        return int(psutil.Process(model.process_id).memory_info().rss)
    except psutil.Error as error:
        raise ModelError(f"the host of {model.name} ended while it was measured", "edgeagent doctor") from error


def _fitting(model: HostModel, tokens: int) -> int:
    """Not longer than what the context holds beside an event and an answer."""
    return max(32, min(tokens, int(model.facts().get("context", tokens)) - 400))


def bench_messages(tokens: int, event: int) -> tuple[Message, ...]:
    """Instructions of about so many tokens, and an event that is another one for each number."""
    words = (_WORDS[(number * 7) % len(_WORDS)] for number in range(int(tokens * 0.8)))
    return (Message("system", " ".join(words)), Message("user", f"Letter {event}: dear Ann, see you on day {event}."))


def _ask(model: HostModel, messages: tuple[Message, ...], written: int = 1) -> ChatResult:
    request = ChatRequest(messages, max_tokens=written, max_thinking_tokens=max(1, written))
    return model.chat(request, threading.Event(), lambda text: None)


def _decode_rate(model: HostModel, messages: tuple[Message, ...]) -> float:
    """The median over a few answers of more than one token; a model that says no more than one gives 0."""
    rates = []
    for seed in range(_ANSWERS):
        request = ChatRequest(messages, max_tokens=48, max_thinking_tokens=48, temperature=1.0, seed=seed)
        result = model.chat(request, threading.Event(), lambda text: None)
        writing = result.seconds - result.time_to_first_token
        if result.output_tokens > 1 and writing > 0:
            rates.append((result.output_tokens - 1) / writing)
    return statistics.median(rates) if rates else 0.0
