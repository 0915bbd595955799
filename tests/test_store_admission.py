"""Back-pressure, concurrency modes and turns: what the queue takes, and whose run comes next."""

from __future__ import annotations

from typing import Literal

import pytest
from conftest import FakeClock

from edgeagent.schema import Event, Outcome, QueueLimit, RunStatus, Terms
from edgeagent.store import Store, open_store

Mode = Literal["queued", "single", "restart", "parallel"]


def put(store: Store, clock: FakeClock, key: str, agent: str = "inbox", terms: Terms | None = None) -> str:
    run_id = store.enqueue(Event(agent, "file", "file-1", key), now=clock(), terms=terms)
    assert run_id
    return run_id


def limited(store: Store, mode: Mode, maximum: int = 100, agent: str = "inbox") -> None:
    store.limit_queues({agent: QueueLimit(mode, maximum)})


def statuses(store: Store, ids: list[str]) -> list[str]:
    return [store.run(run_id).status.value for run_id in ids]


def test_beyond_the_limit_an_event_is_recorded_as_skipped_with_the_reason(store: Store, clock: FakeClock) -> None:
    limited(store, "queued", 2)
    ids = [put(store, clock, str(n)) for n in range(4)]
    assert statuses(store, ids) == ["queued", "queued", "skipped", "skipped"]
    last = store.run(ids[-1])
    assert last.reason == "2 runs of the agent were waiting already (concurrency.max)"
    assert last.ended_at == clock.now


def test_room_that_a_claim_makes_is_used_again(store: Store, clock: FakeClock) -> None:
    limited(store, "queued", 1)
    first = put(store, clock, "1")
    assert store.claim("daemon:1", clock())
    assert statuses(store, [first, put(store, clock, "2"), put(store, clock, "3")]) == ["running", "queued", "skipped"]


def test_room_is_counted_anew_when_another_process_has_filled_the_queue(store: Store, clock: FakeClock) -> None:
    limited(store, "queued", 3)
    put(store, clock, "1")
    with open_store(store.path, clock=clock) as other:
        put(other, clock, "2")
        put(other, clock, "3")
    assert statuses(store, [put(store, clock, "4")]) == ["skipped"]


def test_a_run_that_is_tried_again_takes_its_room(store: Store, clock: FakeClock) -> None:
    failed = put(store, clock, "1")
    store.finish(failed, Outcome(RunStatus.FAILED), clock())
    limited(store, "queued", 2)
    put(store, clock, "2")
    store.retry(failed)
    assert statuses(store, [put(store, clock, "3")]) == ["skipped"]


def test_a_run_that_goes_back_to_the_queue_has_kept_its_room(store: Store, clock: FakeClock) -> None:
    limited(store, "queued", 2)
    first = put(store, clock, "1")
    store.claim("daemon:1", clock())
    put(store, clock, "2")
    store.requeue(first, None)
    assert statuses(store, [put(store, clock, "3")]) == ["skipped"]


def test_a_burst_does_not_count_the_queue_for_each_event(store: Store, clock: FakeClock) -> None:
    limited(store, "queued", 1000)
    asked: list[str] = []
    store._db.raw.set_trace_callback(asked.append)
    for n in range(50):
        put(store, clock, str(n))
    assert sum("count(*)" in statement for statement in asked) == 1
    assert not any("OFFSET" in statement for statement in asked)


def test_the_limit_of_one_agent_is_no_matter_of_another(store: Store, clock: FakeClock) -> None:
    limited(store, "queued", 1)
    put(store, clock, "1")
    assert statuses(store, [put(store, clock, "1", "digest"), put(store, clock, "2", "digest")]) == ["queued"] * 2


def test_a_key_that_is_known_changes_nothing_in_any_mode(store: Store, clock: FakeClock) -> None:
    limited(store, "restart")
    run_id = put(store, clock, "1")
    assert store.enqueue(Event("inbox", "file", "file-1", "1"), now=clock()) is None
    assert statuses(store, [run_id]) == ["queued"]


def test_a_single_agent_takes_nothing_while_a_run_waits_or_goes_on(store: Store, clock: FakeClock) -> None:
    limited(store, "single")
    ids = [put(store, clock, "1"), put(store, clock, "2")]
    assert store.claim("daemon:1", clock())
    ids.append(put(store, clock, "3"))
    store.finish(ids[0], Outcome(RunStatus.OK), clock())
    ids.append(put(store, clock, "4"))
    assert statuses(store, ids) == ["ok", "skipped", "skipped", "queued"]
    assert store.run(ids[1]).reason == "another run of the agent was going on (concurrency: single)"


