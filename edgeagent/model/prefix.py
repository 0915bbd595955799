"""States of prompt beginnings, so that what an agent always says first is read once: in memory, and in files.

A file is found by what it holds: the model's digest, the type of its KV cache, the build of the engine and the tokens.
It is written beside its place and renamed, and carries a digest: one that is damaged, or that belongs elsewhere, is
removed and made anew. Files used longest ago go first when they take more room than they may. No error on disk is an
error of a run.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy
from numpy.typing import NDArray

State = NDArray[numpy.uint8]

SUFFIX = ".state"
_MAGIC = b"edgeagent prefix 1\n"
_DIGEST = 32
_TEMPORARY = ".tmp-"


@dataclass(frozen=True, slots=True)
class Maker:
    """What a state depends on besides its tokens. Another value of any of them makes another state."""

    model: str
    kv_type: str
    engine: str

    def name(self, tokens: Sequence[int]) -> str:
        """The name under which the state of these tokens is kept."""
        key = hashlib.sha256(json.dumps([self.model, self.kv_type, self.engine]).encode())
        key.update(numpy.asarray(tokens, numpy.int32).tobytes())
        return key.hexdigest()


@dataclass(frozen=True, slots=True)
class Found:
    """A state, and where it came from."""

    state: State
    origin: Literal["memory", "disk"]


class Prefixes:
    """The stored beginnings of one model's prompts.

    Args:
        folder: where the files lie; None: nothing is kept on disk.
        memory: bytes that states may take in memory.
        disk: bytes that all files in the folder may take.
    """

    def __init__(self, maker: Maker, folder: Path | None, *, memory: int, disk: int) -> None:
        self._maker = maker
        self._folder = folder if disk > 0 else None
        self._memory, self._disk = memory, disk
        self._kept: OrderedDict[str, State] = OrderedDict()
        self._writing: threading.Thread | None = None

    def find(self, tokens: Sequence[int]) -> Found | None:
        """The state after exactly these tokens."""
        name = self._maker.name(tokens)
        if name in self._kept:
            self._kept.move_to_end(name)
            return Found(self._kept[name], "memory")
        if self._folder is None:
            return None
        path = self._folder / f"{name}{SUFFIX}"
        state = self._read(path, name)
        if state is None:
            return None
        self._keep(name, state)
        with contextlib.suppress(OSError):
            os.utime(path)
        return Found(state, "disk")

    def has(self, tokens: Sequence[int]) -> bool:
        """Whether the state is there, unread: a damaged file counts."""
        name = self._maker.name(tokens)
        return name in self._kept or (self._folder is not None and (self._folder / f"{name}{SUFFIX}").exists())

    def put(self, tokens: Sequence[int], state: State) -> None:
        """Keeps a state. The file is written by another thread; `finish` waits for it."""
        name = self._maker.name(tokens)
        self._keep(name, state)
        if self._folder is not None and len(state) <= self._disk:
            self.finish()
            self._writing = threading.Thread(target=self._write, args=(self._folder, name, state), daemon=True)
            self._writing.start()

    def finish(self) -> None:
        """Waits until what was put is on disk."""
        if self._writing:
            self._writing.join()

    def _keep(self, name: str, state: State) -> None:
        if len(state) > self._memory:
            return
        self._kept[name] = state
        self._kept.move_to_end(name)
        while sum(map(len, self._kept.values())) > self._memory:
            self._kept.popitem(last=False)

    def _read(self, path: Path, name: str) -> State | None:
        """The state in a file. One that does not hold what its name says is removed."""
        try:
            data = numpy.fromfile(path, numpy.uint8)
        except OSError:
            return None
        head = len(_MAGIC) + len(name) + _DIGEST
        expected = numpy.frombuffer(_MAGIC + name.encode(), numpy.uint8)
        is_whole = len(data) > head and bool((data[: len(expected)] == expected).all())
        if is_whole and _digest(name, data[head:]) == data[len(expected) : head].tobytes():
            return data[head:]
        with contextlib.suppress(OSError):
            path.unlink()
        return None

    def _write(self, folder: Path, name: str, state: State) -> None:
        """A disk that is full, or a folder that cannot be written, means only that the state is made again later."""
        temporary = ""
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._shrink(folder, self._disk - len(state))
            descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=_TEMPORARY)
            with os.fdopen(descriptor, "wb") as file:
                file.write(_MAGIC + name.encode() + _digest(name, state))
                file.write(state.data)
            os.replace(temporary, folder / f"{name}{SUFFIX}")
        except OSError:
            if temporary:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)

    def _shrink(self, folder: Path, size: int) -> None:
        """Removes the files used longest ago until the rest takes no more than `size` bytes."""
        files = []
        for entry in os.scandir(folder):
            with contextlib.suppress(OSError):  # another host removed it meanwhile
                found = entry.stat()
                files.append((found.st_mtime, found.st_size, entry.path))
        total = sum(taken for _, taken, _ in files)
        for _, taken, path in sorted(files):
            if total <= size:
                return
            with contextlib.suppress(OSError):
                os.unlink(path)
            total -= taken


def _digest(name: str, state: State) -> bytes:
    digest = hashlib.sha256(name.encode())
    digest.update(state.data)
    return digest.digest()
