"""A home whose agents have effects outside of it, and the settling of accounts at the end.

The effects are lines in ledger files and files that move, none of which the daemon's database knows how to undo. An
effect that is there twice was repeated; one that is missing although its run says `ok` was lost.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from daemon_world import MOVE, Place

from edgeagent.errors import EdgeagentError, HomeError
from edgeagent.schema import Run, RunStatus
from edgeagent.store import open_read_only
from torture.effects import Outside, check_ledger
from torture.tally import NotMade, Tally

NOTE = {"name": "append_file", "arguments": {"path": "{ledger}", "content": "{{ event.name }}"}}
"""One line for one event."""
SETTLE_SECONDS = 300.0
"""How long the last daemon gets to bring all to an end, on a machine that may be busy."""
START_SECONDS = 120.0
DONE = {RunStatus.OK, RunStatus.INTERRUPTED}


class World(Place):
    """A home with the agents `inbox` (files: a line in its ledger, then a move) and `desk` (by hand: a line)."""

    def __init__(self, root: Path, settings: str = "", thinking: float = 0.0) -> None:
        super().__init__(root)
        self.settings = f"limits: {{attempts: 100, actions_per_hour: 1000000}}\n{settings}"
        self.accepted: dict[str, str] = {}
        """The name of the event, by the id of the run that the daemon answered with."""
        self.dropped: list[str] = []
        self.config("[daemon]\nworkers = 2\n")
        self.notes_and_moves(thinking)

    def notes_and_moves(self, thinking: float = 0.0) -> None:
        self.agent("inbox", self.settings, [thinking, self._note("inbox"), MOVE, thinking, "Filed."])
        self.agent("desk", f"triggers: []\n{self.settings}", [thinking, self._note("desk"), thinking, "Noted."])

    def _note(self, agent: str) -> object:
        return json.loads(json.dumps(NOTE).replace("{ledger}", str(self.ledger(agent))))

    def calls_out(self, outside: Outside) -> None:
        """One more agent, `caller`: by hand, a request to a server that nobody can ask later whether it came."""
        call = {
            "name": "http_request",
            "arguments": {"url": f"http://127.0.0.1:{outside.port}/", "method": "POST", "body": "{{ event.name }}"},
        }
        script = self.script([call, "Called."], "caller")
        (self.home / "agents" / "caller.md").write_text(
            f"---\nname: caller\nmodel: {script}\ntools: [http_request]\napproval: never\ntriggers: []\n"
            f'grants: {{network: ["127.0.0.1:{outside.port}"]}}\n{self.settings}\n---\nCall.\n'
        )

    def ledger(self, agent: str) -> Path:
        return self.done / f"{agent}.ledger"

    def put(self, count: int) -> None:
        """New files, each there whole at once."""
        for _ in range(count):
            name = f"file-{len(self.dropped)}.txt"
            part = self.root / name
            part.write_text(f"This is {name}.\n")
            self.dropped.append(name)
            os.replace(part, self.inbox / name)

    def submit(self, count: int, agent: str = "desk") -> int:
        """Events by hand; gives how many were accepted. What the daemon did not answer for is not accepted."""
        before = len(self.accepted)
        for _ in range(count):
            name = f"note-{time.monotonic_ns()}"
            with suppress(EdgeagentError, OSError):
                self.accepted[self.client.submit(agent, {"name": name})] = name
        return len(self.accepted) - before

    @contextmanager
    def run_daemon(self, tracer: Collection[str] = ()) -> Iterator[subprocess.Popen[bytes]]:
        """As `daemon`, not waited for, perhaps under a tracer; the whole group is killed at the end."""
        with self.stderr.open("a") as stderr:
            process = subprocess.Popen(
                [*tracer, sys.executable, "-m", "edgeagent.cli", "daemon"],
                env=self.environment,
                stderr=stderr,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            process.wait()

    def wait_until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        """For the daemon, or for its end."""
        if not until(lambda: self._answers() or process.poll() is not None, START_SECONDS):
            raise NotMade(f"no daemon answered in {START_SECONDS:g} s")

    def all_ended(self) -> bool:
        """Whether nothing is left to do."""
        try:
            runs = self.runs()
        except EdgeagentError:
            return False
        names = {run.event.get("name") for run in runs if run.agent == "inbox"}
        return names >= set(self.dropped) and all(run.status.is_terminal for run in runs)

    # --- the accounts -------------------------------------------------------------------------------------------

    def finish(self, tally: Tally) -> None:
        """A last daemon that nobody disturbs brings all to an end; then the accounts are settled."""
        with self.run_daemon() as process:
            waited = until(lambda: self.all_ended() or process.poll() is not None, SETTLE_SECONDS)
            tally.check(waited, f"not all runs ended in {SETTLE_SECONDS:g} s: {self.unended()}")
            tally.check(process.poll() is None, f"the daemon ended by itself: {self.stderr.read_text()[-500:]}")
        self.settle(tally)

    def settle(self, tally: Tally) -> None:
        tally.check(is_whole(self.home / "edgeagent.db"), "the database is damaged")
        runs = self.runs()
        known = {run.id for run in runs}
        for run_id, name in self.accepted.items():
            tally.check(run_id in known, f"the accepted event {name} is lost")
        counts = Counter(run.event.get("name") for run in runs if run.agent == "inbox")
        for name in self.dropped:
            tally.check(counts[name] == 1, f"{name} has {counts[name]} runs")
        for run in runs:
            tally.check(run.status in DONE, f"a run of {run.event.get('name')} ended {run.status}: {run.error}")
            if run.agent == "inbox" and run.status is RunStatus.OK:
                tally.check((self.done / str(run.event["name"])).exists(), f"{run.event['name']} was not moved")
        for agent in ("inbox", "desk", "caller"):
            check_ledger(tally, self.ledger(agent), [run for run in runs if run.agent == agent])

    def unended(self) -> list[str]:
        try:
            open_runs = [f"{run.event.get('name')} {run.status}" for run in self.runs() if not run.status.is_terminal]
            missing = set(self.dropped) - {str(run.event.get("name")) for run in self.runs()}
        except HomeError as error:
            return [error.message]
        return [*open_runs[:5], *sorted(missing)[:5]]


def is_whole(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as connection:
        try:
            return (
                connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
                and connection.execute("PRAGMA foreign_key_check").fetchall() == []
            )
        except sqlite3.DatabaseError:
            return False


def until(condition: Callable[[], object], seconds: float, pause: float = 0.05) -> bool:
    """Waits for the condition; False where it did not come about in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= end:
            return False
        time.sleep(pause)
    return True


@contextmanager
def scratch(where: Path | None = None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=where, prefix="torture-") as folder:
        yield Path(folder)


def memory_disk() -> Path | None:
    """Where files cost no disk; None where there is no such place."""
    found = Path("/dev/shm")
    return found if os.access(found, os.W_OK) else None


def together(jobs: list[Callable[[], None]]) -> None:
    """All at once, each in a thread; the first error of one of them is raised."""
    with ThreadPoolExecutor(max(1, len(jobs))) as pool:
        for done in [pool.submit(job) for job in jobs]:
            done.result()


def journal_runs(home: Path) -> list[Run]:
    with open_read_only(home / "edgeagent.db") as store:
        return store.runs(limit=1_000_000)
