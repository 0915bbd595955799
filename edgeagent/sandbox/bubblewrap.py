"""Level `full` on Linux: bubblewrap with a root built from an allowlist, and a filter of system calls.

Only /usr/bin/bwrap is taken, whatever PATH says: it is the one that distributions let make namespaces, and the one
that only root can replace.
"""

from __future__ import annotations

import json
import math
import os
import stat
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from edgeagent.errors import SandboxError
from edgeagent.sandbox import root
from edgeagent.sandbox.confined import Confined, environment
from edgeagent.sandbox.places import open_place
from edgeagent.sandbox.request import Command, Level
from edgeagent.sandbox.seccomp import full_filter, this_machine
from edgeagent.sandbox.spawning import Spawner, memory_file

BWRAP = Path("/usr/bin/bwrap")
PRLIMIT = Path("/usr/bin/prlimit")
_NEEDED = ("--ro-bind-fd", "--disable-userns", "--size", "--add-seccomp-fd")
_HINT = "sudo apt install bubblewrap; then edgeagent doctor"
_OPEN_FILES = 1024


@dataclass(slots=True)
class Bubblewrap:
    """Runs commands at level `full`. Paths in `forbidden` are never bound, but for a command's own folder."""

    forbidden: tuple[Path, ...] = ()
    bwrap: Path = BWRAP
    prlimit: Path = PRLIMIT
    spawner: Spawner = field(default_factory=Spawner)

    @property
    def level(self) -> Level:
        return "full"

    def launch(self, command: Command) -> Confined:
        check_program(self.bwrap)
        read_info, write_info = os.pipe()
        with os.fdopen(read_info, "rb") as info:
            with ExitStack() as opened:
                given = _Given(opened)
                options = [*self._options(command, given), "--info-fd", str(given.add(write_info))]
                arguments = given.add(memory_file("options", b"".join(os.fsencode(part) + b"\0" for part in options)))
                argv = [str(self.bwrap), "--args", str(arguments), "--", *self._limited(command)]
                process = self._spawn(argv, given.numbers)
            return Confined(command, self.level, process, _first_process(info.read()))

    def _options(self, command: Command, given: _Given) -> list[str]:
        options = [*root.namespaces(), *root.system(command.limits.scratch_size)]
        for name, data in root.made_up_files():
            options += ["--perms", "0644", "--file", str(given.add(memory_file("etc", data))), name]
        for option, path in self._bindings(command):
            options += [option, str(given.add(open_place(path))), str(path)]
        secrets = {
            name: f"/dev/fd/{given.add(memory_file('secret', value.encode()))}"
            for name, value in command.secrets.items()
        }
        for name, value in environment(command, root.SCRATCH, secrets).items():
            options += ["--setenv", name, value]
        options += ["--add-seccomp-fd", str(given.add(memory_file("seccomp", full_filter(this_machine()))))]
        return [*options, "--remount-ro", "/", "--chdir", str(command.folder)]

    def _bindings(self, command: Command) -> list[tuple[str, Path]]:
        """Deeper paths last, so that none hides another; a path that may be written is not also bound read-only."""
        writes = set(command.writes)
        for path in (*command.writes, *command.reads):
            self._check(path)
        bindings = {path: "--ro-bind-fd" for path in (command.folder, *command.reads) if path not in writes}
        bindings |= dict.fromkeys(command.writes, "--bind-fd")
        bindings[command.folder] = "--ro-bind-fd"
        return [(bindings[path], path) for path in sorted(bindings, key=lambda path: len(path.parts))]

    def _check(self, path: Path) -> None:
        if path == Path("/") or any(path.is_relative_to(place) for place in (Path("/proc"), Path("/dev"))):
            raise SandboxError(f"{path} is never given to a skill", "grant the folder that is needed")
        for place in self.forbidden:
            if path.is_relative_to(place) or place.is_relative_to(path):
                raise SandboxError(f"{path} belongs to edgeagent's own state", "grant another folder")

    def _limited(self, command: Command) -> list[str]:
        """The command with its limits, which must be set inside: there only its own processes count."""
        limits = command.limits
        seconds = math.ceil(limits.cpu_seconds)
        return [
            str(self.prlimit),
            f"--data={limits.memory}",
            f"--cpu={seconds}:{seconds + 1}",
            f"--fsize={limits.file_size}",
            f"--nproc={limits.processes + 1}",  # the first process of the namespace is bubblewrap's
            f"--nofile={_OPEN_FILES}",
            *("--core=0", "--memlock=65536", "--msgqueue=0", "--"),
            *command.argv,
        ]

    def _spawn(self, argv: list[str], descriptors: list[int]) -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE
        try:
            return self.spawner.start(
                lambda: subprocess.Popen(
                    argv, stdin=pipe, stdout=pipe, stderr=pipe, env={}, cwd="/", pass_fds=descriptors, bufsize=0
                )
            )
        except OSError as error:
            raise SandboxError(f"{self.bwrap} does not start: {error.strerror}", _HINT) from error


@dataclass(slots=True)
class _Given:
    """The descriptors that bubblewrap inherits; they are closed here once it has started."""

    opened: ExitStack
    numbers: list[int] = field(default_factory=list)

    def add(self, descriptor: int) -> int:
        self.opened.callback(os.close, descriptor)
        self.numbers.append(descriptor)
        return descriptor


def check_program(bwrap: Path) -> None:
    """SandboxError unless only root can have put it there."""
    try:
        found = bwrap.lstat()
    except OSError as error:
        raise SandboxError(f"{bwrap}: {(error.strerror or 'missing').lower()}", _HINT) from error
    if not stat.S_ISREG(found.st_mode) or found.st_uid != 0 or found.st_mode & 0o022:
        raise SandboxError(f"{bwrap} is not a program that only root can change", f"ls -l {bwrap}; reinstall it")
    if not found.st_mode & 0o111:
        raise SandboxError(f"{bwrap} is not executable", _HINT)


def _first_process(info: bytes) -> int | None:
    """A pidfd of the first process in the namespace; None where it has come to its end or never was."""
    try:
        return os.pidfd_open(int(json.loads(info)["child-pid"]))
    except (ValueError, KeyError, ProcessLookupError):
        return None
