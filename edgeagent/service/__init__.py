"""The daemon as a service of the machine: systemd (of a user, or of the system), or an agent of launchd on macOS.

Owns the files that describe the service and the commands that act on it. Knows nothing of what the daemon does.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from edgeagent.errors import UsageError
from edgeagent.service.base import Installed, Service, ServiceStatus
from edgeagent.service.launchd import LaunchAgent
from edgeagent.service.program import Program, program_of
from edgeagent.service.systemd import Systemd

__all__ = ["Installed", "Program", "Service", "ServiceStatus", "how_to_start", "open_service", "program_of"]


def open_service(environ: Mapping[str, str], *, system: bool, platform: str = sys.platform) -> Service:
    """What starts services here. UsageError where there is no such thing."""
    if platform == "darwin":
        if system:
            raise UsageError("on macOS the service belongs to you and your desktop", "edgeagent service install")
        return LaunchAgent(environ)
    return Systemd(environ, "system" if system else "user")


def how_to_start(environ: Mapping[str, str], home: str, platform: str = sys.platform) -> str:
    """The command that starts the daemon of this home: of its service, where there is one."""
    for system in (False, True) if platform != "darwin" else (False,):
        found = open_service(environ, system=system, platform=platform).described()
        if found == home:
            return f"edgeagent service start{' --system' if system else ''}"
    return "edgeagent daemon"
