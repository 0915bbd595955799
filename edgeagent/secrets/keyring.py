"""The keyring of the desktop (Secret Service, KWallet, macOS Keychain), asked in a child process.

A locked collection keeps its caller waiting for ever, and a keyring library is a large thing to hold in a daemon: so a
child asks, gets three seconds from the moment it is loaded, and is killed with whatever it started. The value comes
over a pipe. The keyring cannot list what it holds, so the names (not the values) are kept in a file.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeagent.errors import SecretError

SECONDS = 3.0
"""How long the keyring may take."""
_LOAD_SECONDS = 30.0
"""How long the child may take to start: a slow card and a cold cache are no fault of the keyring."""
_KEPT = ("HOME", "USER", "LOGNAME", "PATH", "LANG", "PYTHONPATH", "DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "TMPDIR")
_KEPT_PREFIXES = ("XDG_", "DBUS_", "LC_", "PYTHON_KEYRING_", "KDE_")
ALTERNATIVES = (
    'unlock it, or name another place in config.toml: [secrets] backend = "file"; '
    "or give secrets as systemd credentials or as EDGEAGENT_SECRET_NAME"
)


@dataclass(frozen=True, slots=True)
class Keyring:
    """The entries of one installation in the user's keyring.

    Args:
        service: the name under which the keyring files them.
        names_file: where the names are kept.
        command: how the child is started; tests give another one.
    """

    service: str
    names_file: Path
    environ: Mapping[str, str]
    command: tuple[str, ...] = (sys.executable, "-m", "edgeagent.secrets.child")
    seconds: float = SECONDS

    name = "keyring"

    def get(self, name: str) -> str | None:
        value: str | None = self._ask("get", name)["value"]
        return value

    def set(self, name: str, value: str) -> None:
        self._ask("set", name, value)
        self._write_names({*self.names(), name})

    def remove(self, name: str) -> bool:
        was_there: bool = self._ask("remove", name)["value"]
        self._write_names({*self.names()} - {name})
        return was_there

    def names(self) -> list[str]:
        try:
            return sorted(str(name) for name in json.loads(self.names_file.read_text("utf-8")))
        except FileNotFoundError:
            return []
        except (OSError, ValueError, TypeError) as error:
            raise SecretError(f"{self.names_file} cannot be read: {error}", f"ls -l '{self.names_file}'") from error

    def about(self) -> str:
        """Which keyring it is. Raises SecretError where there is none that can be used."""
        return f"keyring: {self._ask('about')['value']}"

    def _write_names(self, names: Collection[str]) -> None:
        write_private(self.names_file, json.dumps(sorted(names)).encode())

    def _ask(self, action: str, name: str = "", value: str = "") -> dict[str, Any]:
        environment = {key: text for key, text in self.environ.items() if _is_needed(key)}
        asked = {"action": action, "service": self.service, "name": name, "value": value}
        with subprocess.Popen(
            self.command,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        ) as child:
            try:
                return self._conversation(child, json.dumps(asked).encode() + b"\n")
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)

    def _conversation(self, child: subprocess.Popen[bytes], asked: bytes) -> dict[str, Any]:
        assert child.stdin and child.stdout
        if _line(child.stdout.fileno(), _LOAD_SECONDS) is None:
            raise SecretError("the keyring cannot be asked: its helper process did not start", ALTERNATIVES)
        with contextlib.suppress(BrokenPipeError):
            child.stdin.write(asked)
        line = _line(child.stdout.fileno(), self.seconds)
        if line is None:
            raise SecretError(
                f"the keyring did not answer within {self.seconds:g} seconds; it may be locked", ALTERNATIVES
            )
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise SecretError(f"no usable keyring: {answer['error']}", ALTERNATIVES)
        return answer


def _is_needed(variable: str) -> bool:
    return variable in _KEPT or variable.startswith(_KEPT_PREFIXES)


def _line(file: int, seconds: float) -> bytes | None:
    """One line from a pipe; None where the time is up or the other end is closed before it is whole."""
    line, until = b"", time.monotonic() + seconds
    while not line.endswith(b"\n"):
        if not select.select([file], [], [], max(0.0, until - time.monotonic()))[0]:
            return None
        piece = os.read(file, 65536)
        if not piece:
            return None
        line += piece
    return line


def write_private(path: Path, content: bytes) -> None:
    """Replaces a file that only its owner may read, all or nothing."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.write(file, content)
            os.fsync(file)
        finally:
            os.close(file)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise SecretError(f"cannot write {path}: {error.strerror}", f"ls -ld '{path.parent}'") from error
