"""What stands around the arguments of a call: texts with slots for the name of the tool, an id and a number.

Owns both directions: the grammar of a call, and the finding of one in what a model wrote.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from edgeagent.errors import ModelError
from edgeagent.model.syntax.forms import Arguments
from edgeagent.model.syntax.habits import call_id
from edgeagent.model.syntax.lark import Rules
from edgeagent.model.syntax.probe import TOOL
from edgeagent.model.syntax.values import UnreadableError
from edgeagent.schema import ToolCall, ToolSpec


class Slot(Enum):
    NAME = TOOL
    ID = call_id(0)
    NUMBER = "number"


Piece = str | Slot
_ID_PATTERN = "call[0-9]{5}"


@dataclass(frozen=True, slots=True)
class CallForm:
    """One call: `before`, the arguments, `after`."""

    before: tuple[Piece, ...]
    arguments: Arguments
    after: tuple[Piece, ...]

    def rule(self, rules: Rules, tool: ToolSpec) -> str:
        """A grammar expression of a call of that tool."""
        parts = [
            *(_piece_rule(rules, piece, tool.name) for piece in self.before),
            self.arguments.rule(rules, tool.parameters),
            *(_piece_rule(rules, piece, tool.name) for piece in self.after),
        ]
        return rules.rule(" ".join(parts))

    def read(self, text: str, tools: Sequence[ToolSpec]) -> ToolCall | None:
        """The call that `text` begins with; None where it begins with none.

        Raises:
            ModelError: a call that is cut.
        """
        cut: ModelError | None = None
        for tool in sorted(tools, key=lambda tool: len(tool.name), reverse=True):
            start = _pattern(self.before, tool.name).match(text)
            if start is None:
                continue
            try:
                arguments, end = self.arguments.read(text, start.end(), tool.parameters)
            except UnreadableError as error:
                cut = error
                continue
            if _has_name(self.after) and not _pattern(self.after, tool.name).match(text, end):
                continue  # the name comes after the arguments, and is another
            if not _pattern(self.after[:1], tool.name).match(text, end):
                cut = UnreadableError()
                continue
            return ToolCall(tool.name, arguments)
        if cut:
            raise cut
        return None

    @property
    def opener(self) -> str:
        """What a call begins with, up to its first slot."""
        first = self.before[0] if self.before else ""
        return first if isinstance(first, str) else ""


def pieces(text: str) -> tuple[Piece, ...]:
    """A rendered text with sentinels as texts and slots."""
    parts = re.split(f"({re.escape(TOOL)}|{_ID_PATTERN})", text)
    return tuple(
        Slot.NAME if part == TOOL else Slot.ID if re.fullmatch(_ID_PATTERN, part) else part for part in parts if part
    )


def _has_name(parts: Sequence[Piece]) -> bool:
    return Slot.NAME in parts


def _piece_rule(rules: Rules, piece: Piece, name: str) -> str:
    match piece:
        case Slot.NAME:
            return rules.data("", name)
        case Slot.ID:
            return rules.terminal("/call000[0-9]{2}/")
        case Slot.NUMBER:
            return rules.terminal("/[0-9]{1,2}/")
    return rules.text(piece)


def _pattern(parts: Sequence[Piece], name: str) -> re.Pattern[str]:
    shown = {Slot.NAME: re.escape(name), Slot.ID: r"[A-Za-z0-9_.-]+", Slot.NUMBER: r"[0-9]+"}
    return re.compile("".join(shown[part] if isinstance(part, Slot) else re.escape(part) for part in parts))
