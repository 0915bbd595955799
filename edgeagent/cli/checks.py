"""What `doctor` looks at, one part of the installation after the other. Changes nothing; prints nothing."""

from __future__ import annotations

import shutil
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgeagent.cli.app import App
from edgeagent.cli.words import seconds, size
from edgeagent.errors import EdgeagentError, ModelError, SecretError
from edgeagent.schema import Message

MOST_WATCHES = Path("/proc/sys/fs/inotify/max_user_watches")
MOST_INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")
FEW_WATCHES = 8192
FEW_INSTANCES = 64
LITTLE_DISK = 500_000_000
NO_DISK = 50_000_000
LOAD_SECONDS = 120.0
"""How long the first answer of the model may take."""
_SAFE_SQLITE = (3, 51, 3)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. `hint` is what to do about it."""

    part: str
    state: Literal["ok", "warn", "fail"]
    text: str
    hint: str = ""


def findings(app: App) -> Iterator[Finding]:
    """Every check, in order. One that fails does not keep the others from being made."""
    told: set[str] = set()
    for part, check in _CHECKS:
        try:
            yield from check(app)
        except EdgeagentError as error:
            if error.message not in told:  # a fault in config.toml is in the way of many checks
                yield Finding(part, "fail", error.message, error.hint)
            told.add(error.message)


def _check_python(app: App) -> Iterator[Finding]:
    yield Finding("python", "ok", f"{sys.version.split()[0]}, {sys.executable}")


def _check_home(app: App) -> Iterator[Finding]:
    home = app.home
    missing = [path for path in (home.agents, home.database.parent) if not path.exists()]
    if missing:
        yield Finding("home", "warn", f"{missing[0]} is not there yet", "edgeagent init")
        return
    home.create()
    yield Finding("home", "ok", f"{home.database.parent} is writable")


def _check_config(app: App) -> Iterator[Finding]:
    runtime = app.runtime  # reads it; ConfigError says what is wrong
    is_there = runtime.home.config_file.exists()
    yield Finding("config", "ok", str(runtime.home.config_file) if is_there else "none: the defaults hold")


def _check_sqlite(app: App) -> Iterator[Finding]:
    version = sqlite3.sqlite_version
    with sqlite3.connect(":memory:") as connection:
        try:
            connection.execute("CREATE VIRTUAL TABLE t USING fts5(text)")
        except sqlite3.OperationalError:
            yield Finding("sqlite", "fail", f"{version} has no full-text search (FTS5)", "use another Python")
            return
        finally:
            connection.rollback()
    note = (
        ""
        if sqlite3.sqlite_version_info >= _SAFE_SQLITE
        else "; writers take turns by a lock, since this version needs it"
    )
    yield Finding("sqlite", "ok", f"{version}{note}")


def _check_journal(app: App) -> Iterator[Finding]:
    store = app.journal_if_any()
    if store is None:
        yield Finding("journal", "ok", "none yet: nothing has run")
        return
    with store:
        count = sum(store.counts().values())
    yield Finding("journal", "ok", f"{count} runs, {size(app.home.database.stat().st_size)}")


def _check_agents(app: App) -> Iterator[Finding]:
    loaded = app.runtime.load_agents()
    for problem in loaded.problems:
        yield Finding("agents", "fail", str(problem), "mend it: edgeagent agents validate")
    if loaded.agents:
        yield Finding("agents", "ok", f"{len(loaded.agents)} can run: {', '.join(sorted(loaded.agents))}")
    elif not loaded.problems:
        yield Finding("agents", "warn", f"none in {app.home.agents}", "edgeagent init")


def _check_folders(app: App) -> Iterator[Finding]:
    """What agents watch: folders that are missing, or that the kernel tells nothing about."""
    from edgeagent.triggers.filesystems import silent_file_system

    for agent in app.runtime.load_agents().agents.values():
        for trigger in agent.triggers:
            if trigger.trigger != "file":
                continue
            folder = trigger.folder(app.home.user)
            kind = silent_file_system(str(folder))
            if not folder.is_dir():
                yield Finding("folders", "warn", f"{agent.name} waits for {folder}", f"mkdir -p '{folder}'")
            elif kind:
                yield Finding("folders", "ok", f"{folder} is on {kind}, so it is looked through now and then")


def _check_models(app: App) -> Iterator[Finding]:
    runtime = app.runtime
    chosen = {runtime.models.entry(None).path: runtime.models.entry(None)}
    for agent in runtime.load_agents().agents.values():
        try:
            entry = runtime.check_model(agent)
        except EdgeagentError as error:
            yield Finding("models", "fail", f"{agent.name}: {error.message}", error.hint)
            continue
        if entry.origin != "endpoint":
            chosen[entry.path] = entry
    for entry in chosen.values():
        if entry.size is None:
            yield Finding("models", "fail", f"{entry.path} is not there", "edgeagent models list")
        else:
            yield Finding("models", "ok", f"{entry.name}, {size(entry.size)}, {entry.path}")


def _check_endpoints(app: App) -> Iterator[Finding]:
    """Asks each server that an agent's model is behind."""
    from edgeagent.cli.elsewhere import check

    for state, text, hint in check(app):
        yield Finding("endpoints", state, text, hint)


