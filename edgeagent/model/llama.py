"""llama.cpp's own functions behind Python types: a loaded model, its vocabulary, a context with several sequences.

Only the model host imports it: llama.cpp aborts the process on bad input.
Owns memory addresses and their lifetimes. Knows nothing of conversations, grammars or turns.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray

from edgeagent.errors import ModelError
from edgeagent.model.native import llama_cpp

CHUNK = 512
"""Tokens that one decode call may take."""
_AT_ONCE = 256
"""Tokens that are computed at once; room for their values is held for good. 512 would be 1 % faster and take 18 MB more
with a vocabulary of 152,000."""
KV_TYPES = {"f16": llama_cpp.GGML_TYPE_F16, "q8_0": llama_cpp.GGML_TYPE_Q8_0}

_FLASH = {
    "auto": llama_cpp.LLAMA_FLASH_ATTN_TYPE_AUTO,
    "on": llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED,
    "off": llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED,
}
_SPECIAL = llama_cpp.LLAMA_TOKEN_ATTR_CONTROL | llama_cpp.LLAMA_TOKEN_ATTR_USER_DEFINED
_ERROR_LEVEL = 4  # GGML_LOG_LEVEL_ERROR
NO_ROOM, ABORTED = 1, 2
"""What `Context.decode` gives where the memory is full, and when `Context.abort` was called meanwhile."""


def engine_version() -> str:
    """The build: a state that another one saved is not read."""
    return f"llama-cpp-python {version('llama-cpp-python')}, llama.cpp {llama_cpp.llama_version().decode()}"


def system_info() -> str:
    """What the processor has and the build uses."""
    return str(llama_cpp.llama_print_system_info().decode())


def return_memory() -> None:
    """Gives back to the system what the C library keeps of freed memory, where it can."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)


@llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]  # ctypes has no types for it
def _log(level: int, text: bytes, _: Any) -> None:
    """Errors go to standard error, the rest nowhere. At the top of the module, so that it is never collected."""
    if level == _ERROR_LEVEL:
        sys.stderr.write(text.decode(errors="replace"))


