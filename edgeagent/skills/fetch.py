"""Brings a skill from a folder, an archive or a git repository into a staging folder, without executing any of it.

Archives are unpacked by our own checks: nothing absolute, nothing with `..`, no links or devices, bounded in number and
size, so that nothing is ever written outside the staging folder. Git is called without hooks, configuration, prompts
or other protocols than https, ssh and local files.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import mkdtemp
from typing import IO

from edgeagent.errors import NotFound, SkillError
from edgeagent.skills.files import MAX_BYTES, MAX_FILES, skill_files
from edgeagent.skills.manifest import MANIFEST, Skill, read_skill

GIT_SECONDS = 120
_ARCHIVES = (".zip", ".skill", ".tar.gz", ".tgz", ".tar")
_GIT = ("https://", "http://", "ssh://", "git@", "git://", "file://")


@contextmanager
def staged(source: str, beside: Path) -> Iterator[list[Skill]]:
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
        _fetch(source, raw)
        yield _arranged(raw, folder / "skills", source)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def is_git(source: str) -> bool:
    return source.startswith(_GIT) or source.endswith(".git")


def _fetch(source: str, raw: Path) -> None:
    if is_git(source):
        _clone(source, raw / "repository")
        return
    path = Path(source).expanduser()
    if path.is_dir():
        _copy(path, raw / path.resolve().name)
    elif not path.exists():
        raise NotFound(f"{source} does not exist", "edgeagent skills add --help")
    elif path.name.endswith((".zip", ".skill")):
        _unzip(path, raw)
    elif path.name.endswith(_ARCHIVES):
        _untar(path, raw)
    else:
        raise SkillError.of(f"{source} is no folder, .zip, .skill or .tar.gz", "edgeagent skills add --help")


def _arranged(raw: Path, into: Path, source: str) -> list[Skill]:
    """Every skill found at the top, one or two levels down, or in a folder `skills`, moved to a folder of its name."""
    found = [path.parent for pattern in ("", "*/", "*/*/", "*/*/*/") for path in raw.glob(f"{pattern}{MANIFEST}")]
    tops = [path for path in found if not any(path != other and path.is_relative_to(other) for other in found)]
    if not tops:
        raise SkillError.of(f"{source} holds no skill: there is no {MANIFEST} in it", "edgeagent skills add --help")
    into.mkdir()
    skills: list[Skill] = []
    for top in sorted(tops):
        name = Path(source).name.split(".")[0] if top == raw else top.name
        read = read_skill(top)
        target = into / (read.name if read.name != "raw" else name)
        if target.exists():
            raise SkillError.of(f"{source} holds two skills named {target.name}", "add them one by one")
        os.replace(top, target)
        skills.append(read_skill(target))
    return skills


def _copy(folder: Path, into: Path) -> None:
    """Regular files only: a link in a skill folder could lead anywhere."""
    into.mkdir(parents=True)
    for name in skill_files(folder):
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / name, into / name)
        (into / name).chmod(0o755 if (folder / name).stat().st_mode & stat.S_IXUSR else 0o644)


class _Budget:
    """What an archive may still unpack."""

    def __init__(self, archive: Path) -> None:
        self._archive = archive
        self._files, self._bytes = MAX_FILES, MAX_BYTES

    def target(self, name: str, into: Path) -> Path:
        """Where an entry goes. SkillError for a name that leads elsewhere."""
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or "\0" in name or (path.parts and path.parts[0].endswith(":")):
            raise self._refused(f"an entry leads out of the skill: {name!r}")
        self._files -= 1
        if self._files < 0:
            raise self._refused(f"more than {MAX_FILES:,} entries")
        return into.joinpath(*path.parts)

    def write(self, source: IO[bytes], target: Path, is_executable: bool) -> None:
        """Copies one entry, counting what really comes out and not what the archive says."""
        if target.exists():
            raise self._refused(f"two entries are named {target.name!r}")
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            while block := source.read(1 << 16):
                self._bytes -= len(block)
                if self._bytes < 0:
                    raise self._refused(f"larger than {MAX_BYTES // 1_000_000} MB unpacked")
                file.write(block)
        target.chmod(0o755 if is_executable else 0o644)

    def _refused(self, why: str) -> SkillError:
        return SkillError.of(f"{self._archive} is not unpacked: {why}", "get the skill from somebody you trust")

    def refuse(self, why: str) -> None:
        raise self._refused(why)


def _unzip(archive: Path, into: Path) -> None:
    budget = _Budget(archive)
    try:
        with zipfile.ZipFile(archive) as opened:
            for entry in opened.infolist():
                target = budget.target(entry.filename, into)
                mode = entry.external_attr >> 16
                if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                    budget.refuse(f"{entry.filename!r} is no file but a link or device")
                if not entry.is_dir():
                    with opened.open(entry) as source:
                        budget.write(source, target, bool(mode & stat.S_IXUSR))
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
        raise SkillError.of(f"{archive} is no archive that can be unpacked: {error}", "pack it again") from error


def _untar(archive: Path, into: Path) -> None:
    budget = _Budget(archive)
    try:
        with tarfile.open(archive) as opened:
            for entry in opened:
                target = budget.target(entry.name, into)
                if not (entry.isreg() or entry.isdir()):
                    budget.refuse(f"{entry.name!r} is no file but a link or device")
                if entry.isreg():
                    source = opened.extractfile(entry)
                    assert source is not None, "it is a regular file"
                    budget.write(source, target, bool(entry.mode & stat.S_IXUSR))
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise SkillError.of(f"{archive} is no archive that can be unpacked: {error}", "pack it again") from error


def _clone(source: str, into: Path) -> None:
    url, _, revision = source.partition("#")
    settings = ["core.hooksPath=/dev/null", "core.symlinks=false", "protocol.allow=never"]
    settings += [f"protocol.{name}.allow=always" for name in ("https", "ssh", "file")]
    options = [word for setting in settings for word in ("-c", setting)]
    command = ["git", *options, "clone", "--quiet", "--depth=1", "--no-tags", "--template="]
    command += ["--branch", revision] if revision else []
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(into.parent),
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_LFS_SKIP_SMUDGE": "1",
    } | {name: os.environ[name] for name in ("SSH_AUTH_SOCK", "https_proxy", "HTTPS_PROXY") if name in os.environ}
    try:
        done = subprocess.run(
            [*command, "--", url, str(into)],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=GIT_SECONDS,
            start_new_session=True,
        )
    except FileNotFoundError:
        raise SkillError.of("git is not on this machine", "install git, or download the skill as an archive") from None
    except subprocess.TimeoutExpired:
        raise SkillError.of(f"{url}: git took longer than {GIT_SECONDS} s", "try again later") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise SkillError.of(f"{url} cannot be cloned: {last}", "check the address")
    shutil.rmtree(into / ".git", ignore_errors=True)
