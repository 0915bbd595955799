"""The journal kept whole and small while the daemon runs: opened with care, pruned, its log kept short.

Deletes only what is past `journal.retention` or beyond `journal.max_size`. A look is two calls of stat; what it leads
to is done in batches, so that runs go on in between.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType

from edgeagent.config import JournalSettings
from edgeagent.errors import HomeError
from edgeagent.home import Home
from edgeagent.runtime import Runtime
from edgeagent.store import Store, make_apart
from edgeagent.tools.trash import empty_trash

log = logging.getLogger("edgeagent")

LOOK_SECONDS = 2.0
PRUNE_EVERY = timedelta(days=1)
LOG_BYTES = 8_000_000
"""A log that is longer is emptied: SQLite takes it up every 4 MB by itself unless a reader or a burst is in the way."""
ROOM = 0.95
"""Pruned for size, the journal keeps this much of it, so that the next run does not prune again."""
SLACK = 1.05
"""The file may be so much larger than the size allows; what is free in it is used again and costs no writing."""


class Upkeep:
    """Looks after the journal in a thread of its own, while entered.

    Args:
        settings: gives the present ones.
        look_seconds: between two looks.
    """

    def __init__(
        self,
        store: Store,
        settings: Callable[[], JournalSettings],
        trash: Path,
        clock: Callable[[], datetime],
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._store, self._settings, self._trash, self._clock = store, settings, trash, clock
        self._look_seconds = look_seconds
        self._prune_at = clock()
        self._told = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look_on, name="upkeep", daemon=True)

    def __enter__(self) -> Upkeep:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def look(self) -> None:
        """Does what is due now. Raises HomeError where the journal cannot be written."""
        now, settings = self._clock(), self._settings()
        before = now - timedelta(seconds=settings.retention)
        if now >= self._prune_at or self._prune_at > now + PRUNE_EVERY:  # the latter: the clock was set back
            self._prune_at = now + PRUNE_EVERY
            self._store.prune(before, settings.max_size)
            empty_trash(self._trash, before)
        elif self._may_be_over(settings.max_size) and self._store.used_bytes() > settings.max_size:
            self._prune_for_size(before, settings.max_size)
        if _size(self._store.path, "-wal") > LOG_BYTES and not self._store.checkpoint():
            self._tell(f"a program that reads {self._store.path} keeps its log from being emptied")

    def _may_be_over(self, most: int) -> bool:
        """Without a question to the database, which would have to wait for its turn."""
        return _size(self._store.path) + _size(self._store.path, "-wal") > most

    def _prune_for_size(self, before: datetime, most: int) -> None:
        self._store.prune(before, int(most * ROOM), shrink_over=int(most * SLACK))
        if self._store.used_bytes() > most:
            self._tell("the journal is over journal.max_size with runs that have not ended; they stay")

    def _look_on(self) -> None:
        while not self._stop.is_set():
            try:
                self.look()
            except HomeError as error:
                self._tell(error.message)
            self._stop.wait(self._look_seconds)

    def _tell(self, what: str) -> None:
        """Once, until something else is to be told."""
        if what != self._told:
            log.warning("%s", what)
        self._told = what


def open_journal(runtime: Runtime) -> Store:
    """The journal for the daemon; says loudly where a damaged one had to be put aside."""
    make_apart(runtime.home.database)
    opened = runtime.checked_writer()
    if opened.put_aside:
        log.error("%s", opened.why)
        log.error("it was put aside as %s; a new journal begins, and what is queued is lost", opened.put_aside)
    return opened.store


def journal_problems(home: Home) -> list[str]:
    """What `status` says of the journal: damaged ones that were put aside and wait for somebody to look at them."""
    return [
        f"a damaged journal lies at {path}: restore a backup, or delete it once it is not needed"
        for path in home.damaged_databases()
        if path.name.endswith("Z")
    ]


def _size(path: Path, suffix: str = "") -> int:
    try:
        return path.with_name(path.name + suffix).stat().st_size
    except FileNotFoundError:
        return 0
