"""The text of systemd's unit files (systemd.exec(5), systemd.service(5)). Pure: writes nothing, asks nothing.

The unit of the system is hardened as far as the sandbox of skills leaves room, since bubblewrap makes namespaces of its
own inside; what is left open says why in the unit itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from edgeagent.errors import ServiceError
from edgeagent.service.program import Program
from edgeagent.service.written import sealed, terms_line

NAME = "edgeagent.service"
USER = "edgeagent"
STATE = "/var/lib/edgeagent"
"""The home of the system's service, unless told otherwise: systemd makes it, for its user alone."""

_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]+", re.ASCII)
_HOMES = ("/home", "/root", "/run/user")
_TEMPORARY = ("/tmp", "/var/tmp")

_COMMON = """\
Type=notify
ExecStart={start}
ExecReload=kill -HUP $MAINPID
{environment}\
SyslogIdentifier=edgeagent

# A device on its own has nobody to start this again, so it is tried for ever; but wrong settings (2) stay wrong.
Restart=on-failure
RestartSec=5s
RestartPreventExitStatus=2
SuccessExitStatus=130 143
# The daemon gives a sign of life twice in this time.
WatchdogSec=60s
# Reading a large journal at the start takes a while on an SD card.
TimeoutStartSec=10min
# The daemon asks for more where daemon.stop_timeout is longer.
TimeoutStopSec=20s
# The daemon itself tells models and tools to end.
KillMode=mixed
# A model for which there is no memory ends by itself; the daemon goes on.
OOMPolicy=continue
LimitCORE=0
"""

_OF_USER = """\
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
"""

_OF_SYSTEM = """\
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
KeyringMode=private
RemoveIPC=yes
UMask=0027
ProtectSystem=strict
PrivateTmp=yes
PrivateDevices=yes
PrivateUsers=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes

# bubblewrap makes these for every skill, and sets up the loopback of theirs over netlink.
RestrictNamespaces=user mnt pid net ipc uts cgroup
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
# ... mounts what a skill may see, names its namespace, and gives up the right to make more of them.
SystemCallFilter=@system-service @mount sethostname seccomp
SystemCallFilter=landlock_create_ruleset landlock_add_rule landlock_restrict_self
SystemCallErrorNumber=EPERM
# Left open on purpose:
#   ProtectKernelTunables, ProtectHostname, ProcSubset   with any of them bubblewrap does not run
#   ProtectProc                                          whether the process that holds a run still lives
#   MemoryDenyWriteExecute                               skills in languages that compile while they run
#   PrivateNetwork, IPAddressDeny                        hosts are granted agent by agent
"""


def user_unit(program: Program) -> str:
    """For the systemd of one user; it starts when that user is first there."""
    service = _common(program) + "\n" + _OF_USER
    return _unit(service, program, (), "default.target", "systemctl --user edit edgeagent")


def system_unit(program: Program, write: Sequence[str]) -> str:
    """For the systemd of the machine, as the user `edgeagent`. `write`: folders that agents may be granted."""
    places = "\n".join(_places(program, write))
    service = f"User={USER}\n{_common(program)}\n{_OF_SYSTEM}\n{places}\n"
    return _unit(service, program, write, "multi-user.target", "systemctl edit edgeagent", "After=network.target\n")


def _unit(service: str, program: Program, write: Sequence[str], target: str, edit: str, order: str = "") -> str:
    text = (
        f"# Written by `edgeagent service install`. Changes of yours belong beside it: {edit}\n"
        f"# {terms_line(program.home, write)}\n@SEAL@\n"
        f"[Unit]\nDescription=edgeagent: agents on this device\n{order}StartLimitIntervalSec=0\n\n"
        f"[Service]\n{service}\n[Install]\nWantedBy={target}\n"
    )
    return sealed(text, "# %s")


def _common(program: Program) -> str:
    environment = "".join(f"Environment={quoted(f'{name}={value}')}\n" for name, value in program.environment)
    # systemd starts no program with one of these in its path, but env does. The colon: no $ is a variable.
    words = [*(["/usr/bin/env"] if set(program.argv[0]) & set("\"'\\") else []), *program.argv]
    start = ":" + " ".join(quoted(word) for word in words)
    return _COMMON.format(start=start, environment=environment)


def _places(program: Program, write: Sequence[str]) -> Iterator[str]:
    """What is there to read and to write. Folders in homes and in /tmp, which are hidden, are bound one by one."""
    if program.home == STATE:
        yield "StateDirectory=edgeagent"
        yield "StateDirectoryMode=0750"
    else:
        yield from _writable(program.home)
    for folder in write:
        yield from _writable(folder)
    hidden = [folder for folder in program.needs if _is_hidden(folder)]
    for folder in hidden:
        if not any(other != folder and _is_below(folder, other) for other in hidden):
            yield f"BindReadOnlyPaths={_bound(folder)}"
    bound = [*hidden, program.home, *write]
    yield f"ProtectHome={'tmpfs' if any(_is_in(folder, _HOMES) for folder in bound) else 'yes'}"


def _writable(folder: str) -> Iterator[str]:
    # The minus: a disk that is not there must not keep the service from starting.
    if _is_hidden(folder):
        yield f"BindPaths=-{_bound(folder)}"
    yield f"ReadWritePaths={quoted('-' + folder)}"


def _is_hidden(folder: str) -> bool:
    return _is_in(folder, (*_HOMES, *_TEMPORARY))


def _is_in(folder: str, places: Sequence[str]) -> bool:
    return any(_is_below(folder, place) for place in places)


def _is_below(folder: str, place: str) -> bool:
    return f"{folder}/".startswith(f"{place}/")


def _bound(folder: str) -> str:
    if ":" in folder:
        raise ServiceError(f"{folder}: a path with a colon cannot be bound in a unit", f"mv '{folder}' elsewhere")
    return quoted(folder)


def quoted(word: str) -> str:
    """A word as systemd.syntax(7) reads it back. ServiceError for what no unit file can say."""
    if not word.isprintable():
        raise ServiceError(f"{word!r} cannot stand in a unit file", "give it a name of printable characters")
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return escaped if _PLAIN.fullmatch(escaped) else f'"{escaped}"'
