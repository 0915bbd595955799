"""The scratch home: a person's home folder and edgeagent's, with a real daemon on it, thrown away at the end.

The settings, skills and models are those of the person's own edgeagent; its journal, secrets and agents are not there.
One daemon serves many cases, which find the home folder empty each time.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from edgeagent.api.client import DaemonClient
from edgeagent.bundled import bundled
from edgeagent.errors import DaemonNotRunning, EdgeagentError
from edgeagent.evaluation.cases import MadeSkill
from edgeagent.evaluation.making import install_made
from edgeagent.home import Home
from edgeagent.skills import SkillLibrary

START_SECONDS = 120.0
STOP_SECONDS = 20.0
_QUIET = {
    "EDGEAGENT_API_LISTEN": "",
    "EDGEAGENT_APPROVALS_ON_APPROVAL": "",
    "EDGEAGENT_APPROVALS_DESKTOP": "false",
    "EDGEAGENT_TELEMETRY_OTLP_ENDPOINT": "",
    "EDGEAGENT_DAEMON_WORKERS": "1",
}
"""Settings with effects outside: an evaluation tells nobody, and runs one case after the other."""
_DESKTOP = ("DISPLAY", "WAYLAND_DISPLAY", "DBUS_SESSION_BUS_ADDRESS", "NOTIFY_SOCKET")


class Scratch:
    """A scratch home and the daemon on it. A context manager: at the end the daemon is gone, and the folder too."""

    def __init__(self, own: Home, environ: Mapping[str, str], *, is_free: bool = False, keep: bool = False) -> None:
        self._own, self._environ, self._is_free, self._keep = own, environ, is_free, keep
        self.root = _new_folder(Path(os.path.realpath(tempfile.gettempdir())))
        self.user = self.root / "home"
        self._process: subprocess.Popen[bytes] | None = None
        self._skills: Mapping[str, MadeSkill] | None = None

    def __enter__(self) -> Scratch:
        return self

    def __exit__(self, *error: object) -> None:
        self._stop()
        if not self._keep:
            shutil.rmtree(self.root, ignore_errors=True)

    @property
    def home(self) -> Path:
        return self.root / "edgeagent"

    @property
    def agents(self) -> Path:
        """Where agents of cases lie: beside the homes, so that no trigger of theirs is started."""
        return self.root / "agents"

    def client(self, skills: Mapping[str, MadeSkill]) -> DaemonClient:
        """A daemon that has these skills. The one before goes on where it has them."""
        is_alive = self._process is not None and self._process.poll() is None
        if not is_alive or skills != self._skills:
            self._stop()
            self._prepare(skills)
            self._start()
            self._skills = skills
        return DaemonClient(self.home / "run" / "edgeagent.sock")

    def clear(self) -> None:
        """The person's home folder as new."""
        shutil.rmtree(self.user, ignore_errors=True)
        self.user.mkdir(parents=True, exist_ok=True)

    def _prepare(self, skills: Mapping[str, MadeSkill]) -> None:
        """edgeagent's home, with what the person's own has of settings, skills, pins and models."""
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir(parents=True)
        self.agents.mkdir(exist_ok=True)
        self.user.mkdir(exist_ok=True)
        own = self._own
        if own.config_file.is_file():
            shutil.copyfile(own.config_file, self.home / "config.toml")
        for folder, name in ((own.skills, "skills"), (own.mcp, "mcp")):
            if folder.is_dir():
                shutil.copytree(folder, self.home / name, symlinks=True)
        if own.models.is_dir():
            (self.home / "models").symlink_to(own.models)
        folder = self.home / "skills"
        folder.mkdir(exist_ok=True)
        install_made(skills, SkillLibrary(bundled("skills"), folder), folder, datetime.now(UTC))

    def _start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "edgeagent.cli", "daemon", "-q"],
                env=self._variables(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        client = DaemonClient(self.home / "run" / "edgeagent.sock")
        until = time.monotonic() + START_SECONDS
        while not _answers(client):
            if self._process.poll() is not None or time.monotonic() > until:
                said = self._log.read_text(encoding="utf-8", errors="replace").strip()[-400:]
                raise EdgeagentError(f"the daemon of the evaluation did not start: {said}", "edgeagent doctor")
            time.sleep(0.05)

    @property
    def _log(self) -> Path:
        return self.root / "daemon.log"

    def _variables(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in self._environ.items()
            if name not in _DESKTOP and not name.startswith("XDG_") and name != "EDGEAGENT_HOME"
        }
        free = {"EDGEAGENT_MODEL_CONSTRAINED": "false"} if self._is_free else {}
        return kept | _QUIET | free | {"HOME": str(self.user), "EDGEAGENT_HOME": str(self.home)}

    def _stop(self) -> None:
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


def _new_folder(parent: Path) -> Path:
    """A folder that nobody has, under the first name that is free: the model reads it in every path, and one by chance
    would make each evaluation another one."""
    for number in itertools.count(1):
        path = parent / ("edgeagent-eval" if number == 1 else f"edgeagent-eval-{number}")
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            continue
        return path
    raise AssertionError("counting does not end")


def _answers(client: DaemonClient) -> bool:
    try:
        client.check()
    except (DaemonNotRunning, OSError):
        return False
    return True
