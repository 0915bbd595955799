"""`edgeagent approvals`: calls that wait for a person, and the answers.

Reads the journal itself. An answer goes through the daemon where one runs, else into the journal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edgeagent.cli.app import App, pass_app
from edgeagent.cli.asking import facts_of
from edgeagent.cli.command import Group, json_option
from edgeagent.cli.screen import Column, one_line
from edgeagent.cli.words import call_of, local_time, short_id, short_time

if TYPE_CHECKING:
    from edgeagent.approval import Approval

ALL = "all"
_STATUSES = ("pending", "approved", "denied", "expired", "used", "void")
_STYLES = {"pending": "yellow", "approved": "green", "used": "green", "denied": "red", "expired": "dim", "void": "dim"}


@click.group(cls=Group)
def approvals() -> None:
    """Calls that wait for a person's yes or no.

    An approval is named by its id or by the beginning or end of it. An answer holds for that very call, once.
    """


@approvals.command("list")
@click.option(
    "--status", type=click.Choice([*_STATUSES, ALL]), default="pending", show_default=True, help="Standing so."
)
@json_option
@pass_app
def list_approvals(app: App, status: str, as_json: bool) -> None:
    """What waits for an answer, newest first."""
    found = _found(app, status)
    if as_json:
        app.screen.json([approval.as_json() for approval in found])
    elif found:
        columns = [Column("APPROVAL"), Column("TIME"), Column("AGENT", flexible=True), Column("CALL", flexible=True)]
        columns += [Column("STATUS"), Column("EXPIRES")]
        app.screen.table(columns, [_row(approval) for approval in found], _STYLES)
    else:
        app.note("nothing waits for approval" if status == "pending" else "no approvals")


def _found(app: App, status: str) -> list[Approval]:
    from edgeagent.approval import ApprovalStatus

    store = app.journal_if_any()
    if store is None:
        return []
    with store:
        return store.approvals(None if status == ALL else ApprovalStatus(status))


def _row(approval: Approval) -> list[str]:
    subject = approval.subject
    return [
        short_id(approval.id),
        short_time(approval.created_at),
        subject.agent,
        call_of(subject.tool, subject.arguments),
        approval.status.value,
        short_time(approval.expires_at),
    ]


@approvals.command()
@click.argument("approval_id", metavar="ID")
@json_option
@pass_app
def show(app: App, approval_id: str, as_json: bool) -> None:
    """One call, with everything that it would do."""
    with app.journal() as store:
        approval = store.find_approval(approval_id)
    if as_json:
        app.screen.json(approval.as_json())
        return
    status = approval.status.value
    if approval.decided_at:
        status += f" {local_time(approval.decided_at)} by {one_line(approval.decided_by or '')}"
    app.screen.pairs([("approval", approval.id), ("status", status), *facts_of(approval), ("sha256", approval.sha256)])
    if approval.is_altered:
        app.notes.line("warning: the record is not what was asked; it cannot be approved")


@approvals.command()
@click.argument("approval_id", metavar="ID")
@json_option
@pass_app
def approve(app: App, approval_id: str, as_json: bool) -> None:
    """Say yes to one call, once. The run goes on from there.

    Without a daemon it goes on when one is started, or with: edgeagent runs resume RUN.
    """
    _decide(app, approval_id, True, as_json)


@approvals.command()
@click.argument("approval_id", metavar="ID")
@json_option
@pass_app
def deny(app: App, approval_id: str, as_json: bool) -> None:
    """Say no to one call. The run goes on, and the model is told."""
    _decide(app, approval_id, False, as_json)


def _decide(app: App, approval_id: str, approves: bool, as_json: bool) -> None:
    with app.journal() as store:
        shown = store.find_approval(approval_id)
    daemon = app.daemon_if_any()
    if daemon:
        decided = daemon.decide(shown.id, approves, shown.sha256)
    else:
        from datetime import UTC, datetime

        with app.runtime.writer() as store:
            decided = store.decide(shown.id, approves, datetime.now(UTC), "command", shown.sha256)
    if as_json:
        app.screen.json(decided.as_json())
    else:
        app.screen.line(f"{short_id(decided.id)} {decided.status.value}")
    if not daemon:
        app.note(f"no daemon runs; go on with: edgeagent runs resume {short_id(decided.subject.run_id)}")
