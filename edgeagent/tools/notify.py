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

from edgeagent.errors import ToolError
from edgeagent.schema import Json
from edgeagent.tools.base import Arguments, Plan, ToolContext, parse_arguments
from edgeagent.tools.specs import BUILTIN_SPECS
from edgeagent.visible import one_line, visible

log = logging.getLogger("edgeagent.notify")

SECONDS = 5.0
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
        self._environ = environ
        self._platform = platform

    def plan(self, arguments: Json, context: ToolContext) -> Plan:
        asked = parse_arguments(NotifyArguments, arguments)
        if not asked.message.strip():
            raise ToolError("the message is empty")
        return Plan(self.spec.name, {"message": _plain(asked.message), "title": _plain(asked.title) or "edgeagent"})

    def apply(self, plan: Plan, context: ToolContext) -> str:
        title, message = plan.arguments["title"], plan.arguments["message"]
        command = self._command(title, message)
        failure = self._shown(command, context) if command else "there is no desktop here"
        if failure is None:
            return "shown on the desktop"
        log.info("%s: %s", title, message, extra={"run": context.run_id})
        return f"recorded only, nobody was shown it: {failure}"

    def was_applied(self, plan: Plan, context: ToolContext) -> str | None:
        return None

    def _command(self, title: str, message: str) -> list[str] | None:
        path = self._environ.get("PATH")
        if self._platform == "darwin":
            program = shutil.which("osascript", path=path)
            return [program, *_SCRIPT, one_line(title), visible(message)] if program else None
        program = shutil.which("notify-send", path=path)
        has_session = any(self._environ.get(name) for name in _SESSION) or self._has_bus()
        # A body is markup: what a model wrote makes no link and loads no picture.
        body = html.escape(visible(message), quote=False)
        return [program, "--app-name=edgeagent", "--", one_line(title), body] if program and has_session else None

    def _has_bus(self) -> bool:
        """Where systemd starts the session's bus, also for services of the user."""
        folder = self._environ.get("XDG_RUNTIME_DIR")
        return bool(folder) and os.path.exists(f"{folder}/bus")

    def _shown(self, command: list[str], context: ToolContext) -> str | None:
        """Why it could not be shown; None where it was."""
        kept = {name: self._environ[name] for name in _KEPT if name in self._environ}
        environment = kept | {"EDGEAGENT_IDEMPOTENCY_KEY": context.key}
        try:
            done = subprocess.run(
                command,
                env=environment,
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


def _plain(text: str) -> str:
    """What a program can be given: no NUL, and nothing that is not Unicode."""
    return text.encode("utf-8", "replace").decode().replace("\0", "").strip()
