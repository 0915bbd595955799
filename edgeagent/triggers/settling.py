"""Paths that changed and must hold still for a while before anything is made of them.

Owns the waiting. A path is settled when two looks at it, at least `settle` apart, saw the same size, modification time
and inode, or nothing both times. Not owned: what woke it up (`watching`), what follows (`file`).
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from edgeagent.triggers.base import MonotonicClock
from edgeagent.triggers.listing import Sight, look

SHORTEST = 0.05
"""Seconds. Shorter than this, a writer that pauses between two blocks would look finished."""


@dataclass(slots=True)
class Candidate:
    """A path with the last look at it. `departed`: the path is known to have been empty since it was first noticed."""

    path: str
    seen: Sight | None
    due: float
    departed: bool = False


class Settling:
    """The candidates of one trigger, in the order in which they are due. May be touched from any thread."""

    def __init__(self, settle: float, monotonic: MonotonicClock) -> None:
        self._settle = max(settle, SHORTEST)
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._candidates: dict[str, Candidate] = {}

    def __len__(self) -> int:
        return len(self._candidates)

    def touch(self, path: str, *, departed: bool = False, seen: Sight | None = None) -> None:
        """Something happened at `path`. One that waits already keeps its turn: its second look will tell.

        `seen` is the first look, where there was one just now.
        """
        with self._lock:
            waiting = self._candidates.get(path)
            if waiting is not None:
                waiting.departed = waiting.departed or departed
                return
        candidate = Candidate(path, seen or _glance(path), self._monotonic() + self._settle, departed)
        with self._lock:
            raced = self._candidates.setdefault(path, candidate)
            raced.departed = raced.departed or departed

    def put_back(self, candidate: Candidate) -> None:
        """It could not be dealt with: let it settle again."""
        self.touch(candidate.path, departed=candidate.departed)

    def next_due(self) -> float | None:
        """On the monotonic clock. All wait equally long, so the first one in is the first one due."""
        with self._lock:
            return next(iter(self._candidates.values())).due if self._candidates else None

    def take_settled(self) -> Candidate | None:
        """The next one that held still; it is no longer waiting. The restless ones wait on."""
        while candidate := self._take_due():
            seen = _glance(candidate.path)
            if seen == candidate.seen or (seen and seen.same_as(candidate.seen)):
                candidate.seen = seen
                return candidate
            self.put_back(candidate)
        return None

    def _take_due(self) -> Candidate | None:
        with self._lock:
            first = next(iter(self._candidates.values()), None)
            if first is None or first.due > self._monotonic():
                return None
            return self._candidates.pop(first.path)


def _glance(path: str) -> Sight | None:
    try:
        return look(path)
    except OSError:
        return None  # what keeps us from looking is told when the path has settled
