"""Runs that follow from the end of other runs.

A run that ends is noted by a trigger of the database, whoever ends it and however (the table `endings`); before that
very transaction is committed, each note becomes an event for the agent that follows. So neither can be without the
other, and chains need no thread. What an agent trigger is to people is edgeagent/triggers/chain.py.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from edgeagent.schema import Event, RunStatus
from edgeagent.store.connection import Clock, Database
from edgeagent.store.queue import Queue
from edgeagent.store.values import from_json, to_json

MOST_HOPS = 8
"""Runs in a row that may each start the next one. Agents that start each other would otherwise never end."""

_HOPS = """
    WITH RECURSIVE back (id, hops) AS (
        SELECT :run_id, 1
        UNION ALL
        SELECT r.event ->> 'run_id', hops + 1 FROM back JOIN runs r ON r.id = back.id
         WHERE r.trigger = 'agent' AND hops <= :most
    ) SELECT max(hops) FROM back"""


class Chains(Queue):
    def __init__(self, database: Database, clock: Clock) -> None:
        super().__init__(database, clock)
        database.before_commit(self._pass_on)

    def follow(self, agent: str, trigger_id: str, upstream: str, statuses: Sequence[str]) -> None:
        """From now on each end of a run of `upstream` with one of these statuses is an event for `agent`.

        Where it followed before, what has ended since then is made up for.
        """
        given = {"agent": agent, "trigger_id": trigger_id, "upstream": upstream, "statuses": to_json(list(statuses))}
        with self._db.transaction() as connection:
            known = connection.execute(
                """SELECT since_seq FROM chains WHERE agent = :agent AND trigger_id = :trigger_id
                      AND upstream = :upstream AND statuses = :statuses""",
                given,
            ).fetchone()
            if known:
                _make_up(connection, given | {"since": known[0]})
            connection.execute(
                "DELETE FROM chains WHERE agent = :agent AND trigger_id = :trigger_id AND upstream <> :upstream", given
            )
            connection.execute(
                """INSERT OR REPLACE INTO chains
                   SELECT :agent, :trigger_id, :upstream, :statuses, coalesce(
                       (SELECT min(seq) - 1 FROM runs WHERE agent = :upstream AND ended_at IS NULL),
                       (SELECT max(seq) FROM runs), 0), 1""",
                given,
            )

    def unfollow(self, agent: str | None = None, trigger_id: str | None = None) -> None:
        """Without arguments: nobody follows anybody, until they say so again."""
        with self._db.transaction() as connection:
            connection.execute(
                """UPDATE chains SET is_active = 0
                    WHERE agent = coalesce(?, agent) AND trigger_id = coalesce(?, trigger_id)""",
                [agent, trigger_id],
            )

    def _pass_on(self, connection: sqlite3.Connection) -> None:
        """Until nothing is left, since an event that is skipped at once is the end of a run as well."""
        while notes := connection.execute("SELECT * FROM endings").fetchall():
            connection.execute("DELETE FROM endings")
            for note in notes:
                self._follow_on(connection, note)

    def _follow_on(self, connection: sqlite3.Connection, note: sqlite3.Row) -> None:
        run = connection.execute("SELECT id, agent, status, output FROM runs WHERE id = ?", [note["run_id"]]).fetchone()
        if run is None:
            return  # its retention was over in this very moment
        data = {"run_id": run["id"], "agent": run["agent"], "status": run["status"], "output": from_json(run["output"])}
        event = Event(note["agent"], "agent", note["trigger_id"], _key(note["trigger_id"], run["id"]), data)
        (hops,) = connection.execute(_HOPS, {"run_id": run["id"], "most": MOST_HOPS}).fetchone()
        if hops <= MOST_HOPS:
            self.enqueue(event, now=self._clock())
            return
        reason = f"it would be run {MOST_HOPS + 1} in a row that an agent started; do agents start each other?"
        stopped = self.enqueue(event, now=self._clock(), status=RunStatus.SKIPPED, reason=reason)
        connection.execute("DELETE FROM endings WHERE run_id = ?", [stopped])


def _key(trigger_id: str, run_id: str) -> str:
    return f"{trigger_id}:{run_id}"


def _make_up(connection: sqlite3.Connection, given: dict[str, str | int]) -> None:
    connection.execute(
        """INSERT OR IGNORE INTO endings
           SELECT r.id, :agent, :trigger_id FROM runs r
            WHERE r.agent = :upstream AND r.seq > :since AND r.status IN (SELECT value FROM json_each(:statuses))
              AND NOT EXISTS (SELECT 1 FROM runs f WHERE f.agent = :agent
                                 AND f.event_key = :trigger_id || ':' || r.id)""",
        given,
    )
