"""A conversation that fits its budget of tokens.

What is left out or cut depends only on what comes before it in the conversation, so that the next turn begins with the
very tokens of this one. Older turns of a thread are dropped whole, oldest first; results of tools are cut, and say so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from edgeagent.schema import Message

OPENING_SHARE = 0.75
"""Of the budget: what earlier turns may fill it to. The rest is for the run."""
RESULT_SHARE = 0.5
"""Of what is left: what one result of a tool may take."""
LEAST_RESULT = 64
"""Tokens of a result that are shown whatever is left; then the run ends because its budget is used up."""
AROUND = 16
"""Tokens that a template writes around a message, more or less."""

CountMessages = Callable[[Sequence[Message]], int]
CountText = Callable[[str], int]


def fitted(
    messages: Sequence[Message], budget: int, count_messages: CountMessages, count_text: CountText
) -> tuple[Message, ...]:
    """The conversation, cut to its budget as far as that goes.

    Args:
        count_messages: the tokens of a rendered conversation. count_text: those of a text.
    """
    last_user = max((at for at, message in enumerate(messages) if message.role == "user"), default=-1)
    opening, run = list(messages[: last_user + 1]), messages[last_user + 1 :]
    turns = sum(message.role == "user" for message in opening) - 1
    if turns < 1 and not any(message.role == "tool" for message in run):
        return tuple(messages)
    used = count_messages(opening)
    while turns > 0 and used > budget * OPENING_SHARE:
        opening, turns = _without_oldest(opening), turns - 1
        used = count_messages(opening)
    return (*opening, *_cut_results(run, budget - used, count_text))


def _without_oldest(opening: Sequence[Message]) -> list[Message]:
    """The opening without its oldest turn: a user message and what followed it."""
    users = [at for at, message in enumerate(opening) if message.role == "user"]
    return [*opening[: users[0]], *opening[users[1] :]]


def _cut_results(run: Sequence[Message], room: int, count: CountText) -> list[Message]:
    shown = []
    for message in run:
        if message.role == "tool":
            limit = max(int(room * RESULT_SHARE), LEAST_RESULT)
            message = replace(message, content=cut_to_tokens(message.content, limit, count))
        written = "".join(f"{call.name} {call.arguments}" for call in message.calls)
        room -= AROUND + count(message.content) + count(message.reasoning + written)
        shown.append(message)
    return shown


def cut_to_tokens(text: str, limit: int, count: CountText) -> str:
    """The text, or its beginning and how much is missing. The marker comes on top of the limit."""
    whole = count(text) if len(text) > limit else 0  # a token has a character at least, but for rare bytes
    if whole <= limit:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if count(text[:middle]) <= limit else (low, middle - 1)
    return f"{text[:low]}\n[cut: {whole - limit} more tokens]"
