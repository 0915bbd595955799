"""What an agent did to files itself, so that its own triggers leave it alone.

A write is known by the exact fingerprint of what it left, a removal by the path. The worker notes, the trigger asks.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from edgeagent.store import Store
from edgeagent.triggers.listing import Sight, sight_of

_GONE = (-1, 0, 0)
_FORGOTTEN = (-2, 0, 0)


def note_own_write(store: Store, agent: str, path: Path | str) -> None:
    """Call this right after the agent wrote, moved or deleted what is, or was, at `path`.

    The note is heeded at once, and lasts from the next `Store.keep_own_writes`.
    """
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        store.note_own_write(agent, str(path), *_GONE)
        return
    if not stat.S_ISDIR(status.st_mode):  # a folder may hold files of others
        store.note_own_write(agent, str(path), *sight_of(status)[:3])


def is_own(store: Store, agent: str, path: str, seen: Sight | None) -> bool:
    """Whether what is at `path` (None: nothing) is what the agent left there."""
    return store.is_own_write(agent, path, *(_GONE if seen is None else seen[:3]))


def forget_own_removal(store: Store, agent: str, path: str) -> None:
    """Somebody put a file where the agent had removed one: its next going is not the agent's doing."""
    if is_own(store, agent, path, None):
        store.record_own_write(agent, path, *_FORGOTTEN)
