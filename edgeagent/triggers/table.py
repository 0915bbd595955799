"""The sqlite trigger: a row came into a table of somebody else's database, or changed there, or went.

Owns the thread that looks, the bookmark of where it has got to (in one transaction with the events), and what is made
of a database that is missing, locked, cut short or replaced. New rows are found by a column that grows; for changes and
deletions, SQLite notes them in an outbox in that database (`outbox`), and then new rows are read from there as well.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from edgeagent.errors import HomeError
from edgeagent.schema import Event, Json, RunStatus
from edgeagent.store import Store
from edgeagent.triggers.base import TriggerState, WallClock
from edgeagent.triggers.foreign import CannotRead, ForeignDatabase, Identity, Place, Row
from edgeagent.triggers.outbox import OWN_COLUMNS, Owner, trim

if TYPE_CHECKING:
    from pathlib import Path

    from edgeagent.agents import SqliteTrigger as SqliteSettings

LOOK_SECONDS = 0.5
BATCH = 200
"""Rows in one transaction."""
_TRIM = 1000
"""Notes in an outbox that have been read, before they are dropped there."""


@dataclass(frozen=True, slots=True)
class Bookmark:
    """As the journal keeps it. `round` is counted on when a place can come round again, to keep keys apart."""

    source: str
    place: Place
    round: int = 0
    identity: Identity | None = None

    def as_json(self) -> Json:
        return {
            "source": self.source,
            "cursor": self.place.cursor,
            "rowid": self.place.rowid,
            "round": self.round,
            "identity": self.identity,
        }

    @staticmethod
    def from_json(data: Json) -> Bookmark:
        identity = tuple(data["identity"]) if data["identity"] else None
        return Bookmark(data["source"], Place(data["cursor"], data["rowid"]), data["round"], identity)


class TableTrigger:
    def __init__(
        self,
        agent: str,
        settings: SqliteSettings,
        *,
        home_dir: Path,
        store: Store,
        clock: WallClock,
        look_every: float = LOOK_SECONDS,
    ) -> None:
        self.agent = agent
        self.trigger_id = settings.id
        self.path = settings.file(home_dir)
        self._settings = settings
        self._owner = Owner(agent, settings.id)
        self._store = store
        self._clock = clock
        self._look_every = look_every
        # A trigger that is pointed elsewhere begins anew.
        self._record = f"{settings.id} {self.path} {settings.table} {settings.cursor}"
        self._database: ForeignDatabase | None = None
        self._read_version: int | None = None
        self._untrimmed = 0
        self._state = TriggerState("waiting", f"{self.path} was not looked at yet")
        self._stopping = threading.Event()
        self._woken = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Looks for the first time, so that what comes from now on counts. Raises HomeError for our own database."""
        self._stopping.clear()
        self._look()
        self._close()  # a connection belongs to the thread that opened it
        self._thread = threading.Thread(target=self._run, name=f"table of {self.agent}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._woken.set()
        if self._thread:
            self._thread.join()
            self._thread = None

    def scan(self, now: datetime) -> None:
        self._woken.set()

    def state(self) -> TriggerState:
        return self._state

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._look()
            except HomeError as error:
                self._state = TriggerState("error", error.message)
            self._woken.wait(self._look_every)
            self._woken.clear()
        self._close()

    def _look(self) -> None:
        try:
            database = self._opened()
            version = database.version()
            if version != self._read_version:
                self._read(database)
                self._read_version = version  # the one before reading: what came meanwhile is read again
        except CannotRead as error:
            self._close()
            self._state = error.state
            if error.is_absent and self._bookmark() is None:
                # What is not there holds nothing: what is in it when it comes has come since.
                self._store.set_bookmark(self.agent, self._record, Bookmark(self._settings.table, Place()).as_json())

    def _opened(self) -> ForeignDatabase:
        if self._database is not None and not self._database.is_in_place():
            self._close()
        if self._database is None:
            self._database = ForeignDatabase(self.path)
            self._read_version = None
        return self._database

    def _close(self) -> None:
        if self._database is not None:
            self._database.close()
        self._database = None
        self._read_version = None

    def _bookmark(self) -> Bookmark | None:
        kept = self._store.bookmark(self.agent, self._record)
        return None if kept is None else Bookmark.from_json(kept)

    # --- reading ------------------------------------------------------------------------------------------------

    def _read(self, database: ForeignDatabase) -> None:
        """Everything from the bookmark on, batch by batch."""
        source, cursor = self._source(database)
        mark = self._checked(database, source, cursor)
        while not self._stopping.is_set() and (rows := database.after(source, cursor, mark.place, BATCH)):
            mark = replace(mark, place=rows[-1].place)
            self._record_rows(rows, mark)
        if self._settings.needs_outbox:
            self._trim(source, mark)
        self._state = TriggerState("ok", f"watching {self._settings.table} in {self.path}")

    def _source(self, database: ForeignDatabase) -> tuple[str, str]:
        """The table to read and its cursor: the outbox where there has to be one."""
        if not self._settings.needs_outbox:
            return self._settings.table, self._settings.cursor
        database.columns(self._settings.table)
        found = next((name for name in database.tables() if self._owner.owns(name)), None)
        if found is None:
            what = " and ".join(one for one in self._settings.change if one != "insert")
            hint = f"try: edgeagent agents enable {self.agent}"
            raise CannotRead("error", f"nothing in {self.path} notes each {what} of {self._settings.table} yet; {hint}")
        return found, OWN_COLUMNS[0]

    def _checked(self, database: ForeignDatabase, source: str, cursor: str) -> Bookmark:
        """Where to go on from, after a look whether that place still makes sense."""
        mark = self._bookmark()
        newest = database.newest(source, cursor)
        if self._settings.needs_outbox:
            is_known = mark is not None and mark.source == source
            return mark if mark and is_known else Bookmark(source, Place(), identity=database.identity)
        if mark is None:
            return self._keep(Bookmark(source, newest, identity=database.identity))
        if database.is_before(newest, mark.place):
            is_another = mark.identity != database.identity
            mark = replace(mark, place=newest, round=mark.round + 1, identity=database.identity)
            return self._keep(mark, tell_of_another=is_another and newest.cursor is not None)
        if mark.identity != database.identity:
            return self._keep(replace(mark, identity=database.identity))
        return mark

    def _keep(self, mark: Bookmark, *, tell_of_another: bool = False) -> Bookmark:
        with self._store.transaction():
            self._store.set_bookmark(self.agent, self._record, mark.as_json())
            if tell_of_another:
                data: Json = {"row": None, "table": self._settings.table, "change": "insert"}
                key = f"{self.trigger_id}:{self._settings.table}:another:{mark.round}:{mark.place.cursor}"
                event = Event(self.agent, "sqlite", self.trigger_id, key, data)
                why = f"{self.path} is another database with fewer rows; those that were in it do not count"
                self._store.enqueue(event, now=self._clock(), status=RunStatus.SKIPPED, reason=why)
        return mark

    def _record_rows(self, rows: list[Row], mark: Bookmark) -> None:
        with self._store.transaction():
            for row in rows:
                self._store.enqueue(self._event(row, mark), now=self._clock())
            self._store.set_bookmark(self.agent, self._record, mark.as_json())
        self._untrimmed += len(rows)

    def _event(self, row: Row, mark: Bookmark) -> Event:
        change = row.values.get(OWN_COLUMNS[1], "insert")
        values = {name: value for name, value in row.values.items() if name not in OWN_COLUMNS}
        data: Json = {"row": values, "table": self._settings.table, "change": change}
        return Event(self.agent, "sqlite", self.trigger_id, self._key(row.place, mark), data)

    def _key(self, place: Place, mark: Bookmark) -> str:
        parts: list[Any] = [self.trigger_id, mark.source, place.cursor]
        if place.rowid is not None and place.rowid != place.cursor:
            parts.append(place.rowid)
        if mark.round:
            parts.append(f"round {mark.round}")
        return ":".join(str(part) for part in parts)

    def _trim(self, source: str, mark: Bookmark) -> None:
        """The owner's work goes first: where the database is busy, it is for another time."""
        if self._untrimmed >= _TRIM and mark.place.cursor is not None:
            with suppress(HomeError):
                trim(self.path, source, mark.place.cursor)
                self._untrimmed = 0
