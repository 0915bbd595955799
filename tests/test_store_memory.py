"""Memory: notes are found by what they say, and no text is dangerous as a question."""

from __future__ import annotations

import pytest
from conftest import FakeClock

from edgeagent.store import Store


def test_the_note_that_shares_most_with_the_question_comes_first(store: Store, clock: FakeClock) -> None:
    for note in ("Ana's birthday is in May", "the car is blue", "the blue car needs new tyres in May"):
        store.remember("inbox", note, clock.advance(1))
    assert store.recall("inbox", "blue car tyres")[0] == "the blue car needs new tyres in May"
    assert len(store.recall("inbox", "car may birthday", limit=2)) == 2
    assert store.recall("inbox", "violin") == []


def test_a_note_is_found_by_another_form_of_its_words(store: Store, clock: FakeClock) -> None:
    store.remember("inbox", "bills are paid on Fridays", clock())
    assert store.recall("inbox", "BILL") == ["bills are paid on Fridays"]


def test_an_agent_sees_its_own_notes_only(store: Store, clock: FakeClock) -> None:
    store.remember("inbox", "the car is blue", clock())
    assert store.recall("digest", "car") == []
    assert store.recall("digest", "") == []


def test_the_same_note_twice_is_one_note(store: Store, clock: FakeClock) -> None:
    store.remember("inbox", "the car is blue", clock())
    store.remember("inbox", "Ana lives in Porto", clock.advance(1))
    store.remember("inbox", "the car is blue", clock.advance(1))
    assert store.recall("inbox", "") == ["the car is blue", "Ana lives in Porto"]


@pytest.mark.parametrize(
    "query",
    ["car OR", "car AND (", "text:car", "NEAR(car blue)", "car*", "^car", '"car', "'; DROP TABLE car; --", "car -blue",
     "nul \0 car", "\udcff car", "_ car", "车 car", "car " * 5000, " ".join(f"w{n}" for n in range(60)) + " car"],
)  # fmt: skip
def test_any_text_is_safe_as_a_question(store: Store, clock: FakeClock, query: str) -> None:
    store.remember("inbox", "the car is blue", clock())
    assert store.recall("inbox", query) == ["the car is blue"]


@pytest.mark.parametrize("query", ["", "?!", '"', "*", "\0"])
def test_a_question_without_a_word_gives_the_newest_notes(store: Store, clock: FakeClock, query: str) -> None:
    store.remember("inbox", "the car is blue", clock())
    assert store.recall("inbox", query) == ["the car is blue"]


@pytest.mark.parametrize("query", ["NOT", "_", "OR AND", "__ NEAR"])
def test_words_of_the_search_syntax_are_only_words(store: Store, clock: FakeClock, query: str) -> None:
    store.remember("inbox", "the car is blue", clock())
    assert store.recall("inbox", query) == []


@pytest.mark.parametrize("note", ["", "two\nlines", "'; --", "nul \0 in it", "日本の車"])
def test_any_text_is_safe_as_a_note(store: Store, clock: FakeClock, note: str) -> None:
    store.remember("inbox", note, clock())
    assert store.recall("inbox", "") == [note]
