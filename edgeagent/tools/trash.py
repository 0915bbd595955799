"""Empties the trash of what has lain there longer than the retention. What goes in and how is `moving`."""

from __future__ import annotations

import os
import shutil
from datetime import datetime
from pathlib import Path


def empty_trash(trash: Path, before: datetime) -> int:
    """Deletes what was put into the trash before then; gives how many. What cannot be deleted stays for next time."""
    gone = 0
    for info in (trash / "info").glob("*.trashinfo") if (trash / "info").is_dir() else ():
        if info.stat().st_mtime >= before.timestamp():
            continue
        entry = trash / "files" / info.name.removesuffix(".trashinfo")
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
        if not os.path.lexists(entry):
            info.unlink(missing_ok=True)
            gone += 1
    return gone
