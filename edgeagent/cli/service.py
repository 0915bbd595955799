"""`edgeagent service`: the daemon started by systemd or launchd instead of by hand."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeagent.cli.app import App, pass_app
from edgeagent.cli.command import Group, json_option
from edgeagent.errors import HomeError, UsageError

if TYPE_CHECKING:
    from edgeagent.service import Program, Service

NOT_RUNNING = 3

_system = click.option("--system", is_flag=True, help="The service of the machine, not of this user; as root.")
_force = click.option("--force", is_flag=True, help="Also where the file was changed by hand; that is kept beside it.")


@click.group(cls=Group)
def service() -> None:
    """Have the daemon started by systemd or launchd.

    Without --system it is yours: a unit of your own systemd, on macOS an agent of your desktop session.
    """


@service.command()
@_system
@click.option(
    "--write",
    "folders",
    multiple=True,
    type=click.Path(path_type=Path),
    help="With --system: a folder that agents may be granted. Repeatable; kept until others are named.",
)
@_force
@click.option("--no-start", is_flag=True, help="Have it start at the next boot or login only.")
@click.option("--dry-run", is_flag=True, help="Print the file and the commands, and change nothing.")
@json_option
@pass_app
def install(
    app: App, system: bool, folders: tuple[Path, ...], force: bool, no_start: bool, dry_run: bool, as_json: bool
) -> None:
    """Describe the daemon of this home to systemd or launchd, and start it.

    It begins with your session, or at boot where you linger (loginctl enable-linger); with --system always at boot,
    as the user edgeagent, with its home in /var/lib/edgeagent unless EDGEAGENT_HOME names another. An older version
    is brought up to date; a file that was changed by hand, or that serves another home, is left alone.
    """
    from edgeagent.service.program import left_behind

    found = _opened(app, system)
    program, write = _program(app, found), _checked(folders, system)
    if dry_run:
        _show_plan(app, found, program, write, as_json)
        return
    if not no_start:
        _require_no_other_daemon(app, found)
    done = found.install(program, write, force=force, start=not no_start)
    notes = [
        *done.notes,
        *(f"{name} does not hold in the service; see config.toml" for name in left_behind(app.environ)),
    ]
    if as_json:
        app.screen.json(
            {"path": str(done.path), "changed": done.changed, "notes": notes, "service": found.status().as_json()}
        )
        return
    app.screen.line(f"{'wrote' if done.changed else 'kept '}  {done.path}")
    for note in notes:
        app.note(note)
    _show(app, found)


@service.command()
@_system
@_force
@json_option
@pass_app
def uninstall(app: App, system: bool, force: bool, as_json: bool) -> None:
    """Stop the service and take its file away. The home, with the agents and the journal, stays."""
    found = _opened(app, system)
    home = found.status().home
    done = found.uninstall(force=force)
    if as_json:
        app.screen.json({"path": str(done.path), "removed": True, "notes": list(done.notes)})
        return
    app.screen.line(f"removed  {done.path}")
    for note in (*done.notes, *([f"the home stays: {home}"] if home else [])):
        app.note(note)


@service.command()
@_system
@json_option
@pass_app
def start(app: App, system: bool, as_json: bool) -> None:
    """Start the service; it is ready when this returns."""
    found = _opened(app, system)
    found.start()
    _tell(app, found, as_json)


@service.command()
@_system
@json_option
@pass_app
def stop(app: App, system: bool, as_json: bool) -> None:
    """Stop the service until the next boot or login. Runs in hand end, or go on at the next start."""
    found = _opened(app, system)
    found.stop()
    _tell(app, found, as_json)


@service.command()
@_system
@json_option
@pass_app
def status(app: App, system: bool, as_json: bool) -> int:
    """Whether the service is installed, starts by itself, and runs.

    Exits with 3 where it does not run. What the daemon does is told by: edgeagent status
    """
    found = _opened(app, system)
    _tell(app, found, as_json)
    told = found.status()
    if not told.running and not as_json:
        app.note(f"try: edgeagent service {'start' if told.installed else 'install'}{' --system' if system else ''}")
    return 0 if told.running else NOT_RUNNING


def _opened(app: App, system: bool) -> Service:
    from edgeagent.service import open_service

    return open_service(app.environ, system=system)


def _program(app: App, found: Service) -> Program:
    """The daemon of the home that the environment names, or else of the one that such a service has."""
    from edgeagent.config import load_config
    from edgeagent.home import home_from_environment
    from edgeagent.service import program_of

    environ = found.environment() | dict(app.environ)
    home = home_from_environment(environ)
    return program_of(environ, home, load_config(home, environ).daemon.stop_timeout)


def _checked(folders: tuple[Path, ...], system: bool) -> list[str]:
    if folders and not system:
        raise UsageError("--write is for --system; your own service writes where you may", "leave it out")
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"{folder} is not a folder", f"mkdir -p {shlex.quote(str(folder))}")
    return [str(folder.absolute()) for folder in folders]


def _require_no_other_daemon(app: App, found: Service) -> None:
    """One that somebody started by hand holds the home, and the service could only try again and again."""
    daemon = app.daemon_if_any()
    if daemon is not None and not found.status().running:
        process = daemon.status()["pid"]
        raise HomeError(f"a daemon already runs in this home (process {process})", f"kill {process}; then again")


def _show_plan(app: App, found: Service, program: Program, write: list[str], as_json: bool) -> None:
    text, commands = found.text(program, write), found.commands()
    if as_json:
        app.screen.json({"path": str(found.path), "text": text, "commands": commands})
        return
    for line in text.splitlines():
        app.screen.line(line)
    app.note(f"this would be {found.path}, and then:")
    for command in commands:
        app.note(f"  {shlex.join(command)}")


def _tell(app: App, found: Service, as_json: bool) -> None:
    if as_json:
        app.screen.json(found.status().as_json())
    else:
        _show(app, found)


def _show(app: App, found: Service) -> None:
    status = found.status()
    if status.installed:
        state, by_itself = status.problem or status.state, "" if status.problem else "yes" if status.enabled else "no"
    else:
        state, by_itself = "not installed", ""
    app.screen.pairs(
        [
            ("service", f"{status.manager}, {'of the system' if status.scope == 'system' else 'of this user'}"),
            ("file", f"{status.path}{', changed by hand' if status.edited else ''}" if status.installed else ""),
            ("state", state),
            ("starts by itself", by_itself),
            ("process", str(status.pid or "")),
            ("restarts", str(status.restarts or "")),
            ("says", status.detail),
            ("home", status.home),
        ],
        {"state": "green" if status.running else "yellow"},
    )
