"""The mqtt trigger at a real Mosquitto: nothing lost, nothing twice, work shared, and trouble in words."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from conftest import FakeClock
from daemon_world import Place, wait_for
from mosquitto_world import Broker, broker, free_port
from triggers_world import PATIENCE

from edgeagent.agents import MqttTrigger as MqttSettings
from edgeagent.agents.triggers import broker_address
from edgeagent.errors import HomeError
from edgeagent.schema import RunStatus
from edgeagent.secrets import GivenSecrets
from edgeagent.store import Store
from edgeagent.triggers import broker as broker_module
from edgeagent.triggers.broker import Message
from edgeagent.triggers.mqtt import LARGEST, SETTLED, MqttTrigger

# paho-mqtt 2.2 leaves a socket to the garbage collector when its TLS handshake fails.
pytestmark = pytest.mark.filterwarnings("ignore:.*ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning")


class Listener:
    """The agent `ear`, and what it has heard."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._triggers: list[MqttTrigger] = []

    def start(self, where: str, **settings: Any) -> MqttTrigger:
        given = {"id": "mqtt-1", "broker": where, "topic": "house/#", **settings}
        trigger = MqttTrigger(
            "ear",
            MqttSettings(trigger="mqtt", **given),
            store=self.store,
            secrets=GivenSecrets({"EDGEAGENT_SECRET_MQTT": "right"}),
            clock=lambda: datetime.now(UTC),
        )
        trigger.start()
        self._triggers.append(trigger)
        return trigger

    def joined(self, where: str, **settings: Any) -> MqttTrigger:
        trigger = self.start(where, **settings)
        until(lambda: trigger.state().condition == "ok")
        return trigger

    def stop(self) -> None:
        while self._triggers:
            self._triggers.pop().stop()

    def heard(self) -> list[str]:
        return [run.event["payload"] for run in reversed(self.store.runs(limit=10_000))]


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@pytest.fixture
def ear(store: Store) -> Iterator[Listener]:
    made = Listener(store)
    yield made
    made.stop()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Broker]:
    with broker(tmp_path / "broker") as made:
        yield made


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_module, "FIRST_PAUSE", 0.05)


def test_a_message_is_an_event(ear: Listener, house: Broker) -> None:
    ear.joined(house.address)
    house.publish("house/door", ["open", '{"by": "cat"}', b"\xff"])
    until(lambda: len(ear.heard()) == 3)
    opened, by, broken = reversed(ear.store.runs())
    assert opened.event == {"topic": "house/door", "payload": "open", "retain": False}
    assert by.event["payload"] == '{"by": "cat"}' and by.event["json"] == {"by": "cat"}
    assert broken.event["payload"] == "\N{REPLACEMENT CHARACTER}"
    assert opened.trigger == "mqtt" and opened.status is RunStatus.QUEUED


def test_the_same_words_twice_are_two_messages(ear: Listener, house: Broker) -> None:
    ear.joined(house.address)
    house.publish("house/bell", ["ring"] * 50)
    until(lambda: len(ear.heard()) == 50)


def test_what_comes_while_the_daemon_is_down_is_kept_for_it(ear: Listener, house: Broker) -> None:
    ear.joined(house.address)
    ear.stop()
    house.publish("house/door", [str(n) for n in range(200)])
    ear.joined(house.address)
    until(lambda: len(ear.heard()) >= 200)
    time.sleep(0.3)
    assert sorted(ear.heard(), key=int) == [str(n) for n in range(200)]


def test_a_broker_that_goes_is_waited_for_and_nothing_is_lost(ear: Listener, house: Broker) -> None:
    trigger = ear.joined(house.address)
    house.publish("house/door", ["one"])
    until(lambda: ear.heard() == ["one"])
    house.stop()
    until(lambda: trigger.state().condition == "waiting")
    house.start()
    house.publish("house/door", ["two"])
    until(lambda: ear.heard() == ["one", "two"])
    assert trigger.state().condition == "ok"


