"""Level `full` on Linux: bubblewrap with a root built from an allowlist, and a filter of system calls.

Only /usr/bin/bwrap is taken, whatever PATH says: it is the one that distributions let make namespaces, and the one
that only root can replace.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from io import FileIO
from pathlib import Path

from edgeagent.errors import SandboxError
from edgeagent.sandbox import namespace, root
from edgeagent.sandbox.addresses import Reachable, Resolve, resolve
from edgeagent.sandbox.confined import Confined, environment
from edgeagent.sandbox.places import granted, open_place
from edgeagent.sandbox.proxy import Proxy
from edgeagent.sandbox.request import Command, Level
from edgeagent.sandbox.rlimits import resource_limits
from edgeagent.sandbox.seccomp import full_filter, this_machine
from edgeagent.sandbox.spawning import Given, Spawner, memory_file
from edgeagent.sandbox.usage import stored_in_memory

BWRAP = Path("/usr/bin/bwrap")
PRLIMIT = Path("/usr/bin/prlimit")
_NEEDED = ("--ro-bind-fd", "--disable-userns", "--size", "--add-seccomp-fd")
_SECONDS = 10.0
"""For what takes milliseconds."""
_HINT = "sudo apt install bubblewrap; then edgeagent doctor"


@dataclass(slots=True)
class Bubblewrap:
    """Runs commands at level `full`. Paths in `forbidden` are never bound, but for a command's own folder."""

    forbidden: tuple[Path, ...] = ()
    bwrap: Path = BWRAP
    prlimit: Path = PRLIMIT
    python: str = sys.executable
    """Runs namespace.py."""
    resolve: Resolve = resolve
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
        argv = [str(self.bwrap), "--help"]
        try:
            shown = subprocess.run(argv, capture_output=True, env={}, timeout=_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SandboxError(f"{self.bwrap} does not start: {error}", _HINT) from error
        options = (shown.stdout + shown.stderr).decode(errors="replace").split()
        missing = [option for option in _NEEDED if option not in options]
        if missing:
            raise SandboxError(f"{self.bwrap} is too old: it lacks {missing[0]}", "sudo apt upgrade bubblewrap")

    def launch(self, command: Command) -> Confined:
        check_program(self.bwrap)
        with _pipe() as (info, told), _pipe() as (gate, opener):
            with ExitStack() as opened:
                process = self._start(command, Given(opened), os.dup(told.fileno()), os.dup(gate.fileno()))
            told.close()
            number, first = _first_process(process, info.read())
            stored = partial(stored_in_memory, number, root.SCRATCH)
            confined = Confined(command, self.level, process, partial(_kill, process, first), first, stored)
            if command.hosts:
                try:
                    confined.proxy = self._proxy(command, number)
                except BaseException:
                    confined.close()
                    raise
                opener.write(b"x")
        return confined

    def _start(self, command: Command, given: Given, info: int, gate: int) -> subprocess.Popen[bytes]:
        options = ["--info-fd", str(given.add(info))]
        given.opened.callback(os.close, gate)
        if command.hosts:  # it waits at the gate until there is a way out
            given.numbers.append(gate)
            options += ["--block-fd", str(gate)]
        options += [*root.namespaces(), *root.system(command.limits.scratch_size)]
        for name, data in root.made_up_files():
            options += ["--perms", "0644", "--file", str(given.add(memory_file("etc", data))), name]
        for path, writable in granted(command, self.forbidden):
            option = "--bind-fd" if writable else "--ro-bind-fd"
            options += [option, str(given.add(open_place(path))), str(path)]
        for name, value in environment(command, root.SCRATCH, given, namespace.PORT).items():
            options += ["--setenv", name, value]
        options += ["--add-seccomp-fd", str(given.add(memory_file("seccomp", full_filter(this_machine()))))]
        options += ["--remount-ro", "/", "--chdir", str(command.folder)]
        arguments = given.add(memory_file("options", b"".join(os.fsencode(part) + b"\0" for part in options)))
        return self.spawner.start(
            [str(self.bwrap), "--args", str(arguments), "--", *self._limited(command)], given.numbers
        )

    def _limited(self, command: Command) -> list[str]:
        """The command with its limits, which must be set inside: there only its own processes count."""
        running = 1  # the first process of the namespace is bubblewrap's
        limits = (f"--{limit.name}={limit.soft}:{limit.hard}" for limit in resource_limits(command.limits, running))
        return [str(self.prlimit), *limits, "--", *command.argv]

    def _proxy(self, command: Command, first: int) -> Proxy:
        """Serves the command's namespace from outside. SandboxError where there is no getting in."""
        near, far = socket.socketpair()
        with near, far:
            argv = [self.python, "-I", "-S", namespace.__file__, str(first), str(far.fileno())]
            with self.spawner.start(argv, [far.fileno()]) as helper:
                far.close()
                near.settimeout(_SECONDS)
                try:
                    _, descriptors, _, _ = socket.recv_fds(near, 1, 1)
                except OSError:
                    descriptors = []
                helper.kill()
                trouble = helper.stderr.read().decode(errors="replace").strip() if helper.stderr else ""
        if not descriptors:
            raise SandboxError(f"no way out of the sandbox for the granted hosts: {trouble[-200:]}", "edgeagent doctor")
        proxy = Proxy(socket.socket(fileno=descriptors[0]), Reachable.of(command.hosts), self.resolve)
        proxy.start()
        return proxy


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


@contextmanager
def _pipe() -> Iterator[tuple[FileIO, FileIO]]:
    """Both ends, closed afterwards where they are not yet."""
    reading, writing = os.pipe()
    with FileIO(reading, "r") as first, FileIO(writing, "w") as second:
        yield first, second


def _kill(process: subprocess.Popen[bytes], first: int | None) -> None:
    """The first process of a namespace takes all others with it."""
    if first is not None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(first, signal.SIGKILL)
    process.kill()


def _first_process(process: subprocess.Popen[bytes], info: bytes) -> tuple[int, int | None]:
    """The first process in the namespace and a pidfd of it; none where it has come to its end or never was."""
    descriptor = None
    try:
        number = int(json.loads(info)["child-pid"])
        descriptor = os.pidfd_open(number)
        parent = int(Path(f"/proc/{number}/stat").read_bytes().rpartition(b")")[2].split()[1])
    except (ValueError, KeyError, OSError):
        parent = number = 0
    if descriptor is not None and parent != process.pid:  # the number belongs to somebody else by now
        os.close(descriptor)
        descriptor = None
    return number, descriptor
