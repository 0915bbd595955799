"""Level `full` on Linux: bubblewrap with a root built from an allowlist, and a filter of system calls.

Only /usr/bin/bwrap is taken, whatever PATH says: it is the one that distributions let make namespaces, and the one
that only root can replace.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from edgeagent.errors import SandboxError
from edgeagent.sandbox import root
from edgeagent.sandbox.confined import Confined, environment
from edgeagent.sandbox.places import granted, open_place
from edgeagent.sandbox.request import Command, Level
from edgeagent.sandbox.rlimits import resource_limits
from edgeagent.sandbox.seccomp import full_filter, this_machine
from edgeagent.sandbox.spawning import Given, Spawner, memory_file

BWRAP = Path("/usr/bin/bwrap")
PRLIMIT = Path("/usr/bin/prlimit")
_NEEDED = ("--ro-bind-fd", "--disable-userns", "--size", "--add-seccomp-fd")
_HELP_SECONDS = 10.0
_HINT = "sudo apt install bubblewrap; then edgeagent doctor"


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

    def check(self) -> None:
        """SandboxError where this machine cannot have this level."""
        check_program(self.bwrap)
        if not self.prlimit.is_file():
            raise SandboxError(f"{self.prlimit} is missing", "sudo apt install util-linux")
        this_machine()
        try:
            shown = subprocess.run(
                [self.bwrap, "--help"], capture_output=True, env={}, timeout=_HELP_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SandboxError(f"{self.bwrap} does not start: {error}", _HINT) from error
        missing = [option for option in _NEEDED if option not in (shown.stdout + shown.stderr).decode(errors="replace")]
        if missing:
            raise SandboxError(f"{self.bwrap} is too old: it lacks {missing[0]}", "sudo apt upgrade bubblewrap")

    def launch(self, command: Command) -> Confined:
        check_program(self.bwrap)
        read_info, write_info = os.pipe()
        with os.fdopen(read_info, "rb") as info:
            with ExitStack() as opened:
                given = Given(opened)
                told = ["--info-fd", str(given.add(write_info))]
                options = [*self._options(command, given), *told]
                arguments = given.add(memory_file("options", b"".join(os.fsencode(part) + b"\0" for part in options)))
                argv = [str(self.bwrap), "--args", str(arguments), "--", *self._limited(command)]
                process = self.spawner.start(argv, given.numbers)
            first = _first_process(info.read())
            return Confined(command, self.level, process, partial(_kill, process, first), first)

    def _options(self, command: Command, given: Given) -> list[str]:
        options = [*root.namespaces(), *root.system(command.limits.scratch_size)]
        for name, data in root.made_up_files():
            options += ["--perms", "0644", "--file", str(given.add(memory_file("etc", data))), name]
        for path, writable in granted(command, self.forbidden):
            option = "--bind-fd" if writable else "--ro-bind-fd"
            options += [option, str(given.add(open_place(path))), str(path)]
        secrets = {
            name: f"/dev/fd/{given.add(memory_file('secret', value.encode()))}"
            for name, value in command.secrets.items()
        }
        for name, value in environment(command, root.SCRATCH, secrets).items():
            options += ["--setenv", name, value]
        options += ["--add-seccomp-fd", str(given.add(memory_file("seccomp", full_filter(this_machine()))))]
        return [*options, "--remount-ro", "/", "--chdir", str(command.folder)]

    def _limited(self, command: Command) -> list[str]:
        """The command with its limits, which must be set inside: there only its own processes count."""
        running = 1  # the first process of the namespace is bubblewrap's
        limits = (f"--{limit.name}={limit.soft}:{limit.hard}" for limit in resource_limits(command.limits, running))
        return [str(self.prlimit), *limits, "--", *command.argv]


def _kill(process: subprocess.Popen[bytes], first: int | None) -> None:
    """The first process of a namespace takes all others with it."""
    if first is not None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(first, signal.SIGKILL)
    process.kill()


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
