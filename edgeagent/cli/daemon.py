"""`edgeagent daemon`: the daemon, in the foreground. Owns where its log goes: to stderr, for systemd or a terminal."""

from __future__ import annotations

import logging
import sys
from typing import Literal

import click

from edgeagent.cli.app import App, pass_app
from edgeagent.cli.command import Command


@click.command(cls=Command)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How lines on stderr look; for systemd's journal text has priorities instead of times.",
)
@pass_app
def daemon(app: App, log_format: Literal["text", "json"]) -> None:
    """Watch, wait and work, until it is stopped.

    Stays in the foreground: systemd and launchd start it so. Ctrl-C or SIGTERM stop it in order, a second one at
    once. SIGHUP reads the settings and agents again, which otherwise happens when their files change.
    """
    from edgeagent.daemon import Daemon
    from edgeagent.logs import log_to

    level = logging.DEBUG if app.verbose else logging.WARNING if app.quiet else logging.INFO
    log_to(sys.stderr, log_format, level, app.environ)
    Daemon(app.runtime).serve()
