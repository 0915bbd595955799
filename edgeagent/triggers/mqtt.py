"""The mqtt trigger: a message on a topic.

Owns who we are to the broker, what of a message becomes the event, and how a message that comes twice is told. The
connection is `broker`.

A broker gives messages no name. Within a session it counts packets, and one that it sends again, because it has not
seen it acknowledged, comes under the same packet id with the mark "again". So the packet id and a digest are kept with
the event until the acknowledgement must have arrived. A retained message is what its topic and payload are: coming
again, it is the same. A sender may name a message by the user property `idempotency-key`. Any other message is new.
"""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from ulid import ULID

from edgeagent.schema import Event, Json, RunStatus
from edgeagent.secrets import Secrets
from edgeagent.store import Store
from edgeagent.triggers.base import MonotonicClock, TriggerState, WallClock
from edgeagent.triggers.broker import KEEPALIVE, Account, Message, Session
from edgeagent.triggers.single import message_data

if TYPE_CHECKING:
    from edgeagent.agents import MqttTrigger as MqttSettings

LARGEST = 1_000_000
"""Bytes of a payload that an event may carry; a longer one is recorded as skipped."""

SETTLED = 2.0 * KEEPALIVE
"""Seconds after which a connection that still stands has carried an acknowledgement to the broker."""


class MqttTrigger:
    def __init__(
        self,
        agent: str,
        settings: MqttSettings,
        *,
        store: Store,
        secrets: Secrets,
        clock: WallClock,
        monotonic: MonotonicClock = time.monotonic,
        session: Callable[..., Session] = Session,
    ) -> None:
        self.agent = agent
        self.trigger_id = settings.id
        self._settings = settings
        self._store = store
        self._secrets = secrets
        self._clock = clock
        self._monotonic = monotonic
        self._make_session = session
        self._session: Session | None = None
        shared = f"$share/{settings.share}/" if settings.share else ""
        self._topic = shared + settings.topic
        self._record_name = f"{settings.id} {settings.broker} {self._topic}"
        self._unsettled: deque[tuple[float, int]] = deque()

    def start(self) -> None:
        """Connects, now or as soon as it can be. Raises HomeError where the database cannot be used."""
        address = self._settings.address
        account = Account(
            host=address.host,
            port=address.port,
            uses_tls=address.uses_tls,
            client=self._client(),
            topic=self._topic,
            qos=self._settings.qos,
            username=self._settings.username,
            password=self._password,
        )
        self._session = self._make_session(account, self._record, self._joined)
        self._session.start()

    def stop(self) -> None:
        if self._session:
            self._session.stop()
            self._session = None

    def scan(self, now: datetime) -> None:
        """What was missed, the broker sends by itself."""

    def state(self) -> TriggerState:
        return self._session.state if self._session else TriggerState("waiting", "not started")

    def _client(self) -> str:
        """The name by which the broker knows us again. Nobody else's, on whatever device."""
        kept = self._store.bookmark(self.agent, self._record_name)
        if kept is None:
            kept = {"client": f"edgeagent-{ULID()}"}
            self._store.set_bookmark(self.agent, self._record_name, kept)
        return str(kept["client"])

    def _password(self) -> str | None:
        return self._secrets.secret(self._settings.secret) if self._settings.secret else None

    # --- on the thread of the session ---------------------------------------------------------------------------

    def _joined(self, knew_us: bool) -> None:
        """What a new session sends again, it has not sent to us before."""
        known = self._store.message_packets(self.agent, self._record_name)
        if knew_us:
            self._unsettled = deque((self._monotonic(), packet) for packet in known)
        else:
            self._unsettled.clear()
            self._store.forget_messages(self.agent, self._record_name, known)

    def _record(self, messages: list[Message]) -> None:
        now = self._clock()
        with self._store.transaction():
            self._forget_settled()
            for message in messages:
                self._record_one(message, now)

    def _record_one(self, message: Message, now: datetime) -> None:
        digest = _digest(message)
        again = (
            self._store.message_key(self.agent, self._record_name, message.packet, digest) if message.is_again else None
        )
        event = Event(self.agent, "mqtt", self.trigger_id, again or self._key(message, digest), _data(message))
        if message.qos:
            self._store.note_message(self.agent, self._record_name, message.packet, digest, event.key)
            self._unsettled.append((self._monotonic(), message.packet))
        if len(message.payload) > LARGEST:
            reason = f"its payload has {len(message.payload)} bytes; at most {LARGEST} become an event"
            self._store.enqueue(event, now=now, status=RunStatus.SKIPPED, reason=reason)
        else:
            self._store.enqueue(event, now=now)

    def _forget_settled(self) -> None:
        before = self._monotonic() - SETTLED
        settled = set()
        while self._unsettled and self._unsettled[0][0] < before:
            settled.add(self._unsettled.popleft()[1])
        settled -= {packet for _, packet in self._unsettled}
        self._store.forget_messages(self.agent, self._record_name, settled)

    def _key(self, message: Message, digest: str) -> str:
        if message.key:
            return f"{self.trigger_id}:{self._settings.broker}:key:{message.key}"
        if message.retain:
            return f"{self.trigger_id}:{self._settings.broker}:retained:{digest}"
        return f"{self.trigger_id}:{ULID()}"


def _digest(message: Message) -> str:
    return hashlib.sha256(message.topic.encode() + b"\0" + message.payload).hexdigest()


def _data(message: Message) -> Json:
    text = message.payload[:LARGEST].decode("utf-8", "replace")
    if len(message.payload) > LARGEST:
        return {"topic": message.topic, "payload": text[:1000], "retain": message.retain}
    return message_data(message.topic, text, message.retain)