def test_a_restarting_agent_ends_what_it_had_to_do(store: Store, clock: FakeClock) -> None:
    limited(store, "restart")
    going = put(store, clock, "1")
    assert store.claim("daemon:1", clock())
    waiting = put(store, clock, "2")
    newest = put(store, clock, "3")
    assert statuses(store, [going, waiting, newest]) == ["running", "cancelled", "queued"]
    assert store.cancel_requested(going)
    assert store.claim("daemon:1", clock()) is None, "the run in hand ends first"
    store.finish(going, Outcome(RunStatus.CANCELLED), clock())
    assert store.run(going).error == "a newer event took its place (concurrency: restart)"
    run = store.claim("daemon:1", clock())
    assert run and run.id == newest


@pytest.mark.parametrize(("mode", "maximum", "at_once"), [("queued", 5, 1), ("single", 5, 1), ("parallel", 2, 2)])
def test_an_agent_has_as_many_runs_at_once_as_its_mode_says(
    store: Store, clock: FakeClock, mode: Mode, maximum: int, at_once: int
) -> None:
    for n in range(4):
        put(store, clock, str(n))
    limited(store, mode, maximum)
    claimed = [store.claim("daemon:1", clock()) for _ in range(4)]
    assert sum(run is not None for run in claimed) == at_once


def test_a_run_of_a_command_in_a_terminal_does_not_hold_up_the_daemon(store: Store, clock: FakeClock) -> None:
    limited(store, "queued")
    store.claim_run(put(store, clock, "1"), "cli:7:7", clock())
    put(store, clock, "2")
    assert store.claim("daemon:1", clock())


def test_agents_take_turns_whatever_came_first(store: Store, clock: FakeClock) -> None:
    for n in range(3):
        put(store, clock, str(n), "busy")
    for n in range(2):
        put(store, clock, str(n), "quiet")
    served = [run.agent for _ in range(5) if (run := store.claim("daemon:1", clock()))]
    assert served == ["busy", "quiet", "busy", "quiet", "busy"]


def test_a_run_that_a_person_asked_for_is_claimed_whichever_agents_may_run(store: Store, clock: FakeClock) -> None:
    put(store, clock, "1")
    asked = put(store, clock, "2", terms=Terms("/agents/inbox.md", dry_run=True))
    run = store.claim("daemon:1", clock(), [])
    assert run and run.id == asked
    assert store.terms(asked) == Terms("/agents/inbox.md", dry_run=True)
    assert store.claim("daemon:1", clock(), []) is None


def test_what_waits_is_deferred_with_a_reason_and_queued_again(store: Store, clock: FakeClock) -> None:
    run_id = put(store, clock, "1")
    assert store.defer("inbox", "on battery") == 1
    run = store.run(run_id)
    assert (run.status, run.reason, run.ended_at) == (RunStatus.DEFERRED, "on battery", None)
    assert store.claim("daemon:1", clock()) is None
    assert store.release("inbox") == 1
    run = store.run(run_id)
    assert (run.status, run.reason) == (RunStatus.QUEUED, None)


def test_what_is_deferred_counts_as_waiting(store: Store, clock: FakeClock) -> None:
    limited(store, "queued", 1)
    put(store, clock, "1")
    store.defer("inbox", "on battery")
    assert statuses(store, [put(store, clock, "2")]) == ["skipped"]


def test_a_run_that_is_put_aside_has_made_no_attempt(store: Store, clock: FakeClock) -> None:
    run_id = put(store, clock, "1")
    store.claim("daemon:1", clock())
    store.put_aside(run_id, "no memory")
    run = store.run(run_id)
    assert (run.status, run.reason, run.attempt) == (RunStatus.DEFERRED, "no memory", 0)


def test_who_listens_is_told_of_what_may_be_claimed(store: Store, clock: FakeClock) -> None:
    told: list[int] = []
    store.tell(lambda: told.append(1))
    run_id = put(store, clock, "1")
    assert len(told) == 1
    store.enqueue(Event("inbox", "file", "file-1", "1"), now=clock())
    store.enqueue(Event("inbox", "cron", "c", "2"), now=clock(), status=RunStatus.SKIPPED, reason="missed")
    assert len(told) == 1
    store.defer("inbox", "hot")
    store.release("inbox")
    assert len(told) == 2
    store.claim("daemon:1", clock())
    store.finish(run_id, Outcome(RunStatus.FAILED), clock())
    assert len(told) == 3
    store.retry(run_id)
    assert len(told) == 4


def test_a_disabled_agent_stays_so_until_it_is_enabled(store: Store) -> None:
    assert store.enable_agent("inbox", False)
    assert not store.enable_agent("inbox", False)
    assert store.disabled_agents() == {"inbox"}
    assert store.enable_agent("inbox", True)
    assert store.disabled_agents() == frozenset()
