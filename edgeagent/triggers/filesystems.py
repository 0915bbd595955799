"""Which file system a folder is on, and whether the kernel tells us there when something changes.

Changes that another machine makes on a network file system, or a program behind FUSE, reach nobody through inotify.
Only Linux is asked; elsewhere watchdog's own observers are trusted.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

SILENT = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "ceph", "glusterfs", "lustre"),
        *("9p", "virtiofs", "vboxsf", "vmhgfs", "prl_fs", "drvfs", "fuse", "fuseblk"),
    }
)
"""Types of file system without notifications; all of `fuse.*` belongs here too."""

MOUNTS = Path("/proc/self/mountinfo")


def silent_file_system(folder: str, mounts: Path = MOUNTS) -> str | None:
    """The type of the file system that `folder` is on where it has no notifications, else None."""
    try:
        text = mounts.read_text("utf-8", "surrogateescape")
    except OSError:
        return None
    kind = _type_of(os.path.realpath(folder), text)
    return kind if kind in SILENT or kind.startswith("fuse.") else None


def _type_of(folder: str, text: str) -> str:
    """Of the mounts above `folder` the deepest one counts, and of two at one place the later one."""
    found, kind = "", ""
    for line in text.splitlines():
        fields, _, rest = line.partition(" - ")
        point = _unescaped(fields.split(" ")[4])
        if (folder == point or folder.startswith(point.rstrip("/") + "/")) and len(point) >= len(found):
            found, kind = point, rest.split(" ")[0]
    return kind


def _unescaped(text: str) -> str:
    """The kernel writes space, tab, newline and backslash as three octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
