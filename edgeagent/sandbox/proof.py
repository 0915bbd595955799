"""Shows that a level confines, by trying to get out of it.

Owns the attempts: each is a harmless act that works outside (`test_the_attempts_of_the_proof_work_unconfined`) and must
not work inside. They take a fraction of a second, so they are made whenever a sandbox is opened.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from edgeagent.errors import SandboxError
from edgeagent.sandbox.confined import Sandbox
from edgeagent.sandbox.request import Command, Limits, Outcome
from edgeagent.sandbox.run import run

PYTHON = Path("/usr/bin/python3")
_MOMENT = 2.0
_LIMITS = Limits(wall_seconds=20.0)

SHELL = """
{ cat "$OUTSIDE/canary" && echo escaped read; } 2>/dev/null
{ echo x >>"$OUTSIDE/written" && echo escaped write; } 2>/dev/null
{ echo x >>own.txt && echo escaped own; } 2>/dev/null
{ ln -s "$OUTSIDE/canary" "$TMPDIR/link" && cat "$TMPDIR/link" && echo escaped link; } 2>/dev/null
{ grep -q "$CANARY" "/proc/$VICTIM/environ" && echo escaped environment; } 2>/dev/null
(sleep "$NAP" >/dev/null 2>&1 &)
cat own.txt
kill "$VICTIM" 2>/dev/null && echo killed
"""
CALLS = """
import ctypes, os, socket
library = ctypes.CDLL(None)
def attempt(name, act):
    try:
        if act() != -1: print("escaped", name)
    except OSError: pass
attempt("loopback", lambda: socket.create_connection(("127.0.0.1", int(os.environ["PORT"])), 1).close())
attempt("unix", lambda: socket.socket(socket.AF_UNIX).connect(os.environ["SOCKET"]))
attempt("namespaces", lambda: library.unshare(0x10000000))
attempt("keys", lambda: library.syscall({"x86_64": 250, "aarch64": 219}[os.uname().machine], 0, -3, 1))
attempt("tracing", lambda: library.ptrace(0, 0, 0, 0))
print(open("own.txt").read())
"""

ATTEMPTS = {
    "read": "read a file that was not granted",
    "write": "write outside its scratch folder",
    "own": "change the skill's own folder",
    "link": "read through a symlink",
    "environment": "read another process's environment",
    "signal": "end another process",
    "survivor": "leave a process behind",
}
ATTEMPTS_OF_CALLS = {
    "loopback": "reach a port of this machine",
    "unix": "reach a unix socket of this machine",
    "namespaces": "make a namespace of its own",
    "keys": "use the kernel's keys",
    "tracing": "trace a process",
}


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to get out."""

    text: str
    blocked: bool


@dataclass(frozen=True, slots=True)
class Proof:
    """What came of all attempts. `trouble` says why a command did not even run."""

    attempts: tuple[Attempt, ...] = ()
    trouble: str = ""

    @property
    def escapes(self) -> tuple[str, ...]:
        return tuple(attempt.text for attempt in self.attempts if not attempt.blocked)

    @property
    def holds(self) -> bool:
        return not self.trouble and not self.escapes


def prove(sandbox: Sandbox, place: Path) -> Proof:
    """Tries to get out of a sandbox. `place` is a folder for the files that this takes; they are removed again."""
    try:
        with prepared(place) as targets:
            return _attempts(sandbox, targets)
    except (SandboxError, OSError) as error:
        return Proof(trouble=str(error))


@dataclass(frozen=True, slots=True)
class Prepared:
    """What there is to attack, and the environment that tells the programs where it is."""

    folder: Path
    environment: dict[str, str]
    victim: subprocess.Popen[bytes]

    def escapes(self, told: bytes) -> set[str]:
        """The attempts that succeeded, by what the program told and by what can be seen from outside."""
        lines = told.decode(errors="replace").splitlines()
        found = {line.split()[1] for line in lines if line.startswith("escaped ")}
        if "killed" in lines and self._has_ended():
            found.add("signal")
        if _running(self.environment["NAP"]):
            found.add("survivor")
        return found

    def _has_ended(self) -> bool:
        """Within a moment. In a namespace the victim's number may have been that of another process."""
        try:
            self.victim.wait(_MOMENT)
        except subprocess.TimeoutExpired:
            return False
        return True


@contextmanager
def prepared(place: Path) -> Iterator[Prepared]:
    """Files, a process and two listening sockets, all of them removed again."""
    token = secrets.token_hex(16)
    with ExitStack() as undo:
        folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="proof-", dir=place))).resolve()
        short = undo.enter_context(tempfile.TemporaryDirectory(prefix="e"))  # the name of a socket is 107 bytes at most
        own, outside = folder / "own", folder / "outside"
        own.mkdir()
        outside.mkdir()
        (own / "own.txt").write_text(f"{token}\n")
        (outside / "canary").write_text(f"{token}\n")
        victim = undo.enter_context(subprocess.Popen(["/bin/sleep", "600"], env={"CANARY": token}, cwd="/"))
        undo.callback(victim.kill)
        port = undo.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
        listener = undo.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(f"{short}/s")
        listener.listen()
        variables = {"OUTSIDE": str(outside), "CANARY": token, "VICTIM": str(victim.pid), "PORT": str(port)}
        variables |= {"SOCKET": f"{short}/s", "NAP": f"600.{secrets.randbelow(10**9):09}"}
        undo.callback(_end, variables["NAP"])
        yield Prepared(own, variables, victim)


def programs() -> Iterator[tuple[tuple[str, ...], dict[str, str]]]:
    """What makes the attempts, and which it makes. System calls take Python; a system without it has fewer programs."""
    yield ("/bin/sh", "-c", SHELL), ATTEMPTS
    if PYTHON.exists():
        yield (str(PYTHON), "-I", "-S", "-c", CALLS), ATTEMPTS_OF_CALLS


def _attempts(sandbox: Sandbox, targets: Prepared) -> Proof:
    attempts = []
    for argv, texts in programs():
        command = Command(argv, targets.folder, environment=targets.environment, limits=_LIMITS)
        outcome = run(sandbox, command)
        if targets.environment["CANARY"].encode() not in outcome.stdout:
            return Proof(trouble=_trouble(outcome))
        escapes = targets.escapes(outcome.stdout)
        attempts += [Attempt(text, blocked=name not in escapes) for name, text in texts.items()]
    return Proof(tuple(attempts))


def _trouble(outcome: Outcome) -> str:
    lines = outcome.stderr.decode(errors="replace").strip().splitlines()
    return (
        lines[-1]
        if lines
        else f"a command ended with {outcome.exit_code}" + (f", limit {outcome.limit}" if outcome.limit else "")
    )


def _running(argument: str) -> list[int]:
    """The processes that have this argument."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if argument.encode() in (folder / "cmdline").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def _end(argument: str) -> None:
    """A sandbox that does not hold leaves a process behind; the proof does not."""
    for process in _running(argument):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(process, signal.SIGKILL)
