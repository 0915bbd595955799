"""The files of a skill: which there are, what they add up to, and opening one without leaving the folder."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from edgeagent.errors import SkillError

MAX_FILES = 5_000
MAX_BYTES = 200_000_000
_ASIDE = frozenset({".git", "__pycache__", ".DS_Store"})


def skill_files(folder: Path) -> tuple[str, ...]:
    """Paths of all regular files below a skill's folder, relative and sorted. Links are no part of a skill.

    Raises SkillError where there are more than a skill may have.
    """
    found: list[str] = []
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in _ASIDE)
        for name in names:
            path = Path(root) / name
            if name not in _ASIDE and path.is_file() and not path.is_symlink():
                found.append(path.relative_to(folder).as_posix())
        if len(found) > MAX_FILES:
            raise SkillError.of(f"{folder} has more than {MAX_FILES:,} files, too many for a skill")
    return tuple(sorted(found))


def open_inside(folder: Path, name: str) -> Path:
    """The path of a file inside a skill's folder. FileNotFoundError where it is none, or leads out by a link."""
    path = folder / name
    if path.is_symlink() or not path.resolve().is_relative_to(folder.resolve()) or not path.is_file():
        raise FileNotFoundError(2, "No such file", str(path))
    return path


def fingerprint(folder: Path) -> str:
    """`sha256:HEX` over the sorted `path:sha256` lines of a skill's files: another byte anywhere is another skill."""
    total = 0
    whole = hashlib.sha256()
    for name in skill_files(folder):
        path = folder / name
        total += path.stat().st_size
        if total > MAX_BYTES:
            raise SkillError.of(f"{folder} is larger than {MAX_BYTES // 1_000_000} MB, too large for a skill")
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        whole.update(f"{name}:{digest}\n".encode("utf-8", "surrogateescape"))
    return f"sha256:{whole.hexdigest()}"
