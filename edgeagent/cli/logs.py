"""`edgeagent logs`: the latest lines of the daemon's log, whether or not one runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from itertools import chain

import click

from edgeagent.cli.app import App, pass_app
from edgeagent.cli.command import AGENT, SINCE, Command, json_option
from edgeagent.cli.screen import one_line
from edgeagent.logs import follow_log, parsed, read_log
from edgeagent.schema import Json, parse_time

_FOLLOWED = 10
_PAUSE_SECONDS = 0.2
_STYLES = {"warning": "yellow", "error": "red", "critical": "red"}


@click.command(cls=Command)
@click.option("-f", "--follow", is_flag=True, help="Go on with what is logged from now on, until Ctrl-C.")
@click.option("--agent", type=AGENT, metavar="NAME", help="Lines about this agent.")
@click.option("--since", type=SINCE, metavar="WHEN", help="Since then: 2h, 7d, 2026-11-24.")
@json_option
@pass_app
def logs(app: App, follow: bool, agent: str | None, since: datetime | None, as_json: bool) -> None:
    """The log of the daemon.

    Its latest megabyte or two is kept. With --json every line is one object. What a run did is in the journal:
    edgeagent runs show.
    """
    path = app.home.log
    added: Iterator[str | None] = follow_log(path) if follow else iter(())
    first = next(added, None)  # from here on nothing is missed, while what is there is shown
    lines = read_log(path, agent, since)
    for line in lines[-_FOLLOWED:] if follow and since is None else lines:
        _show(app, line, as_json)
    if not lines and not follow:
        app.note("nothing is logged yet" if not path.exists() else "no such lines")
    app.screen.flush()
    if follow:
        _follow(app, chain([first], added), agent, as_json)


def _follow(app: App, added: Iterator[str | None], agent: str | None, as_json: bool) -> None:
    for text in added:
        if text is None:
            time.sleep(_PAUSE_SECONDS)
        elif line := parsed(text, agent):
            _show(app, line, as_json)
            app.screen.flush()


def _show(app: App, line: Json, as_json: bool) -> None:
    if as_json:
        app.screen.json(line, indent=None)
        return
    when = parse_time(line["time"]).astimezone().strftime("%m-%d %H:%M:%S")
    level = str(line.get("level", ""))
    style = _STYLES.get(level)
    told = app.screen.style(level.ljust(7), style) if style else level.ljust(7)
    app.screen.line(f"{when} {told} {one_line(str(line.get('message', '')))}")
