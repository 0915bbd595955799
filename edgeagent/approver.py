"""Gets a person's answer to a call that needs one: at once where somebody is there, else the run waits for it.

Every question is a record in the journal before anybody sees it, whoever answers in the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from edgeagent.approval import Approval, ApprovalStatus, Subject
from edgeagent.errors import Denied
from edgeagent.redaction import Redactor
from edgeagent.schema import Decision
from edgeagent.store import Store

Ask = Callable[[Approval], bool | None]
"""Asks somebody who is there: yes, no, or None where nobody is."""


def nobody_there(approval: Approval) -> bool | None:
    return None


@dataclass(frozen=True, slots=True)
class Approver:
    """The approver of one run.

    Args:
        seconds: how long an answer is waited for.
        announce: told of each question that nobody answered at once.
    """

    store: Store
    clock: Callable[[], datetime]
    seconds: float
    redactor: Redactor
    ask: Ask = nobody_there
    announce: Callable[[Approval], object] = lambda approval: None

    def __call__(self, subject: Subject, decision: Decision) -> Decision:
        """Allow, deny, or `ask` where the answer must be waited for."""
        subject = replace(subject, arguments=self.redactor.json(subject.arguments))
        approval, is_new = self.store.ask(subject, decision.reason, self.clock(), self.seconds)
        if approval.status is ApprovalStatus.PENDING:
            answer = self.ask(approval)
            if answer is None:
                if is_new:
                    self.announce(approval)
                return Decision("ask", f"{decision.reason}; edgeagent approvals show {approval.id}")
            approval = self._answered(approval, answer)
        return _decision(approval, decision)

    def _answered(self, approval: Approval, answer: bool) -> Approval:
        try:
            return self.store.decide(approval.id, answer, self.clock(), "terminal", approval.sha256)
        except Denied:  # somebody else was faster, or it took too long
            return self.store.approval(approval.id)


def _decision(approval: Approval, decision: Decision) -> Decision:
    match approval.status:
        case ApprovalStatus.APPROVED:
            return Decision("allow", f"approved: {decision.reason}")
        case ApprovalStatus.EXPIRED:
            return Decision("deny", "it needs approval, and nobody answered in time")
        case ApprovalStatus.DENIED:
            return Decision("deny", "a person said no")
        case _:
            return Decision("deny", "it needs approval, and that is void")
