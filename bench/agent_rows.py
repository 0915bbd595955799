"""What is measured of edgeagent without a peer: the daemon while nothing happens, the validity of calls, its speeds."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import psutil
from calls import open_tools
from ours import Ours
from row import Row, alone
from rows import Bench

from edgeagent.bundled import bundled
from edgeagent.model.protocol import ChatRequest
from edgeagent.schema import Json
from edgeagent.store import open_read_only

PATIENCE = 120.0
"""Seconds that something of the daemon may take."""


def idle(bench: Bench) -> Iterator[Row]:
    """A daemon that watches a folder, has run its agent once, and has unloaded the model since."""
    home, user = bench.scratch / "home", bench.scratch / "user"
    (home / "agents").mkdir(parents=True)
    (user / "Inbox").mkdir(parents=True)
    shutil.copy(bundled("examples") / "inbox.md", home / "agents" / "inbox.md")
    (home / "config.toml").write_text('[model]\nidle_unload = "1s"\n', encoding="utf-8")
    environment = {**os.environ, "HOME": str(user), "EDGEAGENT_HOME": str(home)}
    log = (bench.scratch / "daemon.log").open("wb")
    command = [sys.executable, "-m", "edgeagent.cli", "daemon"]
    daemon = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        process = psutil.Process(daemon.pid)
        _wait(lambda: (home / "run" / "edgeagent.sock").exists(), "the daemon to answer")
        document = next(iter(sorted((bundled("examples") / "demo").glob("*.txt"))))
        shutil.copy(document, user / "Inbox" / document.name)
        _wait(lambda: _ended(home) == 1, "the run to end")
        _wait(lambda: not process.children(), "the model to be unloaded")
        time.sleep(bench.scale.settle_seconds)
        before = sum(process.cpu_times()[:2])
        time.sleep(bench.scale.idle_seconds)
        share = 100 * (sum(process.cpu_times()[:2]) - before) / bench.scale.idle_seconds
        memory = process.memory_info().rss / 1e6
    finally:
        daemon.terminate()
        daemon.wait(30)
        log.close()
    note = "one agent with a watched folder, which has run once; the model unloaded since"
    yield alone("idle daemon, resident memory", "MB", memory, at_least=False, target=60, note=note)
    note = f"of the same daemon, over {bench.scale.idle_seconds:.0f} s"
    yield alone("idle daemon, processor", "% of a core", share, at_least=False, target=0.2, note=note)


def _ended(home: Path) -> int:
    with open_read_only(home / "edgeagent.db") as store:
        return sum(number for status, number in store.counts().items() if status.is_terminal)


def _wait(is_so: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + PATIENCE
    while not is_so():
        if time.monotonic() > until:
            raise RuntimeError(f"waited {PATIENCE:.0f} s in vain for {what}")
        time.sleep(0.1)


def valid(bench: Bench) -> Iterator[Row]:
    """Turns of a model with random weights at temperature 1: how many parse and match their schema."""
    count = bench.scale.generations
    tools = {tool.name: tool.parameters for tool in open_tools()}
    output: Json = {
        "type": "object",
        "properties": {"done": {"enum": ["yes", "no"]}},
        "required": ["done"],
        "additionalProperties": False,
    }
    good = calls = 0
    ours = Ours(bench.small, 1, bench.scale.context, bench.scratch / "valid")
    try:
        base = bench.prompts.request(9, 1, system=20, user=20, written=400, tools=open_tools(), output=output)
        for begin in range(0, count, 4):
            for result in ours.results([_seeded(base, seed) for seed in range(begin, min(begin + 4, count))]):
                if result.call:
                    calls += 1
                    good += _matches(result.call.arguments, tools[result.call.name])
                else:
                    good += _parses(result.text, output)
    finally:
        ours.close()
    note = f"{count} turns, {calls} of them calls of 8 tools, the others answers by a schema"
    what = "valid turns at temperature 1, random weights"
    yield alone(what, "%", 100.0 * good / count, at_least=True, target=100, note=note)


def _seeded(request: ChatRequest, seed: int) -> ChatRequest:
    return replace(request, temperature=1.0, seed=seed + 1, top_k=0, top_p=1.0, min_p=0.0)


def _matches(value: Any, schema: Json) -> bool:
    return jsonschema.Draft202012Validator(schema).is_valid(value)


def _parses(text: str, schema: Json) -> bool:
    try:
        return _matches(json.loads(text), schema)
    except ValueError:
        return False
