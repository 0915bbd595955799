"""The service of systemd: its unit file, and what systemctl is asked.

A user's service begins with that user's first session, or at boot where they linger (loginctl(1)). The system's runs as
the user `edgeagent`, who is made where there is none.
"""

from __future__ import annotations

import os
import pwd
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal

from edgeagent.errors import NotFound, ServiceError
from edgeagent.service.base import Done, Installed, ServiceStatus, call
from edgeagent.service.program import Program
from edgeagent.service.units import NAME, STATE, USER, system_unit, user_unit
from edgeagent.service.written import Written, home_in, look_at, not_as_written, put_aside, require_ours, write

Scope = Literal["user", "system"]

BOOTED = Path("/run/systemd/system")
"""There where systemd runs the machine (sd_booted(3))."""
LINGERING = Path("/var/lib/systemd/linger")
_ASKED = "ActiveState SubState MainPID NRestarts StatusText UnitFileState Result".split()
_ACTIVE = ("active", "reloading", "activating", "deactivating")


class Systemd:
    def __init__(self, environ: Mapping[str, str], scope: Scope) -> None:
        self._environ = environ
        self._scope = scope
        self._user = os.getuid()

    @property
    def path(self) -> Path:
        if self._scope == "system":
            return Path("/etc/systemd/system", NAME)
        settings = self._environ.get("XDG_CONFIG_HOME") or Path(self._environ.get("HOME") or Path.home(), ".config")
        return Path(settings, "systemd", "user", NAME)

    def described(self) -> str | None:
        return home_in(self.path)

    def environment(self) -> dict[str, str]:
        return {"EDGEAGENT_HOME": STATE} if self._scope == "system" else {}

    def text(self, program: Program, write: Sequence[str]) -> str:
        return system_unit(program, write) if self._scope == "system" else user_unit(program)

    def commands(self) -> list[list[str]]:
        made = [["systemd-sysusers", "--inline", f'u {USER} - "edgeagent" {STATE}']] if self._scope == "system" else []
        return [*made, *(self._systemctl(*words) for words in (("daemon-reload",), ("enable", NAME), ("start", NAME)))]

    def install(self, program: Program, write: Sequence[str], *, force: bool, start: bool) -> Installed:
        self._require_rights("install")
        found = look_at(self.path)
        text = self.text(program, write or found.terms.write)
        if not force:
            hint, uninstall = self._keeping("install"), self._command("uninstall")
            require_ours(self.path, found, program.home, hint=hint, uninstall=uninstall)
        if self._scope == "system":
            self._make_user(program)
        notes = self._put(found, text)
        changed = text != found.text
        if trouble := self._unreachable():
            self._offline("enable", NAME)
            raise ServiceError(f"{self.path} is written, but it does not run yet: {trouble[0]}", trouble[1])
        self._ask("daemon-reload")
        self._ask("enable", NAME)
        if start:
            self._start("restart" if changed else "start")
        return Installed(self.path, changed, (*notes, *self._lingering()))

    def uninstall(self, *, force: bool) -> Installed:
        self._require_rights("uninstall")
        found = self._found()
        if found.state != "sound" and not force:
            raise not_as_written(self.path, found, self._keeping("uninstall"))
        is_reachable = self._unreachable() is None
        if is_reachable:
            self._ask("disable", "--now", NAME)
        else:
            self._offline("disable", NAME)
        notes = [f"your version is kept as {put_aside(self.path)}"] if found.state != "sound" else []
        self.path.unlink(missing_ok=True)
        if is_reachable:
            self._ask("daemon-reload")
            call(self._systemctl("reset-failed", NAME), self._variables())  # nothing to reset is no fault
        beside = self.path.with_name(f"{NAME}.d")
        notes += [f"what you changed beside it is kept: {beside}"] if beside.is_dir() and any(beside.iterdir()) else []
        return Installed(self.path, True, tuple(notes))

    def start(self) -> None:
        self._require_rights("start")
        self._found()
        self._require_reachable()
        self._start("start")

    def stop(self) -> None:
        self._require_rights("stop")
        self._found()
        self._require_reachable()
        self._ask("stop", NAME)

    def status(self) -> ServiceStatus:
        found = look_at(self.path)
        known = ServiceStatus(
            manager="systemd",
            scope=self._scope,
            path=str(self.path),
            installed=found.state != "absent",
            edited=found.state in ("edited", "foreign"),
            home=found.terms.home,
        )
        told: dict[str, str] = {}
        trouble = self._unreachable()
        if not trouble:
            shown = call(self._systemctl("show", NAME, f"--property={','.join(_ASKED)}"), self._variables())
            told = dict(line.partition("=")[::2] for line in shown.output.splitlines())
        if trouble or not told:
            return replace(known, problem=trouble[0] if trouble else "systemctl tells nothing of it")
        return replace(
            known,
            enabled=told["UnitFileState"] == "enabled",
            running=told["ActiveState"] in _ACTIVE[:2],
            state=f"{told['ActiveState']} ({told['SubState']})",
            pid=int(told["MainPID"]) or None,
            restarts=int(told["NRestarts"]),
            detail=_detail(told),
        )

    # --- what stands in the way ---------------------------------------------------------------------------------

    def _require_rights(self, verb: str) -> None:
        if self._scope == "system" and os.geteuid() != 0:
            command = f"sudo {shlex.quote(os.path.realpath(sys.argv[0]))} service {verb} --system"
            raise ServiceError("the system's service is root's to change", command)
        if self._scope == "user" and os.geteuid() == 0 and (self._environ.get("SUDO_UID") or "0") != "0":
            raise ServiceError(
                "with sudo this would be a service of root's own",
                f"edgeagent service {verb}, or sudo edgeagent service {verb} --system",
            )

    def _keeping(self, verb: str) -> str:
        """What to do about a file that is not as it was written."""
        edit = shlex.join(self._systemctl("edit", NAME))
        return f"{self._command(verb)} --force keeps it beside the new one; changes are safe in a drop-in: {edit}"

    def _require_reachable(self) -> None:
        if trouble := self._unreachable():
            raise ServiceError(*trouble)

    def _unreachable(self) -> tuple[str, str] | None:
        """Why systemd cannot be asked, and what to do."""
        if not BOOTED.is_dir():
            return "systemd does not run this machine", "edgeagent daemon"
        if self._scope == "system" or (self._runtime / "systemd" / "private").exists():
            return None
        name = _name(self._user)
        why = "XDG_RUNTIME_DIR is not set" if "XDG_RUNTIME_DIR" not in self._environ else f"{self._runtime} has none"
        return (
            f"no systemd of {name} can be reached ({why}); it begins with a session, and at boot for who lingers",
            f"sudo loginctl enable-linger {name}; then {self._command('install')}",
        )

    def _lingering(self) -> tuple[str, ...]:
        name = _name(self._user)
        if self._scope == "system" or (LINGERING / name).exists():
            return ()
        return (f"it runs while {name} is logged in; to have it run from boot on: sudo loginctl enable-linger {name}",)

    # --- what is done -------------------------------------------------------------------------------------------

    def _make_user(self, program: Program) -> None:
        done = call(self.commands()[0], self._environ)  # does nothing where there is one
        if done.code:
            raise ServiceError(f"the user {USER} cannot be made: {done.last_word}", f"sudo useradd -r {USER}")
        user = pwd.getpwnam(USER)
        home = Path(program.home)
        if program.home != STATE and not home.exists():
            home.mkdir(mode=0o750, parents=True)
            os.chown(home, user.pw_uid, user.pw_gid)
        if home.exists() and home.stat().st_uid != user.pw_uid:
            raise ServiceError(f"{home} does not belong to the user {USER}", f"sudo chown -R {USER}: '{home}'")

    def _put(self, found: Written, text: str) -> list[str]:
        if text == found.text:
            return []
        kept = put_aside(self.path) if found.state in ("edited", "foreign") else None
        write(self.path, text)
        return [f"the file before is kept as {kept}"] if kept else []

    def _start(self, verb: str) -> None:
        done = call(self._systemctl(verb, NAME), self._variables())
        if done.code:
            log = ["journalctl", *(["--user"] if self._scope == "user" else []), "-u", NAME, "-n", "20"]
            said = call([*log[:-1], "5", "-o", "cat", "--no-pager"], self._variables()).output.strip().splitlines()
            own = next((line for line in said if line.startswith("error:")), "")
            why = own.removeprefix("error: ") or done.last_word
            raise ServiceError(f"the service does not start: {why}", shlex.join(log))

    def _ask(self, *words: str) -> Done:
        command = self._systemctl(*words)
        done = call(command, self._variables())
        if done.code:
            raise ServiceError(f"{shlex.join(command)}: {done.last_word}", f"systemctl status {NAME}")
        return done

    def _offline(self, *words: str) -> None:
        """Links alone, which take effect when a systemd begins. Without systemctl there is none that could."""
        with suppress(ServiceError):
            call(self._systemctl(*words), self._variables() | {"SYSTEMD_OFFLINE": "1"})

    def _found(self) -> Written:
        found = look_at(self.path)
        if found.state == "absent":
            raise NotFound("the service is not installed", self._command("install"))
        return found

    def _systemctl(self, *words: str) -> list[str]:
        return ["systemctl", *(["--user"] if self._scope == "user" else []), *words]

    def _command(self, verb: str) -> str:
        return f"edgeagent service {verb}{' --system' if self._scope == 'system' else ''}"

    @property
    def _runtime(self) -> Path:
        return Path(self._environ.get("XDG_RUNTIME_DIR") or f"/run/user/{self._user}")

    def _variables(self) -> dict[str, str]:
        """A user's systemd is found by this folder, which su and sudo leave unsaid."""
        said = {name: value for name, value in self._environ.items() if value}  # an empty XDG_ folder ends systemctl
        return {**said, "XDG_RUNTIME_DIR": str(self._runtime), "LC_ALL": "C", "SYSTEMD_PAGER": ""}


def _detail(told: Mapping[str, str]) -> str:
    """What the daemon says of itself while it runs, and afterwards how it ended where that was not in order."""
    if told["ActiveState"] in _ACTIVE:
        return told["StatusText"]
    return "" if told["Result"] in ("success", "") else f"it ended by {told['Result']}"


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)
