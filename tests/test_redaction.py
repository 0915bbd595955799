"""Secrets taken out of texts: in every form that a tool, a server or a log may write them in, and across pieces."""

from __future__ import annotations

import base64
import json
import logging
import sys
from collections.abc import Callable
from io import StringIO
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.redaction import Redactor, hide_in_log

SECRET = 'tk_4f"9/x+Zq é\\1&'
FORMS: dict[str, Callable[[str], str]] = {
    "as it is": lambda value: value,
    "in JSON": lambda value: json.dumps(value),
    "in JSON with its letters": lambda value: json.dumps(value, ensure_ascii=False),
    "in a URL": lambda value: quote(value, safe=""),
    "in a URL with slashes": lambda value: quote(value),
    "in a URL in small letters": lambda value: quote(value, safe="").lower().replace("tk_4f", "tk_4f"),
    "in a form": lambda value: quote_plus(value),
    "in a URL, every byte coded": lambda value: "".join(f"%{byte:02X}" for byte in value.encode()),
    "in hexadecimal": lambda value: value.encode().hex(),
    "in big hexadecimal": lambda value: value.encode().hex().upper(),
    "in base64": lambda value: base64.b64encode(value.encode()).decode(),
    "in base64 for URLs": lambda value: base64.urlsafe_b64encode(value.encode()).decode(),
    "in basic authorization": lambda value: base64.b64encode(f"ada:{value}".encode()).decode(),
    "in base64 after one byte": lambda value: base64.b64encode(f"a{value} and more".encode()).decode(),
    "in base64 after two bytes": lambda value: base64.b64encode(f"ab{value}b".encode()).decode(),
    "in base64 with line ends": lambda value: base64.encodebytes(f"{'x' * 50}{value}{'y' * 90}".encode()).decode(),
}


@pytest.fixture
def redactor() -> Redactor:
    redactor = Redactor()
    redactor.add("TOKEN", SECRET)
    return redactor


@pytest.mark.parametrize("form", FORMS)
def test_a_secret_is_hidden_in_every_form(redactor: Redactor, form: str) -> None:
    if form == "in a URL in small letters":
        redactor.add("LOWER", SECRET.lower())
    written = FORMS[form](SECRET)
    shown = redactor.text(f"before {written} after")
    assert "[secret " in shown
    assert shown.startswith("before ")
    assert shown.endswith(" after")
    assert written not in shown


def test_a_text_without_secrets_stays_as_it_is(redactor: Redactor) -> None:
    assert redactor.text("tk_4f is not all of it") == "tk_4f is not all of it"
    assert Redactor().text("anything") == "anything"


@given(
    st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=4, max_size=40), st.sampled_from(list(FORMS))
)
def test_whatever_the_secret_is_it_is_not_in_the_text(value: str, form: str) -> None:
    redactor = Redactor()
    redactor.add("TOKEN", value)
    if form == "in a URL in small letters" or (len(value.encode()) < 8 and "base64" in form) or "basic" in form:
        return  # another value; too short to be told from text
    assert "[secret TOKEN]" in redactor.text(FORMS[form](value))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("form", ["as it is", "in JSON", "in hexadecimal", "in basic authorization"])
def test_a_secret_across_two_pieces_is_hidden(redactor: Redactor, form: str, size: int) -> None:
    text = f"{'a' * 300} {FORMS[form](SECRET)} {'b' * 300} {FORMS[form](SECRET)}"
    stream = redactor.stream()
    shown = "".join([*(stream.feed(text[at : at + size]) for at in range(0, len(text), size)), stream.close()])
    assert shown == redactor.text(text)
    assert shown.count("[secret TOKEN]") == 2


def test_a_stream_passes_on_what_cannot_be_part_of_a_secret(redactor: Redactor) -> None:
    stream = redactor.stream()
    assert len(stream.feed("a" * 10_000)) >= 10_000 - redactor.longest


def test_json_keeps_its_shape(redactor: Redactor) -> None:
    value = {"a": [SECRET, 1, None], SECRET: {"b": f"Bearer {SECRET}"}}
    assert redactor.json(value) == {"a": ["[secret TOKEN]", 1, None], "[secret TOKEN]": {"b": "Bearer [secret TOKEN]"}}


def test_the_longer_of_two_secrets_is_hidden_whole() -> None:
    redactor = Redactor()
    redactor.add("SHORT", "hunter2")
    redactor.add("LONG", "hunter2-and-more")
    assert redactor.text("hunter2-and-more, hunter2") == "[secret LONG], [secret SHORT]"


def test_the_log_has_no_secret_in_it_nor_has_a_traceback(redactor: Redactor) -> None:
    out = StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    hide_in_log([handler], redactor)
    try:
        raise ValueError(f"no such token: {SECRET}")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, __file__, 1, "sent %s", (SECRET,), sys.exc_info())
    handler.emit(record)
    assert out.getvalue().startswith("ERROR sent [secret TOKEN]\nTraceback")
    assert SECRET not in out.getvalue()
