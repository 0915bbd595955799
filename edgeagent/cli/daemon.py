"""`edgeagent daemon`: the daemon, in the foreground. Owns where its log goes: to stderr, for systemd or a terminal."""

from __future__ import annotations

import logging

import click

from edgeagent.cli.app import App, pass_app
from edgeagent.cli.command import Command


@click.command(cls=Command)
@pass_app
def daemon(app: App) -> None:
    """Watch, wait and work, until it is stopped.

    Stays in the foreground: systemd and launchd start it so. Ctrl-C or SIGTERM stop it in order.
    """
    from edgeagent.daemon import Daemon

    _log_to_stderr(app)
    Daemon(app.runtime).serve()


def _log_to_stderr(app: App) -> None:
    """Under systemd the journal has the time already."""
    stamp = "" if "JOURNAL_STREAM" in app.environ else "%(asctime)s "
    level = logging.DEBUG if app.verbose else logging.WARNING if app.quiet else logging.INFO
    logging.basicConfig(format=f"{stamp}%(levelname)-7s %(message)s", datefmt="%Y-%m-%d %H:%M:%S")
    logging.getLogger("edgeagent").setLevel(level)
