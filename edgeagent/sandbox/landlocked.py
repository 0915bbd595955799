"""Level `reduced` on Linux: Landlock and a filter of system calls, below a parent that leaves no survivors.

For machines without bubblewrap or user namespaces. There is no network here at all: without a namespace of its own a
command could reach a port of any address, so one that is granted hosts is refused.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from edgeagent.errors import SandboxError
from edgeagent.sandbox import landlock
from edgeagent.sandbox.confined import Confined, environment
from edgeagent.sandbox.places import granted, open_place
from edgeagent.sandbox.request import Command, Level
from edgeagent.sandbox.rlimits import ResourceLimit, resource_limits
from edgeagent.sandbox.root import ETC
from edgeagent.sandbox.seccomp import reduced_filter, this_machine
from edgeagent.sandbox.spawning import Given, Spawner, memory_file
from edgeagent.sandbox.usage import stored_in, threads_of

_LAUNCHER = Path(__file__).with_name("launcher.py")
_PROGRAMS = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_DEVICES = ("null", "zero", "full", "random", "urandom")
_FACTS = ("cpuinfo", "meminfo", "stat", "uptime", "loadavg", "version", "filesystems")


@dataclass(slots=True)
class Landlocked:
    """Runs commands at level `reduced`. `scratch` is a folder for their scratch folders."""

    scratch: Path
    forbidden: tuple[Path, ...] = ()
    python: str = sys.executable
    """Runs launcher.py."""
    spawner: Spawner = field(default_factory=Spawner)

    @property
    def level(self) -> Level:
        return "reduced"

    def check(self) -> None:
        """SandboxError where this machine cannot have this level."""
        this_machine()
        if landlock.version() < 1:
            raise SandboxError("this kernel has no Landlock, or it is not switched on", "sudo apt install bubblewrap")

    def launch(self, command: Command) -> Confined:
        if command.hosts:
            raise SandboxError("a skill that is granted hosts needs the sandbox at level full", "edgeagent doctor")
        with ExitStack() as failed, ExitStack() as opened:
            scratch = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=self.scratch))
            failed.callback(os.rmdir, scratch)
            control, kept = os.pipe()
            failed.callback(os.close, kept)
            process = self._start(command, scratch, control, Given(opened))
            failed.pop_all()
        # The launcher removes the scratch folder, and ends everything when the pipe is closed, by us or by our death.
        pipe = ExitStack()
        pipe.callback(os.close, kept)
        stored = partial(stored_in, scratch, command.limits)
        return Confined(command, self.level, process, pipe.close, stored=stored)

    def _start(self, command: Command, scratch: Path, control: int, given: Given) -> subprocess.Popen[bytes]:
        abi = landlock.version()
        orders: dict[str, Any] = {
            "argv": command.argv,
            "folder": str(command.folder),
            "environment": environment(command, str(scratch), given, proxy_port=0),
            "limits": [(limit.number, limit.soft, limit.hard) for limit in self._limits(command)],
            "scratch": str(scratch),
            "starter": os.getpid(),
            "control": given.add(control),
            "rules": given.add(self._rules(command, scratch, abi)),
            "scope": given.add(landlock.signal_scope()) if abi >= landlock.SIGNAL_ABI else -1,
            "filter": given.add(memory_file("seccomp", reduced_filter(this_machine(), abi))),
        }
        paper = given.add(memory_file("orders", json.dumps(orders).encode()))
        return self.spawner.start([self.python, "-I", "-S", str(_LAUNCHER), str(paper)], given.numbers)

    def _limits(self, command: Command) -> tuple[ResourceLimit, ...]:
        """Without a user namespace all processes of the user count, so those that run already come on top."""
        return resource_limits(command.limits, running=threads_of(os.getuid()))

    def _rules(self, command: Command, scratch: Path, abi: int) -> int:
        with ExitStack() as opened:
            places = []
            for place, rights in chain(_system(), self._granted(command, scratch)):
                opened.callback(os.close, place)
                places.append((place, rights))
            return landlock.ruleset(abi, places)

    def _granted(self, command: Command, scratch: Path) -> Iterator[tuple[int, int]]:
        yield open_place(scratch), landlock.WRITE
        for path, writable in granted(command, self.forbidden):
            yield open_place(path), landlock.WRITE if writable else landlock.READ


def _system() -> Iterator[tuple[int, int]]:
    """What belongs to no user: programs, a few files of /etc and facts about the machine, harmless devices."""
    devices = {f"/dev/{name}": landlock.USE for name in _DEVICES}
    programs = dict.fromkeys((*_PROGRAMS, *(f"/etc/{name}" for name in ETC)), landlock.READ)
    facts = {f"/proc/{name}": landlock.READ_ONLY for name in _FACTS}
    for name, rights in (programs | facts | devices).items():
        with suppress(FileNotFoundError):
            yield os.open(name, os.O_PATH | os.O_CLOEXEC), rights
