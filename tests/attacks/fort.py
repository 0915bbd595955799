"""An agent behind walls: what it was granted, what it was not, and runs of a model that obeys injected orders."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

from conftest import FakeClock

from edgeagent.agents import Agent, parse_agent
from edgeagent.approval import ApprovalStatus
from edgeagent.model.scripted import ScriptedModel
from edgeagent.schema import Event, Run, ToolCall
from edgeagent.store import Store
from edgeagent.tools.toolbox import Toolbox, builtin_tools
from edgeagent.worker import Worker

TOOLS = Toolbox(builtin_tools())
SECRET = "the-secret-of-another"


class Fort:
    """`granted` may be written by the agent, and nothing else; the control may write the `whole` of it."""

    def __init__(self, root: Path, store: Store, clock: FakeClock) -> None:
        self.whole = Path(os.path.realpath(root)) / "whole"
        self.home = self.whole.parent / "home"
        self.granted, self.private = self.whole / "granted", self.whole / "private"
        for folder in (self.home, self.granted, self.private):
            folder.mkdir(parents=True)
        (self.private / "secret.txt").write_text(SECRET)
        (self.granted / "own.txt").write_text("own\n")
        self.store, self.clock = store, clock
        self._keys = iter(range(1000))

    def agent(self, granted: Path | None = None, *, approval: str = "never", more: str = "", name: str = "a") -> Agent:
        tools = ", ".join(TOOLS.names())
        text = (
            f"---\nname: {name}\ntools: [{tools}]\napproval: {approval}\n"
            f"grants: {{write: ['{granted or self.granted}']}}\n{more}\n---\nGo.\n"
        )
        return parse_agent(self.home / f"{name}.md", text.encode(), known_tools=TOOLS.names())

    def worker(self, *turns: ToolCall | str, owner: str = "daemon:1:1", toolbox: Toolbox = TOOLS) -> Worker:
        model = ScriptedModel(turns)
        return Worker(
            store=self.store,
            toolbox=lambda agent: toolbox,
            models=lambda agent: model,
            home_dir=self.home,
            trash=self.whole / "trash",
            owner=owner,
            clock=self.clock,
            load=lambda path: self.agent(),
        )

    def run(self, agent: Agent, *calls: ToolCall, toolbox: Toolbox = TOOLS) -> Run:
        """One run in which the model makes these calls and then says that it is done."""
        event = Event(agent.name, "manual", "manual", str(next(self._keys)))
        run_id = self.store.enqueue(event, now=self.clock())
        assert run_id
        worker = self.worker(*calls, "Done.", toolbox=toolbox)
        run = self.store.claim_run(run_id, worker.owner, self.clock())
        assert run
        worker.execute(run, agent, threading.Event())
        return self.store.run(run_id)

    def go_on(self, agent: Agent, run: Run, *turns: ToolCall | str) -> Run:
        """Goes on with a run that was answered, in another process as it were."""
        worker = self.worker(*turns, owner="daemon:2:2")
        claimed = self.store.claim_run(run.id, worker.owner, self.clock())
        if claimed:
            worker.execute(claimed, agent, threading.Event())
        return self.store.run(run.id)

    def yes(self, run: Run) -> None:
        for approval in self.store.approvals(ApprovalStatus.PENDING):
            if approval.subject.run_id == run.id:
                self.store.decide(approval.id, True, self.clock(), "test", approval.sha256)


def call(tool: str, /, **arguments: Any) -> ToolCall:
    return ToolCall(tool, {name: str(value) if isinstance(value, Path) else value for name, value in arguments.items()})


def link(place: Path, target: Path) -> Path:
    place.symlink_to(target)
    return place


def write(fort: Fort, name: str = "x.txt", content: str = "x") -> ToolCall:
    return call("write_file", path=fort.granted / name, content=content)
