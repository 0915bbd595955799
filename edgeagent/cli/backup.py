"""`edgeagent backup`: a copy of the journal in one file."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from edgeagent.cli.app import App, pass_app
from edgeagent.cli.command import Command, json_option


@click.command(cls=Command)
@click.argument("path", type=click.Path(path_type=Path))
@json_option
@pass_app
def backup(app: App, path: Path, as_json: bool) -> None:
    """Copy the journal to PATH, also while the daemon runs.

    The copy holds every event, run and step, what triggers remember, and memory, as they are at one moment. It
    appears under its name when it is whole; an older backup there is replaced. Into a folder it goes under a name
    with the time.
    """
    from edgeagent.cli.words import size
    from edgeagent.store import back_up

    target = path / f"edgeagent-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.db" if path.is_dir() else path
    written = back_up(app.home.database, target.absolute())
    if as_json:
        app.screen.json({"path": str(target.absolute()), "bytes": written})
    else:
        app.screen.line(f"{target}  {size(written)}")
        app.note(f"to restore: stop the daemon, then put it in the place of {app.home.database}")
