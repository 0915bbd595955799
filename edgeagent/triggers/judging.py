"""What a settled path means for one trigger: reads the file and says what to record and which event that is.

Owns the wording of file events and what becomes of files that cannot be read. Writes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from edgeagent.schema import Event, Json, format_time
from edgeagent.store import FileState, Store
from edgeagent.triggers.contents import Contents, Unsteady, preview, read_contents
from edgeagent.triggers.listing import Sight, look
from edgeagent.triggers.manifest import UNREAD, UNREADABLE, Change, Finding, Manifest, state_of, with_sight
from edgeagent.triggers.own import forget_own_removal, is_own
from edgeagent.triggers.settling import Candidate

if TYPE_CHECKING:
    from edgeagent.agents.triggers import FileTrigger as FileSettings


class Judge:
    def __init__(
        self, agent: str, settings: FileSettings, store: Store, manifest: Manifest, stopping: Callable[[], bool]
    ) -> None:
        self._agent = agent
        self._settings = settings
        self._store = store
        self._manifest = manifest
        self._stopping = stopping

    def judge(self, candidate: Candidate) -> Finding | None:
        """None where nothing is new. Raises Unsteady where the path has to settle again, and Interrupted."""
        path, seen = candidate.path, candidate.seen
        known = self._manifest.files.get(path)
        if seen is None:
            return self._judge_absence(path, known)
        if known is not None and candidate.departed and self._manifest.came_back(path, seen):
            known = None
        is_settled_matter = seen.oddity or (known is not None and known.sha256 != UNREADABLE)
        if is_settled_matter and known is not None and self._manifest.is_as_recorded(path, seen):
            return None
        if seen.oddity:
            return self._judge_unreadable(path, seen, known, seen.oddity)
        try:
            contents = read_contents(path, seen, self._stopping)
        except OSError as error:
            return self._judge_unreadable(path, seen, known, f"it cannot be read: {error.strerror or error}")
        return self._judge_contents(path, seen, known, contents)

    def _judge_absence(self, path: str, known: FileState | None) -> Finding | None:
        try:
            if look(path) is not None:
                raise Unsteady
        except OSError:
            return None  # a folder on the way is closed to us: not to be seen is not to be gone
        if known is None:
            return None
        own = is_own(self._store, self._agent, path, None)
        return Finding(path, None, None if own else self._event(path, "deleted", known, b""))

    def _judge_contents(self, path: str, seen: Sight, known: FileState | None, contents: Contents) -> Finding:
        if known is not None and known.sha256 == contents.sha256:
            return Finding(path, with_sight(known, seen))
        # What could not be read before was never handed to the agent: to it the file is new.
        change: Change = "created" if known is None or known.sha256 == UNREADABLE else "modified"
        state = state_of(seen, contents.sha256, self._manifest.number())
        return Finding(path, state, self._event_unless_own(path, change, seen, state, contents.head))

    def _judge_unreadable(self, path: str, seen: Sight, known: FileState | None, reason: str) -> Finding | None:
        """Told once for each appearance, however often the file changes while it cannot be read."""
        if known is not None and known.sha256 == UNREADABLE:
            return None if self._manifest.is_as_recorded(path, seen) else Finding(path, with_sight(known, seen))
        state = state_of(seen, UNREADABLE, self._manifest.number())
        event = self._event_unless_own(path, "modified" if known else "created", seen, state, b"")
        return Finding(path, state, event, skipped=reason if event else None)

    def _event_unless_own(self, path: str, change: Change, seen: Sight, state: FileState, head: bytes) -> Event | None:
        if is_own(self._store, self._agent, path, seen):
            return None
        if "deleted" in self._settings.changes:
            forget_own_removal(self._store, self._agent, path)
        return self._event(path, change, state, head)

    def _event(self, path: str, change: Change, state: FileState, head: bytes) -> Event | None:
        """None where the agent does not ask for this change."""
        if change not in self._settings.changes:
            return None
        sha256 = "" if state.sha256 == UNREAD else state.sha256
        data: Json = {
            "path": path,
            "name": os.path.basename(path),
            "size": state.size,
            "mtime": _moment(state.mtime_ns),
            "change": change,
            "sha256": sha256,
            "preview": preview(head, self._settings.preview),
        }
        key = self._manifest.key(self._settings.id, path, change, sha256, state.appearance)
        return Event(self._agent, "file", self._settings.id, key, data)


def _moment(nanoseconds: int) -> str:
    """RFC 3339; "" for times that no calendar has, which a broken archive may give a file."""
    try:
        return format_time(datetime.fromtimestamp(nanoseconds / 1e9, UTC))
    except (ValueError, OverflowError, OSError):
        return ""
