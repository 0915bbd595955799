"""What a person says yes or no to: one exact call, and the record of the answer.

A `Subject` is everything that the call would do, and `sha256` its fingerprint: an answer holds for that fingerprint
alone, for one call, until it expires. Knows no SQL and no terminal.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from edgeagent.schema import Json, format_time, parse_time


class ApprovalStatus(StrEnum):
    """`used`: the call was begun. `void`: the run ended, or the call turned out to be another one."""

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"
    USED = "used"
    VOID = "void"


@dataclass(frozen=True, slots=True)
class Subject:
    """One call as it would be carried out: paths and hosts resolved, secrets by name.

    `origin` says whose tool it is, where it is not built in, and `fingerprint` as what it was found.
    """

    run_id: str
    agent: str
    step: int
    tool: str
    arguments: Json
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    origin: str = ""
    fingerprint: str = ""

    def as_json(self) -> Json:
        return {
            "run_id": self.run_id,
            "agent": self.agent,
            "step": self.step,
            "tool": self.tool,
            "origin": self.origin,
            "fingerprint": self.fingerprint,
            "arguments": self.arguments,
            "paths": {"read": list(self.reads), "write": list(self.writes)},
            "hosts": list(self.hosts),
            "secrets": list(self.secrets),
        }

    @classmethod
    def from_json(cls, stored: Json) -> Subject:
        """Raises KeyError and TypeError where it is none."""
        given = {name: stored[name] for name in ("run_id", "agent", "step", "tool", "origin", "fingerprint")}
        paths = stored["paths"]
        return cls(
            **given,
            arguments=dict(stored["arguments"]),
            reads=tuple(paths["read"]),
            writes=tuple(paths["write"]),
            hosts=tuple(stored["hosts"]),
            secrets=tuple(stored["secrets"]),
        )

    @property
    def sha256(self) -> str:
        return hashlib.sha256(json.dumps(self.as_json(), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Approval:
    """A subject, and how it stands with it. `sha256` is what was shown and asked about."""

    id: str
    subject: Subject
    sha256: str
    reason: str
    status: ApprovalStatus
    created_at: datetime
    expires_at: datetime
    decided_at: datetime | None = None
    decided_by: str | None = None

    @property
    def is_altered(self) -> bool:
        """Whether the record is not what it was when somebody was asked."""
        return self.subject.sha256 != self.sha256

    @classmethod
    def from_json(cls, told: Json) -> Approval:
        """The inverse of `as_json`."""
        return cls(
            id=told["id"],
            subject=Subject.from_json(told),
            sha256=told["sha256"],
            reason=told["reason"],
            status=ApprovalStatus(told["status"]),
            created_at=parse_time(told["created_at"]),
            expires_at=parse_time(told["expires_at"]),
            decided_at=parse_time(told["decided_at"]) if told["decided_at"] else None,
            decided_by=told["decided_by"],
        )

    def as_json(self) -> Json:
        """What `approvals show --json`, the API and `on_approval` give."""
        return {
            "id": self.id,
            "status": self.status.value,
            "reason": self.reason,
            **self.subject.as_json(),
            "sha256": self.sha256,
            "created_at": format_time(self.created_at),
            "expires_at": format_time(self.expires_at),
            "decided_at": format_time(self.decided_at) if self.decided_at else None,
            "decided_by": self.decided_by,
        }
