"""`edgeagent secrets`: values that tools use and nobody is shown."""

from __future__ import annotations

import sys
from dataclasses import asdict

import click

from edgeagent.cli.app import App, pass_app
from edgeagent.cli.command import Group, json_option
from edgeagent.cli.screen import Column
from edgeagent.errors import UsageError

_MOST = 1_000_000


@click.group(cls=Group)
def secrets() -> None:
    """Passwords and tokens that tools may use: set, list, remove.

    An agent names them under grants.secrets, tool by tool. They are looked for among the systemd credentials of the
    process, then in the environment (EDGEAGENT_SECRET_NAME), then in the place that [secrets] backend names.
    """


@secrets.command("set")
@click.argument("name")
@json_option
@pass_app
def set_secret(app: App, name: str, as_json: bool) -> None:
    """Keep a secret. The value is read from stdin, or asked for at a terminal.

    It is never part of a command line, which every program on the machine can read.
    """
    from edgeagent.secrets import check_secret_name

    check_secret_name(name)
    chain = app.runtime.secrets
    place = chain.set(name, _value(name))
    if as_json:
        app.screen.json({"name": name, "place": place})
    else:
        app.note(f"{name} is kept in the {place}")
    if name in chain.given.names():
        app.notes.line(f"warning: {name} is also given by the {chain.given.names()[name]}, which is looked at first")


def _value(name: str) -> str:
    if sys.stdin.isatty():
        value: str = click.prompt(name, hide_input=True, err=True)
        return value
    raw = sys.stdin.buffer.read(_MOST)
    try:
        return raw.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        hint = "give it as base64, where the tool can take that"
        raise UsageError(f"the value of {name} is not UTF-8 text", hint) from error


@secrets.command("list")
@json_option
@pass_app
def list_secrets(app: App, as_json: bool) -> None:
    """The names of the secrets that are there, and where each is taken from. Never a value."""
    found = app.runtime.secrets.stored()
    if as_json:
        app.screen.json([asdict(one) for one in found])
    elif found:
        app.screen.table([Column("NAME", flexible=True), Column("PLACE")], [[one.name, one.place] for one in found])
    else:
        app.note("no secrets")


@secrets.command()
@click.argument("name")
@json_option
@pass_app
def remove(app: App, name: str, as_json: bool) -> None:
    """Forget a secret."""
    app.runtime.secrets.remove(name)
    if as_json:
        app.screen.json({"name": name, "removed": True})
    else:
        app.note(f"{name} is removed")
