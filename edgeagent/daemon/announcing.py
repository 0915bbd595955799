"""Tells people that a call waits for them: on the desktop, and by what `approvals.on_approval` names.

In a thread of its own, since a phone's server may be slow; the run waits anyway. What fails is logged and not tried
again: the question stands in the journal whoever hears of it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Mapping, Sequence

from edgeagent.approval import Approval
from edgeagent.config import ApprovalSettings
from edgeagent.visible import one_line

log = logging.getLogger("edgeagent.daemon")

SECONDS = 10.0
"""How long one announcement may take."""
_MOST_WAITING = 100
_KEPT = ("HOME", "USER", "LOGNAME", "PATH", "LANG", "DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "TMPDIR")
_KEPT_PREFIXES = ("XDG_", "DBUS_", "LC_")


class Announcer:
    """Args:
    settings: as they are now.
    """

    def __init__(self, settings: Callable[[], ApprovalSettings], environ: Mapping[str, str]) -> None:
        self._settings = settings
        self._environ = {
            name: value for name, value in environ.items() if name in _KEPT or name.startswith(_KEPT_PREFIXES)
        }
        self._waiting: queue.Queue[Approval | None] = queue.Queue(_MOST_WAITING)
        self._thread = threading.Thread(target=self._work, name="announcer", daemon=True)

    def __enter__(self) -> Announcer:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """What is being told now may take its time; nobody waits for it."""
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait(None)

    def announce(self, approval: Approval) -> None:
        """From any thread; returns at once."""
        try:
            self._waiting.put_nowait(approval)
        except queue.Full:
            log.warning("approval %s is not announced: %d others are before it", approval.id, _MOST_WAITING)

    def _work(self) -> None:
        while (approval := self._waiting.get()) is not None:
            for way in (self._on_desktop, self._on_approval):
                try:
                    way(approval)
                except (OSError, ValueError, subprocess.SubprocessError) as error:
                    log.warning("approval %s could not be announced: %s", approval.id, error)

    def _on_desktop(self, approval: Approval) -> None:
        command = _desktop(approval, self._environ)
        if self._settings().desktop and command:
            self._run(command, b"")

    def _on_approval(self, approval: Approval) -> None:
        hook = self._settings().on_approval
        told = json.dumps(approval.as_json()).encode()
        if isinstance(hook, tuple):
            self._run(hook, told)
        elif hook:
            _post(hook, told)

    def _run(self, command: Sequence[str], told: bytes) -> None:
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=self._environ,
            start_new_session=True,
        ) as process:
            try:
                process.communicate(told, SECONDS)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        if process.returncode:
            raise ValueError(f"{command[0]} ended with {process.returncode}")


def _post(address: str, told: bytes) -> None:
    request = urllib.request.Request(address, told, {"Content-Type": "application/json"}, method="POST")
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:
        answer.read(1)


def _desktop(approval: Approval, environ: Mapping[str, str]) -> list[str] | None:
    """The command that shows a notification; None where there is no desktop."""
    title = one_line(f"{approval.subject.agent} asks: {approval.subject.tool}")
    text = f"edgeagent approvals show {approval.id[-8:].lower()}"
    if sys.platform == "darwin":
        script = ("on run a", "display notification (item 2 of a) with title (item 1 of a)", "end run")
        return ["osascript", *(word for line in script for word in ("-e", line)), title, text]
    program = shutil.which("notify-send")
    if program is None or not (environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY")):
        return None
    return [program, "--app-name=edgeagent", "--", title, text]
