"""Takes the files of a git repository as those of an archive: what is fetched is never checked out.

Git is called without hooks, settings of anybody, prompts, helpers, submodules, or other protocols than https, ssh and
local files. The tree is read entry by entry, so that links, submodules, filters and bombs of trees stay where they are.
"""

from __future__ import annotations

import io
import os
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edgeagent.errors import SkillError
from edgeagent.skills.files import MAX_BYTES
from edgeagent.skills.unpack import Budget, shown

SECONDS = 120
MAX_ENTRIES = 50_000
"""Of a whole repository; what its skills may have is far less."""
_GIT = ("https://", "http://", "ssh://", "git@", "git://", "file://")
_PROTOCOLS = ("https", "ssh", "file")
_FILE, _PROGRAM = b"100644", b"100755"
_MAX_LINE = 8192


def is_git(source: str) -> bool:
    return source.startswith(_GIT) or source.endswith(".git")


def clone(source: str, into: Path, scratch: Path, wanted: Callable[[Iterable[str]], list[PurePosixPath]]) -> None:
    """The files of the newest commit, or of the branch or tag after `#`, in `into`: those below the folders `wanted`.

    `scratch` gets the repository.
    """
    url, _, revision = source.partition("#")
    command = ["clone", "--quiet", "--bare", "--depth=1", "--no-tags", "--template="]
    command += [f"--branch={revision}"] if revision else []
    _run([*command, "--", url, str(scratch)], scratch, url)
    entries = list(_tree(scratch, url))
    folders = set(wanted(entry.name for entry in entries))
    budget = Budget(url, into)
    with _started(["cat-file", "--batch"], scratch, stdin=subprocess.PIPE) as blobs:
        for entry in entries:
            if folders & set(PurePosixPath(entry.name).parents):
                budget.write(io.BytesIO(_content(blobs, entry, budget)), entry.name, entry.is_program)


def _content(blobs: subprocess.Popen[bytes], entry: _Entry, budget: Budget) -> bytes:
    assert blobs.stdin and blobs.stdout
    if entry.size > MAX_BYTES:
        raise budget.refused(f"{shown(entry.name)} is larger than {MAX_BYTES // 1_000_000} MB")
    blobs.stdin.write(entry.blob + b"\n")
    blobs.stdin.flush()
    head = blobs.stdout.readline(_MAX_LINE).split()
    if len(head) != 3 or head[1] != b"blob":
        raise budget.refused(f"{shown(entry.name)} is not in what was fetched")
    content = blobs.stdout.read(entry.size)
    blobs.stdout.read(1)
    return content


@dataclass(frozen=True, slots=True)
class _Entry:
    """One file of a tree, by the name of its content."""

    name: str
    blob: bytes
    size: int
    is_program: bool


def _tree(repository: Path, url: str) -> Iterator[_Entry]:
    """Every file; links and submodules are left out."""
    with _started(["ls-tree", "-r", "-z", "-l", "HEAD"], repository) as listing:
        assert listing.stdout
        rest, count = b"", 0
        while block := os.read(listing.stdout.fileno(), 1 << 16):
            *lines, rest = (rest + block).split(b"\0")
            count += len(lines)
            if count > MAX_ENTRIES or len(rest) > _MAX_LINE:
                raise SkillError.of(f"{url} holds too many files", "download the folder of the skill alone")
            for line in lines:
                about, _, name = line.partition(b"\t")
                mode, _, blob, size = about.split()
                if mode in (_FILE, _PROGRAM):
                    yield _Entry(os.fsdecode(name), blob, int(size), mode == _PROGRAM)


@contextmanager
def _started(
    arguments: list[str], repository: Path, stdin: int = subprocess.DEVNULL
) -> Iterator[subprocess.Popen[bytes]]:
    command = ["git", "-C", str(repository), *arguments]
    process = subprocess.Popen(
        command,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_environment(repository),
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _run(arguments: list[str], scratch: Path, url: str) -> None:
    settings = ["core.hooksPath=/dev/null", "protocol.allow=never", "credential.helper="]
    settings += [f"protocol.{name}.allow=always" for name in _PROTOCOLS]
    options = [word for setting in settings for word in ("-c", setting)]
    # No file of what comes may be larger than a skill may be: the blocks of ulimit have 512 bytes.
    bounded = ["sh", "-c", 'ulimit -f "$1" && shift && exec "$@"', "sh", str(MAX_BYTES // 512)]
    try:
        done = subprocess.run(
            [*bounded, "git", *options, *arguments],
            env=_environment(scratch),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        raise SkillError.of(f"{url}: git took longer than {SECONDS} s", "try again later") from None
    if done.returncode == 127:
        raise SkillError.of("git is not on this machine", "install git, or download the skill as an archive")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given; perhaps it is too large for a skill"])[-1]
        raise SkillError.of(f"{url} cannot be cloned: {shown(last)[1:-1]}", "check the address")


def _environment(scratch: Path) -> dict[str, str]:
    kept = ("SSH_AUTH_SOCK", "https_proxy", "HTTPS_PROXY")
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(scratch.parent),
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_SSH_COMMAND": "ssh -oBatchMode=yes",
        "LC_ALL": "C",
    } | {name: os.environ[name] for name in kept if name in os.environ}
