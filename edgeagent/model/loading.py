"""From a model file to an engine: loads the weights, names their content, and finds out how many threads suit.

What is found out once is kept in the cache folder: the digest of a file while its size and time stay the same, and the
threads measured for that model on this machine. Runs only inside the model host.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from edgeagent.model.engine import Engine, EngineOptions
from edgeagent.model.llama import CHUNK, Context, ContextOptions, Part, Weights, engine_version, return_memory
from edgeagent.model.wire import HostOptions
from edgeagent.schema import Json

SMALL_BYTES = 64_000_000
"""A model below this gets one thread. llama.cpp's threads wait for each other by spinning: on two busy cores a turn of
`pocket` took 46 s with two threads and 0.3 s with one; on idle ones it is fast enough with one."""
LONGEST_BATCH = 3.0
"""Seconds that a batch of a prompt may take: so long a turn that comes meanwhile waits before it begins."""
PREFILL_TOKENS = 64
DECODE_TOKENS = 4
MEASURE_SECONDS = 6.0
"""No further number of threads is tried after so long."""
_FACTS = "models.json"


def load(path: Path, options: HostOptions) -> Engine:
    """The model, ready to answer. ModelError where it cannot be loaded."""
    weights = Weights(path, mmap=options.mmap, mlock=options.mlock)
    notes = _Notes(Path(options.cache) / _FACTS if options.cache else None)
    digest = _digest(path, notes) if options.cache else ""
    decode, prefill, chunk = _pace(weights, options, notes, digest)
    engine = Engine(
        path,
        weights,
        EngineOptions(
            context=options.context,
            slots=options.slots,
            threads=decode,
            prefill_threads=prefill,
            chunk=chunk,
            kv_type=options.kv_type,
            flash=options.flash_attention,
            states=Path(options.cache) / "states" if options.cache else None,
            states_disk=options.states_disk,
            states_memory=options.states_memory,
            digest=digest,
            constrained=options.constrained,
        ),
    )
    return_memory()
    return engine


def _pace(weights: Weights, options: HostOptions, notes: _Notes, digest: str) -> tuple[int, int, int]:
    """Threads for decoding and for reading prompts, and how many tokens of a prompt go into a batch."""
    if options.threads:
        return options.threads, options.threads, CHUNK
    if weights.bytes < SMALL_BYTES:
        return 1, 1, CHUNK
    cores = usable_cores()
    key = f"pace {digest} {cores} {engine_version()}"
    known = notes.get(key)
    if known is None:
        known = _measured(weights, options, cores)
        if _is_calm(cores):  # what was measured beside other work says little of this model
            notes.put(key, known)
    return int(known["decode"]), int(known["prefill"]), int(known["chunk"])


def usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _is_calm(cores: int) -> bool:
    return not hasattr(os, "getloadavg") or os.getloadavg()[0] < 0.75 * cores


def _measured(weights: Weights, options: HostOptions, cores: int) -> Json:
    """The numbers of threads with which this machine is fastest, by trying a few; and the size of a batch of a prompt
    that takes no longer than `LONGEST_BATCH`, as a power of two."""
    context = Context(weights, ContextOptions(256, 1, options.kv_type, options.flash_attention))
    until = time.monotonic() + MEASURE_SECONDS
    tries = sorted({cores, max(1, cores - 1), max(1, cores // 2)}, reverse=True)
    prompt = [token % weights.vocabulary for token in range(100, 100 + PREFILL_TOKENS)]

    def prefill(threads: int) -> None:
        context.set_threads(threads, threads)
        context.clear(0)
        context.decode([Part(0, 0, prompt, True)])

    def decode(threads: int) -> None:
        context.set_threads(threads, threads)
        for position in range(DECODE_TOKENS):
            context.decode([Part(0, PREFILL_TOKENS + position, prompt[:1], True)])

    prefill(cores)  # the first pass brings the weights into memory
    threads, seconds = _fastest(prefill, tries, until)
    chunk = CHUNK
    while chunk > PREFILL_TOKENS and seconds * chunk / PREFILL_TOKENS > LONGEST_BATCH:
        chunk //= 2
    found = {"prefill": threads, "chunk": chunk}

    def decode_again(threads: int) -> None:
        prefill_end = context.cut(0, PREFILL_TOKENS)
        if not prefill_end:
            prefill(threads)
        decode(threads)

    found["decode"], _ = _fastest(decode_again, tries, until)
    context.close()
    return found


def _fastest(run: Callable[[int], None], tries: list[int], until: float) -> tuple[int, float]:
    """The number of threads, and the seconds with it."""
    seconds: dict[int, float] = {}
    for threads in tries:
        if seconds and time.monotonic() > until:
            break
        began = time.perf_counter()
        run(threads)
        seconds[threads] = time.perf_counter() - began
    return min(seconds.items(), key=lambda pair: pair[1])


def _digest(path: Path, notes: _Notes) -> str:
    """SHA-256 of the file, remembered while its size, time and place stay the same."""
    found = path.stat()
    key = f"digest {path} {found.st_size} {found.st_mtime_ns} {found.st_ino}"
    known = notes.get(key)
    if known is None:
        with path.open("rb") as file:
            known = {"sha256": hashlib.file_digest(file, "sha256").hexdigest()}
        notes.put(key, known)
    return str(known["sha256"])


class _Notes:
    """A JSON object in a file, written whole. A file that cannot be read or written is as good as none."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def get(self, key: str) -> Json | None:
        value = self._read().get(key)
        return value if isinstance(value, dict) else None

    def put(self, key: str, value: Json) -> None:
        if self._path is None:
            return
        text = json.dumps({**self._read(), key: value}, indent=1)
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(dir=self._path.parent, prefix=".tmp-")
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(temporary, self._path)

    def _read(self) -> Json:
        if self._path is None:
            return {}
        try:
            read = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return read if isinstance(read, dict) else {}
