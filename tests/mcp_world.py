"""A home with MCP servers, and runs of an agent that has them, by a model that follows a script."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from edgeagent.model.scripted import ScriptedModel
from edgeagent.runtime import Runtime, enqueue_manual, open_runtime, utc_now
from edgeagent.sandbox.opening import candidates, choose
from edgeagent.schema import Run, Step, ToolCall

SERVER = Path(__file__).with_name("mcp_server.py")
PYTHON = "/usr/bin/python3"


class McpWorld:
    """`shared` is what the agent is granted to write; the server's own files are in `server`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home, self.shared, self.folder = root / "home", root / "shared", root / "server"
        for folder in (self.home / "agents", self.shared, self.folder):
            folder.mkdir(parents=True)
        self.program = Path(shutil.copy(SERVER, self.folder / "server.py"))
        self._servers: dict[str, str] = {}
        self.runtime: Runtime

    def server(self, manner: str, *arguments: str, name: str = "plain", more: str = "") -> None:
        command = [PYTHON, str(self.program), manner, *arguments]
        self.declare(name, command, more)

    def declare(self, name: str, command: list[str], more: str = "") -> None:
        self._servers[name] = f"[mcp.{name}]\ncommand = {json.dumps(command)}\n{more}\n"
        (self.home / "config.toml").write_text("\n".join(self._servers.values()))

    @contextmanager
    def opened(self) -> Iterator[Runtime]:
        """One process of edgeagent, as it were."""
        variables = {"EDGEAGENT_HOME": str(self.home), "HOME": str(self.root), "PATH": "/usr/local/bin:/usr/bin:/bin"}
        self.runtime = open_runtime(variables)
        self.runtime.home.create()
        try:
            yield self.runtime
        finally:
            self.runtime.close()

    def reduce(self) -> None:
        """From now on servers run at the level `reduced`."""
        scratch = self.runtime.home.cache / "scratch"
        scratch.mkdir(exist_ok=True)
        levels = candidates(self.runtime.home.state(), scratch)
        opened = choose(levels[1:], scratch, "reduced")
        assert opened.level == "reduced", opened.reasons
        self.runtime.__dict__["sandbox"] = opened

    def agent(self, settings: str = "mcp: [plain]", *, grants: str = "", approval: str = "never") -> None:
        granted = grants if grants else f"{{write: ['{self.shared}']}}"
        (self.home / "agents" / "tester.md").write_text(
            f"---\nname: tester\n{settings}\napproval: {approval}\ngrants: {granted}\n---\nGo.\n"
        )

    def run(self, *turns: ToolCall | str, stop: threading.Event | None = None) -> Run:
        """One run of the agent in the runtime that is open."""
        agent = self.runtime.agent("tester")
        model = ScriptedModel([*turns, "Done."])
        with self.runtime.writer() as store:
            run_id = enqueue_manual(store, agent, "manual", {})
            worker = self.runtime.worker(store, "cli")
            worker.models = lambda agent: model
            run = store.claim_run(run_id, worker.owner, utc_now())
            assert run
            worker.execute(run, agent, stop or threading.Event())
            return store.run(run_id)

    def step(self, tool: str = "echo", text: str = "hi") -> Step:
        """What came of one call of the server `plain`."""
        run = self.run(ToolCall(f"plain/{tool}", {"text": text}))
        assert len(run.steps) > 1, run.error
        return run.steps[1]


def reload(world: McpWorld) -> None:
    world.runtime.reload_config()


def serve(world: McpWorld, manner: str, *arguments: str, more: str = "") -> None:
    world.server(manner, *arguments, more=more)
    reload(world)


def gone(world: McpWorld) -> bool:
    return not [one for one in psutil.process_iter(["cmdline"]) if str(world.program) in (one.info["cmdline"] or [])]
