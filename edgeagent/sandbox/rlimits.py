"""The limits that the kernel holds for each process, worked out from those of a command.

What is asked for is never more than this process has itself: only root could raise that.
"""

from __future__ import annotations

import math
import resource
from dataclasses import dataclass

from edgeagent.sandbox.request import Limits

_OPEN_FILES = 1024
_LOCKED_MEMORY = 65_536


@dataclass(frozen=True, slots=True)
class ResourceLimit:
    """`name` as prlimit(1) has it."""

    name: str
    soft: int
    hard: int

    @property
    def number(self) -> int:
        return int(getattr(resource, f"RLIMIT_{self.name.upper()}"))


def resource_limits(limits: Limits, running: int) -> tuple[ResourceLimit, ...]:
    """`running` is how many processes the kernel counts already where the limits are set."""
    seconds = math.ceil(limits.cpu_seconds)
    return (
        # Of address space a program may reserve more than it ever uses (node, Java); this counts what it can write to.
        _limit("data", limits.memory),
        _limit("cpu", seconds, seconds + 1),
        _limit("fsize", limits.file_size),
        _limit("nproc", running + limits.processes),
        _limit("nofile", _OPEN_FILES),
        _limit("memlock", _LOCKED_MEMORY),
        _limit("core", 0),
        *((_limit("msgqueue", 0),) if hasattr(resource, "RLIMIT_MSGQUEUE") else ()),
    )


def _limit(name: str, soft: int, hard: int | None = None) -> ResourceLimit:
    _, most = resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}"))
    wanted = soft if hard is None else hard
    if most != resource.RLIM_INFINITY:
        soft, wanted = min(soft, most), min(wanted, most)
    return ResourceLimit(name, soft, wanted)
