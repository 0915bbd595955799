"""The system that the machine boots: made once by debootstrap from where this machine has its own packages.

Kept in the user's cache folder. What is missing to make it is said in one line.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGES = "systemd,systemd-sysv,dbus,dbus-user-session,libpam-systemd,python3,bubblewrap,procps,libgomp1,libstdc++6"
_NEEDED = {
    "debootstrap": "debootstrap",
    "systemd-nspawn": "systemd-container",
    "nsenter": "util-linux",
    "unshare": "util-linux",
}
_SOURCE = re.compile(r"^\s+\d+ (https?://\S+) ([a-z]+)/main ", re.MULTILINE)
"""A line of `apt-cache policy`: where a package comes from, without the archives of updates."""


class CannotRun(Exception):
    """In one line, what is missing."""


def image() -> Path:
    """The folder with the system. Takes a minute the first time."""
    if os.geteuid() != 0:
        raise CannotRun("booting a machine needs root: sudo make service-test")
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    if missing := [package for program, package in _NEEDED.items() if not shutil.which(program, path=path)]:
        raise CannotRun(f"missing: sudo apt install {' '.join(dict.fromkeys(missing))}")
    mirror, suite = _source()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "edgeagent-service-test")
    made = cache / f"{suite}-{hashlib.sha256(PACKAGES.encode()).hexdigest()[:8]}"
    if not made.is_dir():
        _make(made, mirror, suite, path)
    _require_python(made)
    return made


def _source() -> tuple[str, str]:
    """Address and release, as apt on this machine has them."""
    try:
        policy = subprocess.run(["apt-cache", "policy", "systemd"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise CannotRun("apt-cache is not here: the machine is booted from Debian packages") from error
    found = _SOURCE.search(policy)
    if not found:
        raise CannotRun("apt knows no archive to take systemd from: sudo apt update")
    return found[1], found[2]


def _make(made: Path, mirror: str, suite: str, path: str) -> None:
    print(f"making a system of {suite} in {made}; this takes a minute", file=sys.stderr)
    made.parent.mkdir(parents=True, exist_ok=True)
    part = made.with_name(f"{made.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    log = made.with_name(f"{made.name}.log")
    command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", suite, str(part), mirror]
    environment = {**os.environ, "PATH": path, "TMPDIR": str(made.parent), "LC_ALL": "C"}
    with log.open("w") as output:
        code = subprocess.run(command, env=environment, stdout=output, stderr=subprocess.STDOUT).returncode
    if code:
        raise CannotRun(
            f"debootstrap could not make the system: {log.read_text().strip().splitlines()[-1]} (see {log})"
        )
    part.rename(made)


def _require_python(made: Path) -> None:
    """The machine runs what is installed in this environment, so its Python must be of the same version."""
    theirs = Path(os.readlink(made / "usr" / "bin" / "python3")).name
    ours = f"python{sys.version_info.major}.{sys.version_info.minor}"
    if theirs != ours:
        raise CannotRun(f"the machine has {theirs} and .venv {ours}: rm -r .venv; PYTHON={theirs} make service-test")
