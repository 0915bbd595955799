"""The head of a GGUF file: its metadata and what its tensors need, read without llama.cpp.

llama.cpp ends the process on a file that is damaged; this says in one line what is wrong with it. Keeps no long lists:
of a vocabulary only the count. The `gguf` package reads this too, in 12 s and 540 MB where this takes 0.4 s and 3 MB:
docs/decisions/0012-own-reader-of-gguf.md. Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import mmap
import struct
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeagent.errors import InvalidModel, NotFound

MAGIC = b"GGUF"
_HINT = "edgeagent models list"
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_LONGEST_LIST = 1024
"""Values of a list that are kept; of a longer one only the count is."""
_MOST = 1 << 24
"""Keys, or tensors, that a file may claim to have."""
_LONGEST_TEXT = 16_000_000
"""Bytes of a text; a chat template has some ten thousand."""
_ALIGNMENT = 32
_TYPES = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 36), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17), 40: ("NVFP4", 64, 36), 41: ("Q1_0", 128, 18), 42: ("Q2_0", 64, 18),
}  # fmt: skip
"""Of each type of tensor its name, values a block, bytes a block (ggml.h). Of others, no bytes are counted."""
_FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
    29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4", 39: "NVFP4",
}  # fmt: skip
"""What `general.file_type` means (llama.h)."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a model file says of itself.

    `metadata` holds numbers, texts and short lists; a long list, or one of texts, is its count. `tensor_bytes` are
    those of all weights, `types` how many parameters each type of tensor holds.
    """

    path: Path
    metadata: dict[str, Any]
    tensors: int
    tensor_bytes: int
    types: dict[str, int]

    @property
    def parameters(self) -> int:
        return sum(self.types.values())

    @property
    def quantization(self) -> str:
        """What the file says of itself, else the type that most parameters have."""
        named = _FILE_TYPES.get(self.number("general.file_type", -1), "")
        return named or max(self.types, key=lambda name: self.types[name], default="")

    @property
    def trained_context(self) -> int:
        return self.number(f"{self.architecture}.context_length")

    @property
    def vocabulary(self) -> int:
        return self.number("tokenizer.ggml.tokens")

    @property
    def template(self) -> str:
        return self.text("tokenizer.chat_template")

    def text(self, key: str) -> str:
        value = self.metadata.get(key)
        return value if isinstance(value, str) else ""

    def number(self, key: str, default: int = 0) -> int:
        value = self.metadata.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else default

    @property
    def architecture(self) -> str:
        return str(self.metadata.get("general.architecture", ""))

    def of_architecture(self, name: str, default: Any = None) -> Any:
        """A value under the architecture's own prefix, such as `llama.block_count`."""
        return self.metadata.get(f"{self.architecture}.{name}", default)


def read_header(path: Path) -> Header:
    """The head of a model file.

    Raises:
        NotFound: no such file.
        InvalidModel: not a GGUF, damaged, or cut short; the message names the file.
    """
    try:
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise InvalidModel(f"{path} is not a GGUF file", _HINT)
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _Reader(path, data).header()
    except FileNotFoundError:
        raise NotFound(f"model file {path} does not exist", _HINT) from None
    except IsADirectoryError:
        raise InvalidModel(f"{path} is a folder; name the .gguf file in it", _HINT) from None
    except OSError as error:
        raise InvalidModel(f"model file {path} cannot be read: {error.strerror}", _HINT) from error


class _Damaged(Exception):
    """Why a file cannot be a model."""


class _Reader:
    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self._path, self._data, self._size = path, data, len(data)
        self._at = len(MAGIC)

    def header(self) -> Header:
        try:
            return self._header()
        except struct.error as error:
            raise InvalidModel(f"{self._path} is cut short or damaged: it ends within its header", _again()) from error
        except _Damaged as error:
            raise InvalidModel(f"{self._path} is damaged: {error}", _again()) from error

    def _header(self) -> Header:
        version, tensors, keys = self._take("IQQ")
        if not 2 <= version <= 3:
            raise _Damaged(f"version {version} of the format is not known")
        if tensors > _MOST or keys > _MOST:
            raise _Damaged(f"it claims to have {tensors} tensors and {keys} keys")
        metadata = {}
        for _ in range(keys):
            name = self._text()
            metadata[name] = self._value(self._take("I")[0])
        if not isinstance(metadata.get("general.architecture"), str):
            raise _Damaged("it names no architecture")
        total, end, types = self._tensors(tensors)
        alignment = metadata.get("general.alignment", _ALIGNMENT)
        if not isinstance(alignment, int) or not 0 < alignment <= 1 << 20:
            raise _Damaged(f"its alignment is {alignment}")
        begin = -(-self._at // alignment) * alignment
        if tensors and begin + end > self._size:
            present, wanted = self._size / 1e6, (begin + end) / 1e6
            message = f"{self._path} is cut short: {present:.1f} MB of {wanted:.1f} MB are there"
            raise InvalidModel(message, _again())
        return Header(self._path, metadata, tensors, total, dict(types))

    def _tensors(self, count: int) -> tuple[int, int, Counter[str]]:
        """The bytes of all tensors, where the last one ends, counted from where they begin, and what they hold."""
        total = end = 0
        types = Counter[str]()
        for _ in range(count):
            self._text()
            (dimensions,) = self._take("I")
            if dimensions > 8:
                raise _Damaged(f"a tensor has {dimensions} dimensions")
            values = 1
            for size in self._take(f"{dimensions}Q"):
                values *= size
            kind, offset = self._take("IQ")
            name, block, taken = _TYPES.get(kind, (f"type {kind}", 1, 0))
            types[name] += values
            total += values // block * taken
            end = max(end, offset + values // block * taken)
        return total, end, types

    def _take(self, pattern: str) -> tuple[Any, ...]:
        pattern = "<" + pattern
        values = struct.unpack_from(pattern, self._data, self._at)
        self._at += struct.calcsize(pattern)
        return values

    def _text(self) -> str:
        (length,) = self._take("Q")
        if length > self._size - self._at:
            raise _Damaged(f"a text of {length} bytes is longer than the rest of the file")
        if length > _LONGEST_TEXT:
            raise _Damaged(f"a text has {length} bytes")
        self._at += length
        return self._data[self._at - length : self._at].decode("utf-8", "replace")

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._text()
        if kind == _ARRAY:
            return self._list()
        if kind not in _NUMBERS:
            raise _Damaged(f"a value has the unknown type {kind}")
        return self._take(_NUMBERS[kind])[0]

    def _list(self) -> Any:
        kind, count = self._take("IQ")
        if count > self._size - self._at:
            raise _Damaged(f"a list of {count} values is longer than the rest of the file")
        if kind == _STRING:
            for _ in range(count):
                self._skip_text()
            return count
        if kind not in _NUMBERS:  # lists in lists are not in any model, and could go too deep
            raise _Damaged(f"a list has values of the type {kind}")
        if count <= _LONGEST_LIST:
            return list(self._take(f"{count}{_NUMBERS[kind]}"))
        self._at += count * struct.calcsize("<" + _NUMBERS[kind])
        return count

    def _skip_text(self) -> None:
        (length,) = struct.unpack_from("<Q", self._data, self._at)
        self._at += 8 + length
        if self._at > self._size:
            raise _Damaged("a list of texts is longer than the file")


def _again() -> str:
    return "get the file again; edgeagent models list shows where models lie"
