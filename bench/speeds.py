"""The speeds that the README states, measured here and now: `make bench`.

    command start      `edgeagent --help`, `edgeagent runs list` on a journal of 1,000 runs: median of 15 processes
    one file           from settled to done with the model loaded: median over the demo's documents
    decode             output tokens a second of `pocket` under its grammar
    loop overhead      time of a run that neither model nor tools account for, a step

Prints a table, with the machine it was measured on. Nothing else should run meanwhile.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from edgeagent.bundled import bundled
from edgeagent.runtime import Runtime, open_runtime
from edgeagent.schema import Event, Json, Outcome, Run, RunStatus
from edgeagent.store import open_store

STARTS = 15


def seconds_of(command: list[str], environment: dict[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return time.perf_counter() - began


def command_starts(home: Path, environment: dict[str, str]) -> list[tuple[str, str, str]]:
    """Commands that a person waits for."""
    with open_store(home / "edgeagent.db") as store, store.transaction():
        for number in range(1000):
            now = datetime.now(UTC)
            run_id = store.enqueue(Event("inbox", "file", "list", f"list {number}", {"name": f"{number}.txt"}), now=now)
            assert run_id
            store.finish(run_id, Outcome(RunStatus.OK, output="done"), now)
    program = [sys.executable, "-m", "edgeagent.cli"]
    rows = []
    for arguments, limit in ((["--help"], 0.2), (["runs", "list"], 0.4)):
        times = [seconds_of([*program, *arguments], environment) for _ in range(STARTS + 2)][2:]
        rows.append((f"edgeagent {' '.join(arguments)}", f"{statistics.median(times):.3f} s", f"<= {limit} s"))
    return rows


def file_runs(runtime: Runtime, environment: dict[str, str], user: Path) -> list[Run]:
    """The demo's documents, one run after the other in one process, so that the model is loaded once."""
    agent = runtime.agent(str(bundled("examples") / "inbox.md"))
    runs = []
    with runtime.writer() as store:
        worker = runtime.worker(store, "cli")
        for number, source in enumerate(sorted((bundled("examples") / "demo").glob("*.txt"))):
            path = user / "Inbox" / source.name
            path.write_bytes(source.read_bytes())
            text = source.read_text(encoding="utf-8")
            data: Json = {
                "path": str(path),
                "name": path.name,
                "size": len(text),
                "change": "created",
                "preview": text[:400],
            }
            run_id = store.enqueue(Event("inbox", "file", "file-1", str(number), data), now=datetime.now(UTC))
            assert run_id
            run = store.claim_run(run_id, worker.owner, datetime.now(UTC))
            assert run
            worker.execute(run, agent, threading.Event())
            runs.append(store.run(run_id))
        runtime.models.close()
    return runs[1:]  # the first one waited for the model to load


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        user, home = Path(scratch, "user"), Path(scratch, "edgeagent")
        (user / "Inbox").mkdir(parents=True)
        home.mkdir()
        environment = {**os.environ, "HOME": str(user), "EDGEAGENT_HOME": str(home)}
        runs = file_runs(open_runtime(environment), environment, user)
        model = sum(run.usage.model_seconds for run in runs)
        overhead = [
            1000 * ((run.seconds or 0) - run.usage.model_seconds - run.usage.tool_seconds) / max(1, len(run.steps))
            for run in runs
        ]
        decode = sum(
            step.seconds - (step.time_to_first_token or 0) for run in runs for step in run.steps if step.kind == "chat"
        )
        tokens = sum(run.usage.output_tokens for run in runs)
        rows = [
            *command_starts(home, environment),
            ("one file, model loaded", f"{statistics.median(run.seconds or 0 for run in runs):.2f} s", "<= 3 s"),
            ("decode, under the grammar", f"{tokens / decode:.0f} tokens/s", ">= 150 tokens/s"),
            ("loop overhead a step", f"{statistics.median(overhead):.1f} ms", "<= 20 ms"),
        ]
        cores = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
        print(f"{cores}, {len(runs)} runs, {model:.1f} s of model\n")
        print(f"| {'what':28} | {'measured':14} | {'target':15} |\n| {'-' * 28} | {'-' * 14} | {'-' * 15} |")
        for what, measured, target in rows:
            print(f"| {what:28} | {measured:14} | {target:15} |")


if __name__ == "__main__":
    main()
