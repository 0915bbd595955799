"""Whatever characters a model puts into a call, the run ends in words, the record can be read, the next one runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import FakeClock
from loop_world import World

from edgeagent.schema import RunStatus, ToolCall
from edgeagent.store import Store

ODD = {
    "a lone surrogate": "a\ud800b",
    "an escaped byte": "bad\udcff.txt",
    "NUL": "a\0b",
    "100 kB": "x" * 100_000,
    "100 kB of wide characters": "漢" * 34_000,
    "control characters": "\x1b[31m\x07\x7f\u202e",
    "an empty text": "",
    "deep": "[" * 5000,
}


@pytest.fixture
def world(tmp_path: Path, store: Store, clock: FakeClock) -> World:
    return World(tmp_path, store, clock)


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_odd_arguments_are_on_record_and_end_no_more_than_their_call(world: World, text: str) -> None:
    agent = world.agent()
    calls = (
        ToolCall("move_file", {"source": text, "destination": f"{world.done}/{text}"}),
        ToolCall("read_file", {"path": f"{world.inbox}/{text}"}),
        ToolCall("append_file", {"path": str(world.done / "log.txt"), "content": text}),
        ToolCall(text, {text: text}),
    )
    run = world.run(agent, *calls, f"Done: {text}")
    assert run.status in (RunStatus.OK, RunStatus.FAILED) and run.reason in (None, "tool_error", "denied"), run.error
    shown = json.loads(json.dumps(run.as_json()))
    assert [step["kind"] for step in shown["steps"]] == ["chat", "tool"] * 4 + ["chat"]
    assert shown["steps"][0]["calls"][0]["arguments"]["source"] == text
    assert shown["output"] == f"Done: {text}"
    again = world.run(agent, world.move(world.file("fine.txt")), "Moved.", key="next")
    assert again.status is RunStatus.OK


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_odd_texts_in_an_event_are_on_record(world: World, text: str) -> None:
    run = world.run(world.agent(), "Nothing to do.", data={"path": f"/in/{text}", "preview": text})
    assert run.status is RunStatus.OK and run.event == {"path": f"/in/{text}", "preview": text}
