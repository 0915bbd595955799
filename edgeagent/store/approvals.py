"""Approvals: what was asked, what a person said, and the run that waits for it.

An answer is for one call as it was shown, once, until it expires. Asking, answering and using it up are transactions
together with the run, so that no answer is lost between them. Who asks and who may answer is not decided here.
"""

from __future__ import annotations

import sqlite3
from datetime import datetime, timedelta
from typing import Any

from ulid import ULID

from edgeagent.approval import Approval, ApprovalStatus, Subject
from edgeagent.errors import Denied, NotFound, UsageError
from edgeagent.schema import RunStatus, format_time, parse_time
from edgeagent.store.queue import Queue
from edgeagent.store.values import from_json, to_json, to_text, to_time

_ROUND = "(SELECT retry FROM runs WHERE id = :run)"
_GO_ON = """
    UPDATE runs SET status = CASE WHEN cancel_requested THEN 'cancelled' ELSE 'queued' END, reason = NULL,
                    due_at = NULL, ended_at = CASE WHEN cancel_requested THEN :now END
     WHERE id = :run AND status = 'waiting'"""
_LIST = "edgeagent approvals list"


class Approvals(Queue):
    def ask(self, subject: Subject, reason: str, now: datetime, seconds: float) -> tuple[Approval, bool]:
        """The approval of this very call, as it stands; a new one, pending, where nobody was asked about it yet.

        The second value says whether it is new.

        What was asked about the same step and is another call (a path that leads elsewhere now) becomes void.
        """
        given = {"run": subject.run_id, "step": subject.step, "sha256": subject.sha256, "now": format_time(now)}
        with self._db.transaction() as connection:
            self._expire(connection, now)
            connection.execute(
                f"""UPDATE approvals SET status = 'void' WHERE run_id = :run AND retry = {_ROUND} AND n = :step
                       AND sha256 <> :sha256 AND status IN ('pending', 'approved')""",
                given,
            )
            found = connection.execute(
                f"""SELECT id FROM approvals WHERE run_id = :run AND retry = {_ROUND} AND n = :step AND sha256 = :sha256
                       AND status IN ('pending', 'approved', 'denied', 'expired') ORDER BY id DESC LIMIT 1""",
                given,
            ).fetchone()
            approval_id = found["id"] if found else str(ULID.from_datetime(now))
            if not found:
                connection.execute(
                    f"""INSERT INTO approvals (id, run_id, retry, n, subject, sha256, reason, status, created_at,
                                               expires_at)
                        VALUES (:id, :run, {_ROUND}, :step, :subject, :sha256, :reason, 'pending', :now, :expires)""",
                    given
                    | {
                        "id": approval_id,
                        "subject": to_json(subject.as_json()),
                        "reason": to_text(reason),
                        "expires": format_time(now + timedelta(seconds=seconds)),
                    },
                )
            return self.approval(approval_id), not found

    def await_approval(self, run_id: str, model: str | None = None) -> None:
        """A running run is put aside until somebody answers; at once queued again where somebody has meanwhile."""
        with self._db.transaction() as connection:
            self._move(
                run_id,
                """status = CASE WHEN cancel_requested THEN 'cancelled' ELSE 'waiting' END, reason = 'approval',
                   ended_at = CASE WHEN cancel_requested THEN :now END, owner = NULL, attempt = max(0, attempt - 1),
                   model = coalesce(:model, model)""",
                {"id": run_id, "now": self._now(), "model": model},
                frm=(RunStatus.RUNNING,),
            )
            is_open = connection.execute(
                "SELECT 1 FROM approvals WHERE run_id = ? AND status = 'pending' LIMIT 1", [run_id]
            ).fetchone()
            if not is_open:
                self._go_on(connection, run_id)

    def decide(self, approval_id: str, approves: bool, now: datetime, by: str, sha256: str | None = None) -> Approval:
        """A person's answer; the run that waits for it goes on. `sha256` is what the person was shown.

        Raises:
            NotFound: no such approval.
            Denied: it has been answered, has expired, was altered, or its run has ended.
        """
        self.expire_approvals(now)  # a transaction of its own: it holds though the answer is refused
        with self._db.transaction() as connection:
            found = self.approval(approval_id)
            _check_open(found, sha256)
            status = ApprovalStatus.APPROVED if approves else ApprovalStatus.DENIED
            connection.execute(
                "UPDATE approvals SET status = ?, decided_at = ?, decided_by = ? WHERE id = ?",
                [status.value, format_time(now), to_text(by), approval_id],
            )
            self._go_on(connection, found.subject.run_id)
            return self.approval(approval_id)

    def use_approval(self, run_id: str, step: int) -> None:
        """The call is begun: its yes is used up. In one transaction with `record_step_started`."""
        with self._db.transaction() as connection:
            connection.execute(
                f"""UPDATE approvals SET status = 'used'
                     WHERE run_id = :run AND retry = {_ROUND} AND n = :step AND status = 'approved'""",
                {"run": run_id, "step": step},
            )

    def expire_approvals(self, now: datetime) -> int:
        """What nobody answered in time is denied, and its run goes on with that. Gives how many."""
        if self.next_expiry() is None:
            return 0
        with self._db.transaction() as connection:
            return self._expire(connection, now)

    def next_expiry(self) -> datetime | None:
        return to_time(self._db.value("SELECT min(expires_at) FROM approvals WHERE status = 'pending'"))

    def approval(self, approval_id: str) -> Approval:
        row = self._db.row("SELECT * FROM approvals WHERE id = ?", [approval_id])
        if row is None:
            raise NotFound(f"no approval {approval_id}", _LIST)
        return _to_approval(row)

    def find_approval(self, part: str) -> Approval:
        """The approval whose id is or begins or ends with `part`. Of nothing: none."""
        rows = self._db.rows(
            "SELECT * FROM approvals WHERE :part != ''"
            " AND upper(:part) IN (id, substr(id, 1, length(:part)), substr(id, -length(:part))) LIMIT 2",
            {"part": part},
        )
        if len(rows) > 1:
            raise UsageError(f"more than one approval matches {part}", f"give more of the id: {_LIST}")
        return _to_approval(rows[0]) if rows else self.approval(part)

    def approvals(self, status: ApprovalStatus | None = None, limit: int = 1000) -> list[Approval]:
        """The newest first; of any status where None."""
        rows = self._db.rows(
            "SELECT * FROM approvals WHERE :status IS NULL OR status = :status ORDER BY id DESC LIMIT :limit",
            {"status": status.value if status else None, "limit": limit},
        )
        return [_to_approval(row) for row in rows]

    def _expire(self, connection: sqlite3.Connection, now: datetime) -> int:
        rows = connection.execute(
            """UPDATE approvals SET status = 'expired' WHERE status = 'pending' AND expires_at <= ?
               RETURNING run_id""",
            [format_time(now)],
        ).fetchall()
        for row in rows:
            self._go_on(connection, row["run_id"])
        return len(rows)

    def _go_on(self, connection: sqlite3.Connection, run_id: str) -> None:
        if connection.execute(_GO_ON, {"run": run_id, "now": self._now()}).rowcount:
            self._told()


