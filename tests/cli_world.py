"""A home for tests of commands, and three ways to give a command: in this process, in one of its own, at a terminal.

Run as a program it is `edgeagent` on a scripted model: the turns are in the variable SCRIPT, as a JSON list of texts
(answers), objects with `name` and `arguments` (calls) and numbers (seconds of thinking before the next one).
"""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from edgeagent.cli.app import App
from edgeagent.cli.main import cli
from edgeagent.errors import ModelCancelled
from edgeagent.model.protocol import ChatRequest, ChatResult
from edgeagent.model.scripted import ScriptedModel
from edgeagent.schema import Event, Outcome, Reason, RunStatus, ToolCall
from edgeagent.store import open_store

AGENT = """\
---
description: Files what lands in the inbox.
triggers:
  - {trigger: file, path: ~/Inbox, preview: 20}
tools: [read_file, move_file]
grants:
  write: [~/Inbox, ~/Documents]
approval: never
---
You file documents. Bills go to ~/Documents/bills.
"""


class SlowModel(ScriptedModel):
    """Thinks as long as the script says, and stops when told to."""

    def __init__(self, script: list[Any]) -> None:
        super().__init__(ToolCall(**turn) if isinstance(turn, dict) else turn for turn in self._thinking(script))
        self._stop: threading.Event | None = None

    def _thinking(self, script: list[Any]) -> Iterator[Any]:
        for turn in script:
            if not isinstance(turn, int | float):
                yield turn
            elif self._stop and self._stop.wait(turn):
                yield ModelCancelled("cancelled")

    def chat(self, request: ChatRequest, stop: threading.Event, on_text: Callable[[str], None]) -> ChatResult:
        self._stop = stop
        return super().chat(request, stop, on_text)


class ScriptedModels:
    """Stands where the runtime keeps its models."""

    def __init__(self, models: Any, model: ScriptedModel) -> None:
        self._models, self._model = models, model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._models, name)

    def of(self, agent: object) -> ScriptedModel:
        return self._model


def scripted_app(script: list[Any]) -> App:
    app = App(os.environ)
    app.runtime.models = ScriptedModels(app.runtime.models, SlowModel(script))  # type: ignore[assignment]
    return app


class World:
    """A home folder with an inbox and one agent, and the commands on it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.user = root / "user"
        self.home = root / "edgeagent"
        self.inbox = self.user / "Inbox"
        self.inbox.mkdir(parents=True)
        (self.home / "agents").mkdir(parents=True)
        self.agent("inbox", AGENT)
        self.variables = {"HOME": str(self.user), "EDGEAGENT_HOME": str(self.home), "COLUMNS": "80"}

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("EDGEAGENT_", "NO_COLOR"))}
        return kept | self.variables | {"EDGEAGENT_MODEL_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}

    def agent(self, name: str, text: str) -> Path:
        path = self.home / "agents" / f"{name}.md"
        path.write_text(text)
        return path

    def file(self, name: str = "bill.txt", text: str = "Water bill\nAmount due: 41.20\n") -> Path:
        path = self.inbox / name
        path.write_text(text)
        return path

    def call(self, *arguments: str, script: list[Any] | None = None, stdin: str | None = None) -> Result:
        """In this process; with a script, on a scripted model."""
        before = dict(os.environ)
        os.environ.update(self.variables)
        try:
            extra = {} if script is None else {"obj": scripted_app(script)}
            return CliRunner().invoke(cli, list(arguments), input=stdin, prog_name="edgeagent", **extra)  # type: ignore[arg-type]
        finally:
            os.environ.clear()
            os.environ.update(before)

    def json(self, *arguments: str, script: list[Any] | None = None) -> Any:
        return json.loads(self.call(*arguments, script=script).stdout)

    def started(self, *arguments: str, script: list[Any] | None = None, **given: Any) -> subprocess.Popen[str]:
        """In a process of its own."""
        program = ["-m", "edgeagent.cli"] if script is None else [__file__]
        variables = {} if script is None else {"SCRIPT": json.dumps(script)}
        given = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | given
        return subprocess.Popen(
            [sys.executable, *program, *arguments], env=self.environment | variables, cwd=self.root, text=True, **given
        )

    def run(self, *arguments: str, script: list[Any] | None = None) -> subprocess.CompletedProcess[str]:
        with self.started(*arguments, script=script) as process:
            stdout, stderr = process.communicate(timeout=120)
        return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)


class Terminal:
    """A process at a terminal of its own, 80 columns wide."""

    def __init__(self, world: World, *arguments: str, script: list[Any] | None = None) -> None:
        self._master, slave = pty.openpty()
        self._text = ""
        world.variables.setdefault("TERM", "xterm")
        self.process = world.started(*arguments, script=script, stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)

    def until(self, text: str, seconds: float = 60) -> str:
        """Waits until it shows a text."""
        end = time.monotonic() + seconds
        while text not in self._text:
            assert time.monotonic() < end, self._text
            if not self._read(0.2) and self.process.poll() is not None:
                raise AssertionError(self._text)
        return self._text

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def end(self) -> tuple[int, str]:
        """Waits for the end of the process: its exit code, and everything that it showed."""
        while self._read(0.2) or self.process.poll() is None:
            pass
        os.close(self._master)
        return self.process.wait(), self._text

    def _read(self, seconds: float) -> bool:
        if not select.select([self._master], [], [], seconds)[0]:
            return False
        try:
            piece = os.read(self._master, 65536)
        except OSError:  # how Linux says that the other end is closed
            return False
        self._text += piece.decode()
        return bool(piece)


if __name__ == "__main__":
    cli.main(prog_name="edgeagent", obj=scripted_app(json.loads(os.environ["SCRIPT"])))


def seeded(world: World) -> dict[str, str]:
    """Four runs, the newest last: what they are is their key."""
    now = datetime.now(UTC)
    ids: dict[str, str] = {}
    with open_store(world.home / "edgeagent.db") as store:
        for key, age in (("ok", 3), ("failed", 2), ("other", 1), ("queued", 0)):
            agent = "other" if key == "other" else "inbox"
            event = Event(
                agent, "file", "file-1", key, {"name": f"{key}.txt", "path": f"/in/{key}.txt", "change": "created"}
            )
            run_id = store.enqueue(event, now=now - timedelta(hours=age))
            assert run_id
            ids[key] = run_id
        for key, outcome in (
            ("ok", Outcome(RunStatus.OK, output="Filed it.")),
            ("failed", Outcome(RunStatus.FAILED, Reason.TOOL_ERROR, error="move_file: destination exists")),
            ("other", Outcome(RunStatus.SKIPPED)),
        ):
            store.claim_run(ids[key], "daemon:1:1", now)
            store.finish(ids[key], outcome, now, "pocket")
    return ids
