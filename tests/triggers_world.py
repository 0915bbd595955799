"""A folder, a database and the file trigger between them, for tests that drop real files."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeagent.agents import FileTrigger as FileSettings
from edgeagent.schema import Run
from edgeagent.store import Store
from edgeagent.triggers.file import FileTrigger
from edgeagent.triggers.watching import Pace, Watching

SETTLE = 0.1
PATIENCE = 60.0
"""Seconds. Long, because a machine that also does other work may be slow; used up only by a test that fails."""


class FileWorld:
    """One agent, `filer`, that watches `box`. `start` and `stop` are those of a daemon."""

    def __init__(self, folder: Path, store: Store, clock: Callable[[], Any]) -> None:
        self.outside = folder / "elsewhere"
        self.outside.mkdir()
        self.box = folder / "box"
        self.store = store
        self._clock = clock

    def start(self, *, pace: Pace | None = None, **settings: Any) -> FileTrigger:
        settings = {"id": "file-1", "settle": SETTLE, "path": str(self.box), **settings}
        self.watching = Watching(pace or Pace(check=0.05, poll=0.1, scan=600))
        self.watching.start()
        self.trigger = FileTrigger(
            "filer",
            FileSettings(trigger="file", **settings),
            home_dir=self.box.parent,
            store=self.store,
            watching=self.watching,
            clock=self._clock,
        )
        self.trigger.start()
        return self.trigger

    def stop(self) -> None:
        self.trigger.stop()
        self.watching.stop()

    def put(self, name: str, content: str | bytes = "text") -> Path:
        path = self.box / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def runs(self) -> list[Run]:
        return list(reversed(self.store.runs(limit=100_000)))

    def seen(self) -> list[tuple[str, str]]:
        """What happened to which file, in the order of the events."""
        return [(run.event["change"], run.event["name"]) for run in self.runs()]

    def after(self, count: int, quiet: float = 0.3) -> list[tuple[str, str]]:
        """Waits for `count` events, and then a while for one too many. Quiet is long where a hint may be late."""
        self.until(lambda: len(self.runs()) >= count)
        time.sleep(quiet)
        return self.seen()

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"waited in vain; so far: {self.seen()}, {self.trigger.state()}"
            time.sleep(0.02)


LATE = 0.9
"""watchdog holds back the word of a file that was moved away for half a second, and all that follows with it."""