def _check_answer(app: App) -> Iterator[Finding]:
    """Loads the default model as a run would, and lets it say something."""
    from edgeagent.model.client import HostModel
    from edgeagent.model.protocol import ChatRequest

    model = app.runtime.models.of(None)
    if not isinstance(model, HostModel) or not model.path.is_file():
        return  # told by the check before, or nothing to load
    stop = threading.Event()
    alarm = threading.Timer(LOAD_SECONDS, stop.set)
    alarm.daemon = True
    alarm.start()
    began = time.monotonic()
    try:
        facts = model.facts()
        loaded = time.monotonic() - began
        request = ChatRequest(
            (Message("system", "You file documents."), Message("user", "event: manual")), max_tokens=8
        )
        result = model.chat(request, stop, lambda text: None)
    except ModelError as error:
        yield Finding("answer", "fail", f"{model.name}: {error.message}", error.hint)
        return
    finally:
        alarm.cancel()
        model.close()
    spent = f"loaded in {seconds(loaded)}, {result.output_tokens} tokens in {seconds(result.seconds)}"
    yield Finding("answer", "ok", f"{model.name} {spent}; llama.cpp is built, so cmake is not needed any more")
    yield Finding("confined", "ok", f"taken from the model's process: {facts['taken_from_it']}")


def _check_sandbox(app: App) -> Iterator[Finding]:
    """Tries to get out of the sandbox that skills run in."""
    opened = app.runtime.sandbox
    blocked = [attempt.text for attempt in opened.proof.attempts if attempt.blocked]
    why = "; ".join(opened.reasons)
    if opened.sandbox is None:
        yield Finding("sandbox", "warn", f"level none, so no skill runs: {why}", opened.hint)
        return
    proof = f"level {opened.level}, from which {len(blocked)} attempts to get out failed: {', '.join(blocked)}"
    yield Finding("sandbox", "ok", proof)
    if why:
        yield Finding("sandbox", "warn", f"no higher level: {why}", opened.hint)


def _check_mcp(app: App) -> Iterator[Finding]:
    """The servers of the settings, as they were when they were started last. Starts none."""
    from importlib.util import find_spec

    servers = app.runtime.mcp
    if servers.names() and find_spec("mcp") is None:
        yield Finding("mcp", "fail", "MCP servers need the package mcp", "pip install 'edgeagent[mcp]'")
        return
    for name in servers.names():
        server = servers.find(name)
        if server.state == "new":
            yield Finding("mcp", "ok", f"{name} was not started yet: the first agent that names it does")
        elif server.pin and server.state == "ready":
            left_out = f"; {len(server.pin.listing.problems)} left out" if server.pin.listing.problems else ""
            yield Finding("mcp", "ok", f"{name}: {len(server.pin.listing.tools)} tools{left_out}")
        else:
            state: Literal["warn", "fail"] = "fail" if server.state == "broken" else "warn"
            yield Finding("mcp", state, f"{name}: {server.reason}", server.hint)


