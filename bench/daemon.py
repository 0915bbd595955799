"""What the daemon costs and how fast it answers, without a model (`model/script.py`): `python bench/daemon.py`.

    start              from the process to the first answer on the socket, with ten agents: median
    dispatch           from a file that has settled to the claim of its run: ten agents, 1,000 watched files
    drain              runs a second of a model that answers at once, with two workers
    idle               memory, processor and writes of a daemon that has nothing to do

Prints a table. Nothing else should run meanwhile. `--quick` is for seeing that it works.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil

from edgeagent.api.client import DaemonClient
from edgeagent.errors import DaemonNotRunning
from edgeagent.schema import Run
from edgeagent.store import open_read_only

SETTLE = 0.1
AGENTS = 10


@dataclass(frozen=True)
class Scale:
    starts: int = 15
    files: int = 1000
    dropped: int = 300
    burst: int = 3000
    idle_seconds: float = 120.0


QUICK = Scale(2, 50, 20, 100, 3.0)


class Place:
    """A home with ten agents, each with a folder of its own."""

    def __init__(self, root: Path) -> None:
        self.home = root / "edgeagent"
        (self.home / "agents").mkdir(parents=True)
        model = root / "model.script.json"
        model.write_text('["Done."]')
        self.folders = [root / f"in-{n}" for n in range(AGENTS)]
        for n, folder in enumerate(self.folders):
            folder.mkdir()
            (self.home / "agents" / f"agent-{n}.md").write_text(
                f'---\nmodel: {model}\ntriggers: [{{trigger: file, path: "{folder}", settle: {SETTLE * 1000:.0f}ms}}]\n'
                "concurrency: {mode: parallel, max: 100000}\n---\nGo.\n"
            )
        (self.home / "config.toml").write_text("[daemon]\nworkers = 2\n")
        self.client = DaemonClient(self.home / "run" / "edgeagent.sock")

    @contextmanager
    def daemon(self) -> Iterator[psutil.Process]:
        environment = {**os.environ, "EDGEAGENT_HOME": str(self.home)}
        command = [sys.executable, "-m", "edgeagent.cli", "-q", "daemon"]
        process = subprocess.Popen(command, env=environment)
        try:
            wait_for(self.answers)
            yield psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait()

    def answers(self) -> bool:
        try:
            self.client.check()
        except DaemonNotRunning:
            return False
        return True

    def ended(self) -> int:
        return sum(self.client.status()["queue"].get(status, 0) for status in ("ok", "failed"))

    def runs(self) -> list[Run]:
        with open_read_only(self.home / "edgeagent.db") as store:
            return store.runs(limit=1_000_000)


def wait_for(condition: Callable[[], bool], seconds: float = 600, pause: float = 0.005) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(pause)


def start(place: Place, scale: Scale) -> tuple[str, str, str]:
    times = []
    for _ in range(scale.starts):
        began = time.perf_counter()
        with place.daemon():
            times.append(time.perf_counter() - began)
    return ("start", f"{statistics.median(times):.2f} s", "<= 1.5 s")


def dispatch(place: Place, scale: Scale) -> tuple[str, str, str]:
    for n in range(scale.files):
        (place.folders[n % AGENTS] / f"old {n}.txt").write_text("old")
    with place.daemon():
        wait_for(lambda: place.ended() >= scale.files, pause=0.2)  # they came while no daemon ran
        for n in range(scale.dropped):
            (place.folders[n % AGENTS] / f"new {n}.txt").write_text(f"new {n}")
            time.sleep(0.05)
        wait_for(lambda: place.ended() >= scale.files + scale.dropped, pause=0.2)
    waits = sorted(latency(run) for run in place.runs() if run.event["name"].startswith("new"))
    at = waits[int(len(waits) * 0.95)]
    return ("dispatch, p50 and p95", f"{statistics.median(waits) * 1000:.0f} and {at * 1000:.0f} ms", "p95 <= 50 ms")


def latency(run: Run) -> float:
    """Seconds from settled to claimed."""
    settled = datetime.fromtimestamp((Path(run.event["path"])).stat().st_mtime, UTC) + timedelta(seconds=SETTLE)
    assert run.started_at
    return (run.started_at - settled).total_seconds()


def drain(place: Place, scale: Scale) -> tuple[str, str, str]:
    before = len(place.runs())
    with place.daemon():
        began = time.perf_counter()
        for n in range(scale.burst):
            (place.folders[n % AGENTS] / f"burst {n}.txt").write_text(f"burst {n}")
        wait_for(lambda: place.ended() >= before + scale.burst, pause=0.1)
        rate = scale.burst / (time.perf_counter() - began)
    return ("drain", f"{rate:.0f} runs/s", ">= 300 runs/s")


def idle(place: Place, scale: Scale) -> list[tuple[str, str, str]]:
    with place.daemon() as process:
        time.sleep(3)
        spent, written = sum(process.cpu_times()[:2]), process.io_counters().write_bytes
        time.sleep(scale.idle_seconds)
        share = (sum(process.cpu_times()[:2]) - spent) / scale.idle_seconds
        writes = (process.io_counters().write_bytes - written) * 86400 / scale.idle_seconds
        memory = process.memory_info().rss
    return [
        ("idle memory", f"{memory / 1e6:.0f} MB", "<= 60 MB"),
        ("idle processor", f"{share:.2%} of a core", "<= 0.2 %"),
        ("idle writes", f"{writes / 1e6:.1f} MB a day", "<= 5 MB a day"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few of each")
    scale = QUICK if parser.parse_args().quick else Scale()
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder))
        rows = [start(place, scale), dispatch(place, scale), drain(place, scale), *idle(place, scale)]
    for name, value, limit in rows:
        print(f"{name:24} {value:>20}   {limit}")


if __name__ == "__main__":
    main()
