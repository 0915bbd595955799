"""A conversation that fits its budget: what is dropped, what is cut, and that a run only ever grows at its end."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from edgeagent.model.fitting import cut_to_tokens, fitted
from edgeagent.schema import Message, ToolCall

SYSTEM, EVENT = Message("system", "s " * 20), Message("user", "event")
CALL = Message("assistant", "", "", (ToolCall("read_file", {"path": "/a"}),))


def words(text: str) -> int:
    return len(text.split())


def of_all(messages: Sequence[Message]) -> int:
    return sum(words(message.content) for message in messages)


def fit(messages: Sequence[Message], budget: int) -> tuple[Message, ...]:
    return fitted(messages, budget, of_all, words)


def result(count: int) -> Message:
    return Message("tool", " ".join(["w"] * count), name="read_file")


def turns(count: int) -> list[Message]:
    return [
        message
        for n in range(count)
        for message in (Message("user", f"event {n}"), Message("assistant", " ".join([f"a{n}"] * 30)))
    ]


def test_what_fits_is_left_as_it_is() -> None:
    talk = (SYSTEM, *turns(2), EVENT, CALL, result(50))
    assert fit(talk, 1000) == talk


def test_older_turns_are_dropped_whole_and_oldest_first() -> None:
    shown = fit((SYSTEM, *turns(5), EVENT), 160)
    said = [message.content.split()[0] for message in shown if message.role == "assistant"]
    assert said == ["a3", "a4"] or said == ["a2", "a3", "a4"]
    assert [message.role for message in shown] == ["system", *["user", "assistant"] * len(said), "user"]
    assert shown[0] == SYSTEM and shown[-1] == EVENT


def test_a_long_result_is_cut_and_says_how_much_is_missing() -> None:
    shown = fit((SYSTEM, EVENT, CALL, result(1000)), 400)[-1].content
    assert 100 < words(shown) < 400
    assert shown.endswith("more tokens]")
    kept = shown.partition("\n[cut: ")
    assert words(kept[0]) + int(kept[2].split()[0]) == 1000


def test_what_was_shown_once_is_shown_the_same_ever_after() -> None:
    """Else the state of the conversation so far would be of no use."""
    talk = [SYSTEM, *turns(4), EVENT]
    before: tuple[Message, ...] = ()
    for size in (900, 10, 400, 3000, 5):
        talk += [CALL, result(size)]
        shown = fit(talk, 500)
        assert shown[: len(before)] == before
        before = shown


def test_a_call_stays_with_its_result() -> None:
    talk = (SYSTEM, *turns(3), EVENT, CALL, result(5000), CALL, result(5000))
    assert [message.role for message in fit(talk, 300)][-4:] == ["assistant", "tool", "assistant", "tool"]


def test_many_results_still_show_their_beginnings() -> None:
    talk = (SYSTEM, EVENT, *[message for _ in range(9) for message in (CALL, result(3000))])
    assert all(words(message.content) >= 64 for message in fit(talk, 400) if message.role == "tool")


@pytest.mark.parametrize("text", ["", "short", "x" * 100])
def test_a_text_within_the_limit_is_left(text: str) -> None:
    assert cut_to_tokens(text, 100, len) == text


def test_a_text_is_cut_at_a_character() -> None:
    cut = cut_to_tokens("ü" * 200, 100, lambda text: len(text.encode()))
    assert cut == "ü" * 50 + "\n[cut: 300 more tokens]"
