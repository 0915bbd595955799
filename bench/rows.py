"""The rows of the benchmark: what is measured, against which peer, and how. One function a row.

We and the peer take turns, so that what the machine does besides falls on both. A row keeps every pair.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import jsonschema
import psutil
from calls import given_grammar, given_tools, open_tools
from ours import Ours, Prompts
from peers import LlamaServer, PythonPeer, llama_bench, llama_server

from edgeagent.bundled import bundled
from edgeagent.model.protocol import ChatRequest
from edgeagent.schema import Json


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured. `quick` only shows that the harness works; its figures mean nothing."""

    pairs: int = 5
    context: int = 4096
    prefix: int = 1500
    agents_prefix: int = 700
    prompt: int = 512
    written: int = 64
    long_written: int = 128
    idle_seconds: float = 60.0
    settle_seconds: float = 15.0
    generations: int = 500


QUICK = Scale(1, 1024, 200, 100, 100, 8, 16, 2.0, 4.0, 12)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    `ours` and `peers` are the figures of each pair, in `unit`; `ratios` compares them pair by pair. The row is met when
    the median ratio (or figure, where there is no peer) is at least, or at most, the target.
    """

    what: str
    peer: str
    unit: str
    ours: list[float]
    peers: list[float]
    at_least: bool
    target: float
    note: str = ""
    ratios: list[float] = field(default_factory=list)

    @property
    def is_ratio(self) -> bool:
        return bool(self.peer)

    @property
    def median(self) -> float | None:
        values = self.ratios if self.is_ratio else self.ours
        return statistics.median(values) if values else None

    @property
    def is_met(self) -> bool | None:
        if self.median is None:
            return None
        return self.median >= self.target if self.at_least else self.median <= self.target

    def as_json(self) -> Json:
        return asdict(self)


def compared(
    what: str, peer: str, unit: str, pairs: list[tuple[float, float]], *, at_least: bool, target: float, note: str = ""
) -> Row:
    """A row from pairs of our figure and the peer's; the latter is not a number where there was no peer."""
    measured = [pair for pair in pairs if not math.isnan(pair[1])]
    ratios = [own / other for own, other in measured]
    peers = [other for _, other in measured]
    return Row(what, peer, unit, [own for own, _ in pairs], peers, at_least, target, note, ratios)


