"""What agents asked to remember, found again by full-text search. Each agent sees its own notes only."""

from __future__ import annotations

import re
from datetime import datetime

from edgeagent.schema import format_time
from edgeagent.store.connection import Part
from edgeagent.store.values import to_text

_WORD = re.compile(r"\w+")
_MOST_WORDS = 64


class Memory(Part):
    def remember(self, agent: str, text: str, now: datetime) -> None:
        """Keeps a note. The same note again only renews its time."""
        with self._db.transaction() as connection:
            connection.execute(
                """INSERT INTO memory (agent, text, created_at) VALUES (?, ?, ?)
                   ON CONFLICT (agent, text) DO UPDATE SET created_at = excluded.created_at""",
                [agent, to_text(text), format_time(now)],
            )

    def recall(self, agent: str, query: str, limit: int = 5) -> list[str]:
        """The agent's notes that share most with the query; its newest notes where the query holds no word.

        Any text is safe as a query: it is cut into words, and FTS5 syntax means nothing in it.
        """
        words = list(dict.fromkeys(_WORD.findall(to_text(query))))[:_MOST_WORDS]
        if not words:
            rows = self._db.rows(
                "SELECT text FROM memory WHERE agent = ? ORDER BY created_at DESC, id DESC LIMIT ?", [agent, limit]
            )
        else:
            rows = self._db.rows(
                """SELECT m.text FROM memory_fts f JOIN memory m ON m.id = f.rowid
                    WHERE memory_fts MATCH ? AND m.agent = ? ORDER BY f.rank, m.id DESC LIMIT ?""",
                [" OR ".join(f'"{word}"' for word in words), agent, limit],
            )
        return [row["text"] for row in rows]
