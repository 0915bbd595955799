"""`edgeagent init`: settings and a first agent. Writes what is missing and never over what is there."""

from __future__ import annotations

from pathlib import Path

import click

from edgeagent.cli.app import App, pass_app
from edgeagent.cli.command import Command, json_option
from edgeagent.errors import HomeError

_FIRST = "inbox"


@click.command(cls=Command)
@json_option
@pass_app
def init(app: App, as_json: bool) -> None:
    """Write config.toml and a first agent.

    What is there already is left as it is.
    """
    from edgeagent.cli.settings import settings_file

    app.home.create()
    wanted = {app.home.config_file: settings_file(), app.home.agents / f"{_FIRST}.md": _first_agent()}
    written = {path: _write_new(path, text) for path, text in wanted.items()}
    if as_json:
        new, old = ([str(path) for path in written if written[path] is is_new] for is_new in (True, False))
        app.screen.json({"wrote": new, "kept": old})
        return
    for path, is_new in written.items():
        app.screen.line(f"{'wrote' if is_new else 'kept '}  {path}")
    app.note("next: look at the agent, make the folder that it watches, then: edgeagent daemon")


def _first_agent() -> str:
    """The example that ships with edgeagent; where it does not, a file to start from."""
    from edgeagent.bundled import bundled
    from edgeagent.cli.starting import starting_file

    example = bundled("examples") / f"{_FIRST}.md"
    return example.read_text("utf-8") if example.is_file() else starting_file(_FIRST)


def _write_new(path: Path, text: str) -> bool:
    """Whether the file was written; False where there was one."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return False
    except OSError as error:
        raise HomeError(f"cannot write {path}: {error.strerror}", f"ls -ld '{path.parent}'") from error
    return True
