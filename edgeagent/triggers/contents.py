"""What is in a file: its SHA-256 and the beginning of its text. Reads in pieces, so that size does not matter."""

from __future__ import annotations

import codecs
import errno
import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass

from edgeagent.triggers.listing import Sight, sight_of

PIECE = 1 << 20
"""Bytes read at a time."""

HEAD = 16_384
"""Bytes of the beginning that the preview is made from."""

_PASSING = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE)
"""Why a file cannot be opened just now, which says nothing about the file."""

_CONTROL = frozenset(range(32)) - {7, 8, 9, 10, 12, 13, 27}


class Interrupted(Exception):
    """The daemon is stopping; the file is left for the next start."""


class Unsteady(Exception):
    """The file changed while it was read, or is another one than was seen: it has to settle again."""


@dataclass(frozen=True, slots=True)
class Contents:
    sha256: str
    head: bytes


def read_contents(path: str, seen: Sight, stopping: Callable[[], bool]) -> Contents:
    """Hash the file that was `seen` at `path`.

    Raises OSError where it cannot be opened or read; Unsteady and Interrupted.
    """
    try:
        # A link or a FIFO may have taken the place of the file in the meantime: neither follow nor wait.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in _PASSING:
            raise Unsteady from error
        raise
    with open(descriptor, "rb", buffering=0) as file:
        _require_same(descriptor, seen)
        digest, head = hashlib.sha256(), b""
        while piece := file.read(PIECE):
            if stopping():
                raise Interrupted
            head = head or piece[:HEAD]
            digest.update(piece)
        _require_same(descriptor, seen)
    return Contents(digest.hexdigest(), head)


def _require_same(descriptor: int, seen: Sight) -> None:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or not sight_of(status).same_as(seen):
        raise Unsteady


def preview(head: bytes, characters: int) -> str:
    """The first `characters` of the text that begins with `head`; "" for what is not text.

    Invalid UTF-8 becomes U+FFFD. A byte order mark says UTF-8 or UTF-16 and is left out.
    """
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return _decoded(head, "utf-16", characters)
    if _is_binary(head):
        return ""
    return _decoded(head, "utf-8-sig", characters)


def _decoded(head: bytes, encoding: str, characters: int) -> str:
    # Not final: a character that is cut off by the end of `head` is left out and not shown as broken.
    return codecs.getincrementaldecoder(encoding)("replace").decode(head, final=len(head) < HEAD)[:characters]


def _is_binary(head: bytes) -> bool:
    if b"\0" in head or head.startswith(b"%PDF-"):
        return True
    return sum(byte in _CONTROL for byte in head) * 20 > len(head)
