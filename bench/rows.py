"""What is measured of the model host, against which peer, and how: one function a part, which gives one row or two.

We and the peer take turns, so that what the machine does besides falls on both. A row keeps every pair. Each part has
processes of its own, so that it can be measured without the others.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from calls import given_grammar, given_tools
from ours import FreeLoop, Ours, Prompts
from peers import LlamaServer, PythonPeer, llama_bench, llama_server
from row import Row, Scale, compared

from edgeagent.model.protocol import ChatRequest, ChatResult
from edgeagent.schema import Json

NONE = float("nan")
"""A peer's figure where there is no peer."""


@dataclass
class Bench:
    """What the parts share. `programs` is None where there are no peers to compare with."""

    model: Path
    small: Path
    threads: int
    scale: Scale
    scratch: Path
    programs: Path | None

    def __post_init__(self) -> None:
        self.prompts = Prompts(self.model)

    @contextlib.contextmanager
    def ours(self, name: str) -> Iterator[Ours]:
        host = Ours(self.model, self.threads, self.scale.context, self.scratch / name)
        try:
            yield host
        finally:
            host.close()

    @contextlib.contextmanager
    def server(self, *options: str) -> Iterator[LlamaServer | None]:
        if self.programs is None:
            yield None
            return
        with llama_server(self.programs, self.model, self.threads, self.scale.context, *options) as server:
            yield server

    def about(self, agent: int, event: int, prefix: int, written: int = 1) -> ChatRequest:
        """A turn of an agent with `prefix` tokens that are always the same and 100 that are new."""
        return self.prompts.request(agent, event, system=prefix, user=100, written=written)

    def pair(
        self, ours: Ours, server: LlamaServer | None, request: ChatRequest, *, cached: bool
    ) -> tuple[float, float]:
        """Seconds until the first token, ours and the server's."""
        tokens = self.prompts.tokens(request)
        return ours.ask(request).seconds, server.complete(tokens, 1, cached=cached).seconds if server else NONE


# --- reading and writing --------------------------------------------------------------------------------------------


def rates(bench: Bench) -> Iterator[Row]:
    """Tokens a second, against llama-bench reading as many and writing as many after them."""
    scale = bench.scale
    read: list[tuple[float, float]] = []
    write: list[tuple[float, float]] = []
    with bench.ours("rates") as ours:
        for number in range(scale.pairs + 1):
            request = bench.prompts.request(number, 1, system=1, user=scale.prompt - 1, written=scale.written)
            timed = ours.ask(request)
            result = timed.result
            writing = result.seconds - result.time_to_first_token
            if number:  # the first one brings the weights into memory
                peer = (NONE, NONE)
                if bench.programs:
                    peer = llama_bench(bench.programs, bench.model, bench.threads, scale.prompt, scale.written)
                read.append(((result.input_tokens - result.cached_tokens) / (timed.seconds - writing), peer[0]))
                write.append(((result.output_tokens - 1) / max(writing, 1e-9), peer[1]))
    note = "ours from asking to the first token, with the chat template; llama-bench's without"
    yield compared(
        f"prefill, {scale.prompt} tokens", "llama-bench", "tokens/s", read, at_least=True, target=0.95, note=note
    )
    note = f"after a prompt of {scale.prompt} tokens, both; ours under the grammar of a free answer"
    yield compared(
        f"decode, {scale.written} tokens", "llama-bench", "tokens/s", write, at_least=True, target=0.95, note=note
    )


# --- first tokens ---------------------------------------------------------------------------------------------------


def restart(bench: Bench) -> Iterator[Row]:
    """The first token after the host was started anew, with the agent's part of the prompt on disk."""
    scale = bench.scale
    pairs = []
    with bench.ours("restart") as ours, bench.server() as server:
        bench.pair(ours, server, bench.about(0, 0, scale.prefix), cached=True)
        for event in range(1, scale.pairs + 1):
            ours.restart()
            pairs.append(bench.pair(ours, server, bench.about(0, event, scale.prefix), cached=False))
    note = f"a restart of the host before each, its load not counted; {scale.prefix} known and 100 new tokens"
    peer = "llama-server, empty cache"
    yield compared("first token after a restart", peer, "s", pairs, at_least=False, target=0.15, note=note)


