"""The terminal: how wide it is, whether it has colours, tables that fit, and text that cannot harm it.

A terminal obeys what is printed on it, so nothing reaches it but what can be seen (`edgeagent.visible`) and the colours
that were asked for here: whatever came from a model, a file or its name may be handed to any method. Knows nothing
about runs or agents.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from edgeagent.visible import judged, one_line, printable, visible

__all__ = ["Column", "Screen", "accept_any_text", "cut", "make_screen", "one_line", "printable", "width_of"]

FALLBACK_WIDTH = 80
_NARROWEST = 40
_GAP = 2

_CODES = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "cyan": "36",
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table. A `flexible` one is cut first where the terminal is narrow; `wide` ones need room."""

    title: str
    flexible: bool = False
    right: bool = False


class Screen:
    """Where a command writes to.

    Args:
        fits: whether lines are cut to `width`. A pipe gets them whole, unless COLUMNS says otherwise.
    """

    def __init__(self, out: TextIO, *, width: int, color: bool, fits: bool) -> None:
        self._out = out
        self.width = width
        self.color = color
        self.fits = fits
        # Stands for the escape character in styled text until it is written. Nobody else knows it, so that no text
        # from outside can pass for a style.
        self._mark = f"\0{secrets.token_hex(8)}\0"

    def line(self, text: str = "") -> None:
        """One line, whatever is in the text: a name with a line end in it makes no second one."""
        self._out.write(self._safe(text).replace("\n", "\\n") + "\n")

    def lines(self, text: str, indent: str = "") -> None:
        """A text of several lines; `indent` stands before those that follow the first."""
        self._out.write(self._safe(text).replace("\n", f"\n{indent}") + "\n")

    def rewrite(self, text: str) -> None:
        """Puts a text in place of the line that the cursor is on, at once. For terminals."""
        self._out.write(f"\r\x1b[K{self._safe(text)}")
        self._out.flush()

    def _safe(self, text: str) -> str:
        """The text as a terminal may have it: with the styles of `style`, and nothing else that it would obey."""
        first, *styled = text.split(self._mark)
        return visible(first) + "".join(f"\x1b{code}m{visible(rest)}" for code, _, rest in _codes_of(styled))

    def flush(self) -> None:
        self._out.flush()

    def json(self, value: Any, *, indent: int | None = 2) -> None:
        """One JSON value. What cannot be seen in a text, and a lone surrogate (a file name that is not UTF-8), is
        escaped as JSON does, so that a reader gets it exactly and a terminal does not obey it."""
        text = json.dumps(value, ensure_ascii=False, indent=indent)
        if not text.isascii() or "\x7f" in text:
            text = "".join(
                letter if is_seen or letter == "\n" else json.dumps(letter)[1:-1] for letter, is_seen in judged(text)
            ).replace("\x7f", "\\u007f")
        self._out.write(text + "\n")

    def style(self, text: str, *names: str) -> str:
        if not self.color or not names or not text:
            return text
        return f"{self._mark}[{';'.join(_CODES[name] for name in names)}m{text}{self._mark}[0m"

    def cut(self, text: str, width: int) -> str:
        """The text on `width` columns, where lines are cut at all."""
        return cut(text, width) if self.fits else text

    def wrapped(self, text: str, indent: str, first: str | None = None, style: str = "") -> None:
        """The lines of a text below each other, each on as many lines as it needs. `first` stands before the first."""
        lead = indent if first is None else first
        for paragraph in printable(text).splitlines() or [""]:
            for part in _wrap(paragraph, self.width - len(indent)):
                self.line(f"{lead}{self.style(part, *([style] if style else []))}".rstrip())
                lead = indent

    def pairs(self, rows: Iterable[tuple[str, str]], styles: Mapping[str, str] | None = None) -> None:
        """`label  value` lines with the values in one column; long values are wrapped there.

        What is empty is left out. `styles` colours the values of labels.
        """
        shown = [(label, value) for label, value in rows if value]
        size = max((len(label) for label, _ in shown), default=0)
        for label, value in shown:
            lead = self.style(label.ljust(size), "dim") + " " * _GAP
            self.wrapped(value, " " * (size + _GAP), lead, (styles or {}).get(label, ""))

    def table(
        self, columns: Sequence[Column], rows: Sequence[Sequence[str]], styles: Mapping[str, str] | None = None
    ) -> None:
        """Aligned columns with a header. `styles` colours cells that read exactly so."""
        cells = [[one_line(cell) for cell in row] for row in rows]
        widths = self._widths(columns, cells)
        self.line(self.style(self._row(columns, [column.title for column in columns], widths, {}), "dim"))
        for row in cells:
            self.line(self._row(columns, row, widths, styles or {}))

    def _widths(self, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[int]:
        widths = [
            max([width_of(column.title), *(width_of(row[at]) for row in rows)]) for at, column in enumerate(columns)
        ]
        flexible = [at for at, column in enumerate(columns) if column.flexible]
        excess = sum(widths) + _GAP * (len(widths) - 1) - self.width
        while self.fits and excess > 0 and flexible:
            widest = max(flexible, key=lambda at: widths[at])
            if widths[widest] <= len(columns[widest].title):
                break
            widths[widest] -= 1
            excess -= 1
        return widths

    def _row(
        self, columns: Sequence[Column], cells: Sequence[str], widths: Sequence[int], styles: Mapping[str, str]
    ) -> str:
        parts = []
        for column, cell, width in zip(columns, cells, widths, strict=True):
            text = self.cut(cell, width)
            space = " " * (width - width_of(text))
            styled = self.style(text, styles[cell]) if cell in styles else text
            parts.append(space + styled if column.right else styled + space)
        return (" " * _GAP).join(parts).rstrip()


def make_screen(out: TextIO, environ: Mapping[str, str]) -> Screen:
    """The screen that `out` is. NO_COLOR (no-color.org), TERM=dumb and pipes have no colours."""
    is_terminal = out.isatty()
    plain = bool(environ.get("NO_COLOR")) or environ.get("TERM") == "dumb"
    given = environ.get("COLUMNS", "")
    columns = int(given) if given.isdecimal() and int(given) else 0
    width = columns or (_terminal_width(out) if is_terminal else FALLBACK_WIDTH)
    return Screen(
        out,
        width=max(_NARROWEST, width),
        color=is_terminal and not plain,
        fits=is_terminal or bool(columns),
    )


def _terminal_width(out: TextIO) -> int:
    try:
        return os.get_terminal_size(out.fileno()).columns or FALLBACK_WIDTH
    except (OSError, ValueError):
        return shutil.get_terminal_size((FALLBACK_WIDTH, 24)).columns


def accept_any_text() -> None:
    """A terminal that cannot show a character shows a question mark; it is no reason to fail."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure:
            reconfigure(errors="replace")


def _codes_of(styled: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """What follows each mark, as `[32`, `m` and the rest."""
    return (part.partition("m") for part in styled)


def width_of(text: str) -> int:
    """How many columns a text takes in a terminal."""
    if text.isascii():
        return len(text)
    return sum(_columns(letter) for letter in text)


def _columns(letter: str) -> int:
    if unicodedata.combining(letter):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in ("W", "F") else 1


def cut(text: str, width: int) -> str:
    """At most `width` columns of a text, with an ellipsis where something is missing."""
    if width_of(text) <= width:
        return text
    kept, used = "", 0
    for letter in text:
        used += _columns(letter)
        if used > width - 1:
            break
        kept += letter
    return kept.rstrip() + "…"


def _wrap(text: str, width: int) -> list[str]:
    if width_of(text) <= width:
        return [text]
    # A path that is longer than the line stays whole, so that it can be copied.
    return textwrap.wrap(
        text, max(20, width), break_on_hyphens=False, break_long_words=False, replace_whitespace=False
    ) or [""]
