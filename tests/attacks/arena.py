"""What an attack is, and where it is made: unconfined as a control, then at every level, as every user."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
DAEMON = Path(__file__).with_name("daemon.py")
PYTHON = "/usr/bin/python3"
NOBODY = 65534
LEVELS = ("full", "reduced")

PRELUDE = """
import ctypes, errno, fcntl, mmap, os, resource, shutil, signal, socket, stat, struct, subprocess, sys, threading, time
E, C = os.environ, ctypes.CDLL(None, use_errno=True)
X86 = os.uname().machine == "x86_64"
C.mmap.restype = C.shmat.restype = ctypes.c_void_p
def escaped(*told):
    print("ESCAPED", *told, flush=True)
    os._exit(0)
def read(path):
    escaped(open(path).read())
def call(x86, arm, *arguments):
    arguments = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    result = C.syscall(x86 if X86 else arm, *arguments)
    if result < 0: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
print("tried", flush=True)
try:
"""
EPILOGUE = """
except (OSError, MemoryError, RuntimeError, ValueError) as error:
    print("blocked", type(error).__name__, error, flush=True)
"""

Seen = dict[str, Any]


def says_so(seen: Seen) -> bool:
    return "ESCAPED" in seen["stdout"]


@dataclass(frozen=True)
class Attack:
    """One attack. `worked` judges what was seen afterwards, the same way unconfined and confined."""

    name: str
    program: str
    """Python, after the prelude; it calls `escaped` where it got what it wanted."""
    worked: Callable[[Seen], bool] = says_so
    as_root: bool = False
    """Unconfined it works for root only; for others it is still tried, and must still fail."""
    order: dict[str, Any] = field(default_factory=dict)

    @property
    def argv(self) -> list[str]:
        lines = "".join(f"    {line}\n" for line in self.program.strip().splitlines())
        return [PYTHON, "-I", "-S", "-c", PRELUDE + lines + EPILOGUE]


class Arena:
    """A daemon to attack, as one user."""

    def __init__(self, user: int) -> None:
        self.user = user
        self._base = Path(tempfile.mkdtemp(prefix="arena-", dir="/tmp"))
        self._base.chmod(0o755)
        shutil.copytree(ROOT / "edgeagent/sandbox", self._base / "lib/edgeagent/sandbox")
        for name in ("__init__.py", "errors.py"):
            shutil.copy(ROOT / "edgeagent" / name, self._base / "lib/edgeagent")
        shutil.copy(DAEMON, self._base)
        (self._base / "home").mkdir()
        as_user: dict[str, Any] = {}
        if user != os.getuid():
            os.chown(self._base / "home", user, user)
            as_user = {"user": user, "group": user, "extra_groups": []}
        self._daemon = subprocess.Popen(
            [PYTHON, self._base / "daemon.py", self._base / "lib", self._base / "home"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd="/",
            umask=0o022,
            **as_user,
        )
        self.token = self._answer()["token"]
        self._controls: dict[str, Seen] = {}

    def control(self, attack: Attack) -> Seen:
        """The attack without a sandbox, once for each user."""
        if attack.name not in self._controls:
            self._controls[attack.name] = self.order("none", attack)
        return self._controls[attack.name]

    def order(self, level: str, attack: Attack) -> Seen:
        assert self._daemon.stdin
        print(json.dumps({"level": level, "argv": attack.argv, **attack.order}), file=self._daemon.stdin, flush=True)
        return self._answer()

    def check(self, level: str, attack: Attack) -> None:
        """The attack works unconfined and does not work at this level."""
        control = self.control(attack)
        if self.user == 0 or not attack.as_root:
            assert attack.worked(control), f"control of {attack.name}: {control}"
        seen = self.order(level, attack)
        assert "tried" in seen["stdout"], f"{attack.name} did not even run: {seen}"
        assert not attack.worked(seen), f"{attack.name} got out of {level}: {seen}"
        if self.token not in json.dumps(attack.order):
            assert self.token not in seen["stdout"] or attack.worked is not says_so

    def _answer(self) -> Seen:
        assert self._daemon.stdout
        line = self._daemon.stdout.readline()
        assert line, "the daemon has ended"
        answer: Seen = json.loads(line)
        return answer

    def close(self) -> None:
        assert self._daemon.stdin and self._daemon.stdout
        self._daemon.stdin.close()
        self._daemon.wait(60)
        self._daemon.stdout.close()
        shutil.rmtree(self._base)


def users() -> tuple[int, ...]:
    """Root and an ordinary user where this is root, else this user."""
    return (0, NOBODY) if os.getuid() == 0 else (os.getuid(),)
