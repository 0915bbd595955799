"""What the API needs of the daemon. The daemon satisfies it; so does a test's own small one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from edgeagent.approval import Approval
from edgeagent.errors import EdgeagentError
from edgeagent.schema import Json, RunStatus
from edgeagent.store import Store


class Hooks(Protocol):
    """The webhooks that are open."""

    def deliver(
        self,
        path: str,
        *,
        method: str,
        headers: Mapping[str, str],
        query: Mapping[str, str | list[str]],
        body: bytes,
        is_trusted: bool,
    ) -> list[str]:
        """The runs that a request makes. Raises NotFound, Unauthorized, UsageError, HomeError."""

    def refuse(self, path: str, why: EdgeagentError) -> None:
        """Notes what was refused before it could be delivered. Raises NotFound."""


class Backend(Protocol):
    @property
    def hooks(self) -> Hooks: ...

    @property
    def store(self) -> Store:
        """The open journal."""

    def status(self) -> Json:
        """How the daemon is.

        `{"pid", "version", "started_at", "home", "agents": [...], "queue": {status: n},
        "model": {"name", "loaded", "resident_bytes"}, "triggers": [{"agent", "id", "kind", "condition", "text"}],
        "problems": [str], "disabled": [...], "api": {"socket", "listen", "token_file"}}`
        """

    def agents(self) -> list[Json]:
        """Each with name, description, path, triggers, model, enabled."""

    def submit(self, agent: str, data: Json, *, trigger: str = "manual", dry_run: bool = False) -> str:
        """Queues an event for an agent (a name, or the path of its file) and gives the run's id.

        Raises NotFound, AgentFileError.
        """

    def metrics(self) -> str:
        """The text that Prometheus reads. Raises NotFound where the settings switch it off."""

    def enable(self, agent: str, is_enabled: bool) -> None:
        """Switches an agent on or off, for good. Raises NotFound."""

    def decide(self, approval_id: str, approves: bool, sha256: str | None) -> Approval:
        """A person's answer to a call that waits. Raises NotFound, Denied."""

    def cancel(self, run_id: str) -> RunStatus:
        """Gives the status that the run now has. Raises NotFound."""

    def retry(self, run_id: str) -> None:
        """Queues a run that did not end well once more. Raises NotFound, UsageError."""
