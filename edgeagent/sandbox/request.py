"""What may be asked of a sandbox and what comes back: frozen data, checked when it is made.

Owns the defaults of every limit. Knows nothing of how a level confines.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from edgeagent.errors import SandboxError
from edgeagent.sandbox.addresses import split

Level = Literal["full", "reduced", "none"]
Limit = Literal["memory", "cpu", "wall", "processes", "scratch", "output", "stopped"]
"""What ended a command before its time; `stopped`: the caller asked for it."""

SECRET_SUFFIX = "_FILE"
"""A secret NAME is read from the file that the variable NAME_FILE names: an open descriptor."""
IDEMPOTENCY_KEY = "EDGEAGENT_IDEMPOTENCY_KEY"

_MB = 1_000_000
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)
_LOADERS = re.compile(r"(?:LD|DYLD)_.*|GLIBC_TUNABLES|GCONV_PATH|LOCPATH|(?:HTTP|HTTPS|ALL|NO)_PROXY", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a command and everything that it starts may use. Sizes in bytes; a size of 0 is none at all."""

    memory: int = 512 * _MB
    """Of all its processes together, and of each alone."""
    cpu_seconds: float = 60.0
    """Of all its processes together."""
    wall_seconds: float = 60.0
    processes: int = 64
    """At a time, threads included."""
    file_size: int = 100 * _MB
    scratch_size: int = 100 * _MB
    output_bytes: int = _MB
    """Of standard output; standard error gets as much again."""

    def __post_init__(self) -> None:
        for name in ("memory", "cpu_seconds", "wall_seconds", "processes", "output_bytes"):
            if getattr(self, name) <= 0:
                raise SandboxError(f"the limit {name} must be more than 0", "mend the limits of the tool")
        if self.file_size < 0 or self.scratch_size < 0:
            raise SandboxError("a size cannot be less than 0", "mend the limits of the tool")


@dataclass(frozen=True, slots=True)
class Command:
    """One command to run confined.

    Every path is absolute and resolved: one with a symlink in it is refused when it is opened, since it is not the
    place that was checked. What is granted appears at its own path.
    """

    argv: tuple[str, ...]
    folder: Path
    """Its own files: read-only, and where it starts."""
    reads: tuple[Path, ...] = ()
    writes: tuple[Path, ...] = ()
    """Files and folders that exist."""
    hosts: tuple[str, ...] = ()
    """Exact host:port entries."""
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """By name; each is given as an open file that NAME_FILE in the environment names."""
    secret_environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Variables that hold secrets themselves, for programs that take them in no other way."""
    stdin: bytes = field(default=b"", repr=False)
    limits: Limits = Limits()
    idempotency_key: str = ""

    def __post_init__(self) -> None:
        if not self.argv or not self.argv[0]:
            raise SandboxError("no program is named", "name one in `run`")
        if any("\0" in part for part in self._texts()):
            raise SandboxError("an argument holds a NUL character", "mend the arguments")
        for name in (*self.environment, *self.secret_environment, *self.secrets):
            if not _VARIABLE.fullmatch(name) or _LOADERS.fullmatch(name):
                raise SandboxError(f"{name!r} cannot be set in the environment of a skill", "choose another name")
        for host in self.hosts:
            try:
                split(host)
            except ValueError as error:
                raise SandboxError(str(error), "write one such as ntfy.sh:443") from error
        for path in (self.folder, *self.reads, *self.writes):
            if not path.is_absolute() or ".." in path.parts:
                raise SandboxError(f"{str(path)!r} is not a full path", "give the full path")

    def _texts(self) -> tuple[str, ...]:
        values = (*self.environment.values(), *self.secret_environment.values())
        return (*self.argv, *values, self.idempotency_key)


@dataclass(frozen=True, slots=True)
class Connection:
    """One attempt to reach a host through the proxy."""

    host: str
    """As asked for: host:port."""
    address: str
    """What the name stood for and was connected to; empty where nothing was."""
    outcome: Literal["connected", "refused", "failed"]
    reason: str = ""
    sent: int = 0
    received: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended."""

    exit_code: int
    """As a shell tells it: 128 and the number of the signal for one that was killed, 127 where there is no program."""
    stdout: bytes
    stderr: bytes
    seconds: float
    level: Level
    limit: Limit | None = None
    connections: tuple[Connection, ...] = ()

    @property
    def signal(self) -> int | None:
        """The number of the signal that ended it."""
        return self.exit_code - 128 if 128 < self.exit_code <= 192 else None

    @property
    def ok(self) -> bool:
        return self.exit_code == 0 and self.limit is None
