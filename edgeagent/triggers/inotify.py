"""watchdog's inotify observer, made to survive folders that are moved out of a watched one.

watchdog 7.1 goes on watching such a folder under its old name. When another takes that name and both go, its record of
the two is inconsistent, and the KeyError ends the thread that reads for all folders. Here the error is passed over; the
record is put right by watching anew, which `folders` does after each such move.
A module of its own because it needs watchdog to be imported.
"""

from __future__ import annotations

from contextlib import suppress

from watchdog.observers.inotify import InotifyFullEmitter, InotifyObserver, InotifyWatchGroup
from watchdog.observers.inotify_c import WatchDescriptor


class TolerantGroup(InotifyWatchGroup):
    def _remove_watch_internally(self, wd: WatchDescriptor) -> None:
        with suppress(KeyError):
            super()._remove_watch_internally(wd)


class TolerantEmitter(InotifyFullEmitter):
    def on_thread_start(self) -> None:
        super().on_thread_start()
        if self._inotify is not None:
            self._inotify.__class__ = TolerantGroup  # the base class leaves no other way to choose it


class TolerantObserver(InotifyObserver):
    """Also tells what was moved out from what was deleted: an unmatched move comes with one path only."""

    def __init__(self) -> None:
        super().__init__(generate_full_events=True)
        self._emitter_class = TolerantEmitter