class Weights:
    """A model file, loaded. Its vocabulary may be used from several threads at a time."""

    def __init__(self, path: Path, *, mmap: bool = True, mlock: bool = False, only_vocabulary: bool = False) -> None:
        llama_cpp.llama_log_set(_log, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        parameters = llama_cpp.llama_model_default_params()
        parameters.load_mode = _load_mode(mmap, mlock)
        parameters.vocab_only = only_vocabulary
        self.handle = llama_cpp.llama_model_load_from_file(str(path).encode(), parameters)
        if not self.handle:
            raise ModelError(
                f"{path.name} cannot be loaded: it is damaged or not a model that llama.cpp knows",
                "edgeagent models list",
            )
        self.vocab = llama_cpp.llama_model_get_vocab(self.handle)
        self.vocabulary = int(llama_cpp.llama_vocab_n_tokens(self.vocab))
        self.trained_context = int(llama_cpp.llama_model_n_ctx_train(self.handle))
        self.bytes = int(llama_cpp.llama_model_size(self.handle))
        self.parameters = int(llama_cpp.llama_model_n_params(self.handle))
        self._pieces: dict[int, bytes] = {}

    @property
    def can_roll_back(self) -> bool:
        """Whether the end of a sequence can be dropped. Recurrent, hybrid and sliding-window models cannot."""
        is_recurrent = llama_cpp.llama_model_is_recurrent(self.handle) or llama_cpp.llama_model_is_hybrid(self.handle)
        return not is_recurrent and llama_cpp.llama_model_n_swa(self.handle) == 0

    def description(self) -> str:
        buffer = ctypes.create_string_buffer(256)
        llama_cpp.llama_model_desc(self.handle, buffer, 256)
        return buffer.value.decode(errors="replace")

    def chat_template(self) -> str | None:
        source = llama_cpp.llama_model_chat_template(self.handle, None)
        return source.decode("utf-8", "replace") if source else None

    # --- tokens -------------------------------------------------------------------------------------------------

    def piece(self, token: int) -> bytes:
        """The bytes of a token; they need not be whole characters."""
        known = self._pieces.get(token)
        if known is None:
            known = self._pieces[token] = self._read_piece(token, ctypes.create_string_buffer(64))
        return known

    def all_pieces(self) -> Iterator[bytes]:
        """The bytes of every token, in order. Nothing is kept of them: there may be 150,000."""
        buffer = ctypes.create_string_buffer(64)
        return (self._read_piece(token, buffer) for token in range(self.vocabulary))

    def _read_piece(self, token: int, buffer: ctypes.Array[ctypes.c_char]) -> bytes:
        written = llama_cpp.llama_token_to_piece(self.vocab, token, buffer, len(buffer), 0, True)
        if written < 0:  # longer than the buffer
            return self._read_piece(token, ctypes.create_string_buffer(-written))
        return buffer.raw[:written]

    def attributes(self, token: int) -> int:
        return int(llama_cpp.llama_vocab_get_attr(self.vocab, token))

    def text(self, tokens: Sequence[int]) -> str:
        return b"".join(map(self.piece, tokens)).decode("utf-8", "replace")

    def tokenize(self, text: str, *, special: bool, first: bool = False) -> list[int]:
        """The tokens of a text.

        Args:
            special: whether texts of control tokens are those tokens.
            first: whether the model's beginning-of-sequence token is put in front, where it has one.
        """
        data = text.encode("utf-8", "replace")
        room = len(data) + 8
        while True:
            tokens = (llama_cpp.llama_token * room)()
            count = llama_cpp.llama_tokenize(self.vocab, data, len(data), tokens, room, first, special)
            if count >= 0:
                return list(tokens[:count])
            room = -count

    def special_texts(self) -> dict[str, int]:
        """The tokens that steer a model rather than say something, by their text."""
        tokens = [token for token in range(self.vocabulary) if self.attributes(token) & _SPECIAL]
        texts = {self.piece(token).decode(errors="replace"): token for token in tokens}
        texts.pop("", None)
        return texts

    def begin_text(self) -> str:
        return self._text_of(llama_cpp.llama_vocab_bos(self.vocab))

    def end_text(self) -> str:
        return self._text_of(llama_cpp.llama_vocab_eos(self.vocab))

    def _text_of(self, token: int) -> str:
        return self.piece(token).decode(errors="replace") if token >= 0 else ""

    @property
    def begin_token(self) -> int:
        return int(llama_cpp.llama_vocab_bos(self.vocab))

    def end_tokens(self) -> list[int]:
        """Every token that ends a turn; the main one first."""
        ends = [token for token in range(self.vocabulary) if llama_cpp.llama_vocab_is_eog(self.vocab, token)]
        main = int(llama_cpp.llama_vocab_eos(self.vocab))
        return [main, *(token for token in ends if token != main)] if main >= 0 else ends


def _load_mode(mmap: bool, mlock: bool) -> int:
    if mlock:
        return int(llama_cpp.LLAMA_LOAD_MODE_MMAP_MLOCK if mmap else llama_cpp.LLAMA_LOAD_MODE_MLOCK)
    return int(llama_cpp.LLAMA_LOAD_MODE_MMAP if mmap else llama_cpp.LLAMA_LOAD_MODE_NONE)


@dataclass(frozen=True, slots=True)
class ContextOptions:
    """How a context is made: `tokens` shared by its sequences, `kv_type` of `KV_TYPES`, `flash` auto, on or off."""

    tokens: int
    sequences: int = 1
    kv_type: str = "f16"
    flash: str = "auto"


@dataclass(frozen=True, slots=True)
class Part:
    """Tokens to decode at the end of one sequence, from `position` on. `wants_logits` of the last of them."""

    sequence: int
    position: int
    tokens: Sequence[int]
    wants_logits: bool


class Context:
    """Sequences of tokens with their states, all in one memory. One thread at a time, but for `abort`."""

    def __init__(self, weights: Weights, options: ContextOptions) -> None:
        self._weights = weights
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx = options.tokens
        parameters.n_batch = min(CHUNK, options.tokens)
        parameters.n_ubatch = min(_AT_ONCE, options.tokens)
        parameters.n_seq_max = parameters.n_outputs_max = options.sequences
        parameters.kv_unified = True
        parameters.swa_full = False
        parameters.flash_attn_type = _FLASH[options.flash]
        parameters.type_k = parameters.type_v = KV_TYPES[options.kv_type]
        parameters.no_perf = True
        self.handle = llama_cpp.llama_init_from_model(weights.handle, parameters)
        if not self.handle:
            raise ModelError("llama.cpp could not make a context of this size", "lower model.context")
        self.memory = llama_cpp.llama_get_memory(self.handle)
        self._threads = (0, 0)
        self.batch = int(llama_cpp.llama_n_batch(self.handle))
        self._batch = _Batch(self.batch)
        self._abort = ctypes.create_string_buffer(2)
        self._set_abort_callback()

    def close(self) -> None:
        """Gives the memory back. The context is not used any more."""
        llama_cpp.llama_free(self.handle)
        self.handle = None

    def _set_abort_callback(self) -> None:
        """llama.cpp asks before each operation, which is too often for Python: a C function of its own answers.

        `strlen` of the buffer is 0 (go on) while its first byte is 0, and 1 (stop) once it is not.
        """
        strlen = ctypes.cast(ctypes.CDLL(None).strlen, ctypes.c_void_p).value
        assert strlen
        self._callback = llama_cpp.ggml_abort_callback(strlen)
        data = ctypes.cast(self._abort, ctypes.c_void_p)
        llama_cpp.llama_set_abort_callback(self.handle, self._callback, data)

    def abort(self, is_wanted: bool) -> None:
        """Makes the decode call in hand, or the next one, end at once; or no longer. From any thread."""
        self._abort[0] = b"\x01" if is_wanted else b"\x00"

    def set_threads(self, decode: int, prefill: int) -> None:
        if (decode, prefill) != self._threads:
            llama_cpp.llama_set_n_threads(self.handle, decode, prefill)
            self._threads = (decode, prefill)

    def decode(self, parts: Sequence[Part]) -> int:
        """Puts the parts into the memory in one batch. 0, or llama.cpp's status: `NO_ROOM`, `ABORTED`, < 0 broken."""
        return int(llama_cpp.llama_decode(self.handle, self._batch.filled(parts)))

    def logits(self, row: int) -> NDArray[numpy.float32]:
        """The logits after token `row` of the last batch, which asked for them. A view: gone with the next batch."""
        return numpy.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(self.handle, row), (self._weights.vocabulary,))

    # --- sequences ----------------------------------------------------------------------------------------------

    def cut(self, sequence: int, length: int) -> bool:
        """Drops all but the first `length` tokens. False where the model cannot: then nothing has changed."""
        return bool(llama_cpp.llama_memory_seq_rm(self.memory, sequence, length, -1))

    def clear(self, sequence: int) -> None:
        llama_cpp.llama_memory_seq_rm(self.memory, sequence, -1, -1)

    def copy(self, source: int, target: int, length: int) -> None:
        """Makes the empty `target` begin with the first `length` tokens of `source`. The memory is shared."""
        llama_cpp.llama_memory_seq_cp(self.memory, source, target, 0, length)

    def save(self, sequence: int) -> NDArray[numpy.uint8]:
        """The state of a sequence as bytes."""
        size = int(llama_cpp.llama_state_seq_get_size(self.handle, sequence))
        data = numpy.empty(size, numpy.uint8)
        pointer = data.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        written = llama_cpp.llama_state_seq_get_data(self.handle, pointer, size, sequence)
        return data[:written]

    def restore(self, sequence: int, data: NDArray[numpy.uint8]) -> bool:
        """Puts a saved state into a sequence, whose own is dropped. False where it does not fit."""
        pointer = data.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        read = llama_cpp.llama_state_seq_set_data(self.handle, pointer, len(data), sequence)
        if read <= 0:
            self.clear(sequence)
        return bool(read > 0)


