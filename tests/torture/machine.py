"""On what machine and with what sources trials are made, in words."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
import tempfile
from pathlib import Path

import psutil

ROOT = Path(__file__).parent.parent.parent


def commit() -> str:
    """The commit of the sources, with a mark where they were changed since; `unknown` without git."""
    try:
        name = _git("rev-parse", "--short=10", "HEAD")
        return name + (" with changes" if _git("status", "--porcelain", "--", "edgeagent", "tests") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(ROOT), *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


def machine() -> str:
    memory = psutil.virtual_memory().total / (1 << 30)
    return (
        f"{_processor()}, {os.cpu_count()} cores, {memory:.0f} GB of memory, {_system()}, {_disk()}; "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    )


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()


def _system() -> str:
    try:
        name = platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        name = platform.system()
    return f"{name}, kernel {platform.release().partition('-')[0]}"


def _disk() -> str:
    """The file system that homes are made on."""
    place = os.path.realpath(tempfile.gettempdir())
    fitting = [part for part in psutil.disk_partitions(all=True) if Path(place).is_relative_to(part.mountpoint)]
    return f"homes on {max(fitting, key=lambda part: len(part.mountpoint)).fstype}" if fitting else "homes on a disk"
