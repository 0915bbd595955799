"""A machine that boots, is used, and is switched off: systemd-nspawn on a layer over the image, which ends with it.

bubblewrap inside needs a /proc that nothing is mounted over, as on a real machine; a container has things there. So
they are taken away, and the host's own /proc, which lies below the container, is covered: otherwise the kernel would
allow inside what a hardened unit forbids.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

SOURCE = "/opt/source"
"""Where the machine sees this checkout, read-only."""
_BOOT = """
set -e
umount -R /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount --bind /proc/sys /proc/sys
mount -t overlay overlay -o "lowerdir=$IMAGE,upperdir=$LAYER/upper,workdir=$LAYER/work" "$LAYER/root"
exec systemd-nspawn --quiet --boot --register=no --keep-unit --console=pipe --machine=edgeagent-test \
    --bind-ro="$CHECKOUT:$SOURCE" --directory="$LAYER/root"
"""
_COVERED = "awk '$5 ~ \"^/proc/\" {print $5}' /proc/self/mountinfo"
_SECONDS = 120.0


class Machine:
    def __init__(self, image: Path, layer: Path, checkout: Path) -> None:
        self._layer = layer
        for name in ("upper", "work", "root"):
            (layer / name).mkdir()
        self._environment = {
            **os.environ,
            "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",
            "IMAGE": str(image),
            "LAYER": str(layer),
            "CHECKOUT": str(checkout),
            "SOURCE": SOURCE,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._first = 0

    def boot(self) -> None:
        """Returns when systemd is done with it."""
        with (self._layer / "console").open("ab") as console:
            self._process = subprocess.Popen(
                ["unshare", "--mount", "sh", "-c", _BOOT],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )
        until(lambda: self._has_begun(), "the machine boots")
        until(lambda: self.run("systemctl", "is-system-running", check=False) in ("running", "degraded"), "it is up")
        for covered in sorted(self.run("sh", "-c", _COVERED).split(), reverse=True):
            self.run("umount", "-l", covered, check=False)  # what lies below another one has gone with it
        assert not self.run("sh", "-c", _COVERED), "something is still mounted over a part of /proc"

    def off(self) -> None:
        if self._process is None:
            return
        if self._first:
            os.kill(self._first, signal.SIGRTMIN + 4)  # what systemd takes for: power off
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process, self._first = None, 0

    def run(self, *command: str, check: bool = True, stdin: str = "") -> str:
        """As root, in the machine: what it prints."""
        namespaces = ("--mount", "--uts", "--ipc", "--net", "--pid")
        done = subprocess.run(
            ["nsenter", f"--target={self._first}", *namespaces, "--", *command],
            env={
                "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "HOME": "/root",
                "LC_ALL": "C.UTF-8",
            },
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd="/",
            timeout=_SECONDS,
        )
        if check and done.returncode:
            raise AssertionError(f"{command} gave {done.returncode}: {done.stdout}")
        return done.stdout.strip()

    def write(self, path: str, text: str, mode: str = "644") -> None:
        self.run(
            "sh", "-c", 'mkdir -p "$(dirname "$1")" && cat > "$1" && chmod "$2" "$1"', "sh", path, mode, stdin=text
        )

    def _has_begun(self) -> bool:
        """The first process is the one that systemd-nspawn starts."""
        assert self._process and self._process.poll() is None, (self._layer / "console").read_text()
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        name = Path(f"/proc/{children[0]}/comm") if children else None
        if name is None or name.read_text().strip() != "systemd":
            return False
        self._first = int(children[0])
        return True


def until(condition: Callable[[], bool], what: str, seconds: float = _SECONDS) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            print(f"waited in vain until {what}", file=sys.stderr)
            raise AssertionError(f"not in {seconds:g} s: {what}")
        time.sleep(0.2)
