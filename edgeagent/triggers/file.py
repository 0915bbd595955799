"""The file trigger: a file appears, changes or goes below a folder, and each time that makes exactly one event.

Owns what is done when. Whatever wakes it (a hint of the operating system, a listing), it lets the path settle, looks at
the file itself, compares with what it has recorded, and writes the new record and the event in one transaction. So a
hint too many changes nothing, and one that was lost is made up for by the next listing: at the start, when hints were
lost, when the folder appears or is replaced, and every few minutes.
Not owned: threads and pace (`watching`), the folder's coming and going (`folders`), waiting for writers (`settling`),
what a difference means (`judging`), remembering (`manifest`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from edgeagent.errors import HomeError
from edgeagent.store import FileState, Store
from edgeagent.triggers.base import TriggerState, WallClock
from edgeagent.triggers.contents import Interrupted, Unsteady, read_contents
from edgeagent.triggers.folders import WatchedFolder
from edgeagent.triggers.judging import Judge
from edgeagent.triggers.listing import Listing, Sight, list_files
from edgeagent.triggers.manifest import UNREAD, UNREADABLE, Finding, Manifest, name_watch, state_of
from edgeagent.triggers.patterns import Selection
from edgeagent.triggers.settling import Candidate, Settling
from edgeagent.triggers.watching import Watching

if TYPE_CHECKING:
    from edgeagent.agents.triggers import FileTrigger as FileSettings

BATCH = 100
"""Files in one transaction: enough to spare an SD card."""

SLICE = 0.5
"""Seconds after which a batch is closed, so that the first file of it is soon on the record."""

BASELINE_BYTES = 256_000_000
"""How much is read at the first look, so that a large collection of pictures does not hold up the start."""

RETRY = 5.0
"""Seconds until the next try after the database could not be written."""


class FileTrigger:
    """One `trigger: file` of one agent. `Watching` gives it its turns, one at a time; hints come from other threads."""

    def __init__(
        self, agent: str, settings: FileSettings, *, home_dir: Path, store: Store, watching: Watching, clock: WallClock
    ) -> None:
        self.agent = agent
        self.trigger_id = settings.id
        self.path = str(settings.folder(home_dir))
        self._settings = settings
        self._store = store
        self._watching = watching
        self._clock = clock
        self._selection = Selection(settings.patterns, settings.ignore)
        self._settling = Settling(settings.settle, watching.monotonic)
        self._stopping = threading.Event()
        self._folder: WatchedFolder | None = None
        self._must_list = self._was_replaced = False
        self._hinted_folders: dict[str, bool] = {}
        self._hints = threading.Lock()
        self._blocked_until = 0.0
        self._trouble = ""
        self._closed: list[str] = []

    def start(self) -> None:
        """Raises HomeError where the database cannot be used."""
        settings = self._settings
        self._stopping.clear()
        self._watching.add(self, self.path, settings.recursive, None if settings.poll == "auto" else settings.poll)

    def stop(self) -> None:
        self._stopping.set()
        self._watching.remove(self)

    def scan(self, now: datetime) -> None:
        """Lists the folder at the next turn, which is at once."""
        self.look_again()
        self._watching.wake()

    def state(self) -> TriggerState:
        if self._folder is None or not self._watching.is_alive:
            return TriggerState("error", f"{self.path} is not being watched; restart the daemon")
        if self._trouble:
            return TriggerState("error", self._trouble)
        if self.path in self._closed:
            return TriggerState("error", f"{self.path} cannot be listed; check its permissions")
        state = self._folder.state
        if self._closed and state.condition == "ok":
            return TriggerState("ok", f"{state.text}, except {len(self._closed)} folders that cannot be listed")
        return state

    # Hints, from any thread.

    def touched(self, path: str) -> None:
        self._settle(path)

    def departed(self, path: str, destination: str | None) -> None:
        # An editor that keeps a backup renames the file to one that is ignored and writes it anew: it never went away.
        backup = destination is not None and self._selection.ignores(self._below(destination))
        self._settle(path, departed=not backup)

    def folder_touched(self, path: str) -> None:
        self._hint_folder(path, departed=False)

    def folder_departed(self, path: str) -> None:
        self._hint_folder(path, departed=True)

    def folder_found(self, replaced: bool) -> None:
        self._was_replaced = self._was_replaced or replaced
        self.look_again()

    def look_again(self) -> None:
        self._must_list = True

    def _settle(self, path: str, *, departed: bool = False) -> None:
        if self._wants(path):
            was_idle = len(self._settling) == 0
            self._settling.touch(path, departed=departed)
            if was_idle:
                self._watching.wake()

    def _hint_folder(self, path: str, *, departed: bool) -> None:
        with self._hints:
            self._hinted_folders[path] = self._hinted_folders.get(path, False) or departed
        self._watching.wake()

    # Turns, one at a time.

    def attach(self, folder: WatchedFolder) -> None:
        settings = self._settings
        watch = name_watch(settings.id, self.path, settings.recursive, settings.patterns, settings.ignore)
        self._manifest = Manifest(self._store, self.agent, watch)
        self._judge = Judge(self.agent, settings, self._store, self._manifest, self._stopping.is_set)
        self._folder = folder
        if not self._manifest.has_baseline:
            # A folder that is missing holds nothing: what is in it when it comes has come since.
            is_empty = settings.process_existing or not folder.is_there
            self._manifest.set_baseline({} if is_empty else self._baseline())
        self._must_list = True

    def work(self) -> None:
        if self._watching.monotonic() < self._blocked_until:
            return
        try:
            self._list_what_was_hinted()
            self._record_what_settled()
            self._trouble = ""
        except HomeError as error:
            self._trouble = error.message
            self._blocked_until = self._watching.monotonic() + RETRY

    def next_turn(self) -> float | None:
        due = 0.0 if self._must_list or self._hinted_folders else self._settling.next_due()
        return None if due is None else max(due, self._blocked_until)

    def _list_what_was_hinted(self) -> None:
        with self._hints:
            hinted, self._hinted_folders = self._hinted_folders, {}
        for folder, departed in hinted.items():
            if departed:
                self._settle_all(path for path in self._manifest.files if path.startswith(folder + "/"))
            self._compare(self._list(folder))
        if self._must_list:
            self._must_list = False
            self._list_everything()

    def _list_everything(self) -> None:
        replaced, self._was_replaced = self._was_replaced, False
        listing = self._list(self.path)
        if self._folder is None or not self._folder.is_there:
            self._was_replaced = replaced
            return  # an empty listing of a folder that went says nothing; it is listed when it is found again
        self._closed = listing.closed
        self._compare(listing, replaced=replaced)
        missing = [path for path in self._manifest.files if path not in listing.files and listing.knows(path)]
        self._settle_all(missing)

    def _list(self, folder: str) -> Listing:
        return list_files(folder, self._settings.recursive, self._wants, self._enters)

    def _compare(self, listing: Listing, *, replaced: bool = False) -> None:
        """Lets everything settle that is not as recorded. In a folder that was replaced all of it came back."""
        for path, seen in listing.files.items():
            known = self._manifest.files.get(path)
            if known is None or known.sha256 == UNREADABLE or not self._manifest.is_as_recorded(path, seen):
                departed = replaced and known is not None and _was_written(known, seen)
                self._settling.touch(path, departed=departed, seen=seen)

    def _settle_all(self, paths: Iterable[str]) -> None:
        for path in paths:
            self._settling.touch(path, departed=True)

    def _record_what_settled(self) -> None:
        """One batch. What cannot be recorded goes back to settle, so that nothing is lost."""
        deadline = self._watching.monotonic() + SLICE
        taken: list[Candidate] = []
        findings: list[Finding] = []
        try:
            while len(findings) < BATCH and self._watching.monotonic() < deadline:
                candidate = self._settling.take_settled()
                if candidate is None:
                    break
                taken.append(candidate)
                if finding := self._finding(candidate):
                    findings.append(finding)
            if findings:
                self._manifest.record(findings, {one.path: one.seen for one in taken}, self._clock())
        except Interrupted:
            return  # the next start finds it
        except HomeError:
            for candidate in taken:
                self._settling.put_back(candidate)
            raise

    def _finding(self, candidate: Candidate) -> Finding | None:
        if candidate.seen is None and not candidate.departed and not (self._folder and self._folder.is_there):
            return None  # the whole folder went, perhaps only for now: judged when it is found again
        try:
            return self._judge.judge(candidate)
        except Unsteady:
            self._settling.put_back(candidate)
            return None

    def _baseline(self) -> dict[str, FileState]:
        """What is there at the first look. Too much to read is remembered by size and time alone."""
        states: dict[str, FileState] = {}
        budget, number = BASELINE_BYTES, self._manifest.number()
        for path, seen in self._list(self.path).files.items():
            budget -= seen.size
            sha256 = UNREADABLE if seen.oddity else self._hash(path, seen) if budget >= 0 else UNREAD
            states[path] = state_of(seen, sha256, number)
        return states

    def _hash(self, path: str, seen: Sight) -> str:
        try:
            return read_contents(path, seen, self._stopping.is_set).sha256
        except (OSError, Unsteady, Interrupted):
            return UNREAD

    def _below(self, path: str) -> str:
        return path.removeprefix(self.path.rstrip("/") + "/")

    def _wants(self, path: str) -> bool:
        relative = self._below(path)
        if relative == path or ("/" in relative and not self._settings.recursive):
            return False
        return self._selection.takes(relative)

    def _enters(self, folder: str) -> bool:
        return not self._selection.ignores(self._below(folder))


def _was_written(known: FileState, seen: Sight) -> bool:
    """Not by the inode: a stick with a FAT file system gives new ones whenever it is put in."""
    return (known.size, known.mtime_ns) != (seen.size, seen.mtime_ns)
