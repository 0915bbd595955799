"""The head of a GGUF file: its metadata and what its tensors need, read without llama.cpp.

llama.cpp ends the process on a file that is damaged; this says in one line what is wrong with it. Keeps no long lists:
of a vocabulary only the count. Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeagent.errors import ModelError, NotFound

MAGIC = b"GGUF"
_HINT = "edgeagent models list"
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_LONGEST_LIST = 1024
"""Values of a list that are kept; of a longer one only the count is."""
_MOST = 1 << 24
"""Keys, or tensors, that a file may claim to have."""
_ALIGNMENT = 32
# Of each type of tensor: values a block, bytes a block (ggml.h). One that is not here is taken to have no bytes.
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 36), 10: (256, 84),
    11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292), 16: (256, 66), 17: (256, 74),
    18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2),
    26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17),
    40: (64, 36),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Header:
    """What a model file says of itself.

    `metadata` holds numbers, texts and short lists; a long list is its count. `tensor_bytes` are those of all weights.
    """

    path: Path
    metadata: dict[str, Any]
    tensors: int
    tensor_bytes: int

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
        ModelError: not a GGUF, damaged, or cut short; the message names the file.
    """
    try:
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise ModelError(f"{path} is not a GGUF file", _HINT)
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _Reader(path, data).header()
    except FileNotFoundError:
        raise NotFound(f"model file {path} does not exist", _HINT) from None
    except OSError as error:
        raise ModelError(f"model file {path} cannot be read: {error.strerror}", _HINT) from error


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
            raise ModelError(f"{self._path} is cut short or damaged: it ends within its header", _again()) from error
        except _Damaged as error:
            raise ModelError(f"{self._path} is damaged: {error}", _again()) from error

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
        total, end = self._tensors(tensors)
        alignment = metadata.get("general.alignment", _ALIGNMENT)
        if not isinstance(alignment, int) or not 0 < alignment <= 1 << 20:
            raise _Damaged(f"its alignment is {alignment}")
        begin = -(-self._at // alignment) * alignment
        if begin + end > self._size:
            present, wanted = self._size / 1e6, (begin + end) / 1e6
            message = f"{self._path} is cut short: {present:.1f} MB of {wanted:.1f} MB are there"
            raise ModelError(message, _again())
        return Header(self._path, metadata, tensors, total)

    def _tensors(self, count: int) -> tuple[int, int]:
        """The bytes of all tensors, and where the last one ends, counted from where they begin."""
        total = end = 0
        for _ in range(count):
            self._text()
            (dimensions,) = self._take("I")
            if dimensions > 8:
                raise _Damaged(f"a tensor has {dimensions} dimensions")
            values = 1
            for size in self._take(f"{dimensions}Q"):
                values *= size
            kind, offset = self._take("IQ")
            block, taken = _BLOCKS.get(kind, (1, 0))
            total += values // block * taken
            end = max(end, offset + values // block * taken)
        return total, end

    def _take(self, pattern: str) -> tuple[Any, ...]:
        pattern = "<" + pattern
        values = struct.unpack_from(pattern, self._data, self._at)
        self._at += struct.calcsize(pattern)
        return values

    def _text(self) -> str:
        (length,) = self._take("Q")
        if length > self._size - self._at:
            raise _Damaged(f"a text of {length} bytes is longer than the rest of the file")
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
        if kind in _NUMBERS:
            if count <= _LONGEST_LIST:
                return list(self._take(f"{count}{_NUMBERS[kind]}"))
            self._at += count * struct.calcsize("<" + _NUMBERS[kind])
            return count
        if kind == _ARRAY and count > _LONGEST_LIST:
            raise _Damaged("a list holds too many lists")
        values = [None if kind == _STRING and self._skip_text() else self._value(kind) for _ in range(count)]
        return len(values)

    def _skip_text(self) -> bool:
        (length,) = struct.unpack_from("<Q", self._data, self._at)
        self._at += 8 + length
        if self._at > self._size:
            raise _Damaged("a list of texts is longer than the file")
        return True


def _again() -> str:
    return "get the file again; edgeagent models list shows where models lie"
