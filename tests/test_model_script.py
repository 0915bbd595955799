"""A script in place of a model: its turns, its errors, and a whole daemon that runs on one."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from daemon_world import Place, wait_for

from edgeagent.errors import ModelCancelled, ModelError
from edgeagent.model.protocol import ChatRequest, ChatResult
from edgeagent.model.script import ScriptModel
from edgeagent.prompt import opening_messages
from edgeagent.schema import Event, Message, RunStatus, ToolCall

EVENT = Event("inbox", "file", "file-1", "k", {"path": "/in/a b.txt", "size": 3, "preview": "path: no"})
SAID = Message("assistant", "something")


def answer(path: Path, script: Any, *said: Message, stop: threading.Event | None = None) -> ChatResult:
    path.write_text(json.dumps(script))
    messages = (*opening_messages("Do it.", EVENT), *said)
    return ScriptModel(path).chat(ChatRequest(messages, ()), stop or threading.Event(), lambda text: None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.script.json"


def test_the_next_turn_follows_from_the_conversation(path: Path) -> None:
    script = [{"name": "read_file", "arguments": {"path": "{{ event.path }}"}}, "It has {{ event.size }} bytes."]
    assert answer(path, script).call == ToolCall("read_file", {"path": "/in/a b.txt"})
    assert answer(path, script, SAID, Message("tool", "...", name="read_file")).text == "It has 3 bytes."


def test_a_script_may_differ_by_event(path: Path) -> None:
    assert answer(path, {"*other*": ["no"], "*a b.txt*": ["yes"]}).text == "yes"


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ([{"error": "the host died"}], "the host died"),
        ([], "no more turns"),
        ({"*other*": ["x"]}, "no turns for this event"),
        ("x", "no turns for this event"),
        (["{{ event.nothing }}"], "event.nothing"),
    ],
)
def test_what_a_script_cannot_answer_is_a_model_error(path: Path, script: Any, told: str) -> None:
    with pytest.raises(ModelError, match=told):
        answer(path, script)


def test_thinking_ends_when_the_run_is_stopped(path: Path) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(ModelCancelled):
        answer(path, [60, "late"], stop=stop)


def test_a_daemon_works_on_a_script(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.agent()
    with place.daemon():
        place.drop("a.txt", "b.txt")
        wait_for(lambda: len(place.ended()) == 2)
    assert {run.status for run in place.runs()} == {RunStatus.OK}
    assert sorted(path.name for path in place.done.iterdir()) == ["a.txt", "b.txt"]
