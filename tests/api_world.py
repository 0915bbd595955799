"""A backend with a real journal and no daemon, for tests of the API and of commands that talk to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from edgeagent.api.app import build_app
from edgeagent.api.client import DaemonClient
from edgeagent.api.server import ApiServer
from edgeagent.approval import Approval
from edgeagent.errors import AgentFileError, NotFound, Problem
from edgeagent.schema import Event, Json, Outcome, RunStatus, Step, ToolCall
from edgeagent.store import Store, open_store
from edgeagent.triggers.webhook import Hooks


def now() -> datetime:
    return datetime.now(UTC)


class SmallBackend:
    """Knows one agent, `inbox`, and keeps what was submitted. Nothing runs by itself: tests record steps."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.hooks = Hooks()
        self.submitted: list[tuple[str, Json, str, bool]] = []

    @property
    def store(self) -> Store:
        return self._store

    def status(self) -> Json:
        return {"pid": 1, "version": "0", "queue": {}, "agents": ["inbox"], "triggers": [], "problems": []}

    def agents(self) -> list[Json]:
        return [{"name": "inbox", "description": "", "path": "/a/inbox.md", "triggers": [], "enabled": True}]

    def submit(self, agent: str, data: Json, *, trigger: str = "manual", dry_run: bool = False) -> str:
        if agent == "broken":
            raise AgentFileError([Problem("broken.md", 3, "unknown key"), Problem("broken.md", 5, "empty body")])
        if agent != "inbox":
            raise NotFound(f"no agent named {agent}", "edgeagent agents list")
        self.submitted.append((agent, data, trigger, dry_run))
        run_id = self._store.enqueue(Event(agent, trigger, trigger, f"key {len(self.submitted)}", data), now=now())
        assert run_id is not None
        return run_id

    def metrics(self) -> str:
        return "edgeagent_up 1\n"

    def enable(self, agent: str, is_enabled: bool) -> None:
        self._store.enable_agent(agent, is_enabled)

    def decide(self, approval_id: str, approves: bool, sha256: str | None) -> Approval:
        return self._store.decide(approval_id, approves, now(), "api", sha256)

    def cancel(self, run_id: str) -> RunStatus:
        return self._store.cancel(run_id, now())

    def retry(self, run_id: str) -> None:
        self._store.retry(run_id)

    # What a worker would do.

    def begin(self, run_id: str) -> None:
        assert self._store.claim_run(run_id, "daemon:1:1", now())

    def work(self, run_id: str, steps: int) -> None:
        """The first so many steps of `STEPS`."""
        self.begin(run_id)
        for step in STEPS[:steps]:
            self._store.record_step(run_id, step)

    def end(self, run_id: str, outcome: Outcome) -> None:
        self._store.finish(run_id, outcome, now(), "pocket")


CALL = ToolCall("move_file", {"source": "/a/b.txt", "destination": "/c/b.txt"})
STEPS = (
    Step(1, "chat", "pocket", {}, "", "ok", "", 0.3, 0.1, 400, 380, 40, "bill: bills go to /c", (CALL,)),
    Step(2, "tool", "move_file", CALL.arguments, "moved to /c/b.txt", "ok", "", 0.01),
    Step(3, "chat", "pocket", {}, "Filed the bill.", "ok", "", 0.1, 0.05, 480, 440, 9),
)


@contextmanager
def served(folder: Path) -> Iterator[tuple[SmallBackend, DaemonClient]]:
    """A backend behind the socket where commands look for the daemon of the home in `folder`."""
    (folder / "run").mkdir(mode=0o700, exist_ok=True)
    socket = folder / "run" / "edgeagent.sock"
    with open_store(folder / "edgeagent.db") as store:
        backend = SmallBackend(store)
        server = ApiServer(build_app(backend), socket)
        server.start()
        try:
            yield backend, DaemonClient(socket)
        finally:
            server.stop()