def _check_open(found: Approval, sha256: str | None) -> None:
    shown = f"edgeagent approvals show {found.id}"
    match found.status:
        case ApprovalStatus.PENDING:
            if found.is_altered or sha256 not in (None, found.sha256):
                raise Denied(f"approval {found.id} is not what was asked: its record was altered", shown)
        case ApprovalStatus.EXPIRED:
            raise Denied(f"approval {found.id} has expired; the call counts as denied", _LIST)
        case ApprovalStatus.VOID:
            raise Denied(f"approval {found.id} is void: its run has ended, or would now do something else", _LIST)
        case ApprovalStatus.DENIED:
            raise Denied(f"approval {found.id} was denied already", shown)
        case _:
            raise Denied(f"approval {found.id} was approved already", shown)


def _to_approval(row: Any) -> Approval:
    """A record that cannot be read was altered: it is shown as far as it goes, and can never be approved."""
    try:
        subject = Subject.from_json(from_json(row["subject"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        subject = Subject(row["run_id"], "", row["n"], "", {})
    if (subject.run_id, subject.step) != (row["run_id"], row["n"]):
        subject = Subject(row["run_id"], subject.agent, row["n"], subject.tool, {})
    return Approval(
        id=row["id"],
        subject=subject,
        sha256=row["sha256"],
        reason=row["reason"],
        status=ApprovalStatus(row["status"]),
        created_at=parse_time(row["created_at"]),
        expires_at=parse_time(row["expires_at"]),
        decided_at=to_time(row["decided_at"]),
        decided_by=row["decided_by"],
    )