def test_a_message_that_could_not_be_recorded_is_sent_again(
    ear: Listener, house: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    trigger = ear.joined(house.address)

    def full(*_: object, **__: object) -> None:
        raise HomeError("no space left", "free some")

    with monkeypatch.context() as patch:
        patch.setattr(ear.store, "enqueue", full)
        house.publish("house/door", [str(n) for n in range(10)])
        until(lambda: trigger.state().text == "no space left")
    until(lambda: len(ear.heard()) >= 10)
    time.sleep(0.3)
    assert sorted(ear.heard(), key=int) == [str(n) for n in range(10)]


def test_a_message_that_is_sent_again_after_a_lost_acknowledgement_is_one_run(
    ear: Listener, house: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    import paho.mqtt.client

    ear.joined(house.address)
    with monkeypatch.context() as patch:
        patch.setattr(paho.mqtt.client.Client, "ack", lambda *_: 0)
        house.publish("house/door", [str(n) for n in range(5)])
        until(lambda: len(ear.heard()) == 5)
    ear.stop()
    trigger = ear.joined(house.address)
    house.publish("house/door", ["5"])
    until(lambda: "5" in ear.heard())
    assert sorted(ear.heard(), key=int) == [str(n) for n in range(6)]
    assert trigger.state().condition == "ok"


def test_a_retained_message_is_one_however_often_it_is_told(ear: Listener, house: Broker) -> None:
    house.publish("house/light", ["on"], "-r")
    ear.joined(house.address)
    until(lambda: ear.heard() == ["on"])
    assert ear.store.runs()[0].event["retain"] is True
    ear.stop()
    ear.joined(house.address, id="mqtt-1", qos=0)
    house.publish("house/light", ["off"])
    until(lambda: ear.heard() == ["on", "off"])


def test_a_sender_may_name_its_messages(ear: Listener, house: Broker) -> None:
    ear.joined(house.address)
    name = ("-D", "publish", "user-property", "idempotency-key", "order 7")
    house.publish("house/order", ["tea"], *name)
    house.publish("house/order", ["tea, please"], *name)
    house.publish("house/order", ["end"])
    until(lambda: "end" in ear.heard())
    assert ear.heard() == ["tea", "end"]


def test_a_payload_that_is_too_long_is_recorded_as_skipped(ear: Listener, house: Broker, tmp_path: Path) -> None:
    ear.joined(house.address)
    house.publish("house/film", ["x" * (LARGEST + 1)])
    until(lambda: ear.store.runs())
    (run,) = ear.store.runs()
    assert run.status is RunStatus.SKIPPED and str(LARGEST + 1) in str(run.reason)


def test_an_acknowledgement_that_must_have_arrived_is_forgotten(store: Store, clock: FakeClock) -> None:
    seconds = [0.0]
    trigger = MqttTrigger(
        "ear",
        MqttSettings(trigger="mqtt", id="m", broker="localhost", topic="t"),
        store=store,
        secrets=GivenSecrets({}),
        clock=clock,
        monotonic=lambda: seconds[0],
    )

    def hear(packet: int, *, again: bool = False) -> int:
        trigger._record([Message("t", b"same", 1, False, packet, again, None)])
        return len(store.runs())

    assert hear(1) == 1
    assert hear(1, again=True) == 1
    assert hear(1) == 2, "the id of a packet is used again"
    seconds[0] += SETTLED + 1
    assert hear(2) == 3
    assert hear(1, again=True) == 4, "what was acknowledged long ago is not sent again"
    trigger._joined(False)
    assert hear(2, again=True) == 5, "a new session sends nothing again"


def test_a_broker_that_cannot_be_reached_is_told(ear: Listener) -> None:
    port = free_port()
    trigger = ear.start(f"127.0.0.1:{port}")
    until(lambda: "cannot be reached" in trigger.state().text)
    assert trigger.state().condition == "waiting" and f"127.0.0.1:{port}" in trigger.state().text


def test_who_may_not_enter_is_told_and_who_may_is_let_in(ear: Listener, tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(passwords), "ear", "right"], check=True, capture_output=True)
    with broker(tmp_path / "closed", "allow_anonymous false", f"password_file {passwords}") as closed:
        stranger = ear.start(closed.address)
        until(lambda: "refuses us" in stranger.state().text)
        assert stranger.state().condition == "error"
        forgetful = ear.start(closed.address, username="ear", secret="NOWHERE")
        until(lambda: "the secret NOWHERE is not set" in forgetful.state().text)
        ear.joined(closed.address, username="ear", secret="MQTT")
        ear.stop()


@pytest.mark.parametrize(("days", "condition"), [(2, "ok"), (-1, "error")])
def test_tls_takes_a_good_certificate_and_tells_an_expired_one(
    ear: Listener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int, condition: str
) -> None:
    certificate, key = make_certificate(tmp_path, days)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with broker(tmp_path / "tls", f"certfile {certificate}", f"keyfile {key}") as made:
        trigger = ear.start(f"mqtts://127.0.0.1:{made.port}")
        until(lambda: trigger.state().condition == condition)
        if condition == "ok":
            made.publish("house/door", ["open"], "--cafile", str(certificate))
            until(lambda: ear.heard() == ["open"])
        else:
            assert "expired" in trigger.state().text
        ear.stop()


def make_certificate(folder: Path, days: int) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key. A negative number of days: expired in 2020."""
    certificate, key, request = folder / "certificate.pem", folder / "key.pem", folder / "request.pem"
    (folder / "index.txt").write_text("")
    (folder / "ca.conf").write_text(
        f"[ca]\ndefault_ca=d\n[d]\ndatabase={folder}/index.txt\nnew_certs_dir={folder}\nrand_serial=yes\n"
        "default_md=sha256\npolicy=p\ncopy_extensions=copy\n[p]\ncommonName=supplied\n"
    )
    dates = f"-days {days}" if days > 0 else "-startdate 20200101000000Z -enddate 20200102000000Z"
    for arguments in (
        f"req -new -newkey rsa:2048 -nodes -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
        f" -keyout {key} -out {request}",
        f"ca -batch -selfsign -notext -config {folder}/ca.conf -keyfile {key} -in {request} -out {certificate} {dates}",
    ):
        subprocess.run(["openssl", *arguments.split()], check=True, capture_output=True)
    return certificate, key


@pytest.mark.parametrize(
    ("written", "host", "port", "uses_tls"),
    [
        ("localhost", "localhost", 1883, False),
        ("broker.lan:1884", "broker.lan", 1884, False),
        ("broker.lan:8883", "broker.lan", 8883, True),
        ("mqtt://broker.lan:8883", "broker.lan", 8883, False),
        ("mqtts://broker.lan", "broker.lan", 8883, True),
        ("[::1]:1883", "::1", 1883, False),
    ],
)
def test_a_broker_may_be_written_in_several_ways(written: str, host: str, port: int, uses_tls: bool) -> None:
    address = broker_address(written)
    assert (address.host, address.port, address.uses_tls) == (host, port, uses_tls)


@pytest.mark.parametrize("written", ["http://broker", "a b", "broker:0", "broker:99999", "broker:port", "mqtt://"])
def test_what_is_no_broker_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="is not a broker"):
        broker_address(written)


def test_three_daemons_of_one_group_share_a_thousand_messages(tmp_path: Path, house: Broker) -> None:
    places = []
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        place = Place(tmp_path / name)
        place.agent(
            "ear",
            f'triggers: [{{trigger: mqtt, broker: "{house.address}", topic: work, share: crew}}]\n'
            "concurrency: {mode: queued, max: 2000}",
            ["Heard."],
        )
        places.append(place)
    with ExitStack() as daemons:
        for place in places:
            daemons.enter_context(place.daemon())
        wait_for(lambda: all(joined(place) for place in places))
        house.publish("work", [f"m{n}" for n in range(1000)])
        wait_for(lambda: sum(len(place.runs()) for place in places) >= 1000, 120)
        time.sleep(0.5)
    heard = Counter(run.event["payload"] for place in places for run in place.runs())
    assert heard == Counter(f"m{n}" for n in range(1000))
    assert all(len(place.runs()) > 100 for place in places)


def test_messages_through_a_daemon_that_is_killed_again_and_again_make_one_run_each(
    tmp_path: Path, house: Broker
) -> None:
    place = Place(tmp_path)
    place.agent(
        "ear",
        f'triggers: [{{trigger: mqtt, broker: "{house.address}", topic: work}}]\nconcurrency: {{max: 2000}}',
        ["Heard."],
    )
    with place.daemon():
        wait_for(lambda: joined(place))
    for part in range(3):
        with place.daemon():
            wait_for(lambda: joined(place))
            before = len(place.runs())
            house.publish("work", [f"m{part}.{n}" for n in range(200)])
            wait_for(lambda before=before: len(place.runs()) > before)  # type: ignore[misc]
    with place.daemon():
        wait_for(lambda: len(place.runs()) >= 600, 120)
        time.sleep(0.5)
    assert Counter(run.event["payload"] for run in place.runs()) == Counter(
        f"m{part}.{n}" for part in range(3) for n in range(200)
    )


def joined(place: Place) -> bool:
    (told,) = place.client.status()["triggers"]
    return bool(told["condition"] == "ok")
