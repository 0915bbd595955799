"""What a person is asked, in words, and the asking at a terminal. Decides nothing and keeps nothing."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from edgeagent.cli.screen import Screen, one_line
from edgeagent.cli.words import call_of, local_time
from edgeagent.schema import Run, RunStatus
from edgeagent.visible import escaped, exact, lookalikes

if TYPE_CHECKING:
    from edgeagent.approval import Approval, Subject
    from edgeagent.cli.app import App

Ask = Callable[["Approval"], "bool | None"]


def nobody_there(approval: Approval) -> bool | None:
    return None


def facts_of(approval: Approval) -> list[tuple[str, str]]:
    """What would happen, with nothing left out: label and value."""
    subject = approval.subject
    return [
        ("agent", exact(subject.agent)),
        ("reason", one_line(approval.reason)),
        ("call", escaped(call_of(subject.tool, subject.arguments))),
        ("tool of", one_line(f"{subject.origin} {subject.fingerprint}")),
        ("reads", "\n".join(map(exact, subject.reads))),
        ("writes", "\n".join(map(exact, subject.writes))),
        ("reaches", "\n".join(map(exact, subject.hosts))),
        ("secrets", ", ".join(map(exact, subject.secrets))),
        ("look twice", _lookalikes(subject)),
        ("run", f"{subject.run_id}, step {subject.step}"),
        ("expires", local_time(approval.expires_at)),
    ]


def _lookalikes(subject: Subject) -> str:
    """What reads like something that it is not."""
    texts = (subject.tool, call_of(subject.tool, subject.arguments), *subject.reads, *subject.writes, *subject.hosts)
    found = lookalikes(" ".join(texts))
    return f"letters that pass for others: {', '.join(map(exact, found))}" if found else ""


def ask_person(notes: Screen, before_asking: Callable[[], None], stop: threading.Event | None = None) -> Ask:
    """Asks at the terminal. Only a yes is a yes; Ctrl-C ends the run (by `stop`, where there is one)."""

    def ask(approval: Approval) -> bool | None:
        before_asking()
        notes.line(notes.style("approval:", "yellow", "bold"))
        notes.pairs(facts_of(approval))
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            sys.stderr.write("allow this call? [y/N] ")
            sys.stderr.flush()
            answer = sys.stdin.readline()
            return answer.strip().lower() in ("y", "yes") if answer else None
        except KeyboardInterrupt:
            notes.line()
            if stop is None:
                raise
            stop.set()
            return False
        finally:
            signal.signal(signal.SIGINT, before)

    return ask


def tell_of_waiting(app: App, run: Run) -> None:
    """Where a run waits, what to do about it."""
    if run.status is RunStatus.WAITING:
        app.notes.line(f"{app.notes.style('try:', 'bold')} edgeagent approvals list")
