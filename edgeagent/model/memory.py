"""How much memory a model needs, from its metadata, and how much there is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from edgeagent.errors import NotEnoughMemory
from edgeagent.model.header import Header
from edgeagent.model.wire import HostOptions

HOST_BYTES = 60_000_000
"""Python, llama.cpp's code and the grammar's tables. Measured."""
BYTES_A_TOKEN = 400
"""Of the vocabulary: llama.cpp's tables and those of the grammar."""
_BATCH = 512
_VALUE_BYTES = {"f16": 2.0, "q8_0": 34 / 32}
_GROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes that a loaded model takes: its weights, the state of its context, and what it computes with."""

    weights: int
    state: int
    work: int

    @property
    def total(self) -> int:
        return self.weights + self.state + self.work


def need_of(header: Header, options: HostOptions) -> Need:
    """What the model needs with these options; rather too much than too little."""
    trained = _whole(header.of_architecture("context_length"), 0)
    context = min(options.context, trained) if trained else options.context
    width = _whole(header.of_architecture("embedding_length"), 1)
    inner = max(_numbers(header.of_architecture("feed_forward_length"), 1) or [4 * width])
    vocabulary = _whole(header.metadata.get("tokenizer.ggml.tokens"), 32_000)
    state = context * _state_values(header, width) * _VALUE_BYTES[options.kv_type] + options.slots * _fixed(header)
    work = 4 * (_BATCH * (4 * width + 3 * inner) + options.slots * vocabulary) + BYTES_A_TOKEN * vocabulary + HOST_BYTES
    return Need(header.tensor_bytes, int(state), int(work))


def _state_values(header: Header, width: int) -> int:
    """Values of the KV cache a token, over all layers."""
    layers = _whole(header.of_architecture("block_count"), 1)
    heads = max(_numbers(header.of_architecture("attention.head_count"), layers) or [0])
    if not heads:
        return 0  # it has no attention
    head = width // heads
    key = _whole(header.of_architecture("attention.key_length"), head)
    value = _whole(header.of_architecture("attention.value_length"), head)
    kept = _numbers(header.of_architecture("attention.head_count_kv"), layers) or [heads] * layers
    return sum(kept) * (key + value)


def _fixed(header: Header) -> int:
    """Bytes of a state that does not grow with the conversation (recurrent layers)."""
    layers = _whole(header.of_architecture("block_count"), 1)
    inner = _whole(header.of_architecture("ssm.inner_size"), 0)
    state = _whole(header.of_architecture("ssm.state_size"), 0)
    kernel = _whole(header.of_architecture("ssm.conv_kernel"), 0)
    return 4 * layers * inner * (state + kernel)


def _whole(value: Any, default: int) -> int:
    return value if isinstance(value, int) and value >= 0 else default


def _numbers(value: Any, layers: int) -> list[int]:
    """One number for each layer, whether the file gives one or a list."""
    if isinstance(value, list):
        return [number for number in value if isinstance(number, int)]
    return [value] * layers if isinstance(value, int) else []


def available() -> int:
    """Bytes that a new process may take without swapping, by the machine and by the control group this one is in."""
    free = int(psutil.virtual_memory().available)
    try:
        limit = (_GROUP / "memory.max").read_text().strip()
        if limit == "max":
            return free
        used = int((_GROUP / "memory.current").read_text())
        statistics = dict(line.split() for line in (_GROUP / "memory.stat").read_text().splitlines())
        return min(free, int(limit) - used + int(statistics.get("inactive_file", 0)))
    except (OSError, ValueError):
        return free


def check_fits(name: str, need: Need, reserve: int, free: int) -> None:
    """NotEnoughMemory, with what is needed and what there is, where the model does not fit."""
    if need.total + reserve <= free:
        return
    parts = f"weights {_megabytes(need.weights)}, state {_megabytes(need.state)}, work {_megabytes(need.work)}"
    raise NotEnoughMemory(
        f"{name} needs {_megabytes(need.total)} MB ({parts}) and {_megabytes(reserve)} MB must stay free;"
        f" {_megabytes(free)} MB are available: {_megabytes(need.total + reserve - free)} MB are missing",
        "use a smaller model, or lower model.context or model.memory_reserve in config.toml",
    )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f}"
