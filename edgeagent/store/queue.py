"""The queue: an event becomes a run once, a run is claimed by one owner, and its status only moves on.

A row changes status and is never deleted here. Who decides what a failure means (back off, give up) is the worker;
what a run did is in journal.py.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection
from datetime import datetime

from ulid import ULID

from edgeagent.errors import NotFound, UsageError
from edgeagent.schema import Event, Outcome, Run, RunStatus, format_time
from edgeagent.store.journal import Journal
from edgeagent.store.values import describe, to_json, to_json_or_null, to_key, to_text, to_time

FOREGROUND = "cli:"
"""Owners that begin so are commands in a terminal: nobody takes up their runs when they die."""

_PENDING = (RunStatus.QUEUED, RunStatus.WAITING, RunStatus.DEFERRED)
_QUEUE_AGAIN = """
    status = CASE WHEN cancel_requested THEN 'cancelled' ELSE 'queued' END,
    ended_at = CASE WHEN cancel_requested THEN :now END,
    owner = NULL"""
_INTERRUPTED = "the command that ran it ended before the run did"


class Queue(Journal):
    def enqueue(
        self,
        event: Event,
        *,
        now: datetime,
        status: RunStatus = RunStatus.QUEUED,
        reason: str | None = None,
        due_at: datetime | None = None,
    ) -> str | None:
        """The id of the new run; None where this agent has seen the event's key before.

        `status` SKIPPED with a reason records an occurrence that is not to run.
        """
        run_id = str(ULID.from_datetime(now))
        row = {
            "id": run_id,
            "agent": event.agent,
            "trigger": event.trigger,
            "trigger_id": event.trigger_id,
            "event_key": to_key(event.key),
            "event": to_json(event.data),
            "what": describe(event),
            "status": status.value,
            "reason": reason,
            # NULL rather than now: a clock that is set back (a Pi has no battery) must not hold up what is due.
            "due_at": format_time(due_at) if due_at else None,
            "created_at": format_time(now),
            "ended_at": format_time(now) if status.is_terminal else None,
        }
        columns = ", ".join(row)
        values = ", ".join(f":{name}" for name in row)
        with self._db.transaction() as connection:
            inserted = connection.execute(
                f"INSERT INTO runs ({columns}) VALUES ({values}) ON CONFLICT (agent, event_key) DO NOTHING", row
            )
            return run_id if inserted.rowcount else None

    def claim(self, owner: str, now: datetime, agents: Collection[str] | None = None) -> Run | None:
        """The oldest run that is due, now running and owned; None where nothing is due.

        `agents` limits the choice (None: any).
        """
        chosen = "status = 'queued' AND (due_at IS NULL OR due_at <= :now)"
        if agents is not None:
            chosen += " AND agent IN (SELECT value FROM json_each(:agents))"
        found = f"SELECT id FROM runs WHERE {chosen} ORDER BY seq LIMIT 1"
        return self._claim(found, {"owner": owner, "now": format_time(now), "agents": to_json(list(agents or ()))})

    def claim_run(self, run_id: str, owner: str, now: datetime) -> Run | None:
        """As `claim`, for one queued run, due or not; None where another process has it or it has ended."""
        self._known(run_id)
        found = "SELECT id FROM runs WHERE id = :id AND status = 'queued'"
        return self._claim(found, {"owner": owner, "now": format_time(now), "id": run_id})

    def _claim(self, found: str, parameters: dict[str, str]) -> Run | None:
        with self._db.transaction() as connection:
            claimed = connection.execute(
                f"""UPDATE runs SET status = 'running', owner = :owner, attempt = attempt + 1, due_at = NULL,
                           started_at = coalesce(started_at, :now), ended_at = NULL, reason = NULL, error = NULL
                     WHERE id = ({found}) RETURNING id""",
                parameters,
            ).fetchone()
            return None if claimed is None else self.run(claimed["id"])

    def next_due(self, agents: Collection[str] | None = None) -> datetime | None:
        """When the next delayed run becomes due: until then a worker with nothing to claim may sleep."""
        chosen = "status = 'queued' AND due_at IS NOT NULL"
        if agents is not None:
            chosen += " AND agent IN (SELECT value FROM json_each(:agents))"
        parameters = {"agents": to_json(list(agents or ()))}
        return to_time(self._db.value(f"SELECT min(due_at) FROM runs WHERE {chosen}", parameters))

    def finish(self, run_id: str, outcome: Outcome, now: datetime, model: str | None = None) -> None:
        """Records how a run ended. The first end stands: a later one is a UsageError.

        A WAITING or DEFERRED outcome puts the run aside without an end.
        """
        columns = {
            "id": run_id,
            "status": outcome.status.value,
            "reason": outcome.reason.value if outcome.reason else None,
            "output": to_json_or_null(outcome.output),
            "error": None if outcome.error is None else to_text(outcome.error),
            "model": model,
            "ended_at": format_time(now) if outcome.status.is_terminal else None,
        }
        self._move(
            run_id,
            """status = :status, reason = :reason, output = :output, error = :error, ended_at = :ended_at,
               model = coalesce(:model, model), owner = NULL""",
            columns,
            frm=(RunStatus.RUNNING, *_PENDING),
        )

    def requeue(self, run_id: str, due_at: datetime | None, error: str | None = None) -> None:
        """Back to the queue for another attempt, not before `due_at`. Its steps stay, and the run goes on from them.

        A run that someone asked to cancel becomes cancelled instead.
        """
        parameters = {
            "now": self._now(),
            "id": run_id,
            "due_at": format_time(due_at) if due_at else None,
            "error": None if error is None else to_text(error),
        }
        assignments = f"{_QUEUE_AGAIN}, due_at = :due_at, error = :error"
        self._move(run_id, assignments, parameters, frm=(RunStatus.RUNNING, *_PENDING))

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

    def retry(self, run_id: str) -> None:
        """Queues a run that did not end well once more, from the beginning and with all its attempts.

        The steps of the earlier round stay in the table; `run` and `steps_of` show the round in hand.
        """
        self._move(
            run_id,
            """status = 'queued', attempt = 0, retry = retry + 1, due_at = NULL, owner = NULL, cancel_requested = 0,
               reason = NULL, error = NULL, output = NULL, started_at = NULL, ended_at = NULL""",
            {"id": run_id},
            frm=(RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.INTERRUPTED, RunStatus.SKIPPED),
        )

    def _move(
        self, run_id: str, assignments: str, parameters: dict[str, str | None], *, frm: Collection[RunStatus]
    ) -> None:
        with self._db.transaction() as connection:
            moved = connection.execute(
                f"UPDATE runs SET {assignments} WHERE id = :id AND status IN ({_listed(frm)})", parameters
            )
            if moved.rowcount == 0:
                status = self._known(run_id)
                raise UsageError(f"run {run_id} is {status}", f"see it: edgeagent runs show {run_id}")

    def _known(self, run_id: str) -> str:
        """The status of the run; NotFound where there is none."""
        status: str | None = self._db.value("SELECT status FROM runs WHERE id = ?", [run_id])
        if status is None:
            raise NotFound(f"no run {run_id}", "see what there is: edgeagent runs list")
        return status


def _interrupt(connection: sqlite3.Connection, owner: str, now: datetime) -> None:
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
