"""Picks the next token: greedy or by chance, under a grammar where there is one.

A grammar's mask over the whole vocabulary is made only when the token that would be picked without it is not allowed;
a token picked so, or else picked among the allowed ones, has the same probability as if the mask had come first.
Owns the grammar's state of one turn. Knows nothing of contexts and batches.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy
from llguidance import LLMatcher, LLTokenizer
from numpy.typing import NDArray

from edgeagent.errors import ModelError
from edgeagent.model.llama import Weights
from edgeagent.model.native import llama_cpp
from edgeagent.model.protocol import Sampling

PENALTY_WINDOW = 64
"""How many of the last tokens the repetition penalty looks at."""

_IN_STRINGS = r'[^"\\\x00-\x1F\x7F]+'
"""What most tokens inside a JSON string are made of: masks there are then 0.1 ms rather than 1.4. llguidance's own four
such patterns are no faster and take 29 MB more with a vocabulary of 152,000."""
_CANDIDATE = numpy.dtype([("id", numpy.int32), ("logit", numpy.float32), ("p", numpy.float32)])
Logits = NDArray[numpy.float32]


class Sampler:
    """Picks tokens of one turn from logits; llama.cpp's own samplers, fed by hand."""

    def __init__(self, sampling: Sampling, vocabulary: int) -> None:
        self._is_plain = sampling.temperature <= 0 and sampling.repetition_penalty == 1.0
        self._chain = None if self._is_plain else _chain(sampling)
        self._candidates = None if self._is_plain else numpy.zeros(vocabulary, _CANDIDATE)
        self._ids = None if self._is_plain else numpy.arange(vocabulary, dtype=numpy.int32)

    def pick(self, logits: Logits) -> int:
        """The next token. Nothing is remembered of it: see `accept`."""
        if self._candidates is None:
            return int(logits.argmax())
        self._candidates["id"] = self._ids
        self._candidates["logit"] = logits
        array = llama_cpp.llama_token_data_array(
            data=self._candidates.ctypes.data_as(ctypes.POINTER(llama_cpp.llama_token_data)),
            size=len(self._candidates),
            selected=-1,
            sorted=False,
        )
        llama_cpp.llama_sampler_apply(self._chain, ctypes.byref(array))
        return int(array.data[array.selected].id)

    def accept(self, token: int) -> None:
        """Notes a token that was written, for the repetition penalty."""
        if self._chain:
            llama_cpp.llama_sampler_accept(self._chain, token)

    def close(self) -> None:
        if self._chain:
            llama_cpp.llama_sampler_free(self._chain)
            self._chain = None


def _chain(sampling: Sampling) -> Any:
    chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
    assert chain
    add = llama_cpp.llama_sampler_chain_add
    if sampling.repetition_penalty != 1.0:
        add(chain, llama_cpp.llama_sampler_init_penalties(PENALTY_WINDOW, sampling.repetition_penalty, 0.0, 0.0))
    if sampling.temperature <= 0:
        add(chain, llama_cpp.llama_sampler_init_greedy())
        return chain
    if sampling.top_k > 0:
        add(chain, llama_cpp.llama_sampler_init_top_k(sampling.top_k))
    if sampling.top_p < 1:
        add(chain, llama_cpp.llama_sampler_init_top_p(sampling.top_p, 1))
    if sampling.min_p > 0:
        add(chain, llama_cpp.llama_sampler_init_min_p(sampling.min_p, 1))
    add(chain, llama_cpp.llama_sampler_init_temp(sampling.temperature))
    add(chain, llama_cpp.llama_sampler_init_dist(sampling.seed % 0xFFFFFFFF))  # that value would mean: any seed
    return chain


def grammar_tokenizer(weights: Weights) -> LLTokenizer:
    """llguidance's view of the vocabulary. Takes up to a second: once a model."""
    pieces = []
    control, own = llama_cpp.LLAMA_TOKEN_ATTR_CONTROL, llama_cpp.LLAMA_TOKEN_ATTR_USER_DEFINED
    for token, piece in enumerate(weights.all_pieces()):
        attributes = weights.attributes(token)
        is_tag = piece.startswith(b"<") and piece.endswith(b">")
        if attributes & control or (attributes & own and is_tag):
            piece = b"\xff" + piece  # llguidance's mark of a token that is not text
        pieces.append(piece)
    tokenize = ctypes.cast(llama_cpp._lib.llama_tokenize, ctypes.c_void_p).value
    ends = weights.end_tokens()
    made: LLTokenizer = LLTokenizer.from_llamacpp(  # type: ignore[attr-defined]  # its stubs leave it out
        tokens=pieces, vocab_ptr=weights.vocab, tokenize_fptr=tokenize, eos_token=ends, slices=[_IN_STRINGS]
    )
    return made


class Grammars:
    """Compiled grammars, kept for the life of the model: one for each set of tools."""

    def __init__(self, weights: Weights) -> None:
        self._tokenizer = grammar_tokenizer(weights)
        self._vocabulary = weights.vocabulary
        self._compiled: dict[str, LLMatcher] = {}

    def begin(self, grammar: str) -> Constraint:
        """The constraint of a turn, at its start. ModelError where the grammar is refused."""
        if grammar not in self._compiled:
            matcher = LLMatcher(self._tokenizer, LLMatcher.grammar_from_lark(grammar))
            if matcher.is_error():
                raise ModelError(f"the tools cannot be written as a grammar: {matcher.get_error()}")
            self._compiled[grammar] = matcher
        return Constraint(self._compiled[grammar].deep_copy(), self._vocabulary)


class Free:
    """No constraint: anything may be written, until the model ends the turn."""

    is_complete = False

    def pick(self, sampler: Sampler, logits: Logits) -> int:
        return sampler.pick(logits)

    def consume(self, token: int) -> list[int]:
        return []


class Constraint:
    """What may be written next in one turn."""

    def __init__(self, matcher: LLMatcher, vocabulary: int) -> None:
        self._matcher = matcher
        self._vocabulary = vocabulary
        self._mask = numpy.zeros((vocabulary + 31) // 32, numpy.int32)

    def pick(self, sampler: Sampler, logits: Logits) -> int:
        """The next token of those allowed. Writes into `logits`."""
        token = sampler.pick(logits)
        if self._matcher.validate_tokens([token]):
            return token
        self._matcher.unsafe_compute_mask_ptr(self._mask.ctypes.data, self._mask.nbytes)
        self._check()
        allowed = numpy.unpackbits(self._mask.view(numpy.uint8), count=self._vocabulary, bitorder="little")
        numpy.copyto(logits, -numpy.inf, where=allowed == 0)
        return sampler.pick(logits)

    def consume(self, token: int) -> list[int]:
        """Notes a token that was picked; gives those that the grammar leaves no choice about, which are noted too."""
        if not self._matcher.consume_token(token):
            raise ModelError(f"the constraint failed: {self._matcher.get_error()}")
        if self._matcher.is_stopped():
            return []
        forced = self._matcher.compute_ff_tokens()
        if forced and not self._matcher.consume_tokens(forced):
            raise ModelError(f"the constraint failed: {self._matcher.get_error()}")
        return forced

    def forced(self) -> list[int]:
        """The tokens that a turn must begin with; they are noted."""
        forced = self._matcher.compute_ff_tokens()
        if forced:
            self._matcher.consume_tokens(forced)
        return forced

    @property
    def is_complete(self) -> bool:
        """Whether nothing can follow but the end."""
        self._check()
        return self._matcher.is_stopped()

    def _check(self) -> None:
        if self._matcher.is_error():
            raise ModelError(f"the constraint failed: {self._matcher.get_error()}")
