"""What a tree of processes uses, read from /proc: the limits that no single process can break.

A look every few hundredths of a second finds a tree that has grown too large; it is no wall. What a cgroup would count
exactly, and this does not: memory in pipes and sockets, and the time of processes that nobody waited for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edgeagent.sandbox.request import Limit, Limits

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_STARTERS = 2
"""Threads of the tree that are ours: the first process, and what stands between it and the command."""


@dataclass(frozen=True, slots=True)
class Usage:
    threads: int = 0
    memory: int = 0
    cpu_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Stored:
    """What lies in a scratch folder."""

    size: int = 0
    files: int = 0


MOST_FILES = 100_000
"""In a scratch folder: each takes memory of the kernel, however small it is."""


def stored_in(folder: Path, limits: Limits) -> Stored:
    """Counts until a limit is broken. Files that are open and have no name any more are not found."""
    size = files = 0
    waiting = [str(folder)]
    while waiting and size <= limits.scratch_size and files <= MOST_FILES:
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                files += 1
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                    continue
                with suppress(OSError):
                    size += entry.stat(follow_symlinks=False).st_blocks * 512
    return Stored(size, files)


def stored_in_memory(process: int, folder: str) -> Stored:
    """Of a tmpfs in the root of a process, whose size the kernel holds: how many files there are."""
    try:
        place = f"/proc/{process}/root{folder}"
        if os.stat(place).st_dev == os.stat(folder).st_dev:
            return Stored()  # its root is not made yet, so that this is everybody's
        found = os.statvfs(place)
    except OSError:
        return Stored()
    return Stored(0, found.f_files - found.f_ffree)


def too_much(tree: int, limits: Limits) -> Limit | None:
    """The limit that the descendants of the process `tree` have broken, if any."""
    processes = tuple(descendants(tree))
    usage = used(processes)
    if usage.threads > limits.processes + _STARTERS:
        return "processes"
    if usage.cpu_seconds > limits.cpu_seconds:
        return "cpu"
    if usage.memory > limits.memory and shared_fairly(processes) > limits.memory:
        return "memory"
    return None


def descendants(process: int) -> Iterator[int]:
    """The processes below one, in no order; some may be gone by now."""
    waiting = [process]
    seen = {process}
    while waiting:
        for child in _children(waiting.pop()):
            if child not in seen:
                seen.add(child)
                waiting.append(child)
                yield child


def used(processes: tuple[int, ...]) -> Usage:
    """Their sum; memory that several share counts for each."""
    threads = memory = ticks = 0
    for process in processes:
        with suppress(OSError, IndexError):
            fields = _stat(process)
            threads += int(fields[17])
            memory += int(fields[21]) * _PAGE
            ticks += sum(map(int, fields[11:15]))  # its own time, and that of children it has waited for
    return Usage(threads, memory, ticks / _TICKS)


def threads_of(user: int) -> int:
    """How many threads a user has."""
    own = []
    for name in filter(str.isdigit, os.listdir(_PROC)):
        with suppress(OSError):
            if (_PROC / name).stat().st_uid == user:
                own.append(int(name))
    return used(tuple(own)).threads


def shared_fairly(processes: tuple[int, ...]) -> int:
    """Their memory, with what several share counted once."""
    return sum(map(_proportional, processes))


def _proportional(process: int) -> int:
    try:
        with open(_PROC / str(process) / "smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        return used((process,)).memory
    return 0


def _children(process: int) -> list[int]:
    """Of all its threads. A kernel without the list of children is asked for every process's parent."""
    found: list[int] = []
    try:
        for thread in os.listdir(_PROC / str(process) / "task"):
            found += map(int, (_PROC / str(process) / "task" / thread / "children").read_bytes().split())
    except FileNotFoundError:
        if not (_PROC / "self/task" / str(os.getpid()) / "children").exists():
            return _children_by_parent(process)
    except ProcessLookupError:
        pass
    return found


def _children_by_parent(process: int) -> list[int]:
    found = []
    for name in filter(str.isdigit, os.listdir(_PROC)):
        with suppress(OSError, IndexError):
            if int(_stat(int(name))[1]) == process:
                found.append(int(name))
    return found


def _stat(process: int) -> list[bytes]:
    """The fields of /proc/PID/stat from the third on; the second may hold anything."""
    return (_PROC / str(process) / "stat").read_bytes().rpartition(b")")[2].split()
