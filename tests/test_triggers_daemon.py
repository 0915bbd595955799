"""Triggers in the real daemon: together, killed, and with one of them broken."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path

import pytest
from daemon_world import Place, wait_for

from edgeagent.api.client import _UnixConnection


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_boot_request_and_agent_start_each_other_in_one_daemon(place: Place) -> None:
    place.agent("greeter", "triggers: [{trigger: startup}]", ["Hello."])
    place.agent("writer", "triggers: [{trigger: agent, agent: greeter}]", ["Noted."])
    place.agent("porter", "triggers: [{trigger: webhook, path: door, secret: DOOR}]", ["Opened."])
    place.variables["EDGEAGENT_SECRET_DOOR"] = "key"
    with place.daemon() as process:
        wait_for(lambda: len(place.ended()) == 2)
        process.kill()
        process.wait()
    with place.daemon():
        signature = hmac.new(b"key", b"knock", hashlib.sha256).hexdigest()
        connection = _UnixConnection(place.home / "run" / "edgeagent.sock", 30)
        connection.request("POST", "/hooks/door", b"knock", {"X-Signature-256": signature})
        answer = connection.getresponse()
        assert answer.status == 202
        run_id = json.loads(answer.read())["id"]
        connection.close()
        wait_for(lambda: len(place.ended()) == 3)
    assert place.run(run_id).event["body"] == "knock"
    greeted, followed, opened = reversed(place.runs())
    assert [run.agent for run in (greeted, followed, opened)] == ["greeter", "writer", "porter"]
    assert followed.event["run_id"] == greeted.id and followed.event["output"] == "Hello."
