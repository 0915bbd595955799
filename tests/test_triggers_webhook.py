"""Webhooks over a real socket: who is let in, what becomes the event, and what callers are told."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from api_world import SmallBackend, now, served

from edgeagent.agents import WebhookTrigger as WebhookSettings
from edgeagent.api.app import build_app
from edgeagent.api.client import _UnixConnection
from edgeagent.api.guard import Guard
from edgeagent.api.hooks import is_trusted
from edgeagent.api.wire import MAX_BODY
from edgeagent.secrets import GivenSecrets
from edgeagent.triggers.webhook import WebhookTrigger

SECRET = "the moon is full"
ENVIRONMENT = {"EDGEAGENT_SECRET_DOOR": SECRET, "EDGEAGENT_SECRET_OTHER": "another"}


class Door:
    """A backend behind its control socket, and agents that listen at its hooks."""

    def __init__(self, folder: Path, backend: SmallBackend) -> None:
        self.backend = backend
        self._socket = folder / "run" / "edgeagent.sock"

    def listen(self, path: str = "door", secret: str | None = None, agent: str = "porter") -> WebhookTrigger:
        trigger = WebhookTrigger(
            agent,
            WebhookSettings(trigger="webhook", id="webhook-1", path=path, secret=secret),
            store=self.backend.store,
            hooks=self.backend.hooks,
            secrets=GivenSecrets(ENVIRONMENT),
            clock=now,
        )
        trigger.start()
        return trigger

    def ask(
        self, target: str = "/hooks/door", body: bytes = b"", method: str = "POST", **headers: str
    ) -> tuple[int, Any]:
        connection = _UnixConnection(self._socket, 30)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, target, body, named)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def event(self, answer: tuple[int, Any]) -> dict[str, Any]:
        status, told = answer
        assert status == 202, told
        return self.backend.store.run(told["id"]).event

    def count(self) -> int:
        return len(self.backend.store.runs())


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    with served(tmp_path) as (backend, _):
        yield Door(tmp_path, backend)


def signed(body: bytes, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def test_a_request_becomes_a_run_that_knows_all_of_it(door: Door) -> None:
    door.listen()
    answer = door.ask("/hooks/door?who=cat&who=dog&n=1", b"knock", X_Colour="red")
    event = door.event(answer)
    assert event["method"] == "POST" and event["body"] == "knock"
    assert event["query"] == {"who": ["cat", "dog"], "n": "1"}
    assert event["headers"]["x-colour"] == "red"
    run = door.backend.store.run(answer[1]["id"])
    assert (run.trigger, run.trigger_id, run.status) == ("webhook", "webhook-1", "queued")


@pytest.mark.parametrize("prefix", ["sha256=", ""])
def test_a_signed_body_is_let_in(door: Door, prefix: str) -> None:
    door.listen(secret="DOOR")
    body = b'{"who": "cat"}'
    answer = door.ask(body=body, X_Signature_256=prefix + signed(body), Content_Type="application/json")
    assert door.event(answer)["body"] == {"who": "cat"}


@pytest.mark.parametrize("signature", [None, "", "sha256=", signed(b"other"), "sha256=" + signed(b"x", "key"), "\xe4"])
def test_a_wrong_signature_is_refused_and_told(door: Door, signature: str | None) -> None:
    trigger = door.listen(secret="DOOR")
    headers = {} if signature is None else {"X_Signature_256": signature}
    status, told = door.ask(body=b"x", **headers)
    assert (status, told["error"]["code"]) == (401, "unauthorized")
    assert door.count() == 0
    assert "1 refused" in trigger.state().text and "signature" in trigger.state().text


def test_what_opens_the_door_is_not_part_of_the_event(door: Door) -> None:
    door.listen(secret="DOOR")
    event = door.event(
        door.ask(body=b"x", X_Signature_256=signed(b"x"), Authorization="Bearer me", Cookie="a=b", Accept="text/plain")
    )
    assert {"authorization", "cookie", "x-signature-256"}.isdisjoint(event["headers"])
    assert event["headers"]["accept"] == "text/plain"


def test_the_same_idempotency_key_is_the_same_run(door: Door) -> None:
    door.listen()
    first, again = door.ask(body=b"1", Idempotency_Key="k"), door.ask(body=b"2", Idempotency_Key="k")
    assert first == again and first[0] == 202
    assert door.ask(body=b"1", Idempotency_Key="other")[1] != first[1]
    assert door.ask(body=b"1")[1] != door.ask(body=b"1")[1]
    assert door.count() == 4


def test_many_callers_with_one_key_get_one_run(door: Door) -> None:
    door.listen()
    answers: list[tuple[int, Any]] = []
    threads = [
        threading.Thread(target=lambda: answers.append(door.ask(body=b"1", Idempotency_Key="k"))) for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 16 and len({told["id"] for _, told in answers}) == 1
    assert door.count() == 1


def test_a_body_that_is_too_long_is_answered_and_noted(door: Door) -> None:
    trigger = door.listen()
    status, told = door.ask(body=b"x" * 10_000_000)
    assert (status, told["error"]["code"]) == (413, "too_large")
    assert door.count() == 0 and "longer than" in trigger.state().text
    assert door.event(door.ask(body=b"x" * MAX_BODY))["body"] == "x" * MAX_BODY


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[" * 100_000])
def test_broken_json_is_told_where_json_was_announced_and_text_where_not(door: Door, body: bytes) -> None:
    trigger = door.listen()
    status, told = door.ask(body=body, Content_Type="application/json; charset=utf-8")
    assert (status, told["error"]["code"]) == (400, "usage") and "not JSON" in trigger.state().text
    assert door.event(door.ask(body=body, Content_Type="text/plain"))["body"] == body.decode("utf-8", "replace")


def test_other_methods_are_events_too_and_the_rest_is_not(door: Door) -> None:
    door.listen()
    assert door.event(door.ask(method="GET"))["method"] == "GET"
    assert door.event(door.ask(method="PUT", body=b"x"))["method"] == "PUT"
    assert door.ask(method="OPTIONS")[0] == 405


def test_an_unknown_path_is_not_found_and_so_is_one_that_was_closed(door: Door) -> None:
    trigger = door.listen("a/b")
    assert door.ask("/hooks/a/b")[0] == 202
    assert door.ask("/hooks/a")[0] == 404
    trigger.stop()
    assert door.ask("/hooks/a/b")[0] == 404
    assert door.ask("/hooks/a/b", b"x" * 2_000_000)[0] == 413


def test_a_secret_that_is_missing_is_told_to_both_sides(door: Door) -> None:
    trigger = door.listen(secret="NOWHERE")
    assert trigger.state().condition == "error" and "edgeagent secrets set NOWHERE" in trigger.state().text
    status, told = door.ask(body=b"x", X_Signature_256=signed(b"x"))
    assert status == 503 and "NOWHERE" in told["error"]["message"]


def test_several_agents_at_one_path_each_let_in_whom_they_know(door: Door) -> None:
    door.listen(agent="first", secret="DOOR")
    door.listen(agent="second", secret="OTHER")
    door.listen(agent="third")
    status, told = door.ask(body=b"x", X_Signature_256=signed(b"x"))
    assert status == 202 and told["id"] == told["ids"][0]
    assert [door.backend.store.run(run_id).agent for run_id in told["ids"]] == ["first", "third"]


def test_an_idempotency_key_has_a_longest_length(door: Door) -> None:
    door.listen()
    assert door.ask(Idempotency_Key="k" * 255)[0] == 202
    assert door.ask(Idempotency_Key="k" * 256)[0] == 400


@pytest.mark.parametrize("secret", [None, "DOOR"])
def test_over_tcp_a_hook_takes_its_signature_or_the_token_of_the_api(tmp_path: Path, secret: str | None) -> None:
    with served(tmp_path) as (backend, _):
        Door(tmp_path, backend).listen(secret=secret)
        with over_tcp(backend) as port:
            signature, token = f"X-Signature-256: {signed(b'x')}", f"Authorization: Bearer {TOKEN}"
            found = [tcp(port, b"x", *headers) for headers in ([], [signature], [token], [signature, token])]
        assert len(backend.store.runs()) == found.count(202)
    assert found == ([401, 401, 202, 202] if secret is None else [401, 202, 401, 202])


def test_over_tcp_nobody_is_trusted_unless_the_guard_says_so() -> None:
    over = {"server": ("127.0.0.1", 8321)}
    assert not is_trusted(over) and not is_trusted({**over, "state": {"is_trusted": False}})
    assert is_trusted({**over, "state": {"is_trusted": True}}) and is_trusted({"server": None})


TOKEN = "the token of this very API"


@contextmanager
def over_tcp(backend: SmallBackend) -> Iterator[int]:
    """The same routes behind the guard on a loopback port."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = int(listener.getsockname()[1])
    app = Guard(build_app(backend), TOKEN, f"127.0.0.1:{port}")
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", ws="none", log_config=None))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield port
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def tcp(port: int, body: bytes, *headers: str) -> int:
    """The status of one request."""
    head = ["POST /hooks/door HTTP/1.1", f"Host: localhost:{port}", "Connection: close", f"Content-Length: {len(body)}"]
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall("\r\n".join([*head, *headers, "", ""]).encode() + body)
        return int(connection.makefile("rb").readline().split()[1])
