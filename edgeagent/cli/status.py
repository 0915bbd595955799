"""`edgeagent status`: the daemon, its agents, the queue and the model, on one page."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from edgeagent.cli.app import App, pass_app
from edgeagent.cli.command import Command, json_option
from edgeagent.cli.screen import Column, one_line
from edgeagent.cli.words import duration, size
from edgeagent.schema import Json, parse_time

NOT_RUNNING = 3
_PENDING = ("queued", "running", "waiting", "deferred")
_STYLES = {"ok": "green", "waiting": "yellow", "error": "red"}


@click.command(cls=Command)
@json_option
@pass_app
def status(app: App, as_json: bool) -> int:
    """The daemon, its agents, the queue, the model.

    Exits with 3 where no daemon runs, and then shows what the files say.
    """
    daemon = app.daemon_if_any()
    found = {"running": True, **daemon.status()} if daemon else _from_files(app)
    if as_json:
        app.screen.json(found)
    else:
        _show(app, found)
    return 0 if daemon else NOT_RUNNING


def _from_files(app: App) -> Json:
    """The same object without what only a daemon knows."""
    loaded = app.runtime.load_agents()
    store = app.journal_if_any()
    counts: dict[str, int] = {}
    if store is not None:
        with store:
            counts = {status.value: count for status, count in store.counts().items()}
    return {
        "running": False,
        "home": str(app.home.database.parent),
        "agents": sorted(loaded.agents),
        "disabled": sorted(name for name, agent in loaded.agents.items() if not agent.enabled),
        "api": {"socket": str(app.home.socket), "listen": "", "token_file": str(app.home.api_token)},
        "queue": counts,
        "model": {"name": app.runtime.config.model.default, "loaded": False, "resident_bytes": 0},
        "triggers": [],
        "problems": [str(problem) for problem in loaded.problems],
    }


def _show(app: App, found: Json) -> None:
    screen = app.screen
    screen.pairs(
        [
            ("daemon", _daemon_words(found)),
            ("home", found["home"]),
            ("model", _model_words(found["model"])),
            ("agents", ", ".join(_names(found["agents"])) or "none"),
            ("disabled", ", ".join(found.get("disabled", []))),
            ("queue", _counts(found["queue"], _PENDING) or "empty"),
            ("http", f"http://{found['api']['listen']}" if found["api"]["listen"] else ""),
            ("token", found["api"]["token_file"] if found["api"]["listen"] else ""),
            ("ended", _counts(found["queue"], [name for name in found["queue"] if name not in _PENDING])),
        ],
        {"daemon": "green" if found["running"] else "yellow"},
    )
    if found["triggers"]:
        screen.line()
        _show_triggers(app, found["triggers"])
    for problem in found["problems"]:
        screen.line(f"{screen.style('problem', 'red')}  {one_line(problem)}")
    if not found["running"]:
        from edgeagent.service import how_to_start

        app.note(f"try: {how_to_start(app.environ, found['home'])}")


def _daemon_words(found: Json) -> str:
    if not found["running"]:
        return "not running"
    up = (datetime.now(UTC) - parse_time(found["started_at"])).total_seconds()
    return f"running for {duration(max(0.0, up))}, version {found['version']}, process {found['pid']}"


def _model_words(model: Json) -> str:
    if not model["loaded"]:
        return f"{model['name']}, not loaded"
    return f"{model['name']}, loaded, {size(model['resident_bytes'])} of memory"


def _names(agents: list[Any]) -> list[str]:
    return [agent["name"] if isinstance(agent, dict) else str(agent) for agent in agents]


def _counts(queue: Json, names: Any) -> str:
    return ", ".join(f"{queue[name]} {name}" for name in names if queue.get(name))


def _show_triggers(app: App, triggers: list[Json]) -> None:
    columns = [Column("AGENT", flexible=True), Column("TRIGGER"), Column("STATE"), Column("DETAIL", flexible=True)]
    rows = [[each["agent"], each["id"], each["condition"], each["text"]] for each in triggers]
    app.screen.table(columns, rows, _STYLES)
