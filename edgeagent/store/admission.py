"""How an event becomes a run: once, and only where its agent has room for another one.

Owns the INSERT, back-pressure (`limit_queues`) and who is told that there is something to do. What becomes of the run
is queue.py.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from datetime import datetime

from ulid import ULID

from edgeagent.schema import Event, QueueLimit, RunStatus, Terms, format_time
from edgeagent.store.connection import Clock, Database
from edgeagent.store.journal import Journal
from edgeagent.store.values import describe, to_json, to_key, to_text

REPLACED = "a newer event took its place (concurrency: restart)"
_AT_WORK = "agent = :agent AND ended_at IS NULL AND status IN ('queued', 'deferred', 'running')"


class Admission(Journal):
    def __init__(self, database: Database, clock: Clock) -> None:
        super().__init__(database, clock)
        self._limits: dict[str, QueueLimit] = {}
        self._room: dict[str, int] = {}
        """How many more events each agent can surely take: counting its queue for each one takes long in a burst."""
        self._data_version = -1
        self._told: Callable[[], object] = lambda: None

    def limit_queues(self, limits: Mapping[str, QueueLimit]) -> None:
        """From now on these agents have limits; all others none."""
        self._limits = dict(limits)
        self._room.clear()

    def tell(self, told: Callable[[], object]) -> None:
        """`told` is called, from any thread, whenever there may be something to claim.

        It may be called a moment before the transaction ends: a claim then waits for the end.
        """
        self._told = told

    def enqueue(
        self,
        event: Event,
        *,
        now: datetime,
        status: RunStatus = RunStatus.QUEUED,
        reason: str | None = None,
        due_at: datetime | None = None,
        terms: Terms | None = None,
    ) -> str | None:
        """The id of the new run; None where this agent has seen the event's key before.

        `status` SKIPPED with a reason records an occurrence that is not to run. An event for which its agent has no
        room is recorded as skipped in the same way.
        """
        with self._db.transaction() as connection:
            limit = self._limits.get(event.agent)
            if limit and status is RunStatus.QUEUED and (refusal := self._refusal(connection, event.agent, limit)):
                status, reason = RunStatus.SKIPPED, refusal
            run_id = _insert(connection, _row(event, now, status, reason, due_at, terms or Terms()))
            if run_id and limit and limit.mode == "restart" and status is RunStatus.QUEUED:
                _make_room(connection, event.agent, run_id, now)
        if run_id and status is RunStatus.QUEUED:
            self._told()
        return run_id

    def _refusal(self, connection: sqlite3.Connection, agent: str, limit: QueueLimit) -> str | None:
        """Why the agent takes no further event now; None where it does."""
        if limit.mode == "restart":
            return None
        if limit.mode == "single":
            is_busy = connection.execute(f"SELECT 1 FROM runs WHERE {_AT_WORK} LIMIT 1", {"agent": agent}).fetchone()
            return "another run of the agent was going on (concurrency: single)" if is_busy else None
        if self._has_room(connection, agent, limit.max):
            return None
        # The row that is the last of `max`, rather than a count of all: the queue of an agent may be long.
        is_full = connection.execute(
            """SELECT 1 FROM runs WHERE agent = :agent AND ended_at IS NULL AND status IN ('queued', 'deferred')
                LIMIT 1 OFFSET :last""",
            {"agent": agent, "last": limit.max - 1},
        ).fetchone()
        return f"{limit.max} runs of the agent were waiting already (concurrency.max)" if is_full else None

    def _has_room(self, connection: sqlite3.Connection, agent: str, most: int) -> bool:
        """Whether there is room without counting; uses up one place of it.

        Runs that have not ended can come back to the queue, so all of them are counted. Only `retry` brings back more,
        and what another connection writes.
        """
        version = connection.execute("PRAGMA data_version").fetchone()[0]
        if version != self._data_version:
            self._data_version = version
            self._room.clear()
        left = self._room.get(agent, 0)
        if left == 0:
            open_runs = "SELECT 1 FROM runs WHERE agent = ? AND ended_at IS NULL LIMIT ?"
            counted = connection.execute(f"SELECT count(*) FROM ({open_runs})", [agent, most]).fetchone()[0]
            left = most - int(counted)
        self._room[agent] = max(0, left - 1)
        return left > 0

    def terms(self, run_id: str) -> Terms:
        """How the caller wanted the run to be made."""
        row = self._db.row("SELECT agent_path, dry_run FROM runs WHERE id = ?", [run_id])
        return Terms(row["agent_path"], bool(row["dry_run"])) if row else Terms()

    def disabled_agents(self) -> frozenset[str]:
        """The agents that a person switched off."""
        return frozenset(row["agent"] for row in self._db.rows("SELECT agent FROM disabled_agents"))

    def enable_agent(self, agent: str, is_enabled: bool) -> bool:
        """Switches an agent on or off, for good. False where it was so already."""
        with self._db.transaction() as connection:
            if is_enabled:
                changed = connection.execute("DELETE FROM disabled_agents WHERE agent = ?", [agent])
            else:
                changed = connection.execute(
                    "INSERT INTO disabled_agents VALUES (?, ?) ON CONFLICT DO NOTHING", [agent, self._now()]
                )
            return changed.rowcount > 0


def _row(
    event: Event, now: datetime, status: RunStatus, reason: str | None, due_at: datetime | None, terms: Terms
) -> dict[str, str | int | None]:
    return {
        "id": str(ULID.from_datetime(now)),
        "agent": event.agent,
        "trigger": event.trigger,
        "trigger_id": event.trigger_id,
        "event_key": to_key(event.key),
        "event": to_json(event.data),
        "what": describe(event),
        "status": status.value,
        "reason": None if reason is None else to_text(reason),
        # NULL rather than now: a clock that is set back (a Pi has no battery) must not hold up what is due.
        "due_at": format_time(due_at) if due_at else None,
        "created_at": format_time(now),
        "ended_at": format_time(now) if status.is_terminal else None,
        "agent_path": None if terms.agent_path is None else to_text(terms.agent_path),
        "dry_run": int(terms.dry_run),
    }


def _insert(connection: sqlite3.Connection, row: dict[str, str | int | None]) -> str | None:
    columns = ", ".join(row)
    values = ", ".join(f":{name}" for name in row)
    inserted = connection.execute(
        f"INSERT INTO runs ({columns}) VALUES ({values}) ON CONFLICT (agent, event_key) DO NOTHING", row
    )
    return str(row["id"]) if inserted.rowcount else None


def _make_room(connection: sqlite3.Connection, agent: str, run_id: str, now: datetime) -> None:
    """Ends whatever else the agent has to do: what waits now, what runs when it notices."""
    given = {"agent": agent, "id": run_id, "now": format_time(now), "error": REPLACED}
    connection.execute(
        """UPDATE runs SET status = 'cancelled', ended_at = :now, error = :error
            WHERE agent = :agent AND ended_at IS NULL AND status IN ('queued', 'deferred') AND id <> :id""",
        given,
    )
    connection.execute(
        """UPDATE runs SET cancel_requested = 1, error = :error
            WHERE agent = :agent AND ended_at IS NULL AND status = 'running' AND id <> :id""",
        given,
    )
