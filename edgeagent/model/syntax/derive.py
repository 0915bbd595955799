"""Reads the call syntax of a model off its chat template.

The template is rendered with sentinel conversations (`probe`); the renderings are compared; what stands around the
sentinels is the syntax. Nothing here knows a model by its name. A template that writes no calls gets a compact generic
form, which is then described in the system message.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from edgeagent.model.syntax.arguments import find_arguments
from edgeagent.model.syntax.call import CallForm, Piece, Slot, pieces
from edgeagent.model.syntax.forms import JsonArguments
from edgeagent.model.syntax.habits import Habits, Hide, as_is
from edgeagent.model.syntax.probe import FINAL, PLAIN_ARGUMENTS, TOOL, USER, WHY, Probe, Tails
from edgeagent.model.syntax.syntax import CallSyntax, FinalForm
from edgeagent.model.syntax.text import Cutter
from edgeagent.model.syntax.thinking import Seen, Turns, split_turns
from edgeagent.model.template import ChatTemplate
from edgeagent.schema import ToolCall

_GENERIC_OPENING, _GENERIC_MIDDLE, _GENERIC_CLOSING = '<tool_call>\n{"name": "', '", "arguments": ', "}\n</tool_call>"
GENERIC = CallForm((_GENERIC_OPENING, Slot.NAME, _GENERIC_MIDDLE), JsonArguments(), (_GENERIC_CLOSING,))
"""The call syntax of models whose template has none."""
GENERIC_SYNTAX = CallSyntax(GENERIC, FinalForm(), None, ("", ""), Habits(), {})
"""The same as a whole, for checks that need no model."""


def derive_syntax(template: ChatTemplate, special: Mapping[str, int], ends: Iterable[str] = ()) -> CallSyntax:
    """How the model of that template writes a turn.

    Args:
        special: the special tokens of its vocabulary, by their text.
        ends: the texts of those that end a turn.

    Raises:
        ModelError: the template cannot show a conversation at all.
    """
    probe = Probe(template)
    tails = probe.look()
    reading = _Reading(probe, tails, Cutter(special), tuple(text for text in ends if text))
    turns = reading.turns(template.source)
    call = reading.call(turns.call)
    before, _, after = turns.final.partition(FINAL)
    return CallSyntax(
        call=call or GENERIC,
        final=FinalForm(before, reading.closing(after)),
        thinking=turns.thinking,
        leads=(turns.call_lead, turns.final_lead),
        habits=reading.habits(call),
        special=dict(special),
    )


class _Reading:
    """One template's renderings, compared."""

    def __init__(self, probe: Probe, tails: Tails, cutter: Cutter, ends: tuple[str, ...]) -> None:
        self._probe, self._tails, self._cutter, self._ends = probe, tails, cutter, ends
        known = [tail for tail in (tails.call, tails.thought_call, tails.final) if tail]
        self._opening = tails.added if all(_begins_with(tail, tails.added) for tail in known) else ""
        self._header = cutter.common_start([tails.prompt, *known])
        after_final = tails.final.rpartition(FINAL)[2]
        self._end = cutter.common_end([tails.call, after_final]) if tails.call else ""

    def turns(self, source: str) -> Turns:
        tails = self._tails
        seen = Seen(
            prompt=tails.added,
            rest=self._turn(tails.prompt),
            call=self._turn(tails.call),
            final=self._turn(tails.final),
            thought_call=self._turn(tails.thought_call),
            thought_final=self._turn(tails.thought_final),
        )
        return split_turns(seen, self._cutter, source)

    def _turn(self, tail: str) -> str:
        """The assistant's turn in a tail, without what every turn begins with."""
        return tail.partition(self._opening)[2] if self._opening else tail[len(self._header) :]

    def closing(self, after: str) -> str:
        """What closes a final answer, where that is a special token that does not end the turn by itself."""
        after = after.removesuffix(self._end)
        for begin, stop in self._cutter.tags(after)[:1]:
            return "" if after[:begin].strip() or after[begin:stop] in self._ends else after[begin:stop]
        return ""

    def call(self, body: str) -> CallForm | None:
        """The form of a call; None where the template writes none that can be read."""
        if not self._probe.habits.shows_calls or TOOL not in body:
            return None
        found = find_arguments(self._probe, self._tails.call, body, self._cutter)
        if found is None:
            return None
        before, after = body[: found.begin], body[found.end :]
        later = self._probe.call(PLAIN_ARGUMENTS, number=1) or ""
        ahead, _, behind = later.rpartition(body[found.begin : found.end])
        after = self._without_end(before, after)
        return CallForm(_slots(before, ahead, at_end=True), found.form, _slots(after, behind, at_end=False))

    def _without_end(self, before: str, after: str) -> str:
        """What closes a call, without what ends the turn: that is not a part of it."""
        after = after.removesuffix(self._end)
        while ending := next((text for text in self._ends if after.rstrip().endswith(text)), None):
            after = after.rstrip().removesuffix(ending)
        tags = self._cutter.tags(after)
        if not self._ends and tags and not after[tags[-1][1] :].strip():
            begin, stop = tags[-1]
            after = after if _closes(after[begin:stop], before) else after[:begin]
        return after if after.strip() else ""

    def habits(self, call: CallForm | None) -> Habits:
        habits = self._probe.habits
        if call is None:
            example = _generic_call(ToolCall("NAME", {"KEY": "VALUE"}), as_is)
            instructions = _instructions(example)
            return replace(
                habits, shows_calls=False, shows_results=False, instructions=instructions, write_call=_generic_call
            )
        if habits.shows_tools:
            return habits
        user = {"role": "user", "content": USER}
        tail = self._probe.tail([user, self._probe.call_message({"KEY": "VALUE"})]) or ""
        example = self._turn(tail).removesuffix(self._end).replace(TOOL, "NAME").strip()
        return replace(habits, instructions=_instructions(example))


