"""Text of strangers, made fit for the eyes of people: what a terminal would obey, and what nobody can see, is shown.

Names of files, what a model wrote, what a tool printed and what a skill says of itself may hold control sequences,
marks that turn the direction of the text, letters without width, and letters that look like others. Knows nothing of
terminals nor of where a text came from.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

_UNSEEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\U0001d159")
"""Python calls these printable, and nothing is printed. So are the marks of `_is_selector`."""
_MARKS_IN_A_ROW = 4
"""No language puts more marks on one letter; what has more hides the lines around it."""
_LATIN = "LATIN"
_ALIKE = frozenset({"CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "LISU", "COPTIC"})
"""Alphabets with letters that nobody can tell from Latin ones."""


def visible(text: str) -> str:
    """The same lines; everything but line ends, tabs and what can be seen is shown by its number."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(letter, is_seen) for letter, is_seen in judged(text.replace("\r\n", "\n")))


def printable(text: str) -> str:
    """As `visible`, with tabs as spaces."""
    return visible(text if text.isprintable() else text.expandtabs(4))


def one_line(text: str) -> str:
    """Words on one line: white space of any kind and number is one space."""
    return printable(re.sub(r"\s+", " ", text).strip())


def escaped(text: str) -> str:
    """One line from which nothing is missing: line ends, tabs, odd spaces and bytes that are no text are shown too."""
    return "".join(letter if is_seen else _by_number(letter) for letter, is_seen in judged(text))


def exact(text: str) -> str:
    """As `escaped`, in quotes where spaces could be overlooked."""
    return f'"{escaped(text)}"' if text != text.strip(" ") or "  " in text else escaped(text)


def lookalikes(text: str) -> list[str]:
    """The words of a text whose letters pass for others: of two alphabets that look alike, or in a fancy form.

    A word of one alphabet, whichever, is none.
    """
    found = [word for word in re.findall(r"\w+", text) if not word.isascii() and _is_mixed(word)]
    return list(dict.fromkeys(found))


def judged(text: str) -> Iterator[tuple[str, bool]]:
    """Each letter, and whether it can be seen where it stands."""
    marks, before = 0, ""
    for letter in text:
        marks = marks + 1 if unicodedata.combining(letter) else 0
        yield letter, can_be_seen(letter, before) and marks <= _MARKS_IN_A_ROW
        before = letter


def can_be_seen(letter: str, before: str = "") -> bool:
    """Whether a letter shows itself. `before`: the one before it, which an emoji's selector may follow."""
    if _is_selector(letter):
        return letter in "\ufe0e\ufe0f" and before != "" and unicodedata.category(before) in ("So", "Sm")
    return letter.isprintable() and letter not in _UNSEEN


def _shown(letter: str, is_seen: bool) -> str:
    if is_seen or letter in "\n\t":
        return letter
    if "\ud800" <= letter <= "\udfff":
        return "\N{REPLACEMENT CHARACTER}"
    return " " if unicodedata.category(letter) == "Zs" else _by_number(letter)


def _is_selector(letter: str) -> bool:
    return "\ufe00" <= letter <= "\ufe0f" or "\u180b" <= letter <= "\u180f" or "\U000e0100" <= letter <= "\U000e01ef"


def _by_number(letter: str) -> str:
    return letter.encode("unicode_escape").decode()


def _is_mixed(word: str) -> bool:
    alphabets = {unicodedata.name(letter, "").partition(" ")[0] for letter in word if letter.isalpha()}
    has_two = _LATIN in alphabets and bool(alphabets & _ALIKE)
    return has_two or unicodedata.normalize("NFKC", word) != unicodedata.normalize("NFC", word)