def _check_inotify(app: App) -> Iterator[Finding]:
    if not MOST_WATCHES.exists():
        return  # not Linux
    limits = ((MOST_WATCHES, FEW_WATCHES, 524_288), (MOST_INSTANCES, FEW_INSTANCES, 512))
    counts = []
    for file, few, better in limits:
        most = int(file.read_text())
        counts.append(f"{most} {file.name.removeprefix('max_user_')}")
        if most < few:
            setting = f"fs.inotify.{file.name}"
            yield Finding("inotify", "warn", f"{setting} is only {most}", f"sudo sysctl {setting}={better}")
            return
    yield Finding("inotify", "ok", ", ".join(counts))


def _check_disk(app: App) -> Iterator[Finding]:
    folder = next(path for path in (app.home.database, *app.home.database.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    if free >= LITTLE_DISK:
        yield Finding("disk", "ok", f"{size(free)} free")
        return
    yield Finding("disk", "warn" if free >= NO_DISK else "fail", f"only {size(free)} free", f"df -h '{folder}'")


def _check_memory(app: App) -> Iterator[Finding]:
    from edgeagent.model.client import HostModel
    from edgeagent.model.memory import available

    model = app.runtime.models.of(None)
    if not isinstance(model, HostModel):
        return  # nothing to load
    free = available()
    needed = model.need().total + model.options.memory_reserve
    if free >= needed:
        yield Finding("memory", "ok", f"{size(free)} free; the default model needs {size(needed)} with its reserve")
        return
    hint = "lower model.context or model.memory_reserve in config.toml, or use a smaller model"
    yield Finding("memory", "fail", f"{size(free)} free, and the default model needs {size(needed)}", hint)


def _check_secrets(app: App) -> Iterator[Finding]:
    """Where they are kept. A place that cannot be used is a fault only where an agent wants a secret."""
    runtime = app.runtime
    wanted = {name for agent in runtime.load_agents().agents.values() for name in agent.secret_names()}
    missing = sorted(wanted - runtime.secrets.given.names().keys())
    try:
        told = runtime.secrets.about()
        missing = sorted(wanted - {stored.name for stored in runtime.secrets.stored()})
    except SecretError as error:
        yield Finding("secrets", "fail" if missing else "warn", error.message, error.hint)
        return
    if missing:
        yield Finding(
            "secrets", "warn", f"{told}; not set: {', '.join(missing)}", f"edgeagent secrets set {missing[0]}"
        )
        return
    yield Finding("secrets", "ok", told)


def _check_socket(app: App) -> Iterator[Finding]:
    daemon = app.daemon_if_any()
    if daemon is None:
        yield Finding("daemon", "warn", "not running: only `edgeagent run` works", "edgeagent daemon")
        return
    status = daemon.status()
    yield Finding("daemon", "ok", f"running, process {status['pid']}, version {status['version']}")
    for trigger in status["triggers"]:
        if trigger["condition"] == "error":
            yield Finding(
                "daemon", "fail", f"{trigger['agent']} {trigger['id']}: {trigger['text']}", "edgeagent status"
            )


_CHECKS: tuple[tuple[str, Callable[[App], Iterator[Finding]]], ...] = (
    ("python", _check_python),
    ("home", _check_home),
    ("config", _check_config),
    ("sqlite", _check_sqlite),
    ("journal", _check_journal),
    ("agents", _check_agents),
    ("folders", _check_folders),
    ("models", _check_models),
    ("endpoints", _check_endpoints),
    ("answer", _check_answer),
    ("sandbox", _check_sandbox),
    ("mcp", _check_mcp),
    ("inotify", _check_inotify),
    ("disk", _check_disk),
    ("memory", _check_memory),
    ("secrets", _check_secrets),
    ("daemon", _check_socket),
)
