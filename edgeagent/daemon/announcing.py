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
import signal
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Mapping, Sequence

from edgeagent.approval import Approval
from edgeagent.config import ApprovalSettings
from edgeagent.tools.notify import NO_DESKTOP, Desktop

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
        self._desktop = Desktop(environ)
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
        if not self._settings().desktop:
            return
        asked = f"{approval.subject.agent} asks: {approval.subject.tool}"
        failure = self._desktop.show(asked, f"edgeagent approvals show {approval.id[-8:].lower()}")
        if failure not in (None, NO_DESKTOP):
            raise ValueError(failure)

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
