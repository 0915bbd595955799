"""The service of launchd on macOS: an agent of the user's desktop session (launchd.plist(5), launchctl(1)).

launchd has no word for a service that is ready, and no watchdog. `stop` ends the daemon in order; it stays ended until
`start` or the next login.
"""

from __future__ import annotations

import os
import plistlib
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from edgeagent.errors import NotFound, ServiceError
from edgeagent.service.base import Done, Installed, ServiceStatus, call
from edgeagent.service.program import Program
from edgeagent.service.written import (
    Written,
    home_in,
    look_at,
    not_as_written,
    put_aside,
    require_ours,
    sealed,
    terms_line,
    write,
)

LABEL = "edgeagent.daemon"
_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
_MORE_TO_STOP = 10
_OPEN_FILES = 4096


def property_list(program: Program, user: Path) -> str:
    """The text of the agent's file. Its log on stderr goes to ~/Library/Logs, which Console shows."""
    told = {
        "Label": LABEL,
        "ProgramArguments": list(program.argv),
        "EnvironmentVariables": dict(program.environment),
        "WorkingDirectory": str(user),
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},  # what ended in order was told to
        "ThrottleInterval": 10,
        "ExitTimeOut": round(program.stop_seconds) + _MORE_TO_STOP,
        "LimitLoadToSessionType": "Aqua",
        "SoftResourceLimits": {"NumberOfFiles": _OPEN_FILES},
        "StandardErrorPath": str(log_file(user)),
    }
    body = plistlib.dumps(told, sort_keys=False).decode().removeprefix(_HEAD)
    comments = f"<!-- Written by `edgeagent service install`. -->\n<!-- {terms_line(program.home, ())} -->\n@SEAL@\n"
    return sealed(f"{_HEAD}{comments}{body}", "<!-- %s -->")


def log_file(user: Path) -> Path:
    return user / "Library" / "Logs" / "edgeagent.log"


class LaunchAgent:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._user = Path(environ.get("HOME") or Path.home())
        self._session = f"gui/{os.getuid()}"

    @property
    def path(self) -> Path:
        return self._user / "Library" / "LaunchAgents" / f"{LABEL}.plist"

    def described(self) -> str | None:
        return home_in(self.path)

    def environment(self) -> dict[str, str]:
        return {}

    def text(self, program: Program, write: Sequence[str]) -> str:
        return property_list(program, self._user)

    def commands(self) -> list[list[str]]:
        """`enable` undoes a `launchctl disable` of old; `bootstrap` takes the file, and it starts."""
        return [self._launchctl("enable", self._target), self._launchctl("bootstrap", self._session, str(self.path))]

    def install(self, program: Program, write_to: Sequence[str], *, force: bool, start: bool) -> Installed:
        found = look_at(self.path)
        if not force:
            hint, uninstall = self._keeping("install"), "edgeagent service uninstall"
            require_ours(self.path, found, program.home, hint=hint, uninstall=uninstall)
        text = self.text(program, write_to)
        notes = []
        if text != found.text:
            if found.state in ("edited", "foreign"):
                notes.append(f"the file before is kept as {put_aside(self.path)}")
            write(self.path, text)
        if start and (text != found.text or not self._print().running):
            log_file(self._user).parent.mkdir(parents=True, exist_ok=True)
            self._call("bootout", self._target)  # the version before, where there is one
            for command in self.commands():
                self._ask(command)
        return Installed(self.path, text != found.text, tuple(notes))

    def uninstall(self, *, force: bool) -> Installed:
        found = self._found()
        if found.state != "sound" and not force:
            raise not_as_written(self.path, found, self._keeping("uninstall"))
        self._call("bootout", self._target)
        notes = (f"your version is kept as {put_aside(self.path)}",) if found.state != "sound" else ()
        self.path.unlink(missing_ok=True)
        return Installed(self.path, True, notes)

    def start(self) -> None:
        self._found()
        if self._call("print", self._target).code == 0:
            self._ask(self._launchctl("kickstart", self._target))
            return
        for command in self.commands():
            self._ask(command)

    def stop(self) -> None:
        self._found()
        if self._print().running:
            self._ask(self._launchctl("kill", "SIGTERM", self._target))

    def status(self) -> ServiceStatus:
        found = look_at(self.path)
        known = replace(
            self._print(),
            path=str(self.path),
            installed=found.state != "absent",
            edited=found.state in ("edited", "foreign"),
            home=found.terms.home,
        )
        return replace(known, enabled=known.installed)

    @property
    def _target(self) -> str:
        return f"{self._session}/{LABEL}"

    def _print(self) -> ServiceStatus:
        try:
            return printed(self._call("print", self._target).output)
        except ServiceError as error:
            return replace(printed(""), problem=error.message)

    def _keeping(self, verb: str) -> str:
        """What to do about a file that is not as it was written."""
        return f"edgeagent service {verb} --force keeps it beside the new one"

    def _found(self) -> Written:
        found = look_at(self.path)
        if found.state == "absent":
            raise NotFound("the service is not installed", "edgeagent service install")
        return found

    def _launchctl(self, *words: str) -> list[str]:
        return ["launchctl", *words]

    def _call(self, *words: str) -> Done:
        return call(self._launchctl(*words), self._environ)

    def _ask(self, command: Sequence[str]) -> None:
        done = call(command, self._environ)
        if done.code:
            raise ServiceError(f"{shlex.join(command)}: {done.last_word}", f"launchctl print {self._target}")


def printed(text: str) -> ServiceStatus:
    """What `launchctl print` says of a service; it prints for people, so little is read from it."""
    fields = dict(re.findall(r"^\t(state|pid|last exit code|runs) = (.+)$", text, re.MULTILINE))
    pid = fields.get("pid", "")
    return ServiceStatus(
        manager="launchd",
        scope="user",
        path="",
        installed=False,
        running=fields.get("state") == "running",
        state=fields.get("state", "not loaded"),
        pid=int(pid) if pid.isdecimal() else None,
        detail=f"last exit code {fields['last exit code']}" if "last exit code" in fields else "",
    )
