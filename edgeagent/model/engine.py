"""llama.cpp, for one conversation at a time: loading, tokenizing, decoding under a grammar.

Runs only inside the model host, since llama.cpp aborts the process on bad input. Works on the low-level API. Keeps
the tokens of the last conversation, so that the next turn decodes only what is new.
"""

from __future__ import annotations

import ctypes
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llama_cpp
import numpy
from llguidance import LLMatcher
from llguidance.llamacpp import lltokenizer_from_vocab
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask
from numpy.typing import NDArray

from edgeagent.errors import ModelCancelled, ModelError, PromptTooLong
from edgeagent.model.constraint import Turn, read_turn, turn_grammar
from edgeagent.model.protocol import ChatRequest, ChatResult
from edgeagent.model.template import ChatTemplate
from edgeagent.schema import Json

BATCH = 512
"""Tokens a decode call. A cancelled run stops within one."""

SMALL_BYTES = 64_000_000
"""A model below this gets one thread. llama.cpp's threads wait for each other by spinning: on two busy cores a turn of
`pocket` took 46 s with two threads and 0.3 s with one; on idle ones it is fast enough with one."""

_SPECIAL = llama_cpp.LLAMA_TOKEN_ATTR_CONTROL | llama_cpp.LLAMA_TOKEN_ATTR_USER_DEFINED


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How a model is loaded. `context` in tokens, capped by what the model was trained for; 0 threads: all cores."""

    context: int = 4096
    threads: int = 0


class Engine:
    """One loaded model with one context. Not thread-safe."""

    def __init__(self, path: Path, options: EngineOptions, cores: int) -> None:
        llama_cpp.llama_backend_init()
        self._log = _quiet()
        parameters = llama_cpp.llama_model_default_params()
        self._model = llama_cpp.llama_model_load_from_file(str(path).encode(), parameters)
        if not self._model:
            raise ModelError(f"{path.name} cannot be loaded: it is damaged or not a model that llama.cpp knows")
        self._vocab = llama_cpp.llama_model_get_vocab(self._model)
        trained = llama_cpp.llama_model_n_ctx_train(self._model)
        self.context = min(options.context, trained) if trained else options.context
        small = llama_cpp.llama_model_size(self._model) < SMALL_BYTES
        self._context = self._new_context(options.threads or (1 if small else cores))
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._size = llama_cpp.llama_vocab_n_tokens(self._vocab)
        self._eos = llama_cpp.llama_vocab_eos(self._vocab)
        self._pieces: dict[int, bytes] = {}
        self._special = {self._piece(token).decode(errors="replace"): token for token in self._special_tokens()}
        self._special.pop("", None)
        self._template = self._read_template(path)
        self._grammar_tokenizer = lltokenizer_from_vocab(self._vocab)
        self._grammars: dict[str, LLMatcher] = {}
        self._mask = allocate_token_bitmask(1, self._size)
        self._kept: list[int] = []

    def _new_context(self, threads: int) -> Any:
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx = self.context
        parameters.n_batch = parameters.n_ubatch = BATCH
        parameters.n_threads = parameters.n_threads_batch = threads
        parameters.no_perf = True
        context = llama_cpp.llama_init_from_model(self._model, parameters)
        if not context:
            raise ModelError("llama.cpp could not make a context: there is not enough memory", "lower model.context")
        return context

    def _special_tokens(self) -> list[int]:
        attributes = llama_cpp.llama_vocab_get_attr
        return [token for token in range(self._size) if attributes(self._vocab, token) & _SPECIAL]

    def _read_template(self, path: Path) -> ChatTemplate:
        source = llama_cpp.llama_model_chat_template(self._model, None)
        if not source:
            raise ModelError(f"{path.name} has no chat template", "use an instruction-tuned model")
        bos = llama_cpp.llama_vocab_bos(self._vocab)
        return ChatTemplate(
            source.decode("utf-8", "replace"),
            self._special,
            bos=self._piece(bos).decode(errors="replace") if bos >= 0 else "",
            eos=self._piece(self._eos).decode(errors="replace") if self._eos >= 0 else "",
        )

    def facts(self) -> Json:
        """What `models show` prints of a loaded model."""
        description = ctypes.create_string_buffer(256)
        llama_cpp.llama_model_desc(self._model, description, 256)
        return {
            "description": description.value.decode(errors="replace"),
            "parameters": llama_cpp.llama_model_n_params(self._model),
            "bytes": llama_cpp.llama_model_size(self._model),
            "vocabulary": self._size,
            "context": self.context,
        }

    # --- tokens -------------------------------------------------------------------------------------------------

    def _piece(self, token: int) -> bytes:
        if token not in self._pieces:
            size = 64
            while True:
                buffer = ctypes.create_string_buffer(size)
                written = llama_cpp.llama_token_to_piece(self._vocab, token, buffer, size, 0, True)
                if written >= 0:
                    break
                size = -written
            self._pieces[token] = buffer.raw[:written]
        return self._pieces[token]

    def _tokenize(self, text: str, special: bool, first: bool = False) -> list[int]:
        data = text.encode("utf-8", "replace")
        room = len(data) + 8
        while True:
            tokens = (llama_cpp.llama_token * room)()
            count = llama_cpp.llama_tokenize(self._vocab, data, len(data), tokens, room, first, special)
            if count >= 0:
                return list(tokens[:count])
            room = -count

    def prompt_tokens(self, request: ChatRequest) -> list[int]:
        """The rendered conversation as tokens. Special-token texts inside messages stay text: they are cut in two."""
        tokens: list[int] = []
        for text, is_literal in self._template.render(request.messages, request.tools):
            if is_literal:
                tokens += self._tokenize(text[:1], False) + self._tokenize(text[1:], False)
                continue
            first = not tokens
            new = self._tokenize(text, True, first)
            twice = first and len(new) > 1 and new[0] == new[1] == llama_cpp.llama_vocab_bos(self._vocab)
            tokens += new[1:] if twice else new
        return tokens

    # --- a turn -------------------------------------------------------------------------------------------------

    def chat(self, request: ChatRequest, stop: threading.Event, on_text: Callable[[str], None]) -> ChatResult:
        """Generates one turn; see `Model.chat`."""
        began = time.monotonic()
        prompt = self.prompt_tokens(request)
        room = self._room(request, len(prompt))
        matcher = self._matcher(request)
        cached = self._forget_after(self._common(prompt))
        self._decode(prompt[cached:], stop)
        sample = _Sampler(request.temperature, request.seed)
        written: list[int] = []
        first_at = began
        decoder = _Utf8(on_text)
        while True:
            token = sample(self._logits(), self._allowed(matcher))
            if not written:
                first_at = time.monotonic()
            if llama_cpp.llama_vocab_is_eog(self._vocab, token):
                break
            written.append(token)
            decoder.feed(self._piece(token))
            if not matcher.consume_token(token):
                raise ModelError(f"the constraint failed: {matcher.get_error()}")
            if matcher.is_stopped() or len(written) >= room:
                break
            self._decode([token], stop)
        turn, finish = self._turn(written, request, len(written) >= room and not matcher.is_stopped())
        now = time.monotonic()
        return ChatResult(
            text=turn.text,
            reasoning=turn.reasoning,
            call=turn.call,
            finish=finish,
            input_tokens=len(prompt),
            cached_tokens=cached,
            output_tokens=len(written),
            seconds=now - began,
            time_to_first_token=first_at - began,
        )

    def _room(self, request: ChatRequest, prompt: int) -> int:
        """How many tokens may be written."""
        limit = request.max_prompt_tokens
        if limit and prompt > limit:
            raise PromptTooLong(
                f"the conversation has {prompt} tokens and may have {limit}", "raise limits.prompt_tokens"
            )
        room = min(request.max_tokens, self.context - prompt)
        if self.context - prompt < 8:
            raise PromptTooLong(
                f"the conversation has {prompt} tokens and the context holds {self.context}", "raise model.context"
            )
        return room

    def _turn(self, written: list[int], request: ChatRequest, is_cut: bool) -> tuple[Turn, Any]:
        text = b"".join(self._piece(token) for token in written).decode("utf-8", "replace")
        try:
            turn = read_turn(text, request.output_schema is not None)
        except ModelError:
            if not is_cut:
                raise
            return Turn(text, "", None), "length"
        return turn, "length" if is_cut else "call" if turn.call else "stop"

    def _matcher(self, request: ChatRequest) -> LLMatcher:
        grammar = turn_grammar(
            request.tools,
            request.output_schema,
            is_special=self._special.__contains__,
            max_thinking_tokens=request.max_thinking_tokens,
        )
        if grammar not in self._grammars:
            matcher = LLMatcher(self._grammar_tokenizer, LLMatcher.grammar_from_lark(grammar))
            if matcher.is_error():
                raise ModelError(f"the tools cannot be written as a grammar: {matcher.get_error()}")
            self._grammars[grammar] = matcher
        return self._grammars[grammar].deep_copy()

    def _allowed(self, matcher: LLMatcher) -> NDArray[numpy.bool_]:
        fill_next_token_bitmask(matcher, self._mask)
        if matcher.is_error():
            raise ModelError(f"the constraint failed: {matcher.get_error()}")
        return numpy.unpackbits(self._mask.view(numpy.uint8), bitorder="little")[: self._size].astype(bool)

    def _logits(self) -> NDArray[numpy.float32]:
        return numpy.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(self._context, -1), (self._size,))

    def _common(self, prompt: list[int]) -> int:
        """How many leading tokens are in memory already. The last one is always decoded again, for its logits."""
        count = 0
        for kept, token in zip(self._kept, prompt[:-1], strict=False):
            if kept != token:
                break
            count += 1
        return count

    def _forget_after(self, count: int) -> int:
        """Drops all but the first `count` tokens; a model that cannot drop its tail starts anew."""
        if not llama_cpp.llama_memory_seq_rm(self._memory, 0, count, -1):
            llama_cpp.llama_memory_clear(self._memory, True)
            count = 0
        del self._kept[count:]
        return count

    def _decode(self, tokens: list[int], stop: threading.Event) -> None:
        for start in range(0, len(tokens), BATCH):
            if stop.is_set():
                raise ModelCancelled("cancelled")
            part = tokens[start : start + BATCH]
            array = (llama_cpp.llama_token * len(part))(*part)
            status = llama_cpp.llama_decode(self._context, llama_cpp.llama_batch_get_one(array, len(part)))
            if status:
                self._kept.clear()
                llama_cpp.llama_memory_clear(self._memory, True)
                raise ModelError(f"llama.cpp could not decode (status {status})")
            self._kept += part


class _Sampler:
    """Greedy at temperature 0, else softmax with a seeded source."""

    def __init__(self, temperature: float, seed: int) -> None:
        self._temperature = temperature
        self._random = numpy.random.default_rng(seed)

    def __call__(self, logits: NDArray[numpy.float32], allowed: NDArray[numpy.bool_]) -> int:
        masked = numpy.where(allowed, logits, -numpy.inf)
        if self._temperature <= 0:
            return int(masked.argmax())
        scaled = (masked - masked.max()) / self._temperature
        weights = numpy.exp(scaled.astype(numpy.float64))
        return int(self._random.choice(len(weights), p=weights / weights.sum()))


class _Utf8:
    """Hands on text as whole characters, though a token may end inside one."""

    def __init__(self, on_text: Callable[[str], None]) -> None:
        self._on_text = on_text
        self._rest = b""

    def feed(self, data: bytes) -> None:
        self._rest += data
        text = self._rest.decode("utf-8", "ignore")
        if text and (len(text.encode()) == len(self._rest) or len(self._rest) > 8):
            self._on_text(text)
            self._rest = b""


def _quiet() -> Any:
    """Sends llama.cpp's errors to standard error and drops the rest. The callback must be kept alive."""

    @llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]  # ctypes has no types for it
    def log(level: int, text: bytes, _: Any) -> None:
        if level >= 4:  # GGML_LOG_LEVEL_ERROR
            sys.stderr.write(text.decode(errors="replace"))

    llama_cpp.llama_log_set(log, ctypes.c_void_p(0))
    return log
