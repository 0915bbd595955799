"""How a template writes values: JSON, Python, or a notation of its own, learnt from how a list and a table come out.

Owns the styles and the reading of them. Rules that let a model write in a style are in `schema_rules`.
"""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass
from typing import Any

from edgeagent.errors import ModelError

MAX_DEPTH = 64
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_BARE_KEY = re.compile(r"[^\s:={}\[\],\"']+")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_SIMPLE_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "0": "\0"}
_SEPARATORS = ((", ", ": "), (",", ":"), (", ", ":"), (",", ": "))
WORDS = {"true": True, "True": True, "false": False, "False": False, "null": None, "None": None}


class UnreadableError(ModelError):
    """A value that is not of its notation, which means that the turn was cut."""

    def __init__(self, what: str = "the model's call was cut") -> None:
        super().__init__(what)


@dataclass(frozen=True, slots=True)
class Style:
    """A notation.

    Args:
        quotes: what stands around a text. has_escapes: whether backslashes stand for other characters inside.
        quotes_keys: whether the keys of a table are texts, too.
    """

    quotes: tuple[str, str] = ('"', '"')
    has_escapes: bool = True
    quotes_keys: bool = True
    item_separator: str = ", "
    key_separator: str = ": "
    true: str = "true"
    false: str = "false"
    null: str = "null"

    @property
    def is_json(self) -> bool:
        return self.quotes == ('"', '"') and self.has_escapes and self.quotes_keys and self.true == "true"

    def word(self, value: bool | None) -> str:
        return self.null if value is None else self.true if value else self.false


JSON = Style()
PYTHON = Style(quotes=("'", "'"), true="True", false="False", null="None")


def json_separators(text: str, value: Any) -> tuple[str, str]:
    """The separators that make `text` of `value`; the usual ones where it is laid out in lines."""
    for separators in _SEPARATORS:
        if text in (json.dumps(value, separators=separators), json.dumps(value, separators=separators, sort_keys=True)):
            return separators
    return _SEPARATORS[0]


def find_json(text: str, value: Any) -> tuple[int, int] | None:
    """Where `value` stands in a text as JSON."""
    for match in re.finditer(re.escape("{" if isinstance(value, dict) else "["), text):
        try:
            found, end = json.JSONDecoder().raw_decode(text, match.start())
        except ValueError:
            continue
        if found == value:
            return match.start(), end
    return None


def style_of(text: str, value: Any, quotes: tuple[str, str] | None) -> Style | None:
    """The notation in which `text` says `value`, a list or a table; None where it is none that can be read.

    Args:
        quotes: what stands around single texts of this template, where anything does.
    """
    try:
        if json.loads(text) == value:
            item, key = json_separators(text, value)
            return Style(item_separator=item, key_separator=key)
    except ValueError:
        pass
    try:
        if ast.literal_eval(text) == value:
            return PYTHON
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        pass
    return _own_style(text, value, quotes) if quotes else None


def _own_style(text: str, value: Any, quotes: tuple[str, str]) -> Style | None:
    for has_escapes in (False, True):
        style = Style(
            quotes,
            has_escapes,
            quotes_keys=False,
            item_separator=", " if ", " in text else ",",
            key_separator=": " if ": " in text else ":",
            true="True" if "True" in text else "true",
            false="False" if "True" in text else "false",
            null="None" if "None" in text else "null",
        )
        try:
            if read_value(text, 0, style) == (value, len(text)):
                return style
        except UnreadableError:
            continue
    return None


# --- reading ----------------------------------------------------------------------------------------------------------


def read_value(text: str, at: int, style: Style, depth: int = 0) -> tuple[Any, int]:
    """The value that begins at `at`, and where it ends. UnreadableError where there is none."""
    if depth > MAX_DEPTH:
        raise UnreadableError("the model's call is nested too deeply")
    if style.is_json:
        return _read_json(text, at)
    if text.startswith(style.quotes[0], at):
        return read_text(text, at, style.quotes, style.has_escapes)
    if text[at : at + 1] in ('"', "'"):
        return read_text(text, at, (text[at], text[at]), has_escapes=True)
    if text.startswith("[", at):
        return _read_list(text, at + 1, style, depth)
    if text.startswith("{", at):
        return _read_table(text, at + 1, style, depth)
    for word, meaning in WORDS.items():
        if text.startswith(word, at):
            return meaning, at + len(word)
    return read_number(text, at)


def _read_json(text: str, at: int) -> tuple[Any, int]:
    try:
        return json.JSONDecoder(strict=False).raw_decode(text, at)
    except (ValueError, RecursionError) as error:
        raise UnreadableError() from error


def read_number(text: str, at: int) -> tuple[int | float, int]:
    match = _NUMBER.match(text, at)
    if match is None:
        raise UnreadableError()
    return json.loads(match[0]), match.end()


def read_text(text: str, at: int, quotes: tuple[str, str], has_escapes: bool) -> tuple[str, int]:
    begin = at + len(quotes[0])
    if not has_escapes:
        end = text.find(quotes[1], begin)
        if end < 0:
            raise UnreadableError()
        return text[begin:end], end + len(quotes[1])
    closing = re.compile(rf"(?:[^\\]|\\.)*?(?={re.escape(quotes[1])})", re.DOTALL).match(text, begin)
    if closing is None:
        raise UnreadableError()
    return _ESCAPE.sub(_unescaped, closing[0]), closing.end() + len(quotes[1])


def _unescaped(match: re.Match[str]) -> str:
    code = match[1] or match[2]
    return chr(int(code, 16)) if code else _SIMPLE_ESCAPES.get(match[3], match[3])


def _spaces(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _read_list(text: str, at: int, style: Style, depth: int) -> tuple[list[Any], int]:
    items: list[Any] = []
    at = _spaces(text, at)
    while not text.startswith("]", at):
        item, at = read_value(text, at, style, depth + 1)
        items.append(item)
        at = _after_item(text, at, "]")
    return items, at + 1


def _read_table(text: str, at: int, style: Style, depth: int) -> tuple[dict[str, Any], int]:
    table: dict[str, Any] = {}
    at = _spaces(text, at)
    while not text.startswith("}", at):
        key, at = _read_key(text, at, style)
        at = _spaces(text, at)
        if not text.startswith(":", at):
            raise UnreadableError()
        table[key], at = read_value(text, _spaces(text, at + 1), style, depth + 1)
        at = _after_item(text, at, "}")
    return table, at + 1


def _read_key(text: str, at: int, style: Style) -> tuple[str, int]:
    if text.startswith(style.quotes[0], at):
        return read_text(text, at, style.quotes, style.has_escapes)
    if text[at : at + 1] in ('"', "'"):
        return read_text(text, at, (text[at], text[at]), has_escapes=True)
    match = _BARE_KEY.match(text, at)
    if match is None:
        raise UnreadableError()
    return match[0], match.end()


def _after_item(text: str, at: int, closing: str) -> int:
    at = _spaces(text, at)
    if text.startswith(",", at):
        return _spaces(text, at + 1)
    if not text.startswith(closing, at):
        raise UnreadableError()
    return at
