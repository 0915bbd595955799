"""The webhook trigger: an HTTP request to /hooks/PATH.

Owns who is let in, what of a request becomes the event, and which path leads to which agents. Not owned: HTTP itself
(edgeagent/api/hooks.py), and who may use the API at all.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ulid import ULID

from edgeagent.errors import EdgeagentError, HomeError, NotFound, Unauthorized, UsageError
from edgeagent.schema import Event, Json, format_time
from edgeagent.secrets import Secrets
from edgeagent.store import Store
from edgeagent.triggers.base import TriggerState, WallClock

if TYPE_CHECKING:
    from edgeagent.agents import WebhookTrigger as WebhookSettings

SIGNATURE = "x-signature-256"
KEY = "idempotency-key"
LONGEST_KEY = 255

_PRIVATE = frozenset({"authorization", "proxy-authorization", "cookie", SIGNATURE})
"""Headers that are for the door and not for the agent: they would end up in the journal and with the model."""


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. Names of headers are in small letters. `is_trusted`: it came by the control socket or with
    the token of the API."""

    method: str
    headers: Mapping[str, str]
    query: Mapping[str, str | list[str]]
    body: bytes
    is_trusted: bool


class WebhookTrigger:
    def __init__(
        self, agent: str, settings: WebhookSettings, *, store: Store, hooks: Hooks, secrets: Secrets, clock: WallClock
    ) -> None:
        self.agent = agent
        self.trigger_id = settings.id
        self.path = settings.path
        self._secret = settings.secret
        self._store = store
        self._hooks = hooks
        self._secrets = secrets
        self._clock = clock
        self._refused = 0
        self._last_refusal = ""

    def start(self) -> None:
        self._hooks.open(self)

    def stop(self) -> None:
        self._hooks.close(self)

    def scan(self, now: datetime) -> None:
        """Nothing that was not asked can be found later."""

    def state(self) -> TriggerState:
        try:
            self._key()
        except EdgeagentError as error:
            return TriggerState("error", f"/hooks/{self.path}: {error.message}; {error.hint}")
        refused = f"; {self._refused} refused, the last {self._last_refusal}" if self._refused else ""
        return TriggerState("ok", f"open at /hooks/{self.path}{refused}")

    def check(self, request: Request) -> None:
        """Raises Unauthorized where the request is not let in; HomeError where that cannot be told."""
        if self._secret is None and request.is_trusted:
            return
        key = self._key()
        if key is None:
            raise Unauthorized("this hook has no secret, so it takes the token of the API", _TOKEN)
        given = request.headers.get(SIGNATURE, "").strip().removeprefix("sha256=").lower()
        right = hmac.new(key, request.body, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(given.encode("utf-8", "replace"), right.encode()):
            what = "wrong" if given else "missing"
            raise Unauthorized(f"the signature of the body is {what}", _SIGN)

    def accept(self, request: Request, body: Any) -> str:
        """The id of the run that the request makes, or has made before. Raises HomeError."""
        given = request.headers.get(KEY, "").strip()
        key = f"{self.trigger_id}:key:{given}" if given else f"{self.trigger_id}:{ULID()}"
        headers = {name: value for name, value in request.headers.items() if name not in _PRIVATE}
        data: Json = {"method": request.method, "headers": headers, "query": dict(request.query), "body": body}
        run_id = self._store.enqueue(
            Event(self.agent, "webhook", self.trigger_id, key, data), now=self._clock()
        ) or self._store.run_of_key(self.agent, key)
        if run_id is None:
            raise HomeError("the run of this key went while it was asked for", "send it again")
        return run_id

    def transaction(self) -> AbstractContextManager[None]:
        return self._store.transaction()

    def note_refusal(self, why: EdgeagentError) -> None:
        """For `status`."""
        self._refused += 1
        self._last_refusal = f"at {format_time(self._clock())}: {why.message}"

    def _key(self) -> bytes | None:
        """What signs the body; None where nothing needs to."""
        if self._secret is None:
            return None
        try:
            return self._secrets.secret(self._secret).encode()
        except NotFound as error:
            raise HomeError(error.message, error.hint) from error


class Hooks:
    """The open webhooks of a daemon, by path. Several agents may listen at one."""

    def __init__(self) -> None:
        self._open: dict[str, list[WebhookTrigger]] = {}
        self._lock = threading.Lock()

    def open(self, trigger: WebhookTrigger) -> None:
        with self._lock:
            self._open[trigger.path] = [*self._open.get(trigger.path, ()), trigger]

    def close(self, trigger: WebhookTrigger) -> None:
        with self._lock:
            left = [one for one in self._open.get(trigger.path, ()) if one is not trigger]
            self._open[trigger.path] = left
            if not left:
                del self._open[trigger.path]

    def deliver(
        self,
        path: str,
        *,
        method: str,
        headers: Mapping[str, str],
        query: Mapping[str, str | list[str]],
        body: bytes,
        is_trusted: bool,
    ) -> list[str]:
        """The runs that the request makes, one for each agent that listens and lets it in.

        Raises:
            NotFound: nobody listens there.
            Unauthorized: nobody lets it in.
            UsageError: it says that the body is JSON, and it is not.
            HomeError: it cannot be recorded.
        """
        listeners = self._listeners(path)
        request = Request(method, headers, query, body, is_trusted)
        try:
            let_in = _let_in(listeners, request)
            parsed = _parsed(request)
        except EdgeagentError as error:
            for trigger in listeners:
                trigger.note_refusal(error)
            raise
        with let_in[0].transaction():  # for all of them or, where it cannot be recorded, for none
            return [trigger.accept(request, parsed) for trigger in let_in]

    def refuse(self, path: str, why: EdgeagentError) -> None:
        """Notes for `status` what HTTP itself has refused, such as a body that is too long."""
        for trigger in self._listeners(path):
            trigger.note_refusal(why)

    def _listeners(self, path: str) -> list[WebhookTrigger]:
        with self._lock:
            found = self._open.get(path.strip("/"), [])
        if not found:
            raise NotFound(f"no agent has a webhook at /hooks/{path}", "see which there are: edgeagent status")
        return found


_SIGN = "send X-Signature-256: sha256=HEX, the HMAC-SHA256 of the body"
_TOKEN = "send Authorization: Bearer TOKEN, or give the trigger a secret"


def _let_in(listeners: list[WebhookTrigger], request: Request) -> list[WebhookTrigger]:
    """Those who take the request. Where nobody does, the last refusal is raised."""
    let_in: list[WebhookTrigger] = []
    refusal: EdgeagentError | None = None
    for trigger in listeners:
        try:
            trigger.check(request)
            let_in.append(trigger)
        except (Unauthorized, HomeError) as error:
            refusal = error
    if refusal is not None and not let_in:
        raise refusal
    return let_in


def _parsed(request: Request) -> Any:
    """The body: JSON where the request says so, else text. UsageError where it says so and is wrong."""
    if len(request.headers.get(KEY, "")) > LONGEST_KEY:
        raise UsageError(f"the Idempotency-Key is longer than {LONGEST_KEY} characters", "send a shorter one")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not request.body or not (kind == "application/json" or kind.endswith("+json")):
        return request.body.decode("utf-8", "replace")
    try:
        return json.loads(request.body)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the body is not JSON: {error}", "mend it, or send another Content-Type") from error
