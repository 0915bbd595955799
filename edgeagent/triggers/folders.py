"""A folder under watch: whether it is there, and whether it is watched or polled.

Owns the coming and going of watched folders. One that is missing is waited for; one that is replaced is watched anew;
one that cannot be watched is polled, which here only means that its files are listed more often. The listeners get
hints and look for themselves what is true.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Protocol

from edgeagent.triggers.base import TriggerState
from edgeagent.triggers.filesystems import silent_file_system
from edgeagent.triggers.observer import Observer, explain_limit

if TYPE_CHECKING:
    from watchdog.events import FileSystemEvent
    from watchdog.observers.api import ObservedWatch

Identity = tuple[int, int, str]
"""Device, inode and real path: when one of them changes it is another folder."""


class Listener(Protocol):
    def touched(self, path: str) -> None:
        """Something happened at `path`."""

    def departed(self, path: str, destination: str | None) -> None:
        """The file at `path` went away: to a `destination` in the same folder, or to where nobody knows."""

    def folder_touched(self, path: str) -> None:
        """A folder below the watched one is there, and so perhaps are files in it."""

    def folder_departed(self, path: str) -> None:
        """A folder below the watched one went away with what was in it."""

    def folder_found(self, replaced: bool) -> None:
        """The watched folder is there and (again) under watch; what happened before that is not known.

        `replaced`: it was away, or is another folder than before.
        """


class WatchedFolder:
    """One folder, for all triggers that watch it alike. `check` is called from one thread, every second or so."""

    def __init__(self, path: str, recursive: bool, poll: bool | None, observer: Observer) -> None:
        self.path = path
        self.recursive = recursive
        self.listeners: list[Listener] = []
        self.state = TriggerState("waiting", f"{path} was not looked at yet")
        self.is_polled = False
        self._poll = poll
        self._observer = observer
        self._identity: Identity | None = None
        self._last_seen: Identity | None = None
        self._watch: ObservedWatch | None = None
        self._is_lost = self._was_deleted = False

    @property
    def is_there(self) -> bool:
        """As of this moment, and it is still the folder that is watched."""
        return self._identity is not None and self._identify() == self._identity

    def check(self) -> None:
        """Notices that the folder came, went or was replaced, and puts the watch where it belongs."""
        identity = self._identify()
        if identity == self._identity and not self._needs_new_watch():
            return
        self.close()
        # The identity alone does not tell: a folder that is made again may well get the inode of the old one.
        is_another = self._identity is None or identity != self._identity or self._was_deleted
        replaced = is_another and self._last_seen is not None
        self._identity = identity
        if identity is None:
            return
        self._last_seen, self._was_deleted = identity, False
        self._open(identity)
        for listener in list(self.listeners):
            listener.folder_found(replaced)

    def lose(self) -> None:
        """The watch cannot be trusted any more: the next check makes a new one. From any thread."""
        self._is_lost = True

    def close(self) -> None:
        if self._watch is not None:
            self._observer.unwatch(self._watch)
            self._watch = None
        self._is_lost = False

    def poll_if_crowded(self) -> None:
        """Falls back to polling when folders that were made later could no longer be watched."""
        if self._watch is not None and self.recursive and not self._observer.has_room():
            self._be_polled("the system's limit of watches is reached")

    def _needs_new_watch(self) -> bool:
        return self._is_lost or (self._watch is not None and not self._observer.is_alive(self._watch))

    def _identify(self) -> Identity | None:
        """None where there is no folder to watch; `state` then says why."""
        try:
            status = os.stat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            self.state = TriggerState("waiting", f"{self.path} does not exist yet")
        except OSError as error:
            self.state = TriggerState("error", f"{self.path} cannot be read: {error.strerror}")
        else:
            if stat.S_ISDIR(status.st_mode):
                return status.st_dev, status.st_ino, os.path.realpath(self.path)
            self.state = TriggerState("error", f"{self.path} is not a folder; give the folder that the files arrive in")
        return None

    def _open(self, identity: Identity) -> None:
        silent = silent_file_system(self.path) if self._poll is None else None
        if self._poll or silent:
            self._be_polled(f"{silent} does not tell of changes" if silent else "as the agent asks")
            return
        try:
            # The real path: watchdog does not follow a link, not even the first one.
            self._watch = self._observer.watch(identity[2], self.recursive, self._handle)
        except OSError as error:
            self._be_polled(explain_limit(error))
            return
        self.is_polled = False
        self.state = TriggerState("ok", f"watching {self.path}")
        self.poll_if_crowded()

    def _be_polled(self, why: str) -> None:
        self.is_polled = True
        self.state = TriggerState("ok", f"polling {self.path}: {why}")

    def _handle(self, event: FileSystemEvent) -> None:
        """Runs on watchdog's thread: only passes the hint on."""
        source, destination = self._path_of(event.src_path), self._path_of(event.dest_path)
        if source == self.path and event.event_type == "deleted":
            self._was_deleted = True
            self.lose()
        if event.is_directory and event.event_type == "moved" and not destination:
            self.lose()  # watchdog goes on watching it where it is now, under the name that it had here
        for listener in list(self.listeners):
            if event.is_directory:
                _pass_on_folder(listener, event.event_type, source, destination)
            else:
                _pass_on_file(listener, event.event_type, source, destination)

    def _path_of(self, told: bytes | str) -> str:
        """A path as watchdog tells it, below the folder as the trigger names it."""
        path, identity = os.fsdecode(told), self._last_seen
        if identity is None or identity[2] == self.path or not path.startswith(identity[2]):
            return path
        return self.path + path[len(identity[2]) :]


def _pass_on_file(listener: Listener, kind: str, source: str, destination: str) -> None:
    """What was moved in from outside has no source, what was moved out no destination."""
    if source and kind in ("moved", "deleted"):
        listener.departed(source, destination or None)
    else:
        listener.touched(destination or source)
    if source and destination:
        listener.touched(destination)


def _pass_on_folder(listener: Listener, kind: str, source: str, destination: str) -> None:
    if source and kind in ("moved", "deleted"):
        listener.folder_departed(source)
    else:
        listener.folder_touched(destination or source)
    if source and destination:
        listener.folder_touched(destination)
