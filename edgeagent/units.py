"""Durations and sizes as people write them: `500ms 2s 5m 1h 7d` and `10KB 20MB 1GB`.

Inside, a duration is seconds as float and a size is bytes as int. Sizes are decimal: 1KB is 1000 bytes.
"""

from __future__ import annotations

import re
from decimal import Decimal

_SECONDS = {"ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600), "d": Decimal(86400)}
_BYTES = {"B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "TB": 1000**4}

# Twelve digits are enough for any real value and keep the result far from the limits of float and datetime.
_AMOUNT = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)([A-Za-z]+)", re.ASCII)

LONGEST = 100 * 366 * 86400.0
"""The longest duration that is taken, in seconds: about a hundred years, which `datetime` can still add to a date."""


def parse_duration(text: str) -> float:
    """Seconds. Raises ValueError with a message for people."""
    amount, unit = _split(text)
    if unit not in _SECONDS:
        raise ValueError(f'"{text}" is not a duration; write a number and a unit, such as 500ms, 2s, 5m, 1h or 7d')
    seconds = float(Decimal(amount) * _SECONDS[unit])
    if seconds > LONGEST:
        raise ValueError(f'"{text}" is longer than a hundred years')
    return seconds


def parse_size(text: str) -> int:
    """Bytes. Raises ValueError with a message for people."""
    amount, unit = _split(text)
    if unit not in _BYTES:
        raise ValueError(f'"{text}" is not a size; write a number and a unit, such as 10KB, 20MB or 1GB')
    return int(Decimal(amount) * _BYTES[unit])


def _split(text: str) -> tuple[str, str]:
    found = _AMOUNT.fullmatch(text)
    return (found[1], found[2]) if found else ("", "")
