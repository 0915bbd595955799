"""What triggers must remember across restarts: the files that are there, the last time that was scheduled.

The memory and the event that follows from it are always written in one transaction, so that a crash can neither lose
an occurrence nor make two of it. Deciding what is an occurrence is edgeagent/triggers/.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping
from datetime import datetime

from edgeagent.schema import Event, Json, RunStatus, format_time
from edgeagent.store.chains import Chains
from edgeagent.store.connection import Clock, Database
from edgeagent.store.values import FileState, from_json, from_path, to_json, to_key, to_path, to_text, to_time

OwnWrite = tuple[int, int, int]
"""Size, mtime and inode of what an agent left at a path."""


class TriggerState(Chains):
    def __init__(self, database: Database, clock: Clock) -> None:
        super().__init__(database, clock)
        self._noted: dict[tuple[str, str], OwnWrite] = {}
        """What agents have just written, not yet in the database: a write less for an SD card."""

    def files(self, agent: str, trigger_id: str) -> dict[str, FileState]:
        """The files that the trigger has recorded as being there, by path."""
        rows = self._db.rows("SELECT * FROM files WHERE agent = ? AND trigger_id = ?", [agent, trigger_id])
        names = FileState.__dataclass_fields__
        return {from_path(row["path"]): FileState(**{name: row[name] for name in names}) for row in rows}

    def next_appearance(self, agent: str, trigger_id: str) -> int:
        """The number for a file that was not there before. It is used up by recording a file with it."""
        last = self._db.value("SELECT appearances FROM watches WHERE agent = ? AND trigger_id = ?", [agent, trigger_id])
        return (last or 0) + 1

    def record_file(
        self,
        agent: str,
        trigger_id: str,
        path: str,
        state: FileState | None,
        event: Event | None,
        now: datetime,
        *,
        status: RunStatus = RunStatus.QUEUED,
        reason: str | None = None,
    ) -> str | None:
        """What is now at the path (None: nothing) and the event that this is, together.

        Returns:
            The id of the run, or None where there is no event or its key is known.
        """
        with self._db.transaction() as connection:
            if state is None:
                connection.execute(
                    "DELETE FROM files WHERE agent = ? AND trigger_id = ? AND path = ?",
                    [agent, trigger_id, to_path(path)],
                )
            else:
                _write_file(connection, agent, trigger_id, path, state)
            return self.enqueue(event, now=now, status=status, reason=reason) if event else None

    def has_baseline(self, agent: str, trigger_id: str) -> bool:
        return bool(
            self._db.value(
                "SELECT baseline_at IS NOT NULL FROM watches WHERE agent = ? AND trigger_id = ?", [agent, trigger_id]
            )
        )

    def set_baseline(self, agent: str, trigger_id: str, files: Mapping[str, FileState] | None = None) -> None:
        """Notes that the trigger has looked once, with what it then saw: all in one transaction."""
        with self._db.transaction() as connection:
            connection.execute(
                """INSERT INTO watches (agent, trigger_id, baseline_at) VALUES (?, ?, ?)
                   ON CONFLICT DO UPDATE SET baseline_at = excluded.baseline_at""",
                [agent, trigger_id, self._now()],
            )
            for path, state in (files or {}).items():
                _write_file(connection, agent, trigger_id, path, state)

    def forget_files(self, agent: str, trigger_id: str) -> None:
        """Drops manifest and baseline: the trigger now watches something else. Appearance numbers go on."""
        with self._db.transaction() as connection:
            connection.execute("DELETE FROM files WHERE agent = ? AND trigger_id = ?", [agent, trigger_id])
            connection.execute(
                "UPDATE watches SET baseline_at = NULL WHERE agent = ? AND trigger_id = ?", [agent, trigger_id]
            )

    def note_own_write(self, agent: str, path: str, size: int, mtime_ns: int, inode: int) -> None:
        """What an agent has just written, so that its own triggers leave it alone. Not lasting: see below."""
        self._noted[agent, path] = (size, mtime_ns, inode)

    def keep_own_writes(self, agent: str) -> None:
        """Makes what was noted of the agent last. Belongs into the transaction with the end of the tool call."""
        noted = [(path, written) for (whose, path), written in list(self._noted.items()) if whose == agent]
        for path, written in noted:
            self.record_own_write(agent, path, *written)

    def record_own_write(self, agent: str, path: str, size: int, mtime_ns: int, inode: int) -> None:
        """Both at once."""
        with self._db.transaction() as connection:
            connection.execute(
                """INSERT INTO own_writes (agent, path, size, mtime_ns, inode, written_at) VALUES (?, ?, ?, ?, ?, ?)
                   ON CONFLICT DO UPDATE SET size = excluded.size, mtime_ns = excluded.mtime_ns,
                          inode = excluded.inode, written_at = excluded.written_at""",
                [agent, to_path(path), size, mtime_ns, inode, self._now()],
            )
        self._noted.pop((agent, path), None)

    def is_own_write(self, agent: str, path: str, size: int, mtime_ns: int, inode: int) -> bool:
        """Whether what stands at the path is exactly what the agent last wrote there."""
        if noted := self._noted.get((agent, path)):
            return noted == (size, mtime_ns, inode)
        return bool(
            self._db.value(
                "SELECT 1 FROM own_writes WHERE agent = ? AND path = ? AND size = ? AND mtime_ns = ? AND inode = ?",
                [agent, to_path(path), size, mtime_ns, inode],
            )
        )

    def last_scheduled(self, agent: str, trigger_id: str) -> datetime | None:
        """The last time that was recorded for the trigger; None where it never was."""
        return to_time(
            self._db.value("SELECT scheduled_at FROM schedule WHERE agent = ? AND trigger_id = ?", [agent, trigger_id])
        )

    def record_scheduled(
        self,
        agent: str,
        trigger_id: str,
        scheduled_at: datetime,
        event: Event | None,
        now: datetime,
        *,
        status: RunStatus = RunStatus.QUEUED,
        reason: str | None = None,
    ) -> str | None:
        """The time that has come and its event, together. The recorded time never goes back."""
        with self._db.transaction() as connection:
            connection.execute(
                """INSERT INTO schedule (agent, trigger_id, scheduled_at) VALUES (?, ?, ?)
                   ON CONFLICT DO UPDATE SET scheduled_at = max(scheduled_at, excluded.scheduled_at)""",
                [agent, trigger_id, format_time(scheduled_at)],
            )
            return self.enqueue(event, now=now, status=status, reason=reason) if event else None

    def bookmark(self, agent: str, trigger_id: str) -> Json | None:
        """How far the trigger has got in what it reads; None where it never read."""
        place: Json | None = from_json(
            self._db.value("SELECT place FROM bookmarks WHERE agent = ? AND trigger_id = ?", [agent, trigger_id])
        )
        return place

    def set_bookmark(self, agent: str, trigger_id: str, place: Json) -> None:
        """Goes with the events of what was read, in one `transaction`."""
        with self._db.transaction() as connection:
            connection.execute(
                """INSERT INTO bookmarks (agent, trigger_id, place) VALUES (?, ?, ?)
                   ON CONFLICT DO UPDATE SET place = excluded.place""",
                [agent, trigger_id, to_json(place)],
            )

    def run_of_key(self, agent: str, key: str) -> str | None:
        """The run that an event's key has made."""
        found: str | None = self._db.value(
            "SELECT id FROM runs WHERE agent = ? AND event_key = ?", [agent, to_key(key)]
        )
        return found

    def message_key(self, agent: str, trigger_id: str, packet: int, digest: str) -> str | None:
        """The key of the event that this very message has made, where it came under this packet id before."""
        found: str | None = self._db.value(
            "SELECT event_key FROM messages WHERE agent = ? AND trigger_id = ? AND packet = ? AND digest = ?",
            [agent, trigger_id, packet, digest],
        )
        return found

    def note_message(self, agent: str, trigger_id: str, packet: int, digest: str, event_key: str) -> None:
        """What tells a message when it is sent again. Goes with its event, in one `transaction`."""
        with self._db.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO messages VALUES (?, ?, ?, ?, ?)",
                [agent, trigger_id, packet, digest, to_text(event_key)],
            )

    def message_packets(self, agent: str, trigger_id: str) -> list[int]:
        rows = self._db.rows("SELECT packet FROM messages WHERE agent = ? AND trigger_id = ?", [agent, trigger_id])
        return [row["packet"] for row in rows]

    def forget_messages(self, agent: str, trigger_id: str, packets: Collection[int]) -> None:
        """These are not sent again."""
        if packets:
            with self._db.transaction() as connection:
                connection.executemany(
                    "DELETE FROM messages WHERE agent = ? AND trigger_id = ? AND packet = ?",
                    [(agent, trigger_id, packet) for packet in packets],
                )


def _write_file(connection: sqlite3.Connection, agent: str, trigger_id: str, path: str, state: FileState) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [agent, trigger_id, to_path(path), state.size, state.mtime_ns, state.inode, state.sha256, state.appearance],
    )
    connection.execute(
        """INSERT INTO watches (agent, trigger_id, appearances) VALUES (?, ?, ?)
           ON CONFLICT DO UPDATE SET appearances = max(appearances, excluded.appearances)""",
        [agent, trigger_id, state.appearance],
    )
