"""Comparing renderings: what they have in common, cut where a tag, a special token or a word ends, never within one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

TAG = re.compile(r"<[^<>\s][^<>]{0,80}>|\[/?[A-Z][A-Z_]*\]")
"""What looks like a tag, where the vocabulary says nothing of special tokens."""


def same_start(one: str, other: str) -> str:
    """What both begin with."""
    length = next((at for at, (mine, its) in enumerate(zip(one, other, strict=False)) if mine != its), None)
    return one[: min(len(one), len(other)) if length is None else length]


def same_end(one: str, other: str) -> str:
    """What both end with."""
    return same_start(one[::-1], other[::-1])[::-1]


class Cutter:
    """Finds places where a text may be cut.

    Args:
        special: texts of special tokens, which are never cut in two.
    """

    def __init__(self, special: Iterable[str] = ()) -> None:
        texts = sorted((text for text in special if len(text) > 1 and text.strip()), key=len, reverse=True)
        pattern = "|".join([*map(re.escape, texts), TAG.pattern])
        self._tags = re.compile(pattern)

    def tags(self, text: str) -> list[tuple[int, int]]:
        return [match.span() for match in self._tags.finditer(text)]

    def common_start(self, texts: Sequence[str]) -> str:
        """The longest beginning of all texts that cuts nothing in two in any of them."""
        length = min(len(same_start(texts[0], text)) for text in texts)
        while length and not all(self._may_cut(text, length) for text in texts):
            length -= 1
        return texts[0][:length]

    def common_end(self, texts: Sequence[str]) -> str:
        length = min(len(same_end(texts[0], text)) for text in texts)
        while length and not all(self._may_cut(text, len(text) - length) for text in texts):
            length -= 1
        return texts[0][len(texts[0]) - length :]

    def _may_cut(self, text: str, at: int) -> bool:
        near = text[max(at - 90, 0) : at + 90]
        offset = at - max(at - 90, 0)
        if any(begin < offset < end for begin, end in self.tags(near)):
            return False
        return not (0 < at < len(text) and _is_word(text[at - 1]) and _is_word(text[at]))

    def best_cut(self, text: str, first: int, last: int) -> int:
        """The best place to cut between `first` and `last`: after a tag, else where no word is cut, else the last."""
        places = [at for at in range(last, first - 1, -1) if self._may_cut(text, at)]
        ends = {end for _, end in self.tags(text)}
        after_tag = [at for at in places if at in ends]
        return (after_tag or places or [last])[0]


def _is_word(char: str) -> bool:
    return char.isalnum() or char == "_"
