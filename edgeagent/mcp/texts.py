"""Texts of strangers, made fit to be shown."""

from __future__ import annotations

import json

from edgeagent.visible import can_be_seen


def visible(text: str, limit: int) -> str:
    """At most `limit` characters, with every character that cannot be seen shown by its number; line breaks stay."""
    shown = "".join(map(_visible, text[: limit + 1].replace("\r\n", "\n").strip()))
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def _visible(character: str) -> str:
    if can_be_seen(character) or character == "\n":
        return character
    return " " if character == "\t" else json.dumps(character)[1:-1]
