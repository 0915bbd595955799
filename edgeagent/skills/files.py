"""The files of a skill: which there are, what they add up to, and opening one without leaving the folder."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from edgeagent.errors import SkillError

MANIFEST = "SKILL.md"
MAX_FILES = 5_000
MAX_BYTES = 200_000_000
ASIDE = frozenset({".git", "__pycache__", ".DS_Store", "__MACOSX"})
"""What lies about where people work, and is no part of a skill. It is never installed."""
INTERPRETERS = {
    ".py": "python3",
    ".sh": "sh",
    ".bash": "bash",
    ".js": "node",
    ".mjs": "node",
    ".cjs": "node",
    ".pl": "perl",
    ".rb": "ruby",
}


def manifest_in(folder: Path) -> str | None:
    """The name of a folder's SKILL.md, which other programs take in any case; None where it is no skill."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return None
    found = [name for name in (MANIFEST, *names) if name in names and name.lower() == MANIFEST.lower()]
    return next((name for name in found if stat.S_ISREG(os.lstat(folder / name).st_mode)), None)


def skill_files(folder: Path) -> tuple[str, ...]:
    """Paths of the files of a skill, relative and sorted. Links, and what lies about, are no part of it.

    Raises SkillError where there are more than a skill may have.
    """
    return tuple(sorted(name for name, mode in _entries(folder, ASIDE) if stat.S_ISREG(mode)))


def skill_links(folder: Path) -> tuple[str, ...]:
    """Paths of the links below a skill's folder."""
    return tuple(sorted(name for name, mode in _entries(folder, ASIDE) if stat.S_ISLNK(mode)))


def _entries(folder: Path, aside: frozenset[str]) -> Iterator[tuple[str, int]]:
    """Everything below a folder that is no folder, with its mode. No link is followed."""
    count = 0
    for root, folders, names in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(root, name))]
        folders[:] = sorted(name for name in folders if name not in aside)
        for name in (*names, *links):
            if name in aside:
                continue
            count += 1
            if count > MAX_FILES:
                raise SkillError.of(
                    f"{folder} has more than {MAX_FILES:,} files, too many for a skill",
                    "take out what is no part of it",
                )
            path = Path(root, name)
            yield path.relative_to(folder).as_posix(), os.lstat(path).st_mode


def is_program(path: Path) -> bool:
    """Whether a file can be run as a script: by its ending, or because it says what runs it."""
    if path.suffix in INTERPRETERS:
        return path.name != "__init__.py"
    return bool(shebang(path)) or path.stat().st_mode & 0o111 != 0


def shebang(path: Path) -> str:
    """The program that a script says it is run by; nothing where it says none."""
    with path.open("rb") as file:
        line = file.readline(200)
    words = line[2:].decode("utf-8", "replace").split() if line.startswith(b"#!") else []
    if words and Path(words[0]).name == "env":
        words = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
    return words[0] if words else ""


def program_fault(path: Path, name: str) -> str:
    """Why a file of a skill cannot be started by itself, and what to do; nothing where it can."""
    if not path.stat().st_mode & 0o111:
        return f"{name} may not be executed: chmod +x it, or name what runs it before it"
    with path.open("rb") as file:
        line = file.readline(200)
    if line.startswith(b"\x7fELF"):
        return ""
    if not line.startswith(b"#!"):
        return f"{name} does not say what runs it: its first line must be one such as #!/bin/sh"
    if line.rstrip(b"\n").endswith(b"\r"):
        return f"the first line of {name} ends with a carriage return, so nothing runs it: save it with Unix line ends"
    program = line[2:].decode("utf-8", "replace").split()
    if not program or not os.path.isfile(program[0]):
        return f"{name} is to be run by {shown_program(program)}, which is not on this machine"
    return ""


def shown_program(words: list[str]) -> str:
    return ascii(words[0])[1:-1] if words else "nothing"


def open_inside(folder: Path, name: str) -> Path:
    """The path of a file inside a skill's folder. FileNotFoundError where it is none, leads out by a link, or is no
    name that a file can have."""
    path = folder / name
    try:
        is_there = not path.is_symlink() and path.resolve().is_relative_to(folder.resolve()) and path.is_file()
    except (OSError, RuntimeError, ValueError):  # too long, a loop of links, a NUL
        is_there = False
    if not is_there:
        raise FileNotFoundError(2, "No such file", name)
    return path


def read_head(path: Path, limit: int) -> bytes:
    """What a file begins with, one byte more than `limit` where it goes on."""
    with path.open("rb") as file:
        return file.read(limit + 1)


def fingerprint(folder: Path) -> str:
    """`sha256:HEX` over the sorted `path:sha256` lines of a skill's files: another byte anywhere is another skill.

    Of an installed skill everything counts, also what is put aside when one is installed: a script may find it there.
    A link counts by where it leads.
    """
    total = 0
    whole = hashlib.sha256()
    for name, mode in sorted(_entries(folder, frozenset())):
        path = folder / name
        if stat.S_ISREG(mode):
            total += path.stat().st_size
            if total > MAX_BYTES:
                raise SkillError.of(
                    f"{folder} is larger than {MAX_BYTES // 1_000_000} MB, too large for a skill",
                    "take out what is no part of it",
                )
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        elif stat.S_ISLNK(mode):
            digest = hashlib.sha256(b"link:" + os.fsencode(os.readlink(path))).hexdigest()
        else:
            continue
        whole.update(f"{name}:{digest}\n".encode("utf-8", "surrogateescape"))
    return f"sha256:{whole.hexdigest()}"
