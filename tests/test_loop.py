"""What a run does and how it ends: the loop and the worker over a real store and real files."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import FakeClock
from loop_world import World

from edgeagent.agents import Agent, parse_agent
from edgeagent.errors import HomeError, ModelError, ModelHostDied, NotEnoughMemory, ToolError
from edgeagent.model.protocol import ChatRequest, ChatResult
from edgeagent.model.scripted import ScriptedModel
from edgeagent.schema import Json, Reason, Run, RunStatus, Step, Terms, ToolCall, ToolSpec
from edgeagent.store import Store
from edgeagent.tools.base import Plan, ToolContext
from edgeagent.tools.toolbox import Toolbox, builtin_tools
from edgeagent.worker import Worker


@pytest.fixture
def world(tmp_path: Path, store: Store, clock: FakeClock) -> World:
    return World(tmp_path, store, clock)


def test_a_call_is_carried_out_and_its_result_goes_back_to_the_model(world: World) -> None:
    path = world.file()
    model = ScriptedModel([world.move(path), "Moved it."])
    world.queue({"path": str(path)})
    world.worker(model).work({"filer": world.agent()}, threading.Event())
    assert (world.done / "a.txt").read_text() == "hello" and not path.exists()
    assert model.requests[1].messages[-1].content == f"moved to {world.done / 'a.txt'}"


def test_a_finished_run_is_ok_with_every_step_on_the_record(world: World) -> None:
    path = world.file()
    run = world.run(world.agent(), world.move(path), "Moved it.")
    assert (run.status, run.output) == (RunStatus.OK, "Moved it.")
    assert [(step.n, step.kind, step.name) for step in run.steps] == [
        (1, "chat", "scripted"),
        (2, "tool", "move_file"),
        (3, "chat", "scripted"),
    ]


def test_saying_done_when_the_call_failed_is_a_failed_run(world: World) -> None:
    gone = ToolCall("move_file", {"source": str(world.inbox / "no"), "destination": str(world.done / "no")})
    run = world.run(world.agent(), gone, "Done!")
    assert (run.status, run.reason) == (RunStatus.FAILED, "tool_error")
    assert run.error and "not found" in run.error


def test_a_failed_call_that_succeeds_later_is_no_failure(world: World) -> None:
    path = world.file()
    wrong = ToolCall("move_file", {"source": str(path) + "x", "destination": str(world.done / "a.txt")})
    assert world.run(world.agent(), wrong, world.move(path), "Moved it.").status == "ok"


def test_a_failed_look_is_only_information(world: World) -> None:
    look = ToolCall("read_file", {"path": str(world.inbox / "not-there")})
    assert world.run(world.agent(), look, "There is nothing to do.").status == "ok"


def test_a_path_outside_the_grants_is_denied_and_the_run_says_so(world: World, tmp_path: Path) -> None:
    path = world.file()
    out = ToolCall("move_file", {"source": str(path), "destination": str(tmp_path / "out.txt")})
    run = world.run(world.agent(), out, "Moved it.")
    assert (run.status, run.reason) == (RunStatus.FAILED, "denied")
    assert path.exists() and not (tmp_path / "out.txt").exists()


def test_a_tool_that_the_agent_does_not_list_does_not_exist(world: World) -> None:
    path = world.file()
    run = world.run(world.agent(tools="[read_file]"), world.move(path), "Moved it.")
    assert "no tool named move_file" in run.steps[1].result and path.exists()


@pytest.mark.parametrize(
    ("expect", "status"),
    [
        ("[{tool: move_file}]", "ok"),
        ("[{tool: read_file}]", "failed"),
        ('[{gone: "{{ event.path }}"}]', "ok"),
        ('[{exists: "{{ event.path }}"}]', "failed"),
        ('[{exists: "~/Done/a.txt"}]', "ok"),
    ],
)
def test_evidence_decides(world: World, expect: str, status: str) -> None:
    path = world.file()
    run = world.run(world.agent(f"expect: {expect}"), world.move(path), "Moved it.", data={"path": str(path)})
    assert run.status == status
    assert run.reason == (None if status == "ok" else "expectation")


def test_the_answer_must_match_the_output_schema(world: World) -> None:
    schema = "output: {type: object, properties: {n: {type: integer}}, required: [n]}"
    assert world.run(world.agent(schema), '{"n": 3}', key="1").output == {"n": 3}
    assert world.run(world.agent(schema), '{"n": "three"}', key="2").reason == "invalid_output"
    assert world.run(world.agent(schema), "three", key="3").reason == "invalid_output"


def test_a_run_ends_after_its_steps(world: World) -> None:
    path = world.file()
    look = ToolCall("read_file", {"path": str(path)})
    run = world.run(world.agent("limits: {steps: 3}"), *[look] * 9)
    assert (run.reason, sum(step.kind == "chat" for step in run.steps)) == ("limit_steps", 3)


def test_a_run_ends_when_its_time_is_up(world: World) -> None:
    class Slow(ScriptedModel):
        def chat(self, request: ChatRequest, stop: threading.Event, on_text: Callable[[str], None]) -> ChatResult:
            assert stop.wait(5), "the run was not stopped"
            return super().chat(request, stop, on_text)

    run_id = world.queue({})
    world.worker(Slow(["late"])).work({"filer": world.agent("limits: {seconds: 0.1}")}, threading.Event())
    assert world.store.run(run_id).reason == "limit_seconds"


def test_the_budget_of_actions_is_counted_over_runs(world: World) -> None:
    agent = world.agent("limits: {actions_per_hour: 1}")
    first, second = world.file("1.txt"), world.file("2.txt")
    assert world.run(agent, world.move(first), "Moved.", key="1").status == "ok"
    assert world.run(agent, world.move(second), "Moved.", key="2").reason == "limit_actions"
    world.clock.advance(3601)
    assert world.run(agent, world.move(second), "Moved.", key="3").status == "ok"


def test_a_call_that_asks_lets_its_run_wait_and_changes_nothing(world: World) -> None:
    path = world.file()
    agent = world.agent("approve: [move_file]")
    run = world.run(agent, world.move(path), "Moved.")
    assert run.status == "waiting" and run.steps[-1].status == "waiting" and path.exists()


def test_a_person_who_says_yes_lets_the_call_happen(world: World) -> None:
    path = world.file()
    run_id = world.queue({})
    worker = world.worker(ScriptedModel([world.move(path), "Moved."]))
    run = world.store.claim_run(run_id, worker.owner, world.clock())
    assert run
    agent = world.agent("approve: [move_file]")
    worker.execute(run, agent, threading.Event(), ask=lambda approval: approval.subject.tool == "move_file")
    assert world.store.run(run_id).status == "ok" and not path.exists()


def test_a_dry_run_changes_nothing(world: World) -> None:
    path = world.file()
    agent = world.agent()
    run_id = world.queue({}, terms=Terms(str(agent.path), dry_run=True))
    worker = world.worker(ScriptedModel([world.move(path), "Moved."]))
    worker.work({"filer": agent}, threading.Event())
    run = world.store.run(run_id)
    assert run.status == "ok" and "would call move_file" in run.output and path.exists()


def test_a_gate_that_does_not_hold_is_recorded_as_skipped(world: World) -> None:
    run = world.run(world.agent("when: [{field: event.size, below: 10}]"), "never asked", data={"size": 11})
    assert (run.status, run.steps) == (RunStatus.SKIPPED, ())
    assert run.error and "event.size" in run.error


def test_the_body_may_name_event_data(world: World) -> None:
    model = ScriptedModel(["ok"])
    world.queue({"name": "a.txt"})
    agent = world.agent().model_copy(update={"body": "Look at {{ event.name }}."})
    world.worker(model).work({"filer": agent}, threading.Event())
    assert model.requests[0].messages[0].content == "Look at a.txt."


def test_a_model_that_dies_is_tried_again_and_then_parked(world: World) -> None:
    run_id = world.queue({})
    agent = world.agent("limits: {attempts: 2}")
    worker = world.worker(ScriptedModel([ModelError("died"), ModelError("died")]))
    worker.work({"filer": agent}, threading.Event())
    assert world.store.run(run_id).status == "queued"
    assert not worker.work({"filer": agent}, threading.Event()), "the pause before the next attempt"
    world.clock.advance(60)
    worker.work({"filer": agent}, threading.Event())
    run = world.store.run(run_id)
    assert (run.status, run.reason, run.attempt) == (RunStatus.FAILED, "model_error", 2)


def test_an_attempt_after_a_crash_of_the_model_goes_on_where_it_stood(world: World) -> None:
    path = world.file()
    run_id = world.queue({})
    agent = world.agent()
    model = ScriptedModel([world.move(path), ModelError("died"), "Moved."])
    worker = world.worker(model)
    worker.work({"filer": agent}, threading.Event())
    world.clock.advance(60)
    worker.work({"filer": agent}, threading.Event())
    run = world.store.run(run_id)
    assert run.status == "ok"
    assert [step.name for step in run.steps if step.kind == "tool"] == ["move_file"]
    assert [message.role for message in model.requests[2].messages] == ["system", "user", "assistant", "tool"]


def test_a_daemon_that_stops_leaves_the_run_to_go_on_later(world: World) -> None:
    stop = threading.Event()

    class Stopping(ScriptedModel):
        def chat(self, request: ChatRequest, run_stop: threading.Event, on_text: Callable[[str], None]) -> ChatResult:
            stop.set()
            assert run_stop.wait(5)
            return super().chat(request, run_stop, on_text)

    run_id = world.queue({})
    world.worker(Stopping(["never"])).work({"filer": world.agent()}, stop)
    assert world.store.run(run_id).status == "queued"


def test_a_bug_in_a_run_ends_the_run_and_not_the_worker(world: World) -> None:
    run_id = world.queue({})
    worker = world.worker(ScriptedModel([ValueError("a bug")]))
    assert worker.work({"filer": world.agent("limits: {attempts: 1}")}, threading.Event())
    run = world.store.run(run_id)
    assert (run.reason, run.error) == ("crashed", "ValueError: a bug")


@pytest.mark.parametrize("effect_happened", [False, True])
def test_a_call_that_was_begun_before_a_crash_is_done_exactly_once(world: World, effect_happened: bool) -> None:
    path = world.file(text="precious")
    agent = world.agent()
    run_id = world.queue({})
    worker = world.worker(ScriptedModel([world.move(path)]))
    run = world.store.claim_run(run_id, worker.owner, world.clock())
    assert run
    call = world.move(path)
    context = worker._context(run_id, agent, 2, threading.Event())
    plan = next(tool for tool in builtin_tools() if tool.spec.name == "move_file").plan(call.arguments, context)
    world.store.record_step(run_id, Step(1, "chat", "scripted", {}, "", "ok", calls=(call,)))
    world.store.record_step_started(run_id, 2, "tool", call.name, call.arguments, plan.as_json())
    if effect_happened:
        path.rename(world.done / path.name)
    world.store.recover(world.clock(), lambda owner: False)
    world.worker(ScriptedModel(["Moved."]), "daemon:2:2").work({"filer": agent}, threading.Event())
    run = world.store.run(run_id)
    assert run.status == "ok"
    assert [(step.n, step.status) for step in run.steps] == [(1, "ok"), (2, "ok"), (3, "ok")]
    assert (world.done / path.name).read_text() == "precious" and not path.exists()


def test_a_call_that_was_decided_but_not_begun_is_carried_out(world: World) -> None:
    path = world.file()
    run_id = world.queue({})
    world.store.claim_run(run_id, "daemon:1:1", world.clock())
    world.store.record_step(run_id, Step(1, "chat", "scripted", {}, "", "ok", calls=(world.move(path),)))
    world.store.recover(world.clock(), lambda owner: False)
    world.worker(ScriptedModel(["Moved."])).work({"filer": world.agent()}, threading.Event())
    assert world.store.run(run_id).status == "ok" and (world.done / path.name).exists()


def test_a_run_that_was_killed_after_its_answer_is_judged_by_it_and_the_model_is_not_asked_again(world: World) -> None:
    run_id = world.queue({})
    world.store.claim("daemon:dead", world.clock(), ["filer"])
    world.store.record_step(run_id, Step(1, "chat", "scripted", {}, "Nothing to do.", "ok", output_tokens=3))
    world.store.recover(world.clock(), lambda owner: False)
    model = ScriptedModel([])
    world.worker(model).work({"filer": world.agent()}, threading.Event())
    run = world.store.run(run_id)
    assert (run.status, run.output, model.requests) == (RunStatus.OK, "Nothing to do.", [])


def test_an_answer_that_was_cut_is_no_answer_after_a_kill_either(world: World) -> None:
    run_id = world.queue({})
    world.store.claim("daemon:dead", world.clock(), ["filer"])
    world.store.record_step(run_id, Step(1, "chat", "scripted", {}, "Nothing to", "ok", output_tokens=50))
    world.store.recover(world.clock(), lambda owner: False)
    agent = world.agent("limits: {output_tokens: 50}")
    world.worker(ScriptedModel([])).work({"filer": agent}, threading.Event())
    assert world.store.run(run_id).reason == Reason.LIMIT_TOKENS


class Sending:
    """A tool with an effect outside that nobody can look up afterwards."""

    spec = ToolSpec("send", "Send it.", {"type": "object", "properties": {}})

    def __init__(self) -> None:
        self.sent: list[str] = []

    def plan(self, arguments: Json, context: ToolContext) -> Plan:
        return Plan("send", arguments)

    def apply(self, plan: Plan, context: ToolContext) -> str:
        self.sent.append(context.key)
        return "sent"

    def was_applied(self, plan: Plan, context: ToolContext) -> str | None:
        return None


def sender(world: World, tool: Sending, settings: str = "") -> tuple[Worker, Agent]:
    """An agent that may call `send`, and its worker."""
    worker = world.worker(ScriptedModel(["Sent."]), "daemon:2:2")
    toolbox = Toolbox([*builtin_tools(), tool])
    worker.toolbox = lambda agent: toolbox.limited_to(agent.tools)
    text = f"---\nname: filer\ntools: [send]\napproval: never\n{settings}\n---\nSend it.\n"
    return worker, parse_agent(world.home / "filer.md", text.encode(), known_tools=toolbox.names())


def resumed(world: World, tool: Sending, settings: str = "", *, attempts: int = 1) -> Run:
    """A run that is taken up after the process ended in the middle of its call of `send`."""
    worker, agent = sender(world, tool, settings)
    run_id = world.queue({})
    for _ in range(attempts):
        assert world.store.claim("daemon:1:1", world.clock())
        world.store.recover(world.clock(), lambda owner: False)
    world.store.claim("daemon:1:1", world.clock())
    world.store.record_step(run_id, Step(1, "chat", "scripted", {}, "", "ok", calls=(ToolCall("send", {}),)))
    world.store.record_step_started(run_id, 2, "tool", "send", {}, Plan("send", {}).as_json())
    world.store.recover(world.clock(), lambda owner: False)
    worker.work({"filer": agent}, threading.Event())
    return world.store.run(run_id)


def test_a_call_that_may_have_been_made_ends_the_run_interrupted(world: World) -> None:
    tool = Sending()
    run = resumed(world, tool)
    assert (run.status, run.reason, tool.sent) == (RunStatus.INTERRUPTED, None, [])
    assert run.error == "send may have been carried out when the process ended; it is not repeated"
    assert [(step.name, step.status) for step in run.steps] == [("scripted", "ok"), ("send", "error")]


def test_a_call_that_may_have_been_made_is_interrupted_and_not_given_up(world: World) -> None:
    assert resumed(world, Sending(), "limits: {attempts: 1}", attempts=3).status is RunStatus.INTERRUPTED


def test_a_call_that_may_be_repeated_is_repeated_under_the_same_key(world: World) -> None:
    tool = Sending()
    tool.spec = replace(tool.spec, idempotent=True)
    run = resumed(world, tool)
    assert (run.status, tool.sent) == (RunStatus.OK, [f"{run.id}-2"])


def test_a_call_in_a_dry_run_that_was_decided_before_a_crash_is_still_not_made(world: World) -> None:
    path = world.file()
    agent = world.agent()
    run_id = world.queue({}, terms=Terms(str(agent.path), dry_run=True))
    world.store.claim_run(run_id, "daemon:1:1", world.clock())
    world.store.record_step(run_id, Step(1, "chat", "scripted", {}, "", "ok", calls=(world.move(path),)))
    world.store.recover(world.clock(), lambda owner: False)
    world.worker(ScriptedModel(["Moved."])).work({"filer": agent}, threading.Event())
    run = world.store.run(run_id)
    assert run.status is RunStatus.OK and "would call move_file" in run.output and path.exists()


def test_an_event_with_which_the_model_host_dies_three_times_is_parked(world: World) -> None:
    run_id = world.queue({"path": str(world.file())})
    died = ModelHostDied("the model host died while working: signal 11")
    agent = world.agent("limits: {attempts: 9}")
    worker = world.worker(ScriptedModel([died, ModelError("hung"), died, died, "never asked"]))
    for _ in range(6):
        worker.work({"filer": agent}, threading.Event())
        world.clock.advance(4000)
    run = world.store.run(run_id)
    assert (run.status, run.reason, len(run.steps)) == (RunStatus.FAILED, "model_error", 4)
    assert run.error and "died" in run.error


def test_the_time_of_earlier_attempts_counts(world: World) -> None:
    run_id = world.queue({})
    world.store.claim("daemon:1:1", world.clock())
    world.store.record_step(run_id, Step(1, "tool", "read_file", {}, "", "ok", seconds=90))
    world.store.recover(world.clock(), lambda owner: False)

    class Waiting(ScriptedModel):
        def chat(self, request: ChatRequest, stop: threading.Event, on_text: Callable[[str], None]) -> ChatResult:
            assert stop.wait(30), "the run was not stopped"
            return super().chat(request, stop, on_text)

    world.worker(Waiting(["late"])).work({"filer": world.agent("limits: {seconds: 90}")}, threading.Event())
    assert world.store.run(run_id).reason == "limit_seconds"


def test_a_run_that_outlived_its_attempts_is_parked(world: World) -> None:
    run_id = world.queue({})
    agent = world.agent("limits: {attempts: 2}")
    for _ in range(2):
        assert world.store.claim("daemon:1:1", world.clock())
        world.store.recover(world.clock(), lambda owner: False)
    model = ScriptedModel(["never asked"])
    world.worker(model).work({"filer": agent}, threading.Event())
    run = world.store.run(run_id)
    assert (run.status, run.reason, model.requests) == (RunStatus.FAILED, "crashed", [])


def test_a_call_that_failed_after_it_was_begun_counts_as_an_action(world: World) -> None:
    class Failing(Sending):
        def apply(self, plan: Plan, context: ToolContext) -> str:
            raise ToolError("the server said no")

    worker, agent = sender(world, Failing(), "limits: {actions_per_hour: 1}")
    worker.models = lambda agent: ScriptedModel([ToolCall("send", {}), "Sent."])
    runs = [world.queue({}, key) for key in ("1", "2")]
    for _ in runs:
        worker.work({"filer": agent}, threading.Event())
    assert [world.store.run(run_id).reason for run_id in runs] == ["tool_error", "limit_actions"]


def test_a_machine_that_is_unfit_puts_the_run_off(world: World) -> None:
    agent = world.agent()
    run_id = world.queue({}, terms=Terms(str(agent.path)))
    worker = world.worker(ScriptedModel(["never asked"]))
    worker.obstacle = lambda agent: "too warm"
    worker.work({"filer": agent}, threading.Event())
    run = world.store.run(run_id)
    assert (run.status, run.reason) == (RunStatus.DEFERRED, "too warm")


def test_a_model_that_does_not_fit_puts_the_run_off_and_leaves_no_step(world: World) -> None:
    run_id = world.queue({})
    world.worker(ScriptedModel([NotEnoughMemory("12 MB are missing")])).work(
        {"filer": world.agent()}, threading.Event()
    )
    run = world.store.run(run_id)
    assert (run.status, run.reason, run.steps, run.attempt) == (RunStatus.DEFERRED, "12 MB are missing", (), 0)


def test_an_end_that_cannot_be_written_is_written_when_it_can(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = world.queue({})
    worker = world.worker(ScriptedModel(["Done."]))
    written, refusals = world.store.finish, [HomeError("no space left"), HomeError("no space left")]

    def finish(*arguments: Any) -> None:
        if refusals:
            raise refusals.pop()
        written(*arguments)

    monkeypatch.setattr(world.store, "finish", finish)
    worker.work({"filer": world.agent()}, threading.Event())
    assert world.store.run(run_id).status is RunStatus.OK and not refusals


def test_the_answer_is_written_with_the_end_of_the_run_or_not_at_all(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = world.queue({})
    worker = world.worker(ScriptedModel(["Done."]))
    written, seen = world.store.finish, []

    def finish(*arguments: Any) -> None:
        written(*arguments)
        seen.append([step.result for step in world.store.steps_of(run_id)])
        if len(seen) == 1:
            raise HomeError("no space left")

    monkeypatch.setattr(world.store, "finish", finish)
    worker.work({"filer": world.agent()}, threading.Event())
    run = world.store.run(run_id)
    assert seen == [["Done."], ["Done."]], "the second try writes both again, since the first wrote neither"
    assert (run.status, [step.result for step in run.steps]) == (RunStatus.OK, ["Done."])
