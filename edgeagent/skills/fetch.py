"""Brings skills from a folder, an archive or a git repository into a staging folder, without executing any of it.

What may come out of which source is in `unpack` and `git`; here is what in it are skills, and under which name.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import mkdtemp

from edgeagent.errors import EdgeagentError, NotFound, SkillError
from edgeagent.skills.files import ASIDE, MANIFEST, manifest_in
from edgeagent.skills.git import clone, is_git
from edgeagent.skills.lock import LOCK_NAME
from edgeagent.skills.manifest import Skill, read_skill
from edgeagent.skills.unpack import Budget, copy_files, shown, untar, unzip

MAX_DEPTH = 6
"""Of folders around a skill."""
_HELP = "edgeagent skills add --help"


@dataclass(frozen=True, slots=True)
class Staged:
    """What a source holds: skills, and in words why others in it are none."""

    skills: tuple[Skill, ...]
    refused: tuple[str, ...] = ()


@contextmanager
def staged(source: str, beside: Path) -> Iterator[Staged]:
    """The skills that `source` holds, each in a folder of its own name below a staging folder in `beside`.

    The folders are gone afterwards, but for what was moved away.

    Raises:
        NotFound: nothing is there. SkillError: what is there is no skill, or an archive tries to write elsewhere.
    """
    beside.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = Path(mkdtemp(prefix=".adding-", dir=beside))
    try:
        raw = folder / "raw"
        raw.mkdir()
        _fetch(source, raw, folder)
        yield _arranged(raw, folder / "skills", source)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _fetch(source: str, raw: Path, folder: Path) -> None:
    path = Path(os.path.expanduser(source))
    name = path.name.lower() if os.path.isfile(path) else ""
    if is_git(source):
        clone(source, raw, folder / "repository", skill_folders)
    elif os.path.isdir(path):
        _copy(path, raw)
    elif not os.path.lexists(path):
        raise NotFound(f"{shown(source)[1:-1]} does not exist", _HELP)
    elif name.endswith((".zip", ".skill")):
        unzip(path, raw)
    elif name.endswith((".tar.gz", ".tgz", ".tar")):
        untar(path, raw, folder / "plain.tar")
    else:
        raise SkillError.of(f"{source} is no folder, .zip, .skill or .tar.gz", _HELP)


def _copy(path: Path, raw: Path) -> None:
    budget = Budget(str(path), raw)
    real = path.resolve()
    try:
        for top in skill_folders(_manifests_below(real)):
            copy_files(real / top, PurePosixPath(real.name) / top, budget)
    except OSError as error:
        raise SkillError.of(f"{error.filename or path} cannot be read: {error.strerror}", _HELP) from error


def _manifests_below(folder: Path) -> Iterator[str]:
    for root, folders, _ in os.walk(folder):
        place = Path(root).relative_to(folder)
        if len(place.parts) > MAX_DEPTH:
            folders.clear()
        folders[:] = sorted(name for name in folders if name not in ASIDE)
        name = manifest_in(Path(root))
        if name:
            folders.clear()
            yield (place / name).as_posix()


def skill_folders(files: Iterable[str]) -> list[PurePosixPath]:
    """The folders that hold a SKILL.md and lie in no other such folder, of paths of files."""
    folders = {PurePosixPath(file).parent for file in files if PurePosixPath(file).name.lower() == MANIFEST.lower()}
    return sorted(one for one in folders if len(one.parts) <= MAX_DEPTH and not folders & set(one.parents))


def _arranged(raw: Path, into: Path, source: str) -> Staged:
    """Every skill found, moved to a folder of its name."""
    tops = [raw / Path(name).parent for name in _manifests_below(raw)]
    if not tops:
        raise SkillError.of(f"{source} holds no skill: there is no {MANIFEST} in it", _HELP)
    into.mkdir()
    skills: list[Skill] = []
    refused: list[EdgeagentError] = []
    for top in sorted(tops):
        try:
            name = _name(read_skill(top), top, raw, source)
        except SkillError as error:
            refused.append(_told(error, raw))
            continue
        target = into / name
        if target.exists():
            place = shown(str(top.relative_to(raw)))
            refused.append(SkillError.of(f"{place} is a second skill named {name}", "add it by itself"))
            continue
        os.replace(top, target)
        skills.append(read_skill(target))
    if not skills:
        raise refused[0]
    return Staged(tuple(skills), tuple(error.message for error in refused))


def _name(skill: Skill, top: Path, raw: Path, source: str) -> str:
    """The name of its folder here. SkillError for one that could not be a folder among the skills."""
    name = skill.name
    if top == raw and name == raw.name:
        name = Path(source.partition("#")[0]).name.split(".")[0]
    if not name or name.startswith(".") or name == LOCK_NAME or "/" in name or len(name.encode()) > 100:
        raise SkillError.of(f"{source} holds a skill whose name cannot be used: {shown(name)}", "name it otherwise")
    return name


def _told(error: SkillError, raw: Path) -> SkillError:
    """The same, without the staging folder in it, which is gone when a person reads it."""
    return SkillError.of(error.message.replace(f"{raw}{os.sep}", "").replace(str(raw), "."), error.hint)
