"""Approvals: one exact call, one answer, once, until it expires; and the run goes on where it stood."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from api_world import served
from conftest import FakeClock
from daemon_world import MOVE, Place, wait_for
from loop_world import World

from edgeagent.agents import Agent
from edgeagent.approval import Approval, ApprovalStatus, Subject
from edgeagent.errors import Denied, NotFound, UsageError
from edgeagent.model.scripted import ScriptedModel
from edgeagent.schema import Event, Run, ToolCall
from edgeagent.store import Store

SUBJECT = Subject("run", "filer", 2, "move_file", {"source": "/a"}, ("/a",), ("/b",), ("h:1",), ("TOKEN",))
DAY = 86400.0


@pytest.fixture
def world(tmp_path: Path, store: Store, clock: FakeClock) -> World:
    return World(tmp_path, store, clock)


@pytest.fixture
def agent(world: World) -> Agent:
    return world.agent("approve: [move_file]")


def waiting(world: World, agent: Agent, path: Path) -> tuple[Run, Approval]:
    """A run that waits for a yes to moving the file."""
    run = world.run(agent, world.move(path), "Moved.")
    assert run.status == "waiting"
    return run, world.store.approvals()[0]


def go_on(world: World, agent: Agent, *turns: ToolCall | str) -> None:
    """As another process would: a worker of its own, with only what the journal has."""
    assert world.worker(ScriptedModel(turns), "daemon:2:2").work({"filer": agent}, threading.Event())


def in_run(store: Store, clock: FakeClock) -> Subject:
    """A subject whose run is going on."""
    run_id = store.enqueue(Event("filer", "manual", "manual", "k"), now=clock())
    assert run_id
    assert store.claim_run(run_id, "daemon:1:1", clock())
    return replace(SUBJECT, run_id=run_id)


# --- what is bound ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", Subject.__dataclass_fields__)
def test_every_part_of_a_call_is_in_its_fingerprint(field: str) -> None:
    value = getattr(SUBJECT, field)
    other = {"x": 1} if isinstance(value, dict) else (*value, "x") if isinstance(value, tuple) else value * 2 or "x"
    changes: dict[str, Any] = {field: other}
    assert replace(SUBJECT, **changes).sha256 != SUBJECT.sha256
    assert Subject.from_json(json.loads(json.dumps(SUBJECT.as_json()))) == SUBJECT


def test_a_yes_is_for_one_call_only(store: Store, clock: FakeClock) -> None:
    subject = in_run(store, clock)
    approval, _ = store.ask(subject, "why", clock(), DAY)
    store.decide(approval.id, True, clock(), "test")
    again, is_new = store.ask(subject, "why", clock(), DAY)
    assert (again.status, is_new) == (ApprovalStatus.APPROVED, False)
    store.use_approval(subject.run_id, subject.step)
    third, is_new = store.ask(subject, "why", clock(), DAY)
    assert (third.status, is_new) == (ApprovalStatus.PENDING, True)


def test_a_yes_does_not_hold_for_what_the_call_became_meanwhile(store: Store, clock: FakeClock) -> None:
    subject = in_run(store, clock)
    approval, _ = store.ask(subject, "why", clock(), DAY)
    store.decide(approval.id, True, clock(), "test")
    other, is_new = store.ask(replace(subject, writes=("/elsewhere",)), "why", clock(), DAY)
    assert (other.status, is_new) == (ApprovalStatus.PENDING, True)
    assert store.approval(approval.id).status is ApprovalStatus.VOID
    store.use_approval(subject.run_id, subject.step)
    assert store.approval(other.id).status is ApprovalStatus.PENDING


def test_a_link_that_is_swapped_while_the_run_waits_is_asked_about_anew(world: World) -> None:
    agent = world.agent("approve: [write_file]", tools="[write_file]")
    link = world.inbox / "link"
    (world.inbox / "first").mkdir()
    (world.inbox / "second").mkdir()
    link.symlink_to(world.inbox / "first")
    call = ToolCall("write_file", {"path": str(link / "a.txt"), "content": "x"})
    run = world.run(agent, call, "Written.")
    [approval] = world.store.approvals()
    link.unlink()
    link.symlink_to(world.inbox / "second")
    world.store.decide(approval.id, True, world.clock(), "test")
    go_on(world, agent, "Written.")
    assert world.store.run(run.id).status == "waiting"
    assert not list((world.inbox / "second").iterdir())
    now = world.store.approvals(ApprovalStatus.PENDING)
    assert [one.subject.writes for one in now] == [(str(world.inbox / "second" / "a.txt"),)]


# --- answers ---------------------------------------------------------------------------------------------------------


def test_a_yes_lets_the_run_go_on_where_it_stood(world: World, agent: Agent) -> None:
    path = world.file()
    run, approval = waiting(world, agent, path)
    assert approval.subject.writes == (str(path), str(world.done / path.name))
    assert path.exists()
    world.store.decide(approval.id, True, world.clock(), "test", approval.sha256)
    assert world.store.run(run.id).status == "queued"
    go_on(world, agent, "Moved.")
    ended = world.store.run(run.id)
    assert (ended.status, ended.attempt) == ("ok", 1)
    assert [(step.n, step.kind, step.status) for step in ended.steps] == [
        (1, "chat", "ok"),
        (2, "tool", "ok"),
        (3, "chat", "ok"),
    ]
    assert not path.exists()
    assert world.store.approval(approval.id).status is ApprovalStatus.USED


def test_a_no_is_a_result_that_the_model_sees(world: World, agent: Agent) -> None:
    path = world.file()
    run, approval = waiting(world, agent, path)
    world.store.decide(approval.id, False, world.clock(), "test")
    go_on(world, agent, "I was not allowed to.")
    ended = world.store.run(run.id)
    assert (ended.status, ended.reason) == ("failed", "denied")
    assert ended.steps[1].result == "denied: a person said no"
    assert path.exists()


def test_what_nobody_answers_in_time_is_denied_and_the_run_goes_on(world: World, agent: Agent) -> None:
    path = world.file()
    run, approval = waiting(world, agent, path)
    world.clock.advance(DAY - 1)
    assert world.store.expire_approvals(world.clock()) == 0
    world.clock.advance(2)
    with pytest.raises(Denied, match="has expired"):
        world.store.decide(approval.id, True, world.clock(), "test")
    go_on(world, agent, "Nobody answered.")
    ended = world.store.run(run.id)
    assert ended.reason == "denied"
    assert "nobody answered in time" in ended.steps[1].result
    assert path.exists()


def test_an_answer_that_comes_while_the_run_is_being_put_aside_is_not_lost(store: Store, clock: FakeClock) -> None:
    subject = in_run(store, clock)
    approval, _ = store.ask(subject, "why", clock(), DAY)
    store.decide(approval.id, True, clock(), "test")
    assert store.run(subject.run_id).status == "running"
    store.await_approval(subject.run_id)
    assert store.run(subject.run_id).status == "queued"


def test_what_the_agent_may_no_longer_do_is_denied_in_spite_of_a_yes(world: World, agent: Agent) -> None:
    path = world.file()
    run, approval = waiting(world, agent, path)
    world.store.decide(approval.id, True, world.clock(), "test")
    less = agent.model_copy(update={"grants": agent.grants.model_copy(update={"write": (str(world.inbox),)})})
    go_on(world, less, "Not any more.")
    assert world.store.run(run.id).steps[1].status == "denied"
    assert path.exists()


def expired(world: World, approval: Approval) -> None:
    world.clock.advance(DAY + 1)


def decided(world: World, approval: Approval) -> None:
    world.store.decide(approval.id, False, world.clock(), "test")


def altered(world: World, approval: Approval) -> None:
    stored = json.dumps(approval.subject.as_json()).replace("/Done/", "/Elsewhere/")
    with sqlite3.connect(world.store.path) as connection:
        connection.execute("UPDATE approvals SET subject = ?", [stored])
    connection.close()


def broken(world: World, approval: Approval) -> None:
    with sqlite3.connect(world.store.path) as connection:
        connection.execute("UPDATE approvals SET subject = '[]'")
    connection.close()


def cancelled(world: World, approval: Approval) -> None:
    world.store.cancel(approval.subject.run_id, world.clock())


@pytest.mark.parametrize(
    ("happened", "told"),
    [
        (expired, "has expired"),
        (decided, "was denied already"),
        (altered, "was altered"),
        (broken, "was altered"),
        (cancelled, "is void"),
    ],
)
def test_a_yes_that_comes_too_late_or_to_something_else_is_refused(
    world: World, agent: Agent, happened: Callable[[World, Approval], None], told: str
) -> None:
    path = world.file()
    _, approval = waiting(world, agent, path)
    happened(world, approval)
    with pytest.raises(Denied, match=told) as caught:
        world.store.decide(approval.id, True, world.clock(), "test")
    assert caught.value.hint.startswith("edgeagent approvals ")
    assert path.exists()


def test_a_yes_to_another_fingerprint_than_was_shown_is_refused(world: World, agent: Agent) -> None:
    _, approval = waiting(world, agent, world.file())
    with pytest.raises(Denied):
        world.store.decide(approval.id, True, world.clock(), "test", "0" * 64)


def test_an_approval_that_is_none_is_not_found_and_an_unclear_one_is_told(world: World, agent: Agent) -> None:
    with pytest.raises(NotFound):
        world.store.decide("01NONE", True, world.clock(), "test")
    for name in ("a.txt", "b.txt"):
        run_id = world.queue({}, name)
        worker = world.worker(ScriptedModel([world.move(world.file(name)), "Moved."]))
        assert worker.work({"filer": agent}, threading.Event())
        assert world.store.run(run_id).status == "waiting"
    with pytest.raises(UsageError, match="more than one approval"):
        world.store.find_approval("0")


def test_a_retried_run_asks_anew(world: World, agent: Agent) -> None:
    run, approval = waiting(world, agent, world.file())
    world.store.cancel(run.id, world.clock())
    world.store.retry(run.id)
    go_on(world, agent, world.move(world.inbox / "a.txt"), "Moved.")
    assert world.store.run(run.id).status == "waiting"
    assert world.store.approvals(ApprovalStatus.PENDING)[0].id != approval.id


def test_other_runs_go_on_while_one_waits(world: World, agent: Agent) -> None:
    waiting(world, agent, world.file("a.txt"))
    run = world.run(agent, "Nothing to do.", key="other")
    assert run.status == "ok"


def test_a_dry_run_waits_for_nobody(world: World) -> None:
    agent = world.agent("approve: [read_file]")
    path = world.file()
    run_id = world.queue({})
    worker = world.worker(ScriptedModel([ToolCall("read_file", {"path": str(path)}), "Read."]))
    run = world.store.claim_run(run_id, worker.owner, world.clock())
    assert run
    worker.execute(run, agent, threading.Event(), dry_run=True)
    assert world.store.run(run_id).steps[1].status == "denied"
    assert not world.store.approvals()


def test_the_one_who_is_announced_to_hears_of_each_question_once(world: World, agent: Agent) -> None:
    told: list[Approval] = []
    path = world.file()
    run_id = world.queue({})
    worker = replace(world.worker(ScriptedModel([world.move(path), "Moved."])), announce=told.append)
    worker.work({"filer": agent}, threading.Event())
    world.store.requeue(run_id, None)
    worker = replace(world.worker(ScriptedModel([])), announce=told.append)
    worker.work({"filer": agent}, threading.Event())
    assert [one.subject.run_id for one in told] == [run_id]


# --- the daemon ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kill", [False, True])
def test_an_answer_given_while_the_daemon_is_down_is_taken_up_when_it_starts(tmp_path: Path, kill: bool) -> None:
    place = Place(tmp_path)
    place.agent(settings="approve: [move_file]")
    place.drop("a.txt")
    with place.daemon() as daemon:
        wait_for(lambda: any(run.status == "waiting" for run in place.runs()))
        daemon.kill() if kill else daemon.terminate()
        daemon.wait(30)
    [asked] = place.json("approvals", "list")
    shown = place.call("approvals", "show", asked["id"])
    assert str(place.done / "a.txt") in shown
    assert place.json("approvals", "approve", asked["id"])["status"] == "approved"
    assert (place.inbox / "a.txt").exists()
    with place.daemon():
        wait_for(lambda: place.ended())
    assert [run.status for run in place.runs()] == ["ok"]
    assert (place.done / "a.txt").exists()
    place.call("approvals", "approve", asked["id"], code=4)
    place.call("approvals", "approve", "01ZZZZ", code=5)


def test_a_running_daemon_goes_on_at_once_and_tells_of_what_waits(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.agent(settings="approve: [move_file]")
    heard = tmp_path / "heard"
    program = tmp_path / "tell"
    program.write_text(f"#!/bin/sh\ncat > {heard}.part && mv {heard}.part {heard}\n")
    program.chmod(0o755)
    place.config(f'[approvals]\non_approval = ["{program}"]\n')
    place.drop("a.txt")
    with place.daemon():
        wait_for(heard.exists)
        told = json.loads(heard.read_text())
        assert (told["tool"], told["status"]) == (MOVE["name"], "pending")
        [asked] = place.json("approvals", "list")
        assert asked["id"] == told["id"]
        place.call("approvals", "approve", asked["id"])
        wait_for(lambda: place.ended())
    assert (place.done / "a.txt").exists()


def test_what_nobody_answers_is_denied_by_the_daemon_when_the_time_is_over(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.agent(settings="approve: [move_file]")
    place.config('[approvals]\ntimeout = "1s"\n')
    place.drop("a.txt")
    with place.daemon():
        wait_for(lambda: place.ended())
    assert [(run.status, run.reason) for run in place.runs()] == [("failed", "denied")]


# --- the API ---------------------------------------------------------------------------------------------------------


def test_the_api_lists_shows_and_decides(tmp_path: Path) -> None:
    with served(tmp_path) as (backend, client):
        run_id = backend.submit("inbox", {})
        backend.begin(run_id)
        from datetime import UTC, datetime

        asked, _ = backend.store.ask(replace(SUBJECT, run_id=run_id), "why", datetime.now(UTC), DAY)
        backend.store.await_approval(run_id)
        assert client.approvals() == [asked]
        assert client.approval(asked.id[-8:]) == asked
        with pytest.raises(Denied):
            client.decide(asked.id, True, "0" * 64)
        assert client.decide(asked.id, True, asked.sha256).status is ApprovalStatus.APPROVED
        assert client.approvals() == []
        assert backend.store.run(run_id).status == "queued"
        with pytest.raises(NotFound):
            client.approval("01NONE")
