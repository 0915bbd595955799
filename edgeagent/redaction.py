"""Takes the values of secrets out of whatever is recorded, logged or shown to a model.

A value is found as it is, JSON-escaped, URL-encoded (also in part), in hexadecimal, and in base64 at any offset of a
longer text. `Redactor.stream` does the same for text that comes in pieces. What it does not find: a value that was
reversed, compressed, encrypted, split by other characters, or is shorter than four characters.
"""

from __future__ import annotations

import base64
import copy
import json
import logging
import re
import threading
from collections.abc import Iterable, Iterator
from typing import Any

SHORTEST = 4
_LEAST_CODED = 7
"""Characters of a base64 form. Shorter ones are found in ordinary text."""


class Redactor:
    """Knows the secrets that were looked up in this process. Any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, str] = {}
        self._pattern: re.Pattern[str] | None = None
        self._names: dict[str, str] = {}
        self.longest = 0

    def add(self, name: str, value: str) -> None:
        """From now on the value is hidden, as `[secret NAME]`."""
        if len(value) < SHORTEST:
            return
        with self._lock:
            if value in self._known:
                return
            self._known[value] = name
            self._compile()

    def _compile(self) -> None:
        forms, names, longest = [], {}, 0
        for number, (value, name) in enumerate(sorted(self._known.items(), key=lambda item: -len(item[0]))):
            group = f"s{number}"
            names[group] = name
            found = list(_forms(value))
            forms.append(f"(?P<{group}>{'|'.join(form for form, _ in found)})")
            longest = max(longest, *(length for _, length in found))
        self._pattern, self._names, self.longest = re.compile("|".join(forms)), names, longest

    def text(self, text: str) -> str:
        """The text without the secrets."""
        pattern = self._pattern
        return pattern.sub(self.mark, text) if pattern else text

    def json(self, value: Any) -> Any:
        """The same for every text in a JSON value, keys included."""
        if self._pattern is None:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(key): self.json(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.json(item) for item in value]
        return value

    def stream(self) -> RedactedStream:
        """For a text that comes in pieces, with a secret across two of them."""
        return RedactedStream(self)

    def found_in(self, text: str) -> Iterator[re.Match[str]]:
        return self._pattern.finditer(text) if self._pattern else iter(())

    def mark(self, found: re.Match[str]) -> str:
        return f"[secret {self._names.get(found.lastgroup or '', '')}]"


class RedactedStream:
    """Holds back as much of the end as a secret may take."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._held = ""

    def feed(self, piece: str) -> str:
        """What is safe to pass on by now."""
        return self._pass(piece, max(0, self._redactor.longest - 1))

    def close(self) -> str:
        """The rest."""
        return self._pass("", 0)

    def _pass(self, piece: str, hold: int) -> str:
        text = self._held + piece
        until, at, parts = max(0, len(text) - hold), 0, []
        for found in self._redactor.found_in(text):
            if found.start() >= until:
                break
            parts += [text[at : found.start()], self._redactor.mark(found)]
            at = found.end()
        until = max(at, until)
        self._held = text[until:]
        return "".join([*parts, text[at:until]])


class RedactedLog(logging.Formatter):
    """Stands before the formatter of a log handler: whatever it writes, tracebacks included, has no secret in it."""

    def __init__(self, formatter: logging.Formatter | None, redactor: Redactor) -> None:
        super().__init__()
        self._formatter, self._redactor = formatter or logging.Formatter(), redactor

    def format(self, record: logging.LogRecord) -> str:
        """Before and after: a formatter may escape what is escaped already, and then no form is found any more."""
        hidden = copy.copy(record)
        hidden.msg, hidden.args = self._redactor.text(record.getMessage()), None
        if record.exc_info:
            hidden.exc_text = self._redactor.text(self._formatter.formatException(record.exc_info))
        return self._redactor.text(self._formatter.format(hidden))


def hide_in_log(handlers: Iterable[logging.Handler], redactor: Redactor) -> None:
    """From now on these handlers write no secret."""
    for handler in handlers:
        handler.setFormatter(RedactedLog(handler.formatter, redactor))


def _forms(value: str) -> Iterator[tuple[str, int]]:
    """Patterns of the forms that a value may take, each with the length of its longest match."""
    letters = [_letter(letter) for letter in value]
    yield "".join(pattern for pattern, _ in letters), sum(length for _, length in letters)
    raw = value.encode("utf-8", "surrogatepass")
    yield f"(?i:{raw.hex()})", 2 * len(raw)
    for coded in _base64(raw):
        if len(coded) >= _LEAST_CODED:
            # The line ends that base64 in mails and of the command have in it.
            yield "(?:\\r?\\n)?".join(re.escape(letter) for letter in coded), 3 * len(coded)


def _letter(letter: str) -> tuple[str, int]:
    """One character as it is, as JSON writes it, or as a URL does."""
    raw = letter.encode("utf-8", "surrogatepass")
    forms = {letter, json.dumps(letter)[1:-1], json.dumps(letter, ensure_ascii=False)[1:-1]}
    if letter == " ":
        forms.add("+")
    if letter == "/":
        forms.add("\\/")
    coded = ["".join(f"%{byte:02x}" for byte in raw)]
    if ord(letter) < 0x10000:
        coded.append(f"\\u{ord(letter):04x}")
    alternatives = [*map(re.escape, sorted(forms)), *(f"(?i:{re.escape(form)})" for form in coded)]
    return f"(?:{'|'.join(alternatives)})", max(map(len, [*forms, *coded]))


def _base64(raw: bytes) -> Iterator[str]:
    """What stays of the value in base64, whatever stands before and after it, in both alphabets."""
    for before in range(3):
        coded = base64.b64encode(b"\0" * before + raw).decode()
        first, end = (before * 8 + 5) // 6, (before + len(raw)) * 8 // 6
        yield coded[first:end]
        if any(letter in "+/" for letter in coded[first:end]):
            yield coded[first:end].replace("+", "-").replace("/", "_")
