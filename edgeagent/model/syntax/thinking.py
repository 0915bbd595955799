"""Where a model thinks before it speaks: found by comparing turns with reasoning and without.

Owns what opens and closes a thinking block, whether the generation prompt has opened or closed it already, and what of
a turn is left without it. A template that never shows reasoning may still speak of a block: then its usual spellings
are looked for in the template's text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgeagent.model.syntax.probe import WHY
from edgeagent.model.syntax.text import Cutter

_WORDS = r"(?:think|thinking|thought|reasoning)"
_CLOSERS = re.compile(
    rf"</(?:\w+:)?{_WORDS}(?::\w+)?>|\[/{_WORDS}\]|<\|END_{_WORDS}\|>|<\|/{_WORDS}\|>|<\|{_WORDS}_end\|>",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Thinking:
    """A thinking block.

    Args:
        opening: what opens it. closing: what closes it. Both without the spaces around.
        gap: what follows it; None: some line breaks or none.
        is_open: the generation prompt has opened it, so a turn begins inside.
    """

    opening: str
    closing: str
    gap: str | None
    is_open: bool


@dataclass(frozen=True, slots=True)
class Turns:
    """A call and a final answer without thinking, and what comes before them where nothing is thought."""

    call: str
    final: str
    call_lead: str
    final_lead: str
    thinking: Thinking | None


@dataclass(frozen=True, slots=True)
class Seen:
    """The turns that were rendered, after what every turn begins with; those with reasoning may be empty.

    `prompt` is what the template adds for the model to continue, `rest` what of it is after the common beginning of all
    turns.
    """

    prompt: str
    rest: str
    call: str
    final: str
    thought_call: str
    thought_final: str


def split_turns(seen: Seen, cutter: Cutter, source: str) -> Turns:
    found = _from_reasoning(seen, cutter) or _from_source(seen, source)
    if found is None:
        return Turns(_after(seen.call, seen.rest), _after(seen.final, seen.rest), "", "", None)
    opening, closing, gap, call, final = found
    call, final = _after(call, seen.rest), _after(final, seen.rest)
    is_open = not opening
    if (opening and opening in seen.prompt) or closing in seen.prompt:
        if seen.prompt.rfind(closing) > seen.prompt.rfind(opening or closing + "\0"):
            return Turns(call, final, "", "", None)  # over before the turn begins
        is_open = True
    leads = [_lead(whole, body, opening, closing) for whole, body in ((seen.call, call), (seen.final, final))]
    if is_open:
        leads = [closing + ("\n\n" if gap is None else gap)] * 2
    return Turns(call, final, leads[0], leads[1], Thinking(opening, closing, gap, is_open))


def _after(text: str, start: str) -> str:
    return text.removeprefix(start) if start.strip() else text


_Found = tuple[str, str, str | None, str, str]
"""Opening, closing, gap, and the bodies of the call and the final answer."""


def _from_reasoning(seen: Seen, cutter: Cutter) -> _Found | None:
    shown = [text for text in (seen.thought_call, seen.thought_final) if text]
    if not shown:
        return None
    opening = shown[0].partition(WHY)[0].strip()
    after_call, after_final = (text.partition(WHY)[2] for text in (seen.thought_call, seen.thought_final))
    if after_call and after_final:
        closing = cutter.common_start([after_call, after_final])
        bodies = (after_call[len(closing) :], after_final[len(closing) :])
    elif after_call:
        closing, call = _subtracted(after_call, seen.call, opening, cutter)
        bodies = (call, without_block(seen.final, opening, closing.strip()))
    else:
        closing, final = _subtracted(after_final, seen.final, opening, cutter)
        bodies = (without_block(seen.call, opening, closing.strip()), final)
    if not closing.strip():
        return None  # reasoning is shown as plain text: nothing says where it ends
    gap = closing[len(closing.rstrip()) :]
    return opening, closing.strip(), gap, *bodies


def _subtracted(after: str, plain: str, opening: str, cutter: Cutter) -> tuple[str, str]:
    """What closes the block, and the rest; `plain` is the same turn without reasoning, maybe with an empty block."""
    tags = cutter.tags(after)
    first = after[: tags[0][1]] if tags and not after[: tags[0][0]].strip() else ""
    rest = without_block(plain, opening, first.strip()) if first else plain
    if rest and after.endswith(rest):
        return after[: len(after) - len(rest)], rest
    body = after[len(first) :]
    return first + body[: len(body) - len(body.lstrip())], body.lstrip()


def without_block(text: str, opening: str, closing: str) -> str:
    """The text without an empty thinking block at its beginning."""
    block = re.compile(rf"\s*(?:{re.escape(opening)}\s*)?{re.escape(closing)}\s*")
    return block.sub("", text, count=1) if closing and block.match(text) else text


def _from_source(seen: Seen, source: str) -> _Found | None:
    match = _CLOSERS.search(seen.prompt) or _CLOSERS.search(source)
    if match is None:
        return None
    closing = match[0]
    opening = re.sub("END_", "START_", closing).replace("_end|", "_start|").replace("/", "", 1)
    bodies = (without_block(text, opening, closing) for text in (seen.call, seen.final))
    return opening, closing, None, *bodies  # type: ignore[return-value]  # two bodies


def _lead(whole: str, body: str, opening: str, closing: str) -> str:
    lead = whole[: len(whole) - len(body)] if body and whole.endswith(body) else ""
    return without_block(lead, opening, closing)