def warm(bench: Bench) -> Iterator[Row]:
    """The first token when the agent has run just before: of the very prompt, and of one about another event."""
    scale = bench.scale
    same, other = [], []
    with bench.ours("warm") as ours, bench.server() as server:
        bench.pair(ours, server, bench.about(0, 0, scale.prefix), cached=True)
        for event in range(1, scale.pairs + 1):
            request = bench.about(0, event, scale.prefix)
            other.append(bench.pair(ours, server, request, cached=True))
            same.append(bench.pair(ours, server, request, cached=True))
    peer, known = "llama-server, prompt cache", f"{scale.prefix + 100} known tokens"
    yield compared("first token, warm, same prompt", peer, "s", same, at_least=False, target=1.1, note=known)
    note = f"{scale.prefix} known and 100 new tokens"
    yield compared("first token, warm, next event", peer, "s", other, at_least=False, target=1.1, note=note)


def agents(bench: Bench) -> Iterator[Row]:
    """Five agents in turn, each about a new event: the seconds of a round, after two that bring all into the caches."""
    scale = bench.scale
    rounds = []
    with bench.ours("agents") as ours, bench.server() as server:
        for number in range(scale.pairs + 2):
            times = [
                bench.pair(ours, server, bench.about(agent, 10 * number + agent, scale.agents_prefix), cached=True)
                for agent in range(1, 6)
            ]
            rounds.append((sum(own for own, _ in times), sum(peer for _, peer in times)))
    note = f"{scale.agents_prefix} known and 100 new tokens each, a round of five"
    peer = "llama-server, default cache"
    yield compared("five agents in turn, warm", peer, "s", rounds[2:], at_least=False, target=1.15, note=note)


def memory(bench: Bench) -> Iterator[Row]:
    """What both hold in memory after a prompt and a short answer, each pair with new processes."""
    scale = bench.scale
    request = bench.about(0, 0, scale.prefix, scale.written)
    tokens = bench.prompts.tokens(request)
    pairs = []
    for number in range(scale.pairs):
        with bench.ours(f"memory-{number}") as ours:
            ours.ask(request)
            own = ours.resident()
        with bench.server() as server:
            if server:
                server.complete(tokens, scale.written, cached=True)
            peer = psutil.Process(server.process_id).memory_info().rss if server else NONE
        pairs.append((own / 1e6, peer / 1e6))
    note = f"context {scale.context}; after a prompt of {scale.prefix + 100} tokens and {scale.written} written"
    yield compared("resident memory", "llama-server", "MB", pairs, at_least=False, target=1.1, note=note)


# --- calls ----------------------------------------------------------------------------------------------------------


def calls(bench: Bench) -> Iterator[Row]:
    """One call of eight tools, whose text is given but for two short words; the prompt is known."""
    grammar = given_grammar()
    with bench.ours("calls") as ours:
        request = _calling(bench, ours)
        tokens = bench.prompts.tokens(request)
        if bench.programs is None:
            times = [(ours.ask(request).seconds, NONE) for _ in range(bench.scale.pairs)]
            yield compared("one tool call", "llama-server", "s", times, at_least=False, target=0.7)
            yield compared("one tool call", "llama-cpp-python grammar=", "s", times, at_least=False, target=0.4)
            return
        python = PythonPeer(bench.model, bench.threads, bench.scale.context)
        try:
            with bench.server() as server:
                assert server
                yield from _call_pairs(bench, ours, server, python, request, tokens, grammar)
        finally:
            python.close()


def _calling(bench: Bench, ours: Ours) -> ChatRequest:
    """A turn in which the model makes a call. Random weights may like another beginning better than that of a call,
    so the answer that is allowed beside calls is one that they like less: there is one among a few."""
    for value in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, True, False, None, "a", [], {}):
        request = bench.prompts.request(
            7, 1, system=20, user=40, written=200, tools=given_tools(), output={"const": value}
        )
        if ours.ask(request).result.call:
            return request
    raise RuntimeError("the model makes no call, whatever else it may say")


