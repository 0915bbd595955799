"""States of prompt beginnings, so that what an agent always says first is read once: in files, and in memory what has
no file.

A file that was written or checked here is mapped, which costs no memory and no second check. It is found by what it
holds: the model's digest, the type of its KV cache, the build of the engine and the tokens. It is written beside its
place and renamed, and carries a digest: one that is damaged, or that belongs elsewhere, is removed and made anew. Files
used longest ago go first when they take more room than they may. No error on disk is an error of a run.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
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
    """A state, and where it came from; a file that this process wrote or read before counts as memory."""

    state: State
    origin: Literal["memory", "disk"]


class Prefixes:
    """The stored beginnings of one model's prompts.

    Args:
        folder: where the files lie; None: nothing is kept on disk.
        memory: bytes that states without a file may take in memory.
        disk: bytes that all files in the folder may take.
    """

    def __init__(self, maker: Maker, folder: Path | None, *, memory: int, disk: int) -> None:
        self._maker = maker
        self._folder = folder if disk > 0 else None
        self._memory, self._disk = memory, disk
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, State] = OrderedDict()
        self._checked: dict[str, _Version] = {}
        self._writing: threading.Thread | None = None

    def find(self, tokens: Sequence[int]) -> Found | None:
        """The state after exactly these tokens."""
        name = self._maker.name(tokens)
        with self._lock:
            if name in self._kept:
                self._kept.move_to_end(name)
                return Found(self._kept[name], "memory")
            checked = self._checked.get(name)
        if self._folder is None:
            return None
        path = self._folder / f"{name}{SUFFIX}"
        is_checked = checked is not None and checked == _version(path)
        state = _mapped(path, name)[1] if is_checked else self._read(path, name)
        if state is None:
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        self._note(name, path)
        return Found(state, "memory" if is_checked else "disk")

    def has(self, tokens: Sequence[int]) -> bool:
        """Whether the state is there, unread: a damaged file counts."""
        name = self._maker.name(tokens)
        with self._lock:
            if name in self._kept:
                return True
        return self._folder is not None and (self._folder / f"{name}{SUFFIX}").exists()

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
            self._writing = None

    def _keep(self, name: str, state: State) -> None:
        if len(state) > self._memory:
            return
        with self._lock:
            self._kept[name] = state
            self._kept.move_to_end(name)
            while sum(map(len, self._kept.values())) > self._memory:
                self._kept.popitem(last=False)

    def _note(self, name: str, path: Path) -> None:
        """That the file is whole, as it is now: what is kept of it in memory goes."""
        version = _version(path)
        if version is not None:
            with self._lock:
                self._checked[name] = version
                self._kept.pop(name, None)

    def _read(self, path: Path, name: str) -> State | None:
        """The state in a file, checked. One that does not hold what its name says is removed."""
        digest, state = _mapped(path, name)
        if state is not None and digest == _digest(name, state):
            return state
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
            return
        self._note(name, folder / f"{name}{SUFFIX}")

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


_Version = tuple[int, int, int]
"""What changes when a file does: its place, size and time."""


def _version(path: Path) -> _Version | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _mapped(path: Path, name: str) -> tuple[bytes, State | None]:
    """The digest in a file and the state that follows it; no state where there is no file with the head of that name.
    It stays whole though the file be replaced or removed."""
    head = _MAGIC + name.encode()
    begin = len(head) + _DIGEST
    try:
        with path.open("rb") as file:
            flags = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
            data = numpy.frombuffer(mmap.mmap(file.fileno(), 0, flags, mmap.PROT_READ), numpy.uint8)
    except (OSError, ValueError):  # an empty file cannot be mapped
        return b"", None
    is_ours = len(data) > begin and data[: len(head)].tobytes() == head
    return data[len(head) : begin].tobytes(), data[begin:] if is_ours else None


def _digest(name: str, state: State) -> bytes:
    digest = hashlib.sha256(name.encode())
    digest.update(state.data)
    return digest.digest()
