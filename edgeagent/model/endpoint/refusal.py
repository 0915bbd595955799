"""What a server says when it does not answer: read, and put into an error with the next thing to do."""

from __future__ import annotations

import email.utils
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from edgeagent.errors import ModelError, PromptTooLong
from edgeagent.model.endpoint.address import Address
from edgeagent.model.endpoint.exchange import Head
from edgeagent.model.endpoint.wire import parse_json

LONGEST_WORDS = 300
_TOO_LONG = re.compile(
    r"context_length_exceeded|exceed_context_size|context[ _-]?(length|size|window)|n_ctx|prompt is too long", re.I
)
_ABOUT_MODEL = re.compile(r"\bmodel\b", re.I)
_TEMPORARY = frozenset({429, 500, 502, 503, 504, 529})


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is none. `words` are the server's own, on one line; `after` seconds it wants to be left alone."""

    status: int
    words: str
    after: float = 0.0
    location: str = ""

    @property
    def is_too_long(self) -> bool:
        """The conversation does not fit into the context."""
        return self.status in (400, 413, 422, 500) and bool(_TOO_LONG.search(self.words))

    @property
    def may_pass(self) -> bool:
        """Whether the same request may be answered in a while."""
        return self.status in _TEMPORARY

    def names(self, parameter: str) -> bool:
        """Whether the server refuses a request for this parameter of it."""
        is_such = self.status in (400, 422, 500, 501)
        form = "stream(ing)?" if parameter == "stream" else re.escape(parameter)
        return is_such and re.search(rf"\b{form}\b", self.words, re.I) is not None

    def error(self, where: Address, model: str, key_name: str, models: Sequence[str] = ()) -> ModelError:
        """
        Args:
            key_name: the secret that holds the key; empty where there is none.
            models: what the server has, where that is known.
        """
        said = f": {self.words}" if self.words else ""
        if self.is_too_long:
            return PromptTooLong(f"the conversation does not fit into the context of {model}{said}", "say less")
        if self.status in (401, 403):
            hint = f"edgeagent secrets set {key_name}" if key_name else "give it a key: api_key: NAME, of a secret"
            what = "the key" if key_name else "requests without a key"
            return ModelError(f"{where} refuses {what} ({self.status}){said}", hint)
        if self.status == 404 and (models or _ABOUT_MODEL.search(self.words)):
            shown = ", ".join(models[:10])
            hint = f"it has: {shown}" if shown else "ask the server which models it has"
            return ModelError(f"{where} has no model {model} (404){said}", hint)
        if self.status in (404, 405):
            told = f"{where} is no OpenAI-compatible server ({self.status}){said}"
            return ModelError(told, "does its address end with /v1?")
        if 300 <= self.status < 400:
            told = f"{where} sends elsewhere ({self.status}), to {self.location or 'nowhere'}"
            return ModelError(told, "name that address as the endpoint, if it is to be trusted")
        if self.status == 429:
            return ModelError(f"{where} has had enough requests for now (429){said}", "try again later")
        return ModelError(f"{where} failed ({self.status}){said}", "look into the log of the server")


def read_refusal(head: Head, body: bytes, now: datetime | None = None) -> Refusal:
    try:
        words = error_words(parse_json(body))
    except ValueError:
        words = "" if "html" in head.kind else one_line(body.decode("utf-8", "replace"))
    after = _seconds(head.headers.get("retry-after", ""), now or datetime.now(UTC))
    return Refusal(head.status, words, after, one_line(head.headers.get("location", "")))


def error_words(answer: Any) -> str:
    """What an error says, in the forms that servers have for it."""
    if isinstance(answer, dict):
        for key in ("error", "message", "detail", "msg"):
            if answer.get(key):
                code = answer.get("code") or answer.get("type")
                words = error_words(answer[key])
                return f"{words} ({code})" if key == "message" and isinstance(code, str) and code else words
        return ""
    if isinstance(answer, list):
        return one_line("; ".join(filter(None, map(error_words, answer[:5]))))
    return one_line(str(answer))


def one_line(text: str) -> str:
    shown = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return shown if len(shown) <= LONGEST_WORDS else f"{shown[:LONGEST_WORDS]}…"


def _seconds(retry_after: str, now: datetime) -> float:
    """`Retry-After`: seconds, or a date."""
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,3})?", retry_after.strip(), re.ASCII):
        return float(retry_after)
    try:
        moment = email.utils.parsedate_to_datetime(retry_after)
        return max(0.0, (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now.timestamp())
    except (ValueError, TypeError, OverflowError):
        return 0.0
