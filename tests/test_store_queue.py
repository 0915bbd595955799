"""The queue: one event makes one run, one owner has it, and its status only moves on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from conftest import FakeClock

from edgeagent.errors import NotFound, UsageError
from edgeagent.schema import Event, Outcome, Reason, RunStatus, Step
from edgeagent.store import Store

BILL = {"path": "/in/bill.txt", "name": "bill.txt", "change": "created"}


def event(key: str = "k1", agent: str = "inbox", **data: Any) -> Event:
    return Event(
        agent, "file", "file-1", key, data or {"path": "/in/bill.txt", "name": "bill.txt", "change": "created"}
    )


def queued(store: Store, clock: FakeClock, key: str = "k1", agent: str = "inbox") -> str:
    run_id = store.enqueue(event(key, agent), now=clock())
    assert run_id is not None
    return run_id


def ended(store: Store, clock: FakeClock, status: RunStatus, key: str = "k1") -> str:
    run_id = queued(store, clock, key)
    store.claim_run(run_id, "daemon:1", clock())
    store.finish(run_id, Outcome(status), clock())
    return run_id


def test_an_event_becomes_a_queued_run_with_its_data(store: Store, clock: FakeClock) -> None:
    run = store.run(queued(store, clock))
    assert (run.agent, run.trigger, run.trigger_id) == ("inbox", "file", "file-1")
    assert run.event == BILL
    assert run.status is RunStatus.QUEUED
    assert run.created_at == clock.now
    assert run.attempt == 0
    assert len(run.id) == 26


def test_the_same_key_makes_one_run_per_agent(store: Store, clock: FakeClock) -> None:
    assert store.enqueue(event("k1"), now=clock()) is not None
    assert store.enqueue(event("k1"), now=clock()) is None
    assert store.enqueue(event("k1", agent="digest"), now=clock()) is not None
    assert len(store.runs()) == 2


def test_keys_that_look_alike_once_escaped_are_two_events(store: Store, clock: FakeClock) -> None:
    assert store.enqueue(event("bill-\udcff.txt"), now=clock()) is not None
    assert store.enqueue(event("bill-\\udcff.txt"), now=clock()) is not None


def test_a_refused_occurrence_leaves_a_row_that_has_ended(store: Store, clock: FakeClock) -> None:
    run_id = store.enqueue(event(), now=clock(), status=RunStatus.SKIPPED, reason="unreadable")
    assert run_id is not None
    run = store.run(run_id)
    assert (run.status, run.reason, run.ended_at) == (RunStatus.SKIPPED, "unreadable", clock.now)
    assert store.claim("daemon:1", clock()) is None


def test_the_oldest_run_is_claimed_first_and_each_run_once(store: Store, clock: FakeClock) -> None:
    ids = [queued(store, clock, key) for key in ("a", "b", "c")]
    claimed = [store.claim("daemon:1", clock()) for _ in range(4)]
    assert [run and run.id for run in claimed] == [*ids, None]
    assert claimed[0] is not None
    assert (claimed[0].status, claimed[0].attempt, claimed[0].started_at) == (RunStatus.RUNNING, 1, clock.now)


def test_a_run_that_is_not_due_waits_its_time(store: Store, clock: FakeClock) -> None:
    due = clock.now + timedelta(minutes=5)
    store.enqueue(event(), now=clock(), due_at=due)
    assert store.claim("daemon:1", clock()) is None
    assert store.next_due() == due
    assert store.claim("daemon:1", clock.advance(300)) is not None
    assert store.next_due() is None


def test_a_clock_that_was_set_back_does_not_hold_up_what_is_queued(store: Store, clock: FakeClock) -> None:
    queued(store, clock)
    assert store.claim("daemon:1", clock.advance(-86_400 * 365)) is not None


def test_only_the_agents_that_are_asked_for_are_claimed(store: Store, clock: FakeClock) -> None:
    queued(store, clock, agent="inbox")
    assert store.claim("daemon:1", clock(), []) is None
    assert store.claim("daemon:1", clock(), ["digest"]) is None
    assert store.claim("daemon:1", clock(), ["digest", "inbox"]) is not None


def test_one_run_is_claimed_by_its_id_by_one_owner_only(store: Store, clock: FakeClock) -> None:
    run_id = queued(store, clock)
    assert store.claim_run(run_id, "cli:7", clock()) is not None
    assert store.claim_run(run_id, "daemon:1", clock()) is None
    with pytest.raises(NotFound):
        store.claim_run("01ZZZ", "cli:7", clock())


def test_an_outcome_ends_a_run(store: Store, clock: FakeClock) -> None:
    run_id = queued(store, clock)
    store.claim("daemon:1", clock())
    outcome = Outcome(RunStatus.FAILED, Reason.EXPECTATION, {"folder": "bills"}, "the file is still there")
    store.finish(run_id, outcome, clock.advance(2.5), "pocket")
    run = store.run(run_id)
    assert (run.status, run.reason, run.error) == (RunStatus.FAILED, "expectation", "the file is still there")
    assert (run.output, run.model, run.seconds) == ({"folder": "bills"}, "pocket", 2.5)


def test_the_first_end_of_a_run_stands(store: Store, clock: FakeClock) -> None:
    run_id = ended(store, clock, RunStatus.OK)
    with pytest.raises(UsageError, match="is ok"):
        store.finish(run_id, Outcome(RunStatus.FAILED), clock())
    assert store.run(run_id).status is RunStatus.OK
    with pytest.raises(NotFound):
        store.finish("01ZZZ", Outcome(RunStatus.OK), clock())


def test_a_failed_attempt_goes_back_to_the_queue_with_its_steps(store: Store, clock: FakeClock) -> None:
    run_id = queued(store, clock)
    store.claim("daemon:1", clock())
    store.record_step(run_id, Step(1, "chat", "pocket", {}, "", "ok"))
    store.requeue(run_id, clock.now + timedelta(seconds=30), "the model host died")
    assert store.run(run_id).error == "the model host died"
    assert store.claim("daemon:1", clock()) is None
    again = store.claim("daemon:1", clock.advance(30))
    assert again is not None
    assert (again.attempt, again.error, len(again.steps)) == (2, None, 1)


def test_runs_of_a_dead_daemon_are_queued_again_and_keep_their_steps(store: Store, clock: FakeClock) -> None:
    run_id, other = queued(store, clock, "a"), queued(store, clock, "b")
    store.claim("daemon:1", clock())
    store.claim("daemon:2", clock())
    store.record_step_started(run_id, 1, "tool", "move_file", {"source": "/a"}, {"writes": ["/b"]})
    assert store.recover(clock(), is_alive=lambda owner: owner == "daemon:2") == [run_id]
    assert store.run(other).status is RunStatus.RUNNING
    again = store.claim("daemon:3", clock())
    assert again is not None
    assert (again.id, again.attempt) == (run_id, 2)
    assert store.unfinished_step(run_id) is not None


def test_the_run_of_a_dead_command_is_interrupted_and_not_queued(store: Store, clock: FakeClock) -> None:
    run_id = queued(store, clock)
    store.claim_run(run_id, "cli:4711", clock())
    assert store.recover(clock(), is_alive=lambda _: False) == []
    run = store.run(run_id)
    assert (run.status, run.ended_at) == (RunStatus.INTERRUPTED, clock.now)
    assert run.error


def test_a_run_that_has_not_begun_is_cancelled_at_once(store: Store, clock: FakeClock) -> None:
    run_id = queued(store, clock)
    assert store.cancel(run_id, clock()) is RunStatus.CANCELLED
    assert store.claim("daemon:1", clock()) is None


def test_a_running_run_is_asked_to_stop(store: Store, clock: FakeClock) -> None:
    run_id = queued(store, clock)
    store.claim("daemon:1", clock())
    assert not store.cancel_requested(run_id)
    assert store.cancel(run_id, clock()) is RunStatus.RUNNING
    assert store.cancel_requested(run_id)


@pytest.mark.parametrize("way", ["requeue", "recover"])
def test_a_run_that_was_asked_to_stop_is_not_queued_again(store: Store, clock: FakeClock, way: str) -> None:
    run_id = queued(store, clock)
    store.claim("daemon:1", clock())
    store.cancel(run_id, clock())
    if way == "requeue":
        store.requeue(run_id, None, "the model host died")
    else:
        assert store.recover(clock(), lambda _: False) == []
    run = store.run(run_id)
    assert (run.status, run.ended_at) == (RunStatus.CANCELLED, clock.now)


def test_cancelling_what_has_ended_changes_nothing(store: Store, clock: FakeClock) -> None:
    assert store.cancel(ended(store, clock, RunStatus.OK), clock()) is RunStatus.OK
    with pytest.raises(NotFound):
        store.cancel("01ZZZ", clock())


@pytest.mark.parametrize("status", [RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.INTERRUPTED, RunStatus.SKIPPED])
def test_what_did_not_end_well_can_be_retried_from_the_beginning(
    store: Store, clock: FakeClock, status: RunStatus
) -> None:
    run_id = ended(store, clock, status)
    store.retry(run_id)
    again = store.claim("daemon:1", clock.advance(60))
    assert again is not None
    assert (again.id, again.attempt, again.steps, again.ended_at) == (run_id, 1, (), None)
    assert again.started_at == clock.now


def test_a_retried_run_numbers_its_steps_from_one_and_keeps_the_old_ones_on_the_record(
    store: Store, clock: FakeClock
) -> None:
    run_id = queued(store, clock)
    store.claim("daemon:1", clock())
    store.record_step(run_id, Step(1, "chat", "pocket", {}, "first round", "ok", input_tokens=10))
    store.finish(run_id, Outcome(RunStatus.FAILED), clock())
    store.retry(run_id)
    store.record_step(run_id, Step(1, "chat", "pocket", {}, "second round", "ok", input_tokens=5))
    run = store.run(run_id)
    assert [step.result for step in run.steps] == ["second round"]
    assert run.usage.input_tokens == 15


@pytest.mark.parametrize("status", [RunStatus.OK, RunStatus.RUNNING, RunStatus.QUEUED])
def test_only_what_has_ended_badly_can_be_retried(store: Store, clock: FakeClock, status: RunStatus) -> None:
    run_id = queued(store, clock)
    if status is not RunStatus.QUEUED:
        store.claim("daemon:1", clock())
    if status is RunStatus.OK:
        store.finish(run_id, Outcome(status), clock())
    with pytest.raises(UsageError, match=status.value):
        store.retry(run_id)


def test_several_calls_in_one_transaction_are_all_written_or_none(store: Store, clock: FakeClock) -> None:
    with pytest.raises(RuntimeError), store.transaction():
        store.enqueue(event("a"), now=clock())
        store.enqueue(event("b"), now=clock())
        raise RuntimeError
    assert store.runs() == []


def test_a_call_that_fails_inside_a_transaction_undoes_only_itself(store: Store, clock: FakeClock) -> None:
    with store.transaction():
        store.enqueue(event("a"), now=clock())
        with pytest.raises(RuntimeError), store.transaction():
            store.enqueue(event("b"), now=clock())
            raise RuntimeError
    assert store.counts() == {RunStatus.QUEUED: 1}
