"""A home with a real daemon in a process of its own, on scripts instead of models (`model/script.py`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgeagent.api.client import DaemonClient
from edgeagent.errors import DaemonNotRunning
from edgeagent.schema import Json, Run
from edgeagent.store import open_read_only

MOVE: Json = {
    "name": "move_file",
    "arguments": {"source": "{{ event.path }}", "destination": "{done}/{{ event.name }}"},
}
"""The call that files what came; `Place.script` fills in the folder."""


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)


class Place:
    """A home below `root`, with the folders `inbox` and `done`, and commands and daemons started in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home, self.inbox, self.done = root / "edgeagent", root / "in", root / "done"
        for folder in (self.home / "agents", self.inbox, self.done):
            folder.mkdir(parents=True)
        self.variables: dict[str, str] = {}

    # What stands in the home.

    def script(self, turns: Any, name: str = "model") -> Path:
        path = self.root / f"{name}.script.json"
        path.write_text(json.dumps(turns).replace("{done}", str(self.done)))
        return path

    def agent(self, name: str = "inbox", settings: str = "", script: Any = None, body: str = "File it.") -> Path:
        """An agent that watches `inbox`, unless `settings` has triggers of its own, and follows a script."""
        model = self.script([MOVE, "Filed."] if script is None else script, name)
        triggers = f'triggers: [{{trigger: file, path: "{self.inbox}", settle: 100ms, process_existing: true}}]\n'
        path = self.home / "agents" / f"{name}.md"
        path.write_text(
            f"---\nname: {name}\nmodel: {model}\ntools: [move_file, append_file]\napproval: never\n"
            f'grants: {{write: ["{self.inbox}", "{self.done}"]}}\n'
            f"{'' if 'triggers:' in settings else triggers}{settings}\n---\n{body}\n"
        )
        return path

    def config(self, text: str) -> None:
        (self.home / "config.toml").write_text(text)

    def drop(self, *names: str) -> None:
        for name in names:
            (self.inbox / name).write_text(f"This is {name}.\n")

    # What runs in it.

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("EDGEAGENT_", "NOTIFY_"))}
        return kept | {"EDGEAGENT_HOME": str(self.home), "NO_COLOR": "1"} | self.variables

    def started(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "edgeagent.cli", *arguments]
        return subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def call(self, *arguments: str, code: int = 0) -> str:
        """What a command prints on stdout; it must end with this exit code."""
        with self.started(*arguments) as process:
            stdout, stderr = process.communicate(timeout=120)
        assert process.returncode == code, f"{arguments} gave {process.returncode}: {stdout}{stderr}"
        return stdout

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self.call(*arguments, "--json", code=code))

    @contextmanager
    def daemon(self, *options: str, ready: bool = True) -> Iterator[subprocess.Popen[str]]:
        """Its stderr goes to the file `stderr`. Killed at the end where it still runs."""
        with self.stderr.open("a") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "edgeagent.cli", "daemon", *options],
                env=self.environment,
                stderr=stderr,
                text=True,
            )
        try:
            if ready:
                wait_for(lambda: self._answers() or process.poll() is not None)
                assert process.poll() is None, self.stderr.read_text()
            yield process
        finally:
            process.kill()
            process.wait()

    def _answers(self) -> bool:
        try:
            self.client.check()
        except DaemonNotRunning:
            return False
        return True

    @property
    def client(self) -> DaemonClient:
        return DaemonClient(self.home / "run" / "edgeagent.sock")

    @property
    def stderr(self) -> Path:
        return self.root / "stderr"

    # What became of it.

    def runs(self, agent: str | None = None) -> list[Run]:
        """Newest first."""
        if not (self.home / "edgeagent.db").exists():
            return []
        with open_read_only(self.home / "edgeagent.db") as store:
            return store.runs(agent, limit=100_000)

    def run(self, run_id: str) -> Run:
        with open_read_only(self.home / "edgeagent.db") as store:
            return store.run(run_id)

    def ended(self, agent: str | None = None) -> list[Run]:
        return [run for run in self.runs(agent) if run.status.is_terminal]
