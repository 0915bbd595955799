"""Forgetting: what is older than the retention, or more than the journal may hold, goes. Nothing else deletes a run."""

from __future__ import annotations

import sqlite3
from datetime import datetime

from edgeagent.schema import format_time
from edgeagent.store.connection import Part

_BATCH = 500
_SMALL_BATCH = 100
"""Where runs go for the size alone, no more of them than that asks for."""
_ENDED = "status IN ('ok', 'failed', 'cancelled', 'interrupted', 'skipped')"


class Retention(Part):
    def prune(self, before: datetime, max_size: int | None = None, *, shrink_over: int = 0) -> int:
        """Deletes runs that ended before then, and further ones, oldest first, while the journal is over `max_size`.

        Runs that have not ended stay.

        Args:
            max_size: bytes.
            shrink_over: bytes. A file that is larger gives what became free back to the disk, rather than keep it for
                what comes; that moves pages about.

        Returns:
            How many runs went.
        """
        gone = 0
        while deleted := self._delete(f"{_ENDED} AND ended_at < :before", {"before": format_time(before)}):
            gone += deleted
        while (
            max_size is not None
            and self.used_bytes() > max_size
            and (deleted := self._delete(_ENDED, {}, _SMALL_BATCH))
        ):
            gone += deleted
        with self._db.transaction() as connection:
            connection.execute("DELETE FROM own_writes WHERE written_at < ?", [format_time(before)])
        if self._db.value("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size") > shrink_over:
            # Outside a transaction: it is one by itself, and each row that it gives is a page set free.
            self._db.vacuum()
        return gone

    def checkpoint(self) -> bool:
        """Empties the write-ahead log into the file; False where a reader keeps it from being emptied."""
        return self._db.checkpoint()

    def _delete(self, condition: str, parameters: dict[str, str], most: int = _BATCH) -> int:
        """One batch, oldest first, so that no one waits long for the lock."""
        with self._db.transaction() as connection:
            return _delete_batch(connection, condition, parameters, most)

    def used_bytes(self) -> int:
        """Bytes that the journal holds, without what is free in its file."""
        used: int = self._db.value(
            """SELECT (page_count - freelist_count) * page_size
                 FROM pragma_page_count, pragma_freelist_count, pragma_page_size"""
        )
        return used


def _delete_batch(connection: sqlite3.Connection, condition: str, parameters: dict[str, str], most: int) -> int:
    oldest = f"SELECT seq FROM runs WHERE {condition} ORDER BY seq LIMIT {most}"
    return connection.execute(f"DELETE FROM runs WHERE seq IN ({oldest})", parameters).rowcount
