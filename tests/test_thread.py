"""What an agent remembers of a thread, and the budget of a run's prompt: worker, store and a scripted model."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path

import pytest
from conftest import FakeClock
from loop_world import World

from edgeagent.errors import PromptTooLong
from edgeagent.model.scripted import ScriptedModel
from edgeagent.prompt import render_event
from edgeagent.schema import Json, Message, Reason, RunStatus
from edgeagent.store import Store

MEMORY = 'memory: {thread: "{{ event.sender }}", turns: 2}'


@pytest.fixture
def world(tmp_path: Path, store: Store, clock: FakeClock) -> World:
    return World(tmp_path, store, clock)


def asked(world: World, settings: str, answer: str, data: Json, key: str) -> tuple[Message, ...]:
    """One run that gives this answer; the messages that its model was shown."""
    model = ScriptedModel([answer])
    world.queue(data, key)
    world.worker(model).work({"filer": world.agent(settings)}, threading.Event())
    world.clock.now += timedelta(seconds=5)
    return model.requests[0].messages


def test_earlier_runs_of_the_thread_come_between_the_instructions_and_the_event(world: World) -> None:
    asked(world, MEMORY, "Noted.", {"sender": "ann", "text": "first"}, "1")
    asked(world, MEMORY, "Another matter.", {"sender": "bo", "text": "other"}, "2")
    shown = asked(world, MEMORY, "Done.", {"sender": "ann", "text": "second"}, "3")
    assert [(message.role, message.content) for message in shown] == [
        ("system", "File it."),
        ("user", render_event("file", {"sender": "ann", "text": "first"})),
        ("assistant", "Noted."),
        ("user", render_event("file", {"sender": "ann", "text": "second"})),
    ]


def test_only_the_last_turns_are_remembered(world: World) -> None:
    for n in range(4):
        shown = asked(world, MEMORY, f"Answer {n}.", {"sender": "ann"}, str(n))
    assert [message.content for message in shown if message.role == "assistant"] == ["Answer 1.", "Answer 2."]


def test_an_answer_by_a_schema_is_remembered_as_json(world: World) -> None:
    settings = f"{MEMORY}\noutput: {{type: object, properties: {{kind: {{type: string}}}}}}"
    asked(world, settings, '{"kind": "bill"}', {"sender": "ann"}, "1")
    shown = asked(world, settings, '{"kind": "letter"}', {"sender": "ann"}, "2")
    assert shown[2] == Message("assistant", '{"kind": "bill"}')


def test_what_failed_is_not_remembered(world: World) -> None:
    settings = f"{MEMORY}\nexpect: [{{exists: /nowhere}}]"
    asked(world, settings, "Done.", {"sender": "ann"}, "1")
    assert len(asked(world, settings, "Done.", {"sender": "ann"}, "2")) == 2


def test_an_event_without_the_name_of_a_thread_has_none(world: World) -> None:
    asked(world, MEMORY, "Noted.", {"sender": "ann"}, "1")
    assert len(asked(world, MEMORY, "Noted.", {"other": 1}, "2")) == 2


def test_an_agent_without_memory_has_none(world: World) -> None:
    asked(world, "", "Noted.", {"sender": "ann"}, "1")
    assert len(asked(world, "", "Noted.", {"sender": "ann"}, "2")) == 2


def test_a_prompt_that_cannot_fit_ends_the_run_by_its_limit_and_is_not_tried_again(world: World) -> None:
    run = world.run(world.agent(), PromptTooLong("the conversation has 2100 tokens and may have 2000"))
    assert (run.status, run.reason) == (RunStatus.FAILED, Reason.LIMIT_TOKENS)
    assert run.attempt == 1 and "2100 tokens" in (run.error or "")
