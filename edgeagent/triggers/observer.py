"""The operating system's word on what changes below a folder: the one watchdog observer of a daemon.

Owns watchdog and what it does not tell: an overflow of its queue, the end of a watch, the end of the system's supply of
watches. watchdog is imported when the observer starts, because a command that only reads must not pay for it.
"""

from __future__ import annotations

import errno
import logging
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from watchdog.events import FileSystemEvent, FileSystemEventHandler
    from watchdog.observers.api import BaseObserver, ObservedWatch

    Handle = Callable[[FileSystemEvent], None]

_PASS_ON = 1.0
"""Seconds that hints may take to be passed on, which is done by another thread in no time."""

_WATCHDOG_LOG = "watchdog.observers.inotify_c"


class Observer:
    """Gives hints about folders. Where it cannot be had at all, `reason` says why and every folder is polled."""

    def __init__(self, on_overflow: Callable[[], None]) -> None:
        self._observer: BaseObserver | None = None
        self._overflow = _OverflowListener(on_overflow)
        self.reason = "it is not running"

    def start(self) -> None:
        # It says so each time a folder that was moved away comes back, which is no news (see `inotify`).
        warnings.filterwarnings("ignore", message="Callback with id", category=RuntimeWarning)
        # And it calls it an error when a watch is ended while its thread waits for news.
        logging.getLogger("watchdog.observers.inotify").setLevel(logging.CRITICAL)
        logging.getLogger(_WATCHDOG_LOG).addHandler(self._overflow)
        self._begin()

    def stop(self) -> None:
        logging.getLogger(_WATCHDOG_LOG).removeHandler(self._overflow)
        self._end()

    @property
    def is_sound(self) -> bool:
        """Whether watchdog still reads what the system tells.

        Nothing public tells that the thread which does so has died (`inotify` has the one cause that is known).
        """
        reader = getattr(self._observer, "_inotify_fd", None)
        return self._observer is None or (self._observer.is_alive() and (reader is None or reader.is_alive()))

    def renew(self) -> None:
        """In place of one that is not sound; all watches are gone then."""
        self._end()
        self._begin()

    def _begin(self) -> None:
        try:
            observer = _make_observer()
            observer.start()
        except OSError as error:
            self.reason = explain_limit(error)
            return
        self._observer = observer

    def _end(self) -> None:
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()
            self._observer = None

    def watch(self, folder: str, recursive: bool, handle: Handle) -> ObservedWatch:
        """Raises OSError: the folder is gone, or a limit is reached (`explain_limit`)."""
        if self._observer is None:
            raise OSError(errno.EMFILE, self.reason)
        return self._observer.schedule(_handler(handle), folder, recursive=recursive, event_filter=_kinds())

    def is_alive(self, watch: ObservedWatch) -> bool:
        """False once the folder itself was deleted: watchdog then ends the thread that read its events."""
        observer = self._observer
        return observer is not None and any(one.watch == watch and one.is_alive() for one in list(observer.emitters))

    def unwatch(self, watch: ObservedWatch) -> None:
        """What was told before is passed on first: with the watch, watchdog drops what it still has to tell."""
        if self._observer is not None:
            deadline = time.monotonic() + _PASS_ON
            while not self._observer.event_queue.empty() and self._observer.is_alive() and time.monotonic() < deadline:
                time.sleep(0.001)
            with suppress(KeyError):  # one that is gone already, or that watchdog lost track of
                self._observer.unschedule(watch)

    def has_room(self) -> bool:
        """Whether the system still gives watches, tried on a folder that nobody else here watches.

        Needed because watchdog passes over folders below the first that could not be watched, without a word.
        """
        if self._observer is None:
            return False
        try:
            self.unwatch(self.watch("/", False, lambda event: None))
        except OSError as error:
            return error.errno not in _LIMITS
        return True


_LIMITS = {
    errno.ENOSPC: "the system's limit of watches is reached; try: sudo sysctl fs.inotify.max_user_watches=524288",
    errno.EMFILE: "the system's limit of observers is reached; try: sudo sysctl fs.inotify.max_user_instances=512",
    errno.ENFILE: "the system's limit of open files is reached",
}


def explain_limit(error: OSError) -> str:
    """Why a folder is polled and not watched."""
    return _LIMITS.get(error.errno or 0, error.strerror or str(error))


def _make_observer() -> BaseObserver:
    if sys.platform == "linux":
        from edgeagent.triggers.inotify import TolerantObserver

        return TolerantObserver()
    from watchdog.observers import Observer as PlatformObserver

    return PlatformObserver()


def _handler(handle: Handle) -> FileSystemEventHandler:
    from watchdog import events

    class Forward(events.FileSystemEventHandler):
        def dispatch(self, event: FileSystemEvent) -> None:
            handle(event)

    return Forward()


def _kinds() -> list[type[FileSystemEvent]]:
    """Without opening and closing unwritten: our own reading would be told to us."""
    from watchdog import events

    return [
        *(events.FileCreatedEvent, events.FileModifiedEvent, events.FileClosedEvent, events.FileAttribEvent),
        *(events.FileMovedEvent, events.FileDeletedEvent),
        *(events.DirCreatedEvent, events.DirMovedEvent, events.DirDeletedEvent),
    ]


class _OverflowListener(logging.Handler):
    """watchdog tells of a queue overflow in its log and nowhere else."""

    def __init__(self, on_overflow: Callable[[], None]) -> None:
        super().__init__(logging.WARNING)
        self._on_overflow = on_overflow

    def emit(self, record: logging.LogRecord) -> None:
        if "overflow" in record.getMessage():
            self._on_overflow()
