"""A small world for the loop and the worker: folders, an agent, a store, and a scripted model."""

from __future__ import annotations

from pathlib import Path

from conftest import FakeClock

from edgeagent.agents import Agent, load_agent, parse_agent
from edgeagent.model.protocol import Model
from edgeagent.model.scripted import ScriptedModel
from edgeagent.schema import Event, Json, Run, Terms, ToolCall
from edgeagent.store import Store
from edgeagent.tools.toolbox import Toolbox, builtin_tools
from edgeagent.worker import Worker

TOOLBOX = Toolbox(builtin_tools())


class World:
    """`home` stands for the person's home folder; `turns` is what the model will say."""

    def __init__(self, tmp_path: Path, store: Store, clock: FakeClock) -> None:
        self.home = tmp_path / "home"
        self.inbox = self.home / "Inbox"
        self.done = self.home / "Done"
        self.inbox.mkdir(parents=True)
        self.done.mkdir()
        self.trash = tmp_path / "trash"
        self.store, self.clock = store, clock

    def agent(self, settings: str = "", tools: str = "[move_file, read_file, append_file]") -> Agent:
        text = (
            f"---\nname: filer\ntools: {tools}\napproval: never\n"
            f"grants: {{write: ['{self.inbox}', '{self.done}']}}\n{settings}\n---\nFile it.\n"
        )
        return parse_agent(self.home / "filer.md", text.encode(), known_tools=TOOLBOX.names())

    def worker(self, model: Model, owner: str = "daemon:1:1") -> Worker:
        return Worker(
            store=self.store,
            toolbox=lambda agent: TOOLBOX.limited_to(agent.tools),
            models=lambda agent: model,
            home_dir=self.home,
            trash=self.trash,
            owner=owner,
            clock=self.clock,
            load=lambda path: load_agent(path, known_tools=TOOLBOX.names()),
        )

    def file(self, name: str = "a.txt", text: str = "hello") -> Path:
        path = self.inbox / name
        path.write_text(text)
        return path

    def move(self, path: Path) -> ToolCall:
        return ToolCall("move_file", {"source": str(path), "destination": str(self.done / path.name)})

    def queue(self, data: Json, key: str = "k", terms: Terms | None = None) -> str:
        run_id = self.store.enqueue(Event("filer", "file", "file-1", key, data), now=self.clock(), terms=terms)
        assert run_id
        return run_id

    def run(self, agent: Agent, *turns: ToolCall | str | Exception, data: Json | None = None, key: str = "k") -> Run:
        """Queues one event and lets the worker have it."""
        import threading

        run_id = self.queue(data or {}, key)
        self.worker(ScriptedModel(turns)).work({"filer": agent}, threading.Event())
        return self.store.run(run_id)