class _Batch:
    """Arrays for llama.cpp's batch, kept between calls."""

    def __init__(self, size: int) -> None:
        self._tokens = numpy.zeros(size, numpy.int32)
        self._positions = numpy.zeros(size, numpy.int32)
        self._counts = numpy.ones(size, numpy.int32)
        self._sequences = numpy.zeros(size, numpy.int32)
        addresses = self._sequences.ctypes.data + 4 * numpy.arange(size, dtype=numpy.uintp)
        self._pointers = numpy.ascontiguousarray(addresses)
        self._logits = numpy.zeros(size, numpy.int8)
        integers = ctypes.POINTER(ctypes.c_int32)
        self._batch = llama_cpp.llama_batch(
            n_tokens=0,
            token=self._tokens.ctypes.data_as(integers),
            embd=None,
            pos=self._positions.ctypes.data_as(integers),
            n_seq_id=self._counts.ctypes.data_as(integers),
            seq_id=self._pointers.ctypes.data_as(ctypes.POINTER(integers)),
            logits=self._logits.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        )

    def filled(self, parts: Sequence[Part]) -> Any:
        end = 0
        for part in parts:
            begin, end = end, end + len(part.tokens)
            self._tokens[begin:end] = part.tokens
            self._positions[begin:end] = numpy.arange(part.position, part.position + len(part.tokens))
            self._sequences[begin:end] = part.sequence
            self._logits[begin:end] = 0
            self._logits[end - 1] = part.wants_logits
        self._batch.n_tokens = end
        return self._batch
