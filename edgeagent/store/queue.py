"""The queue: a run is claimed by one owner, and its status only moves on.

A row changes status and is never deleted here. How an event becomes a run is admission.py; who decides what a failure
means (back off, give up) is the worker; what a run did is in journal.py.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from edgeagent.errors import NotFound, UsageError
from edgeagent.schema import Outcome, Run, RunStatus, format_time
from edgeagent.store.admission import Admission
from edgeagent.store.connection import Clock, Database
from edgeagent.store.values import to_json, to_json_or_null, to_text, to_time

FOREGROUND = "cli:"
"""Owners that begin so are commands in a terminal: nobody takes up their runs when they die."""

_PENDING = (RunStatus.QUEUED, RunStatus.WAITING, RunStatus.DEFERRED)
_QUEUE_AGAIN = """
    status = CASE WHEN cancel_requested THEN 'cancelled' ELSE 'queued' END,
    ended_at = CASE WHEN cancel_requested THEN :now END,
    owner = NULL"""
_ERROR = "error = coalesce(:error, CASE WHEN cancel_requested THEN error END)"  # who cancels may have said why
_INTERRUPTED = "the command that ran it ended before the run did"
_UNKNOWN = "it was under way when the process ended; whether it took effect is not known"

# The agents that have something to do, by hops along the index: the journal may be long, and so may the queue.
_BUSY = """
    WITH RECURSIVE busy (agent) AS (
        SELECT min(agent) FROM runs WHERE ended_at IS NULL
        UNION ALL
        SELECT (SELECT min(agent) FROM runs WHERE ended_at IS NULL AND agent > busy.agent)
          FROM busy WHERE busy.agent IS NOT NULL
    )
    """
# Of each the oldest run that is due, and how many go on. What a command in a terminal runs itself does not count.
_HEADS = (
    _BUSY
    + """, heads AS (
        SELECT agent, (
            SELECT seq FROM runs r
             WHERE r.agent = busy.agent AND r.ended_at IS NULL AND r.status = 'queued'
               AND (r.due_at IS NULL OR r.due_at <= :now)
               AND (:any OR r.agent_path IS NOT NULL OR r.agent IN (SELECT value FROM json_each(:agents)))
             ORDER BY r.seq LIMIT 1
        ) AS seq FROM busy WHERE agent IS NOT NULL
    )
    SELECT agent, seq, (
        SELECT count(*) FROM runs r WHERE r.agent = heads.agent AND r.ended_at IS NULL AND r.status = 'running'
                                      AND r.owner NOT LIKE 'cli:%'
    ) AS going FROM heads WHERE seq IS NOT NULL"""
)


@dataclass(frozen=True, slots=True)
class Waiting:
    """What an agent has to do."""

    agent: str
    queued: bool
    deferred: bool


class Queue(Admission):
    def __init__(self, database: Database, clock: Clock) -> None:
        super().__init__(database, clock)
        self._turns: dict[str, int] = {}
        self._claims = 0

    def claim(self, owner: str, now: datetime, agents: Collection[str] | None = None) -> Run | None:
        """The next run that is due, now running and owned; None where nothing is due.

        Agents take turns: the one that was served longest ago comes first, with its oldest run. An agent has as many
        runs at once as its limit says.

        Args:
            agents: whose runs may be claimed (None: anybody's), beside those that a person asked for.
        """
        given = {"owner": owner, "now": format_time(now), "agents": to_json(list(agents or ())), "any": agents is None}
        with self._db.transaction() as connection:
            heads = connection.execute(_HEADS, given).fetchall()
            free = [head for head in heads if head["going"] < self._at_once(head["agent"])]
            if not free:
                return None
            chosen = min(free, key=lambda head: (self._turns.get(head["agent"], 0), head["seq"]))
            run = self._claim("SELECT id FROM runs WHERE seq = :seq", given | {"seq": chosen["seq"]})
        self._claims += 1
        self._turns[chosen["agent"]] = self._claims
        return run

    def _at_once(self, agent: str) -> float:
        limit = self._limits.get(agent)
        return limit.at_once if limit else math.inf

    def claim_run(self, run_id: str, owner: str, now: datetime) -> Run | None:
        """As `claim`, for one queued run, due or not; None where another process has it or it has ended."""
        self._known(run_id)
        found = "SELECT id FROM runs WHERE id = :id AND status = 'queued'"
        return self._claim(found, {"owner": owner, "now": format_time(now), "id": run_id})

    def _claim(self, found: str, parameters: dict[str, Any]) -> Run | None:
        with self._db.transaction() as connection:
            claimed = connection.execute(
                f"""UPDATE runs SET status = 'running', owner = :owner, attempt = attempt + 1, due_at = NULL,
                           started_at = coalesce(started_at, :now), ended_at = NULL, reason = NULL, error = NULL
                     WHERE id = ({found}) RETURNING id""",
                parameters,
            ).fetchone()
            return None if claimed is None else self.run(claimed["id"])

    def next_due(self, after: datetime | None = None) -> datetime | None:
        """When the next delayed run becomes due, after a moment: until then who finds nothing to claim may sleep."""
        chosen = "ended_at IS NULL AND status = 'queued' AND due_at > :after"
        parameters = {"after": format_time(after) if after else ""}
        return to_time(self._db.value(f"SELECT min(due_at) FROM runs WHERE {chosen}", parameters))

    def finish(self, run_id: str, outcome: Outcome, now: datetime, model: str | None = None) -> None:
        """Records how a run ended. The first end stands: a later one is a UsageError.

        A WAITING or DEFERRED outcome puts the run aside without an end.
        """
        columns = {
            "id": run_id,
            "status": outcome.status.value,
            "reason": None if outcome.reason is None else to_text(outcome.reason),
            "output": to_json_or_null(outcome.output),
            "error": None if outcome.error is None else to_text(outcome.error),
            "model": model,
            "ended_at": format_time(now) if outcome.status.is_terminal else None,
        }
        self._move(
            run_id,
            f"""status = :status, reason = :reason, output = :output, {_ERROR}, ended_at = :ended_at,
               model = coalesce(:model, model), owner = NULL""",
            columns,
            frm=(RunStatus.RUNNING, *_PENDING),
        )

    def requeue(self, run_id: str, due_at: datetime | None, error: str | None = None, *, counts: bool = True) -> None:
        """Back to the queue for another attempt, not before `due_at`. Its steps stay, and the run goes on from them.

        A run that someone asked to cancel becomes cancelled instead. With `counts` false the attempt was none: the
        daemon stopped, or the disk was full.
        """
        parameters = {
            "now": self._now(),
            "id": run_id,
            "due_at": format_time(due_at) if due_at else None,
            "error": None if error is None else to_text(error),
            "counted": int(not counts),
        }
        assignments = f"{_QUEUE_AGAIN}, due_at = :due_at, {_ERROR}, attempt = max(0, attempt - :counted)"
        self._move(run_id, assignments, parameters, frm=(RunStatus.RUNNING, *_PENDING))

    def put_aside(self, run_id: str, reason: str) -> None:
        """A run that was claimed and cannot go on for now becomes deferred; the attempt was none."""
        self._move(
            run_id,
            """status = CASE WHEN cancel_requested THEN 'cancelled' ELSE 'deferred' END, reason = :reason,
               ended_at = CASE WHEN cancel_requested THEN :now END, owner = NULL, attempt = max(0, attempt - 1)""",
            {"id": run_id, "reason": to_text(reason), "now": self._now()},
            frm=(RunStatus.RUNNING,),
        )

    def defer(self, agent: str, reason: str) -> int:
        """What waits of this agent is deferred from now on, for this reason. Gives how many."""
        with self._db.transaction() as connection:
            return connection.execute(
                """UPDATE runs SET status = 'deferred', reason = :reason
                    WHERE agent = :agent AND ended_at IS NULL AND status = 'queued'""",
                {"agent": agent, "reason": to_text(reason)},
            ).rowcount

    def release(self, agent: str) -> int:
        """What was deferred of this agent is queued again. Gives how many."""
        with self._db.transaction() as connection:
            released = connection.execute(
                """UPDATE runs SET status = 'queued', reason = NULL
                    WHERE agent = ? AND ended_at IS NULL AND status = 'deferred'""",
                [agent],
            ).rowcount
        if released:
            self._told()
        return released

    def waiting(self) -> list[Waiting]:
        """The agents that have something to do, and whether it is queued or deferred."""
        rows = self._db.rows(
            _BUSY
            + """SELECT agent,
                EXISTS (SELECT 1 FROM runs r WHERE r.agent = busy.agent AND r.ended_at IS NULL
                                               AND r.status = 'queued') AS queued,
                EXISTS (SELECT 1 FROM runs r WHERE r.agent = busy.agent AND r.ended_at IS NULL
                                               AND r.status = 'deferred') AS deferred
                  FROM busy WHERE agent IS NOT NULL"""
        )
        return [Waiting(row["agent"], bool(row["queued"]), bool(row["deferred"])) for row in rows]

    def counts_open(self) -> dict[RunStatus, int]:
        """How many runs that have not ended stand where."""
        rows = self._db.rows("SELECT status, count(*) AS n FROM runs WHERE ended_at IS NULL GROUP BY status")
        return {RunStatus(row["status"]): row["n"] for row in rows}

    def recover(self, now: datetime, is_alive: Callable[[str], bool]) -> list[str]:
        """Takes back the runs of owners that are dead; gives the ids of those that are queued again.

        They keep their steps and attempt count. Runs of a command in a terminal (`cli:…`) become interrupted
        instead: whoever started them is gone.
        """
        with self._db.transaction() as connection:
            owners = connection.execute("SELECT DISTINCT owner FROM runs WHERE status = 'running'").fetchall()
            dead = [owner for (owner,) in owners if owner is None or not is_alive(owner)]
            queued = []
            for owner in dead:
                if owner is not None and owner.startswith(FOREGROUND):
                    _interrupt(connection, owner, now)
                else:
                    queued += _give_back(connection, owner, now)
        return queued

    def cancel(self, run_id: str, now: datetime) -> RunStatus:
        """Ends a run that has not begun; asks one that is running to stop (see `cancel_requested`).

        Gives the status it now has; a run that had ended keeps its own.
        """
        with self._db.transaction() as connection:
            self._known(run_id)
            connection.execute("UPDATE runs SET cancel_requested = 1 WHERE id = ? AND status = 'running'", [run_id])
            connection.execute(
                f"UPDATE runs SET status = 'cancelled', ended_at = ? WHERE id = ? AND status IN ({_listed(_PENDING)})",
                [format_time(now), run_id],
            )
            return RunStatus(self._db.value("SELECT status FROM runs WHERE id = ?", [run_id]))

    def cancel_requested(self, run_id: str) -> bool:
        return bool(self._db.value("SELECT cancel_requested FROM runs WHERE id = ?", [run_id]))

    def cancel_requests(self) -> frozenset[str]:
        """The runs that go on and that someone wants to end."""
        rows = self._db.rows("SELECT id FROM runs WHERE status = 'running' AND cancel_requested")
        return frozenset(row["id"] for row in rows)

    def retry(self, run_id: str) -> None:
        """Queues a run that did not end well once more, from the beginning and with all its attempts.

        The steps of the earlier round stay in the table; `run` and `steps_of` show the round in hand.
        """
        with self._db.transaction():
            self._room.clear()
            self._move(
                run_id,
                """status = 'queued', attempt = 0, retry = retry + 1, due_at = NULL, owner = NULL, cancel_requested = 0,
                   reason = NULL, error = NULL, output = NULL, started_at = NULL, ended_at = NULL""",
                {"id": run_id},
                frm=(RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.INTERRUPTED, RunStatus.SKIPPED),
            )

    def _move(self, run_id: str, assignments: str, parameters: dict[str, Any], *, frm: Collection[RunStatus]) -> None:
        with self._db.transaction() as connection:
            moved = connection.execute(
                f"UPDATE runs SET {assignments} WHERE id = :id AND status IN ({_listed(frm)})", parameters
            )
            if moved.rowcount == 0:
                status = self._known(run_id)
                raise UsageError(f"run {run_id} is {status}", f"see it: edgeagent runs show {run_id}")
        self._told()

    def _known(self, run_id: str) -> str:
        """The status of the run; NotFound where there is none."""
        status: str | None = self._db.value("SELECT status FROM runs WHERE id = ?", [run_id])
        if status is None:
            raise NotFound(f"no run {run_id}", "see what there is: edgeagent runs list")
        return status


def _interrupt(connection: sqlite3.Connection, owner: str, now: datetime) -> None:
    connection.execute(
        """UPDATE steps SET status = 'error', error = :why, result = :why, ended_at = :now
            WHERE status = 'started'
              AND run_id IN (SELECT id FROM runs WHERE ended_at IS NULL AND status = 'running' AND owner = :owner)""",
        {"why": _UNKNOWN, "now": format_time(now), "owner": owner},
    )
    connection.execute(
        """UPDATE runs SET status = 'interrupted', owner = NULL, ended_at = ?, error = ?
            WHERE status = 'running' AND owner = ?""",
        [format_time(now), _INTERRUPTED, owner],
    )


def _give_back(connection: sqlite3.Connection, owner: str | None, now: datetime) -> list[str]:
    rows = connection.execute(
        f"UPDATE runs SET {_QUEUE_AGAIN} WHERE status = 'running' AND owner IS :owner RETURNING id, status",
        {"owner": owner, "now": format_time(now)},
    ).fetchall()
    return [row["id"] for row in rows if row["status"] == "queued"]


def _listed(statuses: Collection[RunStatus]) -> str:
    return ", ".join(f"'{status.value}'" for status in statuses)
