"""Writing llguidance's dialect of Lark: rules with names of their own, texts, special tokens, regular expressions.

Owns the spelling, and the collecting of rules. Knows neither schemas nor call syntaxes.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence

ANY = r"/(.|\n)*/"
NOTHING = '""'
MAX_STATES = 5000
"""Of an automaton that counts characters and looks for a text meanwhile: llguidance refuses one of more."""

_CODE_OF = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def quoted(text: str) -> str:
    """A text as Lark writes it."""
    return json.dumps(text, ensure_ascii=False) if text.isprintable() else json.dumps(text)


def escaped(text: str) -> str:
    """A text inside a regular expression between slashes."""
    return "".join(_CODE_OF.get(char) or (f"\\{char}" if char in r"\.+*?()|[]{}^$#&-~/" else char) for char in text)


def without(texts: Sequence[str], base: str = ANY) -> str:
    """The regular expression `base`, but nothing that contains one of `texts`. For a terminal."""
    if not texts:
        return base
    return rf"({base} & ~/(.|\n)*({'|'.join(map(escaped, texts))})(.|\n)*/)"


def longest(closing: str) -> int:
    """How many characters of a text can be counted that ends with `closing`."""
    return MAX_STATES // (len(closing) + 1)


class Rules:
    """The rules of one grammar.

    Args:
        special: the special tokens of the vocabulary by their text; in a grammar they are tokens and not text.
    """

    def __init__(self, special: Mapping[str, int]) -> None:
        self._special = {text: token for text, token in special.items() if len(text) > 1 and text.strip()}
        texts = sorted(self._special, key=len, reverse=True)
        self._splitter = re.compile("(" + "|".join(map(re.escape, texts)) + ")") if texts else None
        self._rules: dict[str, str] = {}
        self._numbers = itertools.count()
        self._names: dict[tuple[str, str], str] = {}

    def text(self, text: str) -> str:
        """What writes exactly this text."""
        parts = [self._part(part) for part in self.split(text)]
        return " ".join(parts) or NOTHING

    def data(self, before: str, value: str, after: str = "") -> str:
        """What writes a value from outside between two texts of ours: a special-token text in it is text."""
        ahead, behind = self.split(before), self.split(after)
        if ahead and not self.is_special(ahead[-1]):
            value = ahead.pop() + value
        if behind and not self.is_special(behind[0]):
            value += behind.pop(0)
        parts = [*map(self._part, ahead), *([quoted(value)] if value else []), *map(self._part, behind)]
        return " ".join(parts) or NOTHING

    def split(self, text: str) -> list[str]:
        """The text in pieces: special tokens, and what is between them."""
        parts = self._splitter.split(text) if self._splitter else [text]
        return [part for part in parts if part]

    def is_special(self, text: str) -> bool:
        return text in self._special

    def has_special(self, text: str) -> bool:
        return any(map(self.is_special, self.split(text)))

    def _part(self, part: str) -> str:
        return f"<[{self._special[part]}]>" if part in self._special else quoted(part)

    def rule(self, body: str, prefix: str = "r") -> str:
        """The name of a rule with that body; the same body has the same name."""
        known = self._names.get((prefix, body))
        if known is None:
            known = self._names[prefix, body] = self.reserve(prefix)
            self._rules[known] = body
        return known

    def terminal(self, body: str) -> str:
        """The name of a terminal: one lexeme, whatever it is made of."""
        return self.rule(body, "T")

    def reserve(self, prefix: str = "r") -> str:
        """A fresh name, to be defined later: for rules that refer to themselves."""
        name = f"{prefix}{next(self._numbers)}"
        self._rules[name] = ""
        return name

    def define(self, name: str, body: str, attributes: str = "") -> str:
        del self._rules[name]
        self._rules[name + attributes] = body
        return name

    def up_to(self, pattern: str, closing: str) -> str:
        """Text that matches the terminal expression `pattern`, then `closing`, where it ends and not before."""
        parts = self.split(closing)
        plain = "" if not parts or self.is_special(parts[0]) else parts[0]
        rest = closing[len(plain) :]
        if rest:  # a special token ends the text by itself
            body = f"{pattern} {quoted(plain)}" if plain else pattern
            return f"{self.terminal(body)} {self.text(rest)}"
        body = f"({pattern} & ~{_contains(plain)}) {quoted(plain)}" if plain else pattern
        return self.terminal(body)

    def as_text(self, start: str) -> str:
        """The whole grammar."""
        return "\n".join([f"start: {start}", *(f"{name}: {body}" for name, body in self._rules.items())])


def _contains(text: str) -> str:
    return rf"/(.|\n)*{escaped(text)}(.|\n)*/"
