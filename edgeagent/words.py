"""Small phrases for messages that people read. Knows nothing of files, models or agents."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """`; did you mean "settle"?` where a known word is near, whatever the case, else nothing."""
    spelt = {name.lower(): name for name in sorted(known)}
    near = difflib.get_close_matches(str(word).lower()[:200], spelt, n=1, cutoff=0.6)
    return f'; did you mean "{spelt[near[0]]}"?' if near else ""


def one_of(words: Iterable[object]) -> str:
    """`a, b or c`."""
    listed = [str(word) for word in words]
    return listed[0] if len(listed) == 1 else f"{', '.join(listed[:-1])} or {listed[-1]}"
