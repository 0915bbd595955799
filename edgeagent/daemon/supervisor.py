"""What systemd is told (sd_notify(3)): ready, stopping, reloading, how it goes, and that the daemon is alive.

A few lines over the datagram socket in NOTIFY_SOCKET; without one nothing happens.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping


class Supervisor:
    """Args:
    environ: NOTIFY_SOCKET, and WATCHDOG_USEC with WATCHDOG_PID as systemd sets them.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._status = ""
        self._alive_at = 0.0
        self.pulse = _pulse(environ) if address else None
        """Seconds between two signs of life: half of what systemd waits for. None: it waits for none."""

    @property
    def listens(self) -> bool:
        return bool(self._address)

    def ready(self) -> None:
        self._send("READY=1")

    def stopping(self, seconds: float) -> None:
        """`seconds`: how long it may take, whatever the unit says."""
        self._send("STOPPING=1", f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def reloading(self) -> None:
        """`ready` has to follow."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def status(self, text: str) -> None:
        """One line for `systemctl status`; sent where it has changed."""
        if text != self._status:
            self._status = text
            self._send(f"STATUS={text}")

    def alive(self) -> None:
        """A sign of life, where one is due."""
        now = time.monotonic()
        if self.pulse is not None and now - self._alive_at >= self.pulse:
            self._alive_at = now
            self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        # Whoever supervises may have gone; that is no reason to fail, and it is nobody who could be told.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.connect(self._address)
            sender.sendall("\n".join(lines).encode())


def _pulse(environ: Mapping[str, str]) -> float | None:
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        limit = int(environ.get("WATCHDOG_USEC", "0")) / 1e6
    except ValueError:
        return None
    return limit / 2 if limit > 0 else None
