"""What every command gets: the environment, the screens, and doors to the runtime, the journal and the daemon.

Opens each of them when it is first asked for, and imports what they need only then.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import click

from edgeagent.cli.screen import Screen, make_screen, one_line

if TYPE_CHECKING:
    from edgeagent.api.client import DaemonClient
    from edgeagent.errors import Problem
    from edgeagent.home import Home
    from edgeagent.runtime import Runtime
    from edgeagent.store import Store


class App:
    """One command being carried out."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self.environ = environ
        self.verbose = False
        self.quiet = False

    @cached_property
    def screen(self) -> Screen:
        """For data: stdout."""
        return make_screen(sys.stdout, self.environ)

    @cached_property
    def notes(self) -> Screen:
        """For everything else: stderr."""
        return make_screen(sys.stderr, self.environ)

    @property
    def can_ask(self) -> bool:
        """Whether a person is there to answer."""
        return sys.stdin.isatty() and sys.stderr.isatty()

    def confirm(self, question: str) -> bool:
        """A person's yes; no where nobody is there to ask."""
        return self.can_ask and click.confirm(one_line(question), err=True)

    def note(self, text: str) -> None:
        """Something worth knowing that is not the data asked for; left out with -q."""
        if not self.quiet:
            self.notes.line(self.notes.style(text, "dim"))

    def note_problems(self, problems: list[Problem]) -> None:
        """Agent files that cannot be used, while a command goes on without them."""
        for problem in problems:
            self.notes.line(f"{self.notes.style('warning:', 'yellow')} {problem}")

    @cached_property
    def home(self) -> Home:
        from edgeagent.home import home_from_environment

        return home_from_environment(self.environ)

    @cached_property
    def runtime(self) -> Runtime:
        from edgeagent.runtime import open_runtime

        return open_runtime(self.environ)

    def close(self) -> None:
        """Ends what the command has started."""
        if "runtime" in self.__dict__:
            self.runtime.mcp.close()

    def journal(self) -> Store:
        """The journal for reading. Raises NotFound where nothing has run yet."""
        from edgeagent.store import open_read_only

        return open_read_only(self.home.database)

    def journal_if_any(self) -> Store | None:
        from edgeagent.store import open_read_only

        return open_read_only(self.home.database) if self.home.database.exists() else None

    def daemon(self) -> DaemonClient:
        """The running daemon. Raises DaemonNotRunning."""
        from edgeagent.api.client import DaemonClient

        client = DaemonClient(self.home.socket)
        client.check()
        return client

    def daemon_if_any(self) -> DaemonClient | None:
        from edgeagent.errors import DaemonNotRunning

        if not self.home.socket.exists():
            return None
        try:
            return self.daemon()
        except DaemonNotRunning:
            return None


pass_app = click.make_pass_decorator(App, ensure=True)
