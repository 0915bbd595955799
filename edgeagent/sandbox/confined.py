"""A command while it runs confined: its pipes, and the means to end it with everything it has started.

Each level's `launch` gives one. `run` (run.py) serves it to its end; whoever talks to a server that stays keeps it.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Protocol

from edgeagent.sandbox.request import IDEMPOTENCY_KEY, SECRET_SUFFIX, Command, Connection, Level

_GONE_SECONDS = 10.0


class Sandbox(Protocol):
    """One level that this machine has."""

    @property
    def level(self) -> Level: ...

    def launch(self, command: Command) -> Confined:
        """Starts the command. SandboxError where it cannot be confined as it must be."""
        ...


@dataclass(slots=True)
class Confined:
    """One running command. Its pipes do not buffer. Leaving the `with` ends it."""

    command: Command
    level: Level
    process: subprocess.Popen[bytes]
    first: int | None = None
    """A pidfd of the process whose end ends all others: the first of a pid namespace."""
    connections: Callable[[], tuple[Connection, ...]] = tuple
    ended: int = -1
    """Readable once the command has come to its end."""
    _cleanups: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        self.ended = os.pidfd_open(self.process.pid)
        for descriptor in (self.ended, self.first):
            if descriptor is not None:
                self._cleanups.callback(os.close, descriptor)

    def __enter__(self) -> Confined:
        return self

    def __exit__(self, *reason: object) -> None:
        with self._cleanups:
            self.end()
            for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
                if pipe is not None:
                    pipe.close()

    def kill(self) -> None:
        """Asks for the end of the whole tree; does not wait."""
        if self.first is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.first, signal.SIGKILL)
        self.process.kill()

    def end(self) -> int:
        """Kills what is left, waits until it is gone, and gives the exit code as a shell tells it."""
        if self.process.poll() is None or self.first is not None:
            self.kill()
        code = self.process.wait()
        if self.first is not None:
            select.select([self.first], [], [], _GONE_SECONDS)
        return code if code >= 0 else 128 - code


def environment(command: Command, scratch: str, secrets: Mapping[str, str]) -> dict[str, str]:
    """All that a confined process finds in its environment."""
    own = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": scratch, "TMPDIR": scratch, "LANG": "C.UTF-8"}
    own |= command.environment
    if command.idempotency_key:
        own[IDEMPOTENCY_KEY] = command.idempotency_key
    return own | {name + SECRET_SUFFIX: place for name, place in secrets.items()}
