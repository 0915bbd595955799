"""Which files of a watched folder count: glob patterns matched against the path below the folder.

Owns the pattern language. `*` and `?` stay within one name, `**` crosses folders, `[a-z]` and `[!a-z]` are sets. As in
a .gitignore, a pattern without a slash is about the name, in whatever folder the file is; one with a slash is about the
whole path below the watched folder, and a leading `/` or `./` only says so.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

UNFINISHED = (
    "*~",
    "*.swp",
    "*.swx",
    "*.part",
    "*.partial",
    "*.crdownload",
    ".goutputstream-*",
    ".#*",
    ".~lock.*#",
    ".nfs*",
    ".DS_Store",
)
"""What editors, browsers and desktops leave beside a file while they work on it. Never an event."""


class Selection:
    """Says of a path whether it matches one of `patterns` and none of `ignore`."""

    def __init__(self, patterns: Sequence[str], ignore: Sequence[str]) -> None:
        self._wanted = _compiled(patterns)
        self._ignored = _compiled((*ignore, *UNFINISHED))

    def takes(self, relative: str) -> bool:
        """`relative` is the path below the watched folder, with `/` between the names."""
        return bool(self._wanted.fullmatch(relative)) and not self.ignores(relative)

    def ignores(self, relative: str) -> bool:
        """Whether the file, or a folder on the way to it, is one to leave alone."""
        parts = relative.split("/")
        return any(self._ignored.fullmatch("/".join(parts[: n + 1])) for n in range(len(parts)))


def _compiled(patterns: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{_expression(pattern)})" for pattern in patterns) or "(?!)", re.DOTALL)


def _expression(pattern: str) -> str:
    if "/" not in pattern.rstrip("/"):
        pattern = f"**/{pattern}"
    names = pattern.rstrip("/").removeprefix("./").lstrip("/").split("/")
    parts = ["(?:.*/)?" if name == "**" else _name(name) + "/" for name in names[:-1]]
    return "".join(parts) + (".*" if names[-1] == "**" else _name(names[-1]))


_TOKEN = re.compile(r"\*+|\?|\[!?\]?[^\]]*\]|.", re.DOTALL)


def _name(glob: str) -> str:
    """One name of a pattern as a regular expression."""
    return "".join(_token(token) for token in _TOKEN.findall(glob))


def _token(token: str) -> str:
    if token[0] == "*":
        return "[^/]*"
    if token == "?":
        return "[^/]"
    if len(token) > 1:
        return _set(token)
    return re.escape(token)


def _set(token: str) -> str:
    """`[a-z]` or `[!a-z]` as a regular expression; a set that makes no sense stands for itself."""
    negated = token.startswith("[!")
    escaped = re.sub(r"([\\\[\]^&~|])", r"\\\1", token[2 if negated else 1 : -1])
    expression = f"(?!/)[{'^' if negated else ''}{escaped}]"
    try:
        re.compile(expression)
    except re.error:
        return re.escape(token)
    return expression