def _call_pairs(
    bench: Bench,
    ours: Ours,
    server: LlamaServer,
    python: PythonPeer,
    request: ChatRequest,
    tokens: list[int],
    grammar: str,
) -> Iterator[Row]:
    by_server, by_python, counts = [], [], ""
    for number in range(bench.scale.pairs + 1):
        own = ours.ask(request)
        first = server.complete(tokens, 200, cached=True, grammar=grammar, ignore_eos=False)
        second = python.complete(tokens, 200, grammar)
        assert own.result.call and "archive_document_" in first.text and "archive_document_" in second.text
        if number:  # the first time the prompt is read
            by_server.append((own.seconds, first.seconds))
            by_python.append((own.seconds, second.seconds))
        counts = f"{own.result.output_tokens}, {first.tokens} and {second.tokens} tokens"
    note = f"{len(tokens)} prompt tokens, known; the call has {counts} (we, llama-server, llama-cpp-python)"
    yield compared("one tool call", "llama-server", "s", by_server, at_least=False, target=0.7, note=note)
    note = "random weights cut given text into more tokens than a trained model would; ours is forced, cut as usual"
    peer = "llama-cpp-python grammar="
    yield compared("one tool call", peer, "s", by_python, at_least=False, target=0.4, note=note)


# --- the constraint and several runs --------------------------------------------------------------------------------


def constraint(bench: Bench) -> Iterator[Row]:
    """The decode rate inside a JSON text, against the same model decoded by us with no constraint at all."""
    scale = bench.scale
    schema: Json = {"type": "string", "minLength": 20 * scale.long_written}
    pairs = []
    free = FreeLoop(bench.model, bench.threads, scale.context)
    try:
        with bench.ours("constraint") as ours:
            for number in range(scale.pairs + 1):
                request = bench.prompts.request(
                    20, number, system=20, user=20, written=scale.long_written, output=schema
                )
                result = ours.ask(request).result
                own = (result.output_tokens - 1) / max(result.seconds - result.time_to_first_token, 1e-9)
                other = free.rate(bench.prompts.tokens(request), result.output_tokens)
                if number:
                    pairs.append((own, other))
    finally:
        free.close()
    note = f"{scale.long_written} tokens of one JSON text, none of them forced; unconstrained: a bare loop, greedy"
    yield compared(
        "decode under a schema", "our own unconstrained", "tokens/s", pairs, at_least=True, target=0.97, note=note
    )


def together(bench: Bench) -> Iterator[Row]:
    """Four runs at once: tokens a second in all, against the server with four slots, and our own one by one."""
    scale = bench.scale
    by_server, by_serial = [], []
    with bench.ours("together") as ours, bench.server("-np", "4") as server:
        for number in range(scale.pairs + 1):
            first, second = (
                [
                    bench.prompts.request(200 + 8 * number + 4 * half + n, 1, system=1, user=60, written=scale.written)
                    for n in range(4)
                ]
                for half in (0, 1)
            )
            at_once = _rate(lambda asked=first: ours.results(asked))
            peer = NONE
            if server:
                tokens = [bench.prompts.tokens(request) for request in first]
                peer = 4 * scale.written / server.complete_together(tokens, scale.written)
            serial = _rate(lambda asked=second: [ours.ask(request).result for request in asked])
            if number:
                by_server.append((at_once, peer))
                by_serial.append((at_once, serial))
    note = f"prompts of 60 tokens, {scale.written} written each"
    peer_name = "llama-server -np 4"
    yield compared("four runs at once", peer_name, "tokens/s", by_server, at_least=True, target=1.0, note=note)
    peer_name = "our own one by one"
    yield compared("four runs at once", peer_name, "tokens/s", by_serial, at_least=True, target=1.4, note=note)


def _rate(run: Callable[[], list[ChatResult]]) -> float:
    """Tokens written in all, a second."""
    began = time.perf_counter()
    results = run()
    return sum(result.output_tokens for result in results) / (time.perf_counter() - began)
