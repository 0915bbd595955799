"""The terminal: widths, tables, wrapping, and amounts in words."""

from __future__ import annotations

import io
import json

import pytest

from edgeagent.cli import words
from edgeagent.cli.screen import Column, Screen, cut, make_screen, one_line, printable, width_of


def screen(width: int = 40, *, fits: bool = True) -> tuple[Screen, io.StringIO]:
    out = io.StringIO()
    return Screen(out, width=width, color=False, fits=fits), out


COLUMNS = [Column("NAME", flexible=True), Column("N", right=True), Column("WHAT", flexible=True)]
ROWS = [["a", "1", "short"], ["a name that is long", "200", "what it is about, at some length"]]


def test_a_table_fits_the_terminal_by_cutting_what_may_be_cut() -> None:
    made, out = screen()
    made.table(COLUMNS, ROWS)
    lines = out.getvalue().splitlines()
    assert max(len(line) for line in lines) <= 40
    assert lines[0].split() == ["NAME", "N", "WHAT"]
    assert lines[2].count("…") >= 1
    assert lines[1].index("1") == lines[2].index("200") + 2


def test_a_table_in_a_pipe_is_whole() -> None:
    made, out = screen(fits=False)
    made.table(COLUMNS, ROWS)
    assert "what it is about, at some length" in out.getvalue()
    assert "a name that is long" in out.getvalue()


def test_a_table_stays_straight_with_wide_letters_and_new_lines() -> None:
    made, out = screen(60)
    made.table([Column("A"), Column("B")], [["請求書", "x"], ["e\u0301", "y"], ["two\nlines", "z"]])
    lines = out.getvalue().splitlines()
    assert {width_of(line[: line.index(end)]) for line, end in zip(lines[1:], "xyz", strict=True)} == {11}


def test_text_is_wrapped_beside_its_label_and_paths_stay_whole() -> None:
    made, out = screen()
    path = "/a/very/long/path/that/is/longer/than/the/line/of/forty"
    made.pairs([("file", f"see {path} there"), ("empty", ""), ("about", "one\ntwo")])
    assert out.getvalue().splitlines() == ["file   see", f"       {path}", "       there", "about  one", "       two"]


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [("abc", 3, "abc"), ("abcd", 3, "ab…"), ("請求書", 4, "請…"), ("a b c", 4, "a b…"), ("", 1, "")],
)
def test_cut_text_says_so_and_fits(text: str, width: int, shown: str) -> None:
    assert cut(text, width) == shown


def test_what_a_terminal_would_obey_is_made_visible() -> None:
    assert printable("a\x1b[31mb\x07\x9b") == "a\\x1b[31mb\\x07\\x9b"
    assert printable("a\u202eb\u200b") == "a\\u202eb\\u200b"
    assert printable("a\r\nb\tc\u00a0d\udcff") == "a\nb   c d\N{REPLACEMENT CHARACTER}"
    assert one_line(" a \n\n b\u2028c ") == "a b c"


def test_json_carries_names_that_are_not_utf_8() -> None:
    made, out = screen()
    made.json({"path": "/a/\udcff", "name": "ü"})
    assert json.loads(out.getvalue()) == {"path": "/a/\udcff", "name": "ü"}
    out.getvalue().encode()


@pytest.mark.parametrize(
    ("environ", "width", "fits"),
    [({}, 80, False), ({"COLUMNS": "100"}, 100, True), ({"COLUMNS": "5"}, 40, True), ({"COLUMNS": "wide"}, 80, False)],
)
def test_a_pipe_is_80_wide_unless_told_otherwise(environ: dict[str, str], width: int, fits: bool) -> None:
    made = make_screen(io.StringIO(), environ)
    assert (made.width, made.fits, made.color) == (width, fits, False)


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environ", "color"), [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)]
)
def test_colours_follow_no_color(environ: dict[str, str], color: bool) -> None:
    assert make_screen(_Terminal(), environ).color is color


@pytest.mark.parametrize(
    ("amount", "text"),
    [(None, ""), (0.004, "0.00 s"), (0.314, "0.31 s"), (12.34, "12.3 s"), (185, "3 min 5 s"), (90061, "1 d 1 h")],
)
def test_seconds_in_words(amount: float | None, text: str) -> None:
    assert words.seconds(amount) == text


@pytest.mark.parametrize(
    ("amount", "text"), [(None, ""), (0, "0 B"), (999, "999 B"), (3_400_000, "3.4 MB"), (256_000_000, "256 MB")]
)
def test_sizes_in_words(amount: int | None, text: str) -> None:
    assert words.size(amount) == text


@pytest.mark.parametrize(("amount", "text"), [(0, "0s"), (0.5, "500ms"), (90, "90s"), (300, "5m"), (30 * 86400, "30d")])
def test_durations_as_they_are_written_in_files(amount: float, text: str) -> None:
    from edgeagent.units import parse_duration

    assert words.setting(amount) == text
    assert parse_duration(text) == amount


@pytest.mark.parametrize(("amount", "text"), [(0, "0B"), (1500, "1500B"), (10_000, "10KB"), (2 * 10**9, "2GB")])
def test_sizes_as_they_are_written_in_files(amount: int, text: str) -> None:
    from edgeagent.units import parse_size

    assert words.size_setting(amount) == text
    assert parse_size(text) == amount
