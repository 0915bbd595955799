"""One MQTT 5 session at a broker, over paho-mqtt: messages come in, and are acknowledged once they are on the record.

Owns the connection and its thread: TLS, the session that outlives it, back-off, and what went wrong in words. Not
owned: what a message means (`mqtt`). paho-mqtt is imported when the thread begins, since few have brokers.

QoS 2 is taken as 1: paho keeps what came half-way in memory only, so that a kill would lose it. With QoS 1 the broker
sends again what was not acknowledged, and the key of the event tells what came twice.
"""

from __future__ import annotations

import random
import select
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeagent.errors import EdgeagentError, HomeError
from edgeagent.triggers.base import TriggerState

if TYPE_CHECKING:
    from paho.mqtt.client import Client, MQTTMessage

KEEPALIVE = 30
SESSION_SECONDS = 7 * 24 * 3600
"""How long the broker keeps what comes while the daemon is down."""
LARGEST_PACKET = 16_000_000
BATCH = 100
CONNECT_SECONDS = 4.0
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0


@dataclass(frozen=True, slots=True)
class Account:
    """Where the broker is and who we are there."""

    host: str
    port: int
    uses_tls: bool
    client: str
    topic: str
    """As it is subscribed to, with $share/GROUP/ before it where the work is shared."""
    qos: int
    username: str | None
    password: Callable[[], str | None]
    """Raises EdgeagentError where there should be one."""

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Message:
    topic: str
    payload: bytes
    qos: int
    retain: bool
    packet: int
    is_again: bool
    """The broker says that it may have sent it before."""
    key: str | None
    """What the sender calls it: the user property `idempotency-key`."""


class Disconnected(Exception):
    """The connection ended, or never was; `state` says why."""

    def __init__(self, state: TriggerState) -> None:
        super().__init__(state.text)
        self.state = state


class Session:
    """Args:
    record: writes messages down; called on the thread of the session. HomeError: they will be sent again.
    joined: the subscription stands; True where the broker still knew us.
    """

    def __init__(
        self, account: Account, record: Callable[[list[Message]], None], joined: Callable[[bool], None]
    ) -> None:
        self._account = account
        self._record = record
        self._joined = joined
        self._arrived: list[Message] = []
        self._stopping = threading.Event()
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name=f"mqtt {account}", daemon=True)
        self.state = TriggerState("waiting", f"connecting to {account}")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        with suppress(OSError):
            self._wake.send(b".")
        self._thread.join(CONNECT_SECONDS + 1)

    def _run(self) -> None:
        pause = FIRST_PAUSE
        while not self._stopping.is_set():
            try:
                self._serve()
                pause = FIRST_PAUSE
            except Disconnected as ended:
                pause = FIRST_PAUSE if self.state.condition == "ok" else min(LONGEST_PAUSE, pause * 2)
                self.state = ended.state
            except HomeError as error:
                self.state = TriggerState("error", error.message)
            except ImportError:
                hint = "try: pip install 'edgeagent[mqtt]'"
                self.state = TriggerState("error", f"mqtt triggers need the package paho-mqtt; {hint}")
                return
            self._stopping.wait(pause * random.uniform(0.75, 1.25))
        self._wake.close()
        self._woken.close()

    def _serve(self) -> None:
        """From connecting to the end of the connection. Raises Disconnected, HomeError."""
        client = self._connected()
        try:
            while not self._stopping.is_set():
                self._take_turn(client)
            client.disconnect()
        finally:
            self._arrived.clear()
            if sock := client.socket():
                with suppress(OSError):
                    sock.close()

    def _connected(self) -> Client:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        account = self._account
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=account.client,
            protocol=MQTTProtocolVersion.MQTTv5,
            manual_ack=True,
            reconnect_on_failure=False,
        )
        client.connect_timeout = CONNECT_SECONDS
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = SESSION_SECONDS
        properties.ReceiveMaximum = BATCH
        properties.MaximumPacketSize = LARGEST_PACKET
        try:
            if account.username is not None:
                client.username_pw_set(account.username, account.password())
            if account.uses_tls:
                client.tls_set_context(ssl.create_default_context())
            client.connect(account.host, account.port, KEEPALIVE, clean_start=False, properties=properties)
        except EdgeagentError as error:
            raise self._ended("error", f"{error.message}; {error.hint}") from error
        except ssl.SSLError as error:
            raise self._ended("error", _about_tls(error)) from error
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise self._ended("waiting", f"it cannot be reached: {why}") from error
        return client

    def _take_turn(self, client: Client) -> None:
        """Waits for something to happen, takes what has come, records and acknowledges it."""
        connection = client.socket()
        if connection is None:
            raise self._ended("waiting", "the connection was lost")
        if not getattr(connection, "pending", int)():
            writing = [connection] if client.want_write() else []
            readable, _, _ = select.select([connection, self._woken], writing, [], 1.0)
            if not readable and not writing:
                client.loop_misc()
                return
        is_over = False
        while len(self._arrived) < BATCH and not is_over and _has_more(client):
            is_over = client.loop_read() != 0
        self._record_arrived(client)
        if client.want_write():
            client.loop_write()
        client.loop_misc()

    def _record_arrived(self, client: Client) -> None:
        arrived, self._arrived = self._arrived, []
        if arrived:
            self._record(arrived)
            for message in arrived:
                if message.qos:
                    client.ack(message.packet, 1)

    # --- what paho calls, within loop_read and loop_misc --------------------------------------------------------

    def _on_connect(self, client: Client, userdata: object, flags: Any, reason: Any, properties: object) -> None:
        from paho.mqtt.subscribeoptions import SubscribeOptions

        if reason.is_failure:
            raise self._ended("error", f"it refuses us: {reason}")
        self._knew_us = bool(flags.session_present)
        # A retained message comes when the subscription is new, and not again whenever the connection is.
        options = SubscribeOptions(
            qos=min(self._account.qos, 1), retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB
        )
        client.subscribe(self._account.topic, options=options)

    def _on_subscribe(self, client: Client, userdata: object, mid: int, reasons: list[Any], properties: object) -> None:
        if reasons[0].is_failure:
            raise self._ended("error", f"it refuses the subscription to {self._account.topic}: {reasons[0]}")
        self._joined(self._knew_us)
        self.state = TriggerState("ok", f"subscribed to {self._account.topic} at {self._account}")

    def _on_disconnect(self, client: Client, userdata: object, flags: object, reason: Any, properties: object) -> None:
        if not self._stopping.is_set():
            raise self._ended("waiting", f"the connection was lost: {reason}")

    def _on_message(self, client: Client, userdata: object, message: MQTTMessage) -> None:
        named = dict(getattr(message.properties, "UserProperty", None) or ())
        self._arrived.append(
            Message(
                topic=message.topic,
                payload=bytes(message.payload),
                qos=message.qos,
                retain=message.retain,
                packet=message.mid,
                is_again=message.dup,
                key=named.get("idempotency-key"),
            )
        )

    def _ended(self, condition: Any, why: str) -> Disconnected:
        return Disconnected(TriggerState(condition, f"{self._account}: {why}"))


def _has_more(client: Client) -> bool:
    connection = client.socket()
    if connection is None:
        return False
    if getattr(connection, "pending", int)():
        return True
    return bool(select.select([connection], [], [], 0)[0])


def _about_tls(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        hint = "SSL_CERT_FILE may name a file with the authority that signed it"
        return f"its certificate is not good: {error.verify_message}; {hint}"
    return f"no TLS with it: {error.reason or error}"