@dataclass
class Bench:
    """What the rows share. `programs` is None where there are no peers to compare with."""

    model: Path
    small: Path
    threads: int
    scale: Scale
    scratch: Path
    programs: Path | None
    say: Callable[[str], None]

    def __post_init__(self) -> None:
        self.prompts = Prompts(self.model)

    PARTS = ("rates", "first", "calls", "constraint", "together", "idle", "valid")

    def rows(self, only: list[str]) -> Iterator[Row]:
        """All rows, or those of some parts."""
        measures = (
            self.rates,
            self.with_servers,
            self.calls,
            self.constraint,
            self.together,
            self.idle_daemon,
            self.valid_calls,
        )
        for name, measure in zip(self.PARTS, measures, strict=True):
            if not only or name in only:
                yield from measure()

    def ours(self, name: str, context: int | None = None) -> Ours:
        return Ours(self.model, self.threads, context or self.scale.context, self.scratch / name)

    def server(self, *options: str, context: int | None = None) -> Any:
        assert self.programs is not None
        return llama_server(self.programs, self.model, self.threads, context or self.scale.context, *options)

    # --- reading and writing ------------------------------------------------------------------------------------

    def rates(self) -> Iterator[Row]:
        """Tokens a second, as llama-bench counts them."""
        scale = self.scale
        self.say(f"prefill {scale.prompt}, decode {scale.written}")
        read: list[tuple[float, float]] = []
        write: list[tuple[float, float]] = []
        ours = self.ours("rates")
        try:
            ours.load()
            for number in range(scale.pairs + 1):
                request = self.prompts.request(number, 1, system=1, user=scale.prompt - 1, written=scale.written)
                result = ours.ask(request).result
                prefill = (result.input_tokens - result.cached_tokens) / result.time_to_first_token
                decode = (result.output_tokens - 1) / max(result.seconds - result.time_to_first_token, 1e-9)
                if not number:
                    continue  # the first one brings the weights into memory
                peer = self._llama_bench()
                read.append((prefill, peer[0]))
                write.append((decode, peer[1]))
        finally:
            ours.close()
        yield compared(f"prefill, {scale.prompt} tokens", "llama-bench", "tokens/s", read, at_least=True, target=0.95)
        yield compared(f"decode, {scale.written} tokens", "llama-bench", "tokens/s", write, at_least=True, target=0.95)

    def _llama_bench(self) -> tuple[float, float]:
        if self.programs is None:
            return float("nan"), float("nan")
        return llama_bench(self.programs, self.model, self.threads, self.scale.prompt, self.scale.written)

    # --- first tokens -------------------------------------------------------------------------------------------

    def with_servers(self) -> Iterator[Row]:
        """The first token: after a restart, warm, and of five agents in turn; then what both hold in memory."""
        ours = self.ours("first")
        try:
            if self.programs is None:
                yield from self._first_tokens(ours, None)
            else:
                with self.server() as server:
                    yield from self._first_tokens(ours, server)
        finally:
            ours.close()

    def _first_tokens(self, ours: Ours, server: LlamaServer | None) -> Iterator[Row]:
        scale = self.scale

        def asked(agent: int, event: int, prefix: int) -> ChatRequest:
            return self.prompts.request(agent, event, system=prefix, user=100)

        def pair(request: ChatRequest, *, cached: bool) -> tuple[float, float]:
            peer = server.complete(self.prompts.tokens(request), 1, cached=cached).seconds if server else float("nan")
            return ours.ask(request).seconds, peer

        self.say(f"first token, {scale.prefix} known tokens and 100 new ones")
        ours.load()
        pair(asked(0, 0, scale.prefix), cached=True)
        memory = (
            ours.resident() / 1e6,
            psutil.Process(server.process_id).memory_info().rss / 1e6 if server else float("nan"),
        )
        restarted = []
        for event in range(1, scale.pairs + 1):
            ours.restart()
            restarted.append(pair(asked(0, event, scale.prefix), cached=False))
        note = f"a restart of the host before each, its load not counted; {scale.prefix} known and 100 new tokens"
        yield compared(
            "first token after a restart",
            "llama-server, empty cache",
            "s",
            restarted,
            at_least=False,
            target=0.15,
            note=note,
        )
        pair(asked(0, 50, scale.prefix), cached=True)
        warm = [pair(asked(0, 100 + event, scale.prefix), cached=True) for event in range(scale.pairs)]
        note = f"{scale.prefix} known and 100 new tokens"
        yield compared(
            "first token, warm", "llama-server, prompt cache", "s", warm, at_least=False, target=1.1, note=note
        )
        yield compared(
            "five agents in turn, warm",
            "llama-server, default cache",
            "s",
            list(self._rounds(asked, pair)),
            at_least=False,
            target=1.15,
            note=f"{scale.agents_prefix} known and 100 new tokens each, a round of five",
        )
        note = f"context {scale.context}, after one prompt of {scale.prefix + 100} tokens"
        yield compared("resident memory", "llama-server", "MB", [memory], at_least=False, target=1.1, note=note)

    def _rounds(
        self, asked: Callable[..., ChatRequest], pair: Callable[..., tuple[float, float]]
    ) -> Iterator[tuple[float, float]]:
        """One after another, five agents: the seconds of each round after the first two."""
        self.say("five agents in turn")
        for number in range(self.scale.pairs + 2):
            times = [
                pair(asked(agent, 10 * number + agent, self.scale.agents_prefix), cached=True) for agent in range(1, 6)
            ]
            if number >= 2:
                yield sum(own for own, _ in times), sum(peer for _, peer in times)

    # --- calls --------------------------------------------------------------------------------------------------

    def calls(self) -> Iterator[Row]:
        """One call of eight tools, whose text is given but for two short words; the prompt is known."""
        self.say("one call of eight tools")
        ours = self.ours("calls")
        grammar = given_grammar()
        try:
            request = self._calling(ours)
            tokens = self.prompts.tokens(request)
            if self.programs is None:
                times = [(ours.ask(request).seconds, float("nan")) for _ in range(self.scale.pairs)]
                yield compared("one tool call", "llama-server", "s", times, at_least=False, target=0.7)
                yield compared("one tool call", "llama-cpp-python grammar=", "s", times, at_least=False, target=0.4)
                return
            python = PythonPeer(self.model, self.threads, self.scale.context)
            try:
                with self.server() as server:
                    yield from self._call_pairs(ours, server, python, request, tokens, grammar)
            finally:
                python.close()
        finally:
            ours.close()

    def _calling(self, ours: Ours) -> ChatRequest:
        """A turn in which the model makes a call. Random weights may like another beginning better than that of a call,
        so the answer that is allowed beside calls is one that they like less: there is one among a few."""
        for value in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, True, False, None, "a", [], {}):
            request = self.prompts.request(
                7, 1, system=20, user=40, written=200, tools=given_tools(), output={"const": value}
            )
            if ours.ask(request).result.call:
                return request
        raise RuntimeError("the model makes no call, whatever else it may say")

    def _call_pairs(
        self, ours: Ours, server: LlamaServer, python: PythonPeer, request: ChatRequest, tokens: list[int], grammar: str
    ) -> Iterator[Row]:
        by_server, by_python, counts = [], [], ""
        for number in range(self.scale.pairs + 1):
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
        yield compared(
            "one tool call", "llama-cpp-python grammar=", "s", by_python, at_least=False, target=0.4, note=note
        )

    # --- the constraint and several runs ------------------------------------------------------------------------

    def constraint(self) -> Iterator[Row]:
        """The decode rate inside a JSON text of free letters, against free text."""
        self.say("constrained and free")
        scale = self.scale
        text = {"type": "string", "minLength": 20 * scale.long_written}
        schema: Json = {"type": "object", "properties": {"text": text}, "required": ["text"]}
        ours = self.ours("constraint")
        pairs = []
        try:
            for number in range(scale.pairs + 1):
                rates = []
                for output in (schema, None):
                    request = self.prompts.request(
                        20, number, system=20, user=20, written=scale.long_written, output=output
                    )
                    result = ours.ask(request).result
                    rates.append((result.output_tokens - 1) / max(result.seconds - result.time_to_first_token, 1e-9))
                if number:
                    pairs.append((rates[0], rates[1]))
        finally:
            ours.close()
        yield compared("decode under a schema", "our own free text", "tokens/s", pairs, at_least=True, target=0.97)

    def together(self) -> Iterator[Row]:
        """Four runs at once: tokens a second in all, against the server with four slots, and our own one by one."""
        self.say("four at once")
        ours = self.ours("together")
        try:
            if self.programs is None:
                yield from self._together(ours, None)
            else:
                with self.server("-np", "4") as server:
                    yield from self._together(ours, server)
        finally:
            ours.close()

    def _together(self, ours: Ours, server: LlamaServer | None) -> Iterator[Row]:
        scale = self.scale
        by_server, by_serial = [], []
        for number in range(scale.pairs + 1):
            first, second = (
                [
                    self.prompts.request(200 + 8 * number + 4 * half + n, 1, system=1, user=60, written=scale.written)
                    for n in range(4)
                ]
                for half in (0, 1)
            )
            total = 4.0 * scale.written
            at_once = total / ours.ask_together(first)
            peer = (
                total / server.complete_together([self.prompts.tokens(one) for one in first], scale.written)
                if server
                else float("nan")
            )
            began = time.perf_counter()
            for request in second:
                ours.ask(request)
            serial = total / (time.perf_counter() - began)
            if number:
                by_server.append((at_once, peer))
                by_serial.append((at_once, serial))
        note = f"prompts of 60 tokens, {scale.written} written each"
        yield compared(
            "four runs at once", "llama-server -np 4", "tokens/s", by_server, at_least=True, target=1.0, note=note
        )
        yield compared(
            "four runs at once", "our own one by one", "tokens/s", by_serial, at_least=True, target=1.4, note=note
        )

    # --- the daemon, and validity -------------------------------------------------------------------------------

    def idle_daemon(self) -> Iterator[Row]:
        """A daemon that watches a folder and has no model loaded."""
        self.say(f"an idle daemon, for {self.scale.idle_seconds:.0f} s")
        home, user = self.scratch / "home", self.scratch / "user"
        (home / "agents").mkdir(parents=True)
        (user / "Inbox").mkdir(parents=True)
        shutil.copy(bundled("examples") / "inbox.md", home / "agents" / "inbox.md")
        environment = {**os.environ, "HOME": str(user), "EDGEAGENT_HOME": str(home)}
        log = (self.scratch / "daemon.log").open("wb")
        daemon = subprocess.Popen(
            [sys.executable, "-m", "edgeagent.cli", "daemon"], env=environment, stdout=log, stderr=log
        )
        try:
            until = time.monotonic() + 60
            while not (home / "run" / "edgeagent.sock").exists():
                if daemon.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"the daemon did not start; see {log.name}")
                time.sleep(0.1)
            time.sleep(self.scale.settle_seconds)
            process = psutil.Process(daemon.pid)
            before = sum(process.cpu_times()[:2])
            time.sleep(self.scale.idle_seconds)
            share = 100 * (sum(process.cpu_times()[:2]) - before) / self.scale.idle_seconds
            memory = process.memory_info().rss / 1e6
        finally:
            daemon.terminate()
            daemon.wait(30)
            log.close()
        yield Row(
            "idle daemon, resident memory",
            "",
            "MB",
            [memory],
            [],
            False,
            60,
            "no model loaded, one agent with a watched folder",
        )
        yield Row(
            "idle daemon, processor",
            "",
            "% of a core",
            [share],
            [],
            False,
            0.2,
            f"over {self.scale.idle_seconds:.0f} s",
        )

    def valid_calls(self) -> Iterator[Row]:
        """Calls of a model with random weights at temperature 1: how many parse and match their schema."""
        self.say(f"{self.scale.generations} calls at temperature 1")
        ours = Ours(self.small, 1, self.scale.context, self.scratch / "valid")
        tools = {tool.name: tool.parameters for tool in open_tools()}
        output: Json = {
            "type": "object",
            "properties": {"done": {"enum": ["yes", "no"]}},
            "required": ["done"],
            "additionalProperties": False,
        }
        valid = calls = 0
        try:
            base = self.prompts.request(9, 1, system=20, user=20, written=400, tools=open_tools(), output=output)
            for begin in range(0, self.scale.generations, 4):
                seeds = range(begin, min(begin + 4, self.scale.generations))
                for result in ours.results([_seeded(base, seed) for seed in seeds]):
                    if result.call:
                        calls += 1
                        valid += _matches(result.call.arguments, tools[result.call.name])
                    else:
                        valid += _parses(result.text, output)
        finally:
            ours.close()
        share = 100.0 * valid / self.scale.generations
        note = f"{self.scale.generations} turns, {calls} of them calls of 8 tools, the others answers by a schema"
        yield Row("valid turns at temperature 1, random weights", "", "%", [share], [], True, 100, note)


def _seeded(request: ChatRequest, seed: int) -> ChatRequest:
    return replace(request, temperature=1.0, seed=seed + 1, top_k=0, top_p=1.0, min_p=0.0)


def _matches(value: Any, schema: Json) -> bool:
    return jsonschema.Draft202012Validator(schema).is_valid(value)


def _parses(text: str, schema: Json) -> bool:
    try:
        return _matches(json.loads(text), schema)
    except ValueError:
        return False
