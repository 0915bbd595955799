"""A command while it runs confined: its pipes, and the means to end it with everything it has started.

Each level's `launch` gives one. `run` (run.py) serves it to its end; whoever talks to a server that stays keeps it.
"""

from __future__ import annotations

import os
import select
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Protocol

from edgeagent.sandbox.proxy import Proxy
from edgeagent.sandbox.request import IDEMPOTENCY_KEY, SECRET_SUFFIX, Command, Connection, Level
from edgeagent.sandbox.spawning import Given, memory_file
from edgeagent.sandbox.usage import Stored

_GONE_SECONDS = 10.0
_PROXY_VARIABLES = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")


class Sandbox(Protocol):
    """One level that this machine has."""

    @property
    def level(self) -> Level: ...

    def check(self) -> None:
        """SandboxError where this machine cannot have it; says nothing of whether it holds."""
        ...

    def launch(self, command: Command) -> Confined:
        """Starts the command. SandboxError where it cannot be confined as it must be."""
        ...


@dataclass(slots=True)
class Confined:
    """One running command. Its pipes do not buffer. Leaving the `with` ends it."""

    command: Command
    level: Level
    process: subprocess.Popen[bytes]
    """Ours, and outside; what is confined is below it."""
    kill: Callable[[], None]
    """Asks for the end of the whole tree; does not wait."""
    first: int | None = None
    """A pidfd of the process whose end ends all others, where there is one: the first of a pid namespace."""
    stored: Callable[[], Stored] = Stored
    """What lies in its scratch folder."""
    proxy: Proxy | None = None
    ended: int = field(init=False)
    """Readable once the command has come to its end."""
    cleanups: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        self.ended = self._closed_later(os.pidfd_open(self.process.pid))
        if self.first is not None:
            self._closed_later(self.first)

    def __enter__(self) -> Confined:
        return self

    def __exit__(self, *reason: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends it and lets go of everything."""
        with self.cleanups:
            self.end()
            for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
                if pipe is not None:
                    pipe.close()

    def connections(self) -> tuple[Connection, ...]:
        """Every attempt to reach a host, up to now."""
        return self.proxy.connections() if self.proxy else ()

    def end(self) -> int:
        """Kills what is left, waits until it is gone, and gives the exit code as a shell tells it."""
        self.kill()
        try:
            code = self.process.wait(_GONE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        if self.first is not None:
            poll = select.poll()
            poll.register(self.first, select.POLLIN)
            poll.poll(_GONE_SECONDS * 1000)
        if self.proxy:
            self.proxy.close()
        return code if code >= 0 else 128 - code

    def _closed_later(self, descriptor: int) -> int:
        self.cleanups.callback(os.close, descriptor)
        return descriptor


def environment(command: Command, scratch: str, given: Given, proxy_port: int) -> dict[str, str]:
    """All that a confined process finds in its environment; secrets become files that it is given."""
    own = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": scratch, "TMPDIR": scratch, "LANG": "C.UTF-8"}
    own |= command.environment
    own |= command.secret_environment
    if command.idempotency_key:
        own[IDEMPOTENCY_KEY] = command.idempotency_key
    if command.hosts:
        own |= dict.fromkeys(_PROXY_VARIABLES, f"http://127.0.0.1:{proxy_port}") | {"NODE_USE_ENV_PROXY": "1"}
    for name, value in command.secrets.items():
        own[name + SECRET_SUFFIX] = f"/dev/fd/{given.add(memory_file('secret', value.encode()))}"
    return own
