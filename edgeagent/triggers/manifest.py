"""What one file trigger remembers of its files, and what the difference to what is there now means.

Owns the comparison: appeared, changed, went, or nothing new. Memory and database are kept alike; the database is
written in the transaction of the event (`Store.record_file`). What is read from disk comes from the caller.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from edgeagent.schema import Event, RunStatus
from edgeagent.store import FileState, Store
from edgeagent.triggers.listing import Sight

UNREADABLE = ""
"""In place of a hash: the file was there and could not be read, which a skipped run has told."""

UNREAD = "unread"
"""In place of a hash: the file was there at the first look and too much to read then."""

Change = Literal["created", "modified", "deleted"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What is now at a path (None: nothing) and, where that is an occurrence, its event."""

    path: str
    state: FileState | None
    event: Event | None = None
    skipped: str | None = None
    """Why the event is not to run."""


class Manifest:
    """The files of one trigger of one agent, as last recorded.

    `watch` names in the database what is watched. It holds the folder and the patterns, so that a trigger that is
    pointed elsewhere begins with a new baseline instead of taking every file there for a new one.
    """

    def __init__(self, store: Store, agent: str, watch: str) -> None:
        self._store = store
        self._agent = agent
        self._watch = watch
        self._ctimes: dict[str, int] = {}
        self.files = store.files(agent, watch)
        self._next_appearance = store.next_appearance(agent, watch)

    @property
    def has_baseline(self) -> bool:
        return self._store.has_baseline(self._agent, self._watch)

    def set_baseline(self, files: dict[str, FileState]) -> None:
        """The trigger has looked once; nothing that it saw is an occurrence."""
        self._store.set_baseline(self._agent, self._watch, files)
        self.files.update(files)
        self._next_appearance = self._store.next_appearance(self._agent, self._watch)

    def number(self) -> int:
        """A number that no other appearance or change in this watch has: it makes the key of the event unique."""
        number = self._next_appearance
        self._next_appearance += 1
        return number

    def is_as_recorded(self, path: str, seen: Sight) -> bool:
        """Whether the file was neither written nor replaced since it was recorded."""
        known = self.files.get(path)
        if known is None or (known.size, known.mtime_ns) != (seen.size, seen.mtime_ns):
            return False
        # A copy with its time kept has another inode. A file that was never read can only be told by size and time.
        return known.inode == seen.inode or known.sha256 == UNREAD

    def came_back(self, path: str, seen: Sight) -> bool:
        """Whether a file that is known to have gone is there again, rather than the word of its going being late.

        Hints may arrive half a second after a listing saw what followed. Then the file is, down to its ctime, which
        every rename moves, the one that was recorded.
        """
        return not (self.is_as_recorded(path, seen) and self._ctimes.get(path) == seen.ctime_ns)

    def key(self, trigger_id: str, path: str, change: Change, sha256: str, appearance: int) -> str:
        """Unique for this occurrence; of fixed length and plain ASCII whatever the path is made of."""
        content = "\0".join((self._watch, path, sha256))
        digest = hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()
        return f"{trigger_id}:{change}:{appearance}:{digest[:32]}"

    def record(self, findings: list[Finding], sights: dict[str, Sight | None], now: datetime) -> None:
        """All of it in one transaction. HomeError: nothing was recorded."""
        with self._store.transaction():
            for finding in findings:
                status = RunStatus.SKIPPED if finding.skipped else RunStatus.QUEUED
                self._store.record_file(
                    self._agent,
                    self._watch,
                    finding.path,
                    finding.state,
                    finding.event,
                    now,
                    status=status,
                    reason=finding.skipped,
                )
        for finding in findings:
            self._remember(finding, sights.get(finding.path))

    def _remember(self, finding: Finding, seen: Sight | None) -> None:
        if finding.state is None:
            self.files.pop(finding.path, None)
            self._ctimes.pop(finding.path, None)
            return
        self.files[finding.path] = finding.state
        if seen is not None:
            self._ctimes[finding.path] = seen.ctime_ns


def state_of(seen: Sight, sha256: str, appearance: int) -> FileState:
    return FileState(seen.size, seen.mtime_ns, seen.inode, sha256, appearance)


def with_sight(state: FileState, seen: Sight) -> FileState:
    """The same content, written or copied anew."""
    return replace(state, size=seen.size, mtime_ns=seen.mtime_ns, inode=seen.inode)


def name_watch(
    trigger_id: str, folder: str, recursive: bool, patterns: tuple[str, ...], ignore: tuple[str, ...]
) -> str:
    """What is watched, in words that people can read in the database."""
    shown = os.fsencode(folder).decode("utf-8", "backslashreplace")
    parts = [trigger_id, shown, *patterns, *(f"!{pattern}" for pattern in ignore), *([] if recursive else ["flat"])]
    return " ".join(parts)
