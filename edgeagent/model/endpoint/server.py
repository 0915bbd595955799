"""One server: its key, its models, and how often a request is tried.

Tries again, with growing pauses, what may pass (429 and most of 5xx), and leaves out parameters that it says it does
not take. Thread-safe.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from random import Random

from pydantic import ValidationError

from edgeagent import __version__
from edgeagent.errors import ModelCancelled, ModelError
from edgeagent.model.endpoint.address import Address
from edgeagent.model.endpoint.exchange import Exchange
from edgeagent.model.endpoint.refusal import Refusal, read_refusal
from edgeagent.model.endpoint.reply import EVENTS, Reply, read_reply
from edgeagent.model.endpoint.trouble import Patience
from edgeagent.model.endpoint.wire import Listing, encoded, parse_json, rubbish
from edgeagent.schema import Json

CHAT, MODELS = "/chat/completions", "/models"
PAUSES = (1.0, 2.0, 4.0, 8.0)
"""Seconds before each further try; plus up to a quarter by chance."""
LONGEST_PAUSE = 60.0
"""A server that wants to be left alone for longer is not waited for in a run."""
_OTHER_NAME = {"max_tokens": "max_completion_tokens"}
_MAY_GO = (
    "stream_options",
    "parallel_tool_calls",
    "response_format",
    "repetition_penalty",
    "repeat_penalty",
    "min_p",
    "top_k",
    "top_p",
    "seed",
    "temperature",
    "max_tokens",
    "stream",
)
"""Parameters that a request can do without, those first that fewer servers know."""


@dataclass
class Server:
    """Args:
    key: gives the value of the key at this moment; raises NotFound or SecretError.
    key_name: the secret that holds it; empty: no key is sent.
    """

    address: Address
    key_name: str = ""
    key: Callable[[str], str] = str
    patience: Patience = field(default_factory=Patience)
    pauses: tuple[float, ...] = PAUSES
    random: Random = field(default_factory=Random)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _untaken: dict[str, int] = field(default_factory=dict)

    def models(self, stop: threading.Event) -> list[str]:
        """The names of its models. ModelError."""
        with self._exchange("GET", MODELS, None, stop) as exchange:
            head = exchange.head()
            body = b"".join(exchange.pieces())
        if head.status != 200:
            raise read_refusal(head, body).error(self.address, "", self.key_name)
        try:
            return [listed.id for listed in Listing.model_validate(parse_json(body)).data]
        except (ValidationError, ValueError) as error:
            raise rubbish(body, self.address) from error

    def chat(self, body: Json, stop: threading.Event, on_text: Callable[[str], None]) -> Reply:
        """One answer. ModelError, PromptTooLong, ModelCancelled."""
        pauses = iter(self.pauses)
        while True:
            sent = self._as_taken(body)
            with self._exchange("POST", CHAT, sent, stop) as exchange:
                head = exchange.head()
                if head.status == 200:
                    return read_reply(head, exchange.pieces(), self.address, on_text)
                refusal = read_refusal(head, b"".join(exchange.pieces()))
            if refusal.is_too_long or not (self._gives_way(refusal, sent) or self._waited(refusal, pauses, stop)):
                raise self._error(refusal, str(body["model"]), stop)

    def _error(self, refusal: Refusal, model: str, stop: threading.Event) -> ModelError:
        names: list[str] = []
        if refusal.status == 404:
            try:
                names = self.models(stop)
            except ModelCancelled:
                raise
            except ModelError:
                names = []  # then it is no such server at all
        return refusal.error(self.address, model, self.key_name, names)

    def _waited(self, refusal: Refusal, pauses: Iterator[float], stop: threading.Event) -> bool:
        """Whether it is worth another try; the pause before it has then passed."""
        pause = next(pauses, None) if refusal.may_pass else None
        if pause is None or refusal.after > LONGEST_PAUSE:
            return False
        if stop.wait(max(refusal.after, pause * (1 + self.random.random() / 4))):
            raise ModelCancelled("cancelled")
        return True

    # --- what it takes ------------------------------------------------------------------------------------------

    def _as_taken(self, body: Json) -> Json:
        """The request without what this server has refused."""
        sent = dict(body)
        for name, times in self._untaken.items():
            value = sent.pop(name, None)
            if value is not None and name == "response_format" and times == 1:
                schema = value["json_schema"]["schema"]
                sent[name] = {"type": "json_object", "schema": schema}  # the older form of llama.cpp's servers
            elif value is not None and name in _OTHER_NAME:
                sent[_OTHER_NAME[name]] = value
        if not sent.get("stream"):
            sent.pop("stream_options", None)
        return sent

    def _gives_way(self, refusal: Refusal, sent: Json) -> bool:
        """Whether the server names something that it does not take, and that it is not sent again."""
        for name in _MAY_GO:
            if name in sent and refusal.names(name):
                with self._lock:
                    self._untaken[name] = self._untaken.get(name, 0) + 1
                return True
        return False

    @contextmanager
    def _exchange(self, method: str, path: str, body: Json | None, stop: threading.Event) -> Iterator[Exchange]:
        headers = {"User-Agent": f"edgeagent/{__version__}", "Accept": f"{EVENTS}, application/json"}
        if self.key_name:
            headers["Authorization"] = f"Bearer {self._key()}"
        content = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = encoded(body)
        with Exchange(
            self.address, method, path, headers, content, tls=self._tls, patience=self.patience, stop=stop
        ) as exchange:
            yield exchange

    def _key(self) -> str:
        key = self.key(self.key_name).strip()
        if not key.isascii() or not key.isprintable():
            told = f"the secret {self.key_name} holds what cannot be a key"
            raise ModelError(told, f"edgeagent secrets set {self.key_name}")
        return key

    @cached_property
    def _tls(self) -> ssl.SSLContext | None:
        return ssl.create_default_context() if self.address.scheme == "https" else None
