"""notify: a word to the person at this device, on the desktop; without one it is recorded, and the result says so.

Shown by `notify-send` (libnotify, over D-Bus) where a session is there, by `osascript` on macOS. What was shown cannot
be looked up, so after a crash it is not shown again.
"""

from __future__ import annotations

import html
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from edgeagent.errors import ToolError
from edgeagent.schema import Json
from edgeagent.tools.base import Arguments, Plan, ToolContext, parse_arguments
from edgeagent.tools.specs import BUILTIN_SPECS
from edgeagent.visible import one_line, visible

log = logging.getLogger("edgeagent.notify")

SECONDS = 5.0
NO_DESKTOP = "there is no desktop here"
_SESSION = ("DISPLAY", "WAYLAND_DISPLAY", "DBUS_SESSION_BUS_ADDRESS")
_KEPT = ("PATH", "HOME", "LANG", "XDG_RUNTIME_DIR", "XAUTHORITY", *_SESSION)
_SCRIPT = (
    *("-e", "on run argv"),
    *("-e", "display notification (item 2 of argv) with title (item 1 of argv)"),
    *("-e", "end run"),
)


class NotifyArguments(Arguments):
    message: str
    title: str = "edgeagent"


class Notify:
    spec = BUILTIN_SPECS["notify"]

    def __init__(self, environ: Mapping[str, str] = os.environ, platform: str = sys.platform) -> None:
        self._desktop = Desktop(environ, platform)

    def plan(self, arguments: Json, context: ToolContext) -> Plan:
        asked = parse_arguments(NotifyArguments, arguments)
        if not asked.message.strip():
            raise ToolError("the message is empty")
        return Plan(self.spec.name, {"message": _plain(asked.message), "title": _plain(asked.title) or "edgeagent"})

    def apply(self, plan: Plan, context: ToolContext) -> str:
        title, message = plan.arguments["title"], plan.arguments["message"]
        failure = self._desktop.show(title, message, context.key)
        if failure is None:
            return "shown on the desktop"
        log.info("%s: %s", title, message, extra={"run": context.run_id})
        return f"recorded only, nobody was shown it: {failure}"

    def was_applied(self, plan: Plan, context: ToolContext) -> str | None:
        return None


@dataclass(frozen=True, slots=True)
class Desktop:
    """The desktop of whoever sits at this device, as far as this process can reach it."""

    environ: Mapping[str, str]
    platform: str = sys.platform

    def show(self, title: str, message: str, key: str = "") -> str | None:
        """Why it could not be shown; None where it was. `key` stays the same where a call is repeated."""
        command = self.command(_plain(title), _plain(message))
        if command is None:
            return NO_DESKTOP
        kept = {name: self.environ[name] for name in _KEPT if name in self.environ}
        try:
            done = subprocess.run(
                command,
                env=kept | ({"EDGEAGENT_IDEMPOTENCY_KEY": key} if key else {}),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=SECONDS,
                start_new_session=True,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"{os.path.basename(command[0])}: {error}"
        said = done.stderr.strip().splitlines()
        return None if done.returncode == 0 else (said[-1] if said else f"exit code {done.returncode}")

    def command(self, title: str, message: str) -> list[str] | None:
        """None where there is no desktop."""
        path = self.environ.get("PATH")
        if self.platform == "darwin":
            program = shutil.which("osascript", path=path)
            return [program, *_SCRIPT, one_line(title), visible(message)] if program else None
        program = shutil.which("notify-send", path=path)
        has_session = any(self.environ.get(name) for name in _SESSION) or self._has_bus()
        # A body is markup: what a model wrote makes no link and loads no picture.
        body = html.escape(visible(message), quote=False)
        return [program, "--app-name=edgeagent", "--", one_line(title), body] if program and has_session else None

    def _has_bus(self) -> bool:
        """Where systemd starts the session's bus, also for services of the user."""
        folder = self.environ.get("XDG_RUNTIME_DIR")
        return bool(folder) and os.path.exists(f"{folder}/bus")


def _plain(text: str) -> str:
    """What a program can be given: no NUL, and nothing that is not Unicode."""
    return text.encode("utf-8", "replace").decode().replace("\0", "").strip()