def _begins_with(tail: str, opening: str) -> bool:
    """Whether what opens a turn stands in the tail, before anything is said."""
    ahead, found, _ = tail.partition(opening)
    return bool(found) and not any(said in ahead for said in (FINAL, TOOL, WHY))


def _closes(tag: str, before: str) -> bool:
    """Whether a tag closes one that was opened before the arguments: they share a word."""
    words = re.findall(r"[a-z]{3,}", tag.lower().replace("end", ""))
    return any(word in before.lower() for word in words)


def _slots(text: str, later: str, *, at_end: bool) -> tuple[Piece, ...]:
    """The text with slots: for the name, for ids, and for numbers that differ in a later call of the conversation."""
    parts = re.split(r"(call\d{5}|\d+)", text)
    pattern = "".join(r"(call\d{5}|\d+)" if at % 2 else re.escape(part) for at, part in enumerate(parts))
    match = re.search(pattern + (r"\Z" if at_end else ""), later) if at_end else re.match(pattern, later)
    found = [*match.groups()] if match else parts[1::2]
    shown: list[Piece] = []
    for at, part in enumerate(parts):
        is_number = at % 2 == 1 and not part.startswith("call") and part != found[at // 2]
        shown += [Slot.NUMBER] if is_number else pieces(part)
    return _joined(shown)


def _joined(parts: list[Piece]) -> tuple[Piece, ...]:
    joined: list[Piece] = []
    for part in parts:
        if isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] += part
        else:
            joined.append(part)
    return tuple(joined)


def _generic_call(call: ToolCall, hide: Hide) -> str:
    arguments = JsonArguments().written(hide(call.arguments))
    return f"{_GENERIC_OPENING}{hide(call.name)}{_GENERIC_MIDDLE}{arguments}{_GENERIC_CLOSING}"


def _instructions(example: str) -> str:
    return f"To use a tool, write nothing but its call, in this form:\n{example}\nElse write your answer as plain text."
