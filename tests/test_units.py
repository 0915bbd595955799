"""Durations, sizes and templates: what is read, what is refused."""

from __future__ import annotations

import pytest

from edgeagent.agents.template import check_template, render
from edgeagent.errors import UsageError
from edgeagent.units import parse_duration, parse_size
from edgeagent.words import did_you_mean, one_of


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("500ms", 0.5), ("2s", 2), ("5m", 300), ("1h", 3600), ("7d", 604800), ("1.5h", 5400), ("0s", 0)],
)
def test_a_duration_is_read_as_seconds(written: str, seconds: float) -> None:
    assert parse_duration(written) == seconds


@pytest.mark.parametrize("written", ["", "5", "s", "-5s", "5 s", "5w", "1h30m", "5S", "1e3s", "٣s", "9" * 400 + "d"])
def test_what_is_no_duration_is_refused_with_an_example(written: str) -> None:
    with pytest.raises(ValueError, match="such as 500ms, 2s"):
        parse_duration(written)


def test_a_duration_beyond_the_calendar_is_refused() -> None:
    with pytest.raises(ValueError, match="a hundred years"):
        parse_duration("999999999999d")


@pytest.mark.parametrize(
    ("written", "size"), [("0B", 0), ("10KB", 10_000), ("20MB", 20_000_000), ("1GB", 10**9), ("1.5KB", 1500)]
)
def test_a_size_is_read_as_decimal_bytes(written: str, size: int) -> None:
    assert parse_size(written) == size


@pytest.mark.parametrize("written", ["", "10", "10kb", "10 KB", "10KiB", "-1KB", "MB"])
def test_what_is_no_size_is_refused_with_an_example(written: str) -> None:
    with pytest.raises(ValueError, match="such as 10KB"):
        parse_size(written)


def test_a_template_takes_values_at_dotted_paths() -> None:
    event = {"event": {"path": "/in/a b.txt", "size": 12, "tags": ["x", "é"], "new": True}}
    assert render("{{ event.path }}: {{event.size}} {{ event.tags }} {{ event.new }}", event) == (
        '/in/a b.txt: 12 ["x", "é"] true'
    )


def test_what_a_template_puts_in_is_not_a_template_again() -> None:
    assert render("{{ event.path }}", {"event": {"path": "/{{ event.path }}"}}) == "/{{ event.path }}"


def test_a_template_that_names_something_unknown_fails_when_it_is_rendered() -> None:
    with pytest.raises(UsageError, match=r"\{\{ event.nope \}\}"):
        render("{{ event.nope }}", {"event": {}})


@pytest.mark.parametrize("written", ["{{ a", "{{ }}", "{{ a | upper }}", "{{ a.b() }}", "{{ a. }}", "a }}"])
def test_a_malformed_template_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="is not a template"):
        check_template(written)
    with pytest.raises(UsageError):
        render(written, {"a": "x"})


def test_a_near_word_is_proposed_as_it_is_spelt_and_a_far_one_is_not() -> None:
    assert did_you_mean("europe/berln", ["Europe/Berlin", "UTC"]) == '; did you mean "Europe/Berlin"?'
    assert did_you_mean("zzz", ["Europe/Berlin"]) == ""
    assert one_of(["a", "b", "c"]) == "a, b or c"
