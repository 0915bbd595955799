"""What a value must be like: as cases say it of arguments, answers and files.

A plain value must be equal. A table with one of the words below must match in every way that it names; any other table
must have the keys that are given, each matching in turn, and may have more. Pure: knows neither runs nor files.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator
from typing import Any

from edgeagent.fields import kind_of
from edgeagent.words import did_you_mean, one_of

WORDS = ("contains", "lacks", "matches", "one_of", "lines", "any")
"""`contains` and `lacks` take a text or several, whatever the case; `matches` a regular expression that is found
somewhere; `one_of` a list of values; `lines` the number of lines that are not empty; `any: true` is anything."""


def check(value: Any) -> Any:
    """The value as it is. ValueError where it cannot be matched with."""
    if isinstance(value, list):
        return [check(item) for item in value]
    if not isinstance(value, dict):
        return value
    if not is_matcher(value):
        for key in value:
            near = did_you_mean(key, WORDS)
            if near and len(value) == 1:
                raise ValueError(f'unknown word "{key}"{near}')
        return {key: check(item) for key, item in value.items()}
    for key, given in value.items():
        _check_word(key, given)
    return value


def _check_word(key: str, given: Any) -> None:
    if key not in WORDS:
        raise ValueError(f'unknown word "{key}"{did_you_mean(key, WORDS) or f"; it is one of {one_of(WORDS)}"}')
    if key in ("contains", "lacks") and not all(isinstance(text, str | int | float) for text in _several(given)):
        raise ValueError(f"{key}: must be text or a list of texts, not {kind_of(given)}")
    if key == "one_of" and not isinstance(given, list):
        raise ValueError(f"one_of: must be a list, not {kind_of(given)}")
    if key == "lines" and (not isinstance(given, int) or isinstance(given, bool)):
        raise ValueError(f"lines: must be a whole number, not {kind_of(given)}")
    if key == "matches":
        try:
            re.compile(given)
        except (re.error, TypeError) as error:
            raise ValueError(f"matches: not a regular expression: {error}") from error


def is_matcher(value: Any) -> bool:
    return isinstance(value, dict) and any(word in value for word in WORDS)


def faults(wanted: Any, found: Any, home: str = "") -> Iterator[str]:
    """In what way a value is not as it should be; nothing where it is. `home` stands for `~` on both sides."""
    if is_matcher(wanted):
        for word, given in wanted.items():
            if not _holds(word, given, found, home):
                yield f"{shown(found)} is not: {word} {shown(given)}"
    elif isinstance(wanted, dict):
        if not isinstance(found, dict):
            yield f"{shown(found)} is no table"
            return
        for key, value in wanted.items():
            if key not in found:
                yield f"no {key}"
            else:
                yield from (f"{key}: {fault}" for fault in faults(value, found[key], home))
    elif not equal(wanted, found, home):
        yield f"{shown(found)} is not {shown(wanted)}"


def _holds(word: str, given: Any, found: Any, home: str) -> bool:
    text = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
    match word:
        case "contains":
            return all(_folded(part) in _folded(text) for part in _several(given))
        case "lacks":
            return not any(_folded(part) in _folded(text) for part in _several(given))
        case "matches":
            return re.search(given, text) is not None
        case "one_of":
            return any(not list(faults(value, found, home)) for value in given)
        case "lines":
            return len([line for line in text.splitlines() if line.strip()]) == int(given)
    return True


def equal(wanted: Any, found: Any, home: str) -> bool:
    """Texts without the space around them, and paths however they are written, are the same; so are 12 and 12.0."""
    if isinstance(wanted, str) and isinstance(found, str):
        return _settled(wanted, home) == _settled(found, home)
    if isinstance(wanted, list) and isinstance(found, list):
        return len(wanted) == len(found) and all(
            not list(faults(value, other, home)) for value, other in zip(wanted, found, strict=True)
        )
    if isinstance(wanted, bool) or isinstance(found, bool):
        return isinstance(wanted, bool) and isinstance(found, bool) and wanted == found
    if isinstance(wanted, int | float) and isinstance(found, int | float):
        return math.isclose(wanted, found, rel_tol=1e-9)
    return bool(wanted == found)


def _settled(text: str, home: str) -> str:
    text = text.strip()
    if home and text.startswith("~/"):
        text = home + text[1:]
    return os.path.normpath(text) if text.startswith("/") and "\n" not in text else text


def _several(given: Any) -> list[Any]:
    return given if isinstance(given, list) else [given]


def _folded(text: Any) -> str:
    return " ".join(str(text).casefold().split())


def shown(value: Any) -> str:
    """A value in a message, as JSON."""
    return json.dumps(value, ensure_ascii=False)
