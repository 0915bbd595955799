"""Finds the arguments in a rendered call, and how they are written.

JSON is recognised as a whole. Else the template is asked for calls with one value of each type between two texts, and
what stands around keys and values is read off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgeagent.model.syntax.forms import Arguments, JsonArguments, Parameters, Unit
from edgeagent.model.syntax.probe import FIRST, KEY, LAST, LIST, NUMBER, ONE, PLAIN_ARGUMENTS, TABLE, TWO, Probe
from edgeagent.model.syntax.text import Cutter, same_end, same_start
from edgeagent.model.syntax.values import JSON, PYTHON, Style, find_json, json_separators, style_of

_HARD = "q\"uo'te\\ba\nck"
"""A text with everything that notations escape."""
_KINDS: tuple[tuple[str, Any], ...] = (
    ("number", NUMBER),
    ("boolean", True),
    ("null", None),
    ("array", LIST),
    ("object", TABLE),
)


@dataclass(frozen=True, slots=True)
class Found:
    """Where the arguments stand in the body of the call, and their form."""

    form: Arguments
    begin: int
    end: int


def find_arguments(probe: Probe, tail: str, body: str, cutter: Cutter) -> Found | None:
    """The arguments in `body`, the end of `tail`, which is the rendering of the sentinel call. None: unreadable."""
    place = find_json(body, PLAIN_ARGUMENTS)
    if place:
        return Found(JsonArguments(json_separators(body[slice(*place)], PLAIN_ARGUMENTS)), *place)
    texts = probe.call({FIRST: ONE, LAST: TWO})
    around = _Around.of(texts, cutter) if texts else None
    if texts is None or around is None:
        return None
    begin = around.begin - (len(tail) - len(body))
    end = len(body) - (len(texts) - around.end)
    form = Parameters(_units(probe, around), around.separator, _is_sorted(probe))
    return Found(form, begin, end) if 0 <= begin < end else None


def _is_sorted(probe: Probe) -> bool:
    turned = probe.call({LAST: TWO, FIRST: ONE})
    return turned is not None and turned.find(ONE) < turned.find(TWO)


@dataclass(frozen=True, slots=True)
class _Around:
    """What stands around two texts, and where the first begins and the second ends."""

    before: str
    between: str
    after: str
    separator: str
    begin: int
    end: int

    @classmethod
    def of(cls, text: str, cutter: Cutter) -> _Around | None:
        first, one = text.find(FIRST), text.find(ONE)
        last, two = text.find(LAST, one), text.find(TWO)
        if not 0 <= first < one < last < two:
            return None
        between = text[first + len(FIRST) : one].replace(FIRST, "{key}")
        if between != text[last + len(LAST) : two].replace(LAST, "{key}"):
            return None
        joint = text[one + len(ONE) : last]
        if joint.endswith(LAST):
            return None
        joint = joint.replace(FIRST, "{key}")
        ahead, behind = text[:first], text[two + len(TWO) :].replace(LAST, "{key}")
        after = same_start(joint, behind)
        before = same_end(joint, ahead)
        separator = ""
        if len(after) + len(before) >= len(joint):
            cut = cutter.best_cut(joint, len(joint) - len(before), len(after))
            after, before = joint[:cut], joint[cut:]
        else:
            separator = joint[len(after) : len(joint) - len(before)]
        end = two + len(TWO) + len(after.replace("{key}", LAST))
        return cls(before, between, after, separator, first - len(before), end)


def _units(probe: Probe, around: _Around) -> dict[str, Unit]:
    text = _text_unit(probe, around)
    quotes = (around.after, around.after) if around.after and around.between.endswith(around.after) else None
    units = {"string": text}
    for kind, value in _KINDS:
        found = _unit(probe, around, kind, value, quotes)
        units[kind] = found or Unit(text.before, text.between, text.after, JSON)
    return units


def _text_unit(probe: Probe, around: _Around) -> Unit:
    """How a text is written: as it is, or between quotes with escapes."""
    quote = around.after if around.after in ('"', "'") and around.between.endswith(around.after) else ""
    if not quote:
        return Unit(around.before, around.between, around.after, None)
    style = Style(quotes=(quote, quote), has_escapes=True)
    return Unit(around.before, around.between[:-1], "", style)


def _unit(probe: Probe, around: _Around, kind: str, value: Any, quotes: tuple[str, str] | None) -> Unit | None:
    """How a value of another type is written between two texts; None where that cannot be seen."""
    text = probe.call({FIRST: ONE, KEY: value, LAST: TWO})
    if text is None or ONE not in text or TWO not in text:
        return None
    begin = text.find(ONE) + len(ONE) + len(around.after.replace("{key}", FIRST)) + len(around.separator)
    end = text.rfind(around.separator + around.before + LAST, begin, text.find(TWO))
    shown = text[begin:end]
    at = shown.find(KEY)
    if end < 0 or at < 0:
        return None
    before, rest = shown[:at], shown[at + len(KEY) :]
    place = _place(rest, kind, value, quotes)
    if place is None:
        return None
    start, stop, style = place
    between, after = rest[:start].replace(KEY, "{key}"), rest[stop:].replace(KEY, "{key}")
    return Unit(before, between, after, style)


def _place(rest: str, kind: str, value: Any, quotes: tuple[str, str] | None) -> tuple[int, int, Style] | None:
    """Where a value stands in a text, and in which notation."""
    if kind in ("array", "object"):
        opening, closing = "[]" if kind == "array" else "{}"
        start, stop = rest.find(opening), rest.rfind(closing) + 1
        while 0 <= start < stop:
            style = style_of(rest[start:stop], value, quotes)
            if style:
                return start, stop, style
            start = rest.find(opening, start + 1)
        return None
    words = {"number": (str(NUMBER),), "boolean": ("true", "True"), "null": ("null", "None")}[kind]
    for word in words:
        if word in rest:
            start = rest.rfind(word)
            return start, start + len(word), PYTHON if word in ("True", "None") else JSON
    return None
