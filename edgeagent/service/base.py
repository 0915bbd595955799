"""What a service is to the commands, whoever starts it; and how programs are run for it."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from edgeagent.errors import ServiceError
from edgeagent.schema import Json
from edgeagent.service.program import Program

_SECONDS = 180.0
"""For one command: a start waits for the daemon to be ready, a stop for runs in hand."""


@dataclass(frozen=True, slots=True)
class Installed:
    """What an installation did: the file, whether it changed, and what is worth knowing besides."""

    path: Path
    changed: bool
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """How a service stands. `state` is a word of the manager's own; `problem` says why it cannot be asked."""

    manager: str
    scope: str
    path: str
    installed: bool
    edited: bool = False
    home: str = ""
    enabled: bool = False
    running: bool = False
    state: str = ""
    pid: int | None = None
    restarts: int | None = None
    detail: str = ""
    problem: str = ""

    def as_json(self) -> Json:
        return asdict(self)


class Service(Protocol):
    """One service of one manager. Each method raises ServiceError with the next thing to try."""

    @property
    def path(self) -> Path:
        """The file that describes it."""

    def described(self) -> str | None:
        """The home of the service that is installed. None where there is none, or none that can be read."""

    def environment(self) -> dict[str, str]:
        """The variables that say where this service has its home, unless the caller's own say so."""

    def text(self, program: Program, write: Sequence[str]) -> str:
        """What the file is to say."""

    def commands(self) -> list[list[str]]:
        """What `install` runs once the file is there."""

    def install(self, program: Program, write: Sequence[str], *, force: bool, start: bool) -> Installed:
        """Describes, enables and starts it. One that is there is brought up to date, unless a person changed it."""

    def uninstall(self, *, force: bool) -> Installed:
        """Stops it and takes its file away. NotFound where there is none."""

    def start(self) -> None:
        """Returns when it is ready. NotFound where there is none."""

    def stop(self) -> None:
        """Returns when it has stopped. NotFound where there is none."""

    def status(self) -> ServiceStatus:
        """Raises nothing: what cannot be asked is told as `problem`."""


@dataclass(frozen=True, slots=True)
class Done:
    code: int
    output: str
    error: str

    @property
    def last_word(self) -> str:
        lines = (self.error.strip() or self.output.strip()).splitlines()
        return lines[-1] if lines else f"exit code {self.code}"


def call(command: Sequence[str], environ: Mapping[str, str]) -> Done:
    """Runs a program of the system to its end. ServiceError where it is not there, or does not end."""
    try:
        done = subprocess.run(
            command,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
        )
    except FileNotFoundError as error:
        raise ServiceError(f"{command[0]} is not on this machine", "edgeagent daemon") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServiceError(f"{command[0]}: {error}", "the same once more, or edgeagent daemon") from error
    return Done(done.returncode, done.stdout, done.stderr)
