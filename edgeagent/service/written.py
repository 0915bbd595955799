"""The file that describes a service: written whole, sealed with a digest, and never written over a person's changes."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgeagent.errors import ServiceError

State = Literal["absent", "sound", "edited", "foreign"]

_TERMS = re.compile(r"edgeagent: (\{.*?\})(?: -->)?$", re.MULTILINE)
_SEAL = re.compile(r"^.*\bsha256=([0-9a-f]{64})\b.*\n", re.MULTILINE)
BEFORE = ".before"


@dataclass(frozen=True, slots=True)
class Terms:
    """What a file was written for."""

    home: str
    write: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Written:
    """A file as it is found. `edited`: not as it was written; `foreign`: not written by us at all."""

    state: State
    text: str = ""
    terms: Terms = Terms("")


def not_as_written(path: Path, found: Written, hint: str) -> ServiceError:
    what = "has been changed by hand" if found.state == "edited" else "was not written by edgeagent"
    return ServiceError(f"{path} {what}", hint)


def require_ours(path: Path, found: Written, home: str, *, hint: str, uninstall: str) -> None:
    """ServiceError unless there is no file, or one as we wrote it for this home.

    `hint` is what to do about one that is not as it was written, `uninstall` the command that removes another home's.
    """
    if found.state == "absent":
        return
    if found.state != "sound":
        raise not_as_written(path, found, hint)
    if found.terms.home != home:
        raise ServiceError(
            f"{path} serves another home, {found.terms.home}",
            f"{uninstall} first; with --force this home, {home}, takes its place",
        )


def terms_line(home: str, write: Sequence[str]) -> str:
    """One line for a comment. Without two dashes in a row, which would end a comment in XML."""
    return "edgeagent: " + json.dumps({"home": home, "write": list(write)}).replace("-", "\\u002d")


def sealed(text: str, comment: str) -> str:
    """The text with its digest in a comment on the line that says `@SEAL@`. `comment` is such as `# %s`."""
    bare = text.replace("@SEAL@\n", "")
    return text.replace("@SEAL@", comment % f"sha256={_digest(bare)} of the rest of this file", 1)


def look_at(path: Path) -> Written:
    """ServiceError where there is something that cannot be read."""
    try:
        text = path.read_bytes().decode(errors="replace")
    except FileNotFoundError:
        return Written("absent")
    except OSError as error:
        raise ServiceError(f"{path}: {error.strerror}", f"ls -ld '{path}'") from error
    seal, told = _SEAL.search(text), _TERMS.search(text)
    if not seal or not told:
        return Written("foreign", text)
    is_sound = _digest(text.replace(seal[0], "", 1)) == seal[1]
    return Written("sound" if is_sound else "edited", text, _terms(told[1]))


def home_in(path: Path) -> str | None:
    """The home that a file was written for. None where there is no file, or none that tells."""
    try:
        return look_at(path).terms.home or None
    except ServiceError:
        return None


def write(path: Path, text: str) -> None:
    """All or nothing."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(text, "utf-8")
        beside.chmod(0o644)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise ServiceError(f"cannot write {path}: {error.strerror}", f"ls -ld '{path.parent}'") from error


def put_aside(path: Path) -> Path:
    """Keeps a file under another name, which no manager reads."""
    kept = path.with_name(path.name + BEFORE)
    path.replace(kept)
    return kept


def _terms(text: str) -> Terms:
    try:
        told = json.loads(text)
        return Terms(str(told["home"]), tuple(str(one) for one in told["write"]))
    except (ValueError, KeyError, TypeError):
        return Terms("")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
