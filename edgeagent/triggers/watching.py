"""The thread that all file triggers of a daemon share.

Owns when things are looked at: folders every second, settled files as they become due, polled folders every few
seconds, everything every few minutes. What is made of it is decided by the triggers, always on this thread or while it
is kept out, so that a trigger needs no lock of its own for what it remembers.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from typing import Protocol

from edgeagent.triggers.base import MonotonicClock
from edgeagent.triggers.folders import Listener, WatchedFolder
from edgeagent.triggers.observer import Observer


class Watcher(Listener, Protocol):
    """A file trigger, as this module sees it."""

    def attach(self, folder: WatchedFolder) -> None:
        """The folder is under watch from here on: remember what is in it."""

    def look_again(self) -> None:
        """List the folder at the next turn."""

    def work(self) -> None:
        """One turn: make events of what has settled. Must not take long."""

    def next_turn(self) -> float | None:
        """When `work` has something to do, on the monotonic clock."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often to look, in seconds."""

    check: float = 1.0
    poll: float = 2.0
    scan: float = 300.0


class Watching:
    """Start it before the triggers, stop it after them. One per daemon."""

    def __init__(self, pace: Pace | None = None, monotonic: MonotonicClock = time.monotonic) -> None:
        self._pace = pace or Pace()
        self.monotonic = monotonic
        self._observer = Observer(self._on_overflow)
        self._folders: dict[tuple[str, bool, bool | None], WatchedFolder] = {}
        self._watchers: list[tuple[Watcher, WatchedFolder]] = []
        self._turn = threading.RLock()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="file triggers", daemon=True)
        self._next_check = self._next_poll = 0.0
        self._next_scan = monotonic() + self._pace.scan

    def start(self) -> None:
        self._observer.start()
        self._thread.start()

    def stop(self) -> None:
        """Ends soon, even in the middle of a large file. What has not settled is found at the next start."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        self._observer.stop()

    @property
    def is_stopping(self) -> bool:
        return self._stopping.is_set()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def wake(self) -> None:
        """There is something to do earlier than was known. From any thread."""
        self._wake.set()

    def scan_every(self, seconds: float) -> None:
        """From now on; the next scan is no later than that."""
        with self._turn:
            self._pace = replace(self._pace, scan=seconds)
            self._next_scan = min(self._next_scan, self.monotonic() + seconds)

    def add(self, watcher: Watcher, path: str, recursive: bool, poll: bool | None) -> None:
        """Watches first and lets the trigger list then, so that nothing falls in between."""
        with self._turn:
            key = (path, recursive, poll)
            folder = self._folders.get(key) or WatchedFolder(path, recursive, poll, self._observer)
            self._folders[key] = folder
            folder.check()
            folder.listeners.append(watcher)
            self._watchers.append((watcher, folder))
            try:
                watcher.attach(folder)
            except BaseException:
                self.remove(watcher)
                raise
        self.wake()

    def remove(self, watcher: Watcher) -> None:
        with self._turn:
            self._watchers = [(one, folder) for one, folder in self._watchers if one is not watcher]
            for key, folder in list(self._folders.items()):
                folder.listeners[:] = [one for one in folder.listeners if one is not watcher]
                if not folder.listeners:
                    folder.close()
                    del self._folders[key]

    def _on_overflow(self) -> None:
        """Hints were lost: watch anew, which makes the triggers list everything."""
        for folder in list(self._folders.values()):
            folder.lose()
        self._next_check = 0.0
        self.wake()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            with self._turn:
                self._take_turn()
                pause = self._pause()
            self._wake.wait(pause)

    def _take_turn(self) -> None:
        now = self.monotonic()
        if now >= self._next_check:
            self._next_check = now + self._pace.check
            self._check()
        if now >= self._next_poll:
            self._next_poll = now + self._pace.poll
            self._look_again(polled_only=True)
        if now >= self._next_scan:
            self._next_scan = now + self._pace.scan
            for folder in self._folders.values():
                folder.poll_if_crowded()
            self._look_again(polled_only=False)
        for watcher, _ in list(self._watchers):
            if not self._stopping.is_set():
                watcher.work()

    def _check(self) -> None:
        if not self._observer.is_sound:
            for folder in self._folders.values():
                folder.close()
                folder.lose()
            self._observer.renew()
        for folder in self._folders.values():
            folder.check()

    def _look_again(self, *, polled_only: bool) -> None:
        for watcher, folder in self._watchers:
            if folder.is_polled or not polled_only:
                watcher.look_again()

    def _pause(self) -> float:
        """Seconds until something is due."""
        turns = (watcher.next_turn() for watcher, _ in self._watchers)
        due = [self._next_check, *(turn for turn in turns if turn is not None)]
        if any(folder.is_polled for folder in self._folders.values()):
            due.append(self._next_poll)
        return max(0.0, min(due) - self.monotonic())
