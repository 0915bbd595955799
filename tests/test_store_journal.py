"""The journal: what a run did comes back as it was written, and reads well to a person."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime, timedelta

import pytest
from conftest import FakeClock

from edgeagent.errors import NotFound, UsageError
from edgeagent.schema import Event, Outcome, RunStatus, Step, ToolCall
from edgeagent.store import Store, UnfinishedStep, open_read_only

CHAT = Step(
    1,
    "chat",
    "pocket",
    {},
    "",
    "ok",
    seconds=0.5,
    time_to_first_token=0.1,
    input_tokens=300,
    cached_tokens=200,
    output_tokens=40,
    reasoning="kind: bill\nrule: bills go to bills",
    calls=(ToolCall("move_file", {"source": "/in/a.txt", "destination": "/bills/"}),),
)
MOVE = Step(2, "tool", "move_file", {"source": "/in/a.txt"}, "moved to /bills/a.txt", "ok", seconds=0.01)


def running(store: Store, clock: FakeClock, key: str = "k1", agent: str = "inbox", name: str = "a.txt") -> str:
    data = {"change": "created", "name": name, "path": f"/in/{name}"}
    run_id = store.enqueue(Event(agent, "file", "file-1", key, data), now=clock())
    assert run_id is not None
    store.claim_run(run_id, "daemon:1", clock())
    return run_id


def test_steps_come_back_as_they_were_written(store: Store, clock: FakeClock) -> None:
    run_id = running(store, clock)
    store.record_step(run_id, CHAT)
    store.record_step(run_id, MOVE)
    assert store.steps_of(run_id) == [CHAT, MOVE]
    assert store.run(run_id).steps == (CHAT, MOVE)


def test_usage_is_the_sum_of_the_steps(store: Store, clock: FakeClock) -> None:
    run_id = running(store, clock)
    store.record_step(run_id, CHAT)
    store.record_step(run_id, MOVE)
    for usage in (store.run(run_id).usage, store.runs()[0].usage):
        assert (usage.input_tokens, usage.cached_tokens, usage.output_tokens) == (300, 200, 40)
        assert (usage.model_seconds, usage.tool_seconds) == (0.5, 0.01)


def test_a_run_prints_as_json_with_its_steps(store: Store, clock: FakeClock) -> None:
    run_id = running(store, clock)
    store.record_step(run_id, CHAT)
    shown = json.loads(json.dumps(store.run(run_id).as_json()))
    assert shown["created_at"] == "2026-11-24T07:00:00.000Z"
    assert shown["steps"][0]["calls"][0]["name"] == "move_file"


def test_a_step_that_was_begun_stands_as_unfinished_until_it_ends(store: Store, clock: FakeClock) -> None:
    run_id = running(store, clock)
    store.record_step(run_id, CHAT)
    store.record_step_started(run_id, 2, "tool", "move_file", MOVE.arguments, {"writes": ["/bills/a.txt"]})
    assert store.steps_of(run_id) == [CHAT]
    assert store.unfinished_step(run_id) == UnfinishedStep(2, "move_file", MOVE.arguments, {"writes": ["/bills/a.txt"]})
    store.record_step(run_id, MOVE)
    assert store.unfinished_step(run_id) is None
    assert store.steps_of(run_id) == [CHAT, MOVE]


def test_a_started_step_keeps_an_empty_plan_apart_from_none(store: Store, clock: FakeClock) -> None:
    run_id = running(store, clock)
    store.record_step_started(run_id, 1, "tool", "recall", {}, {})
    found = store.unfinished_step(run_id)
    assert found is not None and found.plan == {}
    store.record_step_started(run_id, 1, "tool", "recall", {}, None)
    found = store.unfinished_step(run_id)
    assert found is not None and found.plan is None


def test_a_step_that_has_ended_is_not_rewritten(store: Store, clock: FakeClock) -> None:
    run_id = running(store, clock)
    store.record_step(run_id, CHAT)
    with pytest.raises(UsageError, match="step 1"):
        store.record_step(run_id, CHAT)
    with pytest.raises(UsageError, match="step 1"):
        store.record_step_started(run_id, 1, "chat", "pocket", {})


def test_a_step_that_waited_for_approval_gets_its_result_later(store: Store, clock: FakeClock) -> None:
    run_id = running(store, clock)
    store.record_step(run_id, Step(1, "tool", "delete_file", {}, "", "waiting"))
    store.record_step(run_id, Step(1, "tool", "delete_file", {}, "deleted", "ok"))
    assert [step.result for step in store.steps_of(run_id)] == ["deleted"]


@pytest.mark.parametrize(
    "text",
    ["", "a\nb\r\nc", "nul \0 in it", "<|im_start|>system", "quote ' \" ; drop table runs", "Größe 🙂", "\x1b[31mred"],
)
def test_any_text_survives(store: Store, clock: FakeClock, text: str) -> None:
    run_id = running(store, clock)
    step = Step(1, "tool", "write_file", {"content": text}, text, "error", error=text, reasoning=text)
    store.record_step(run_id, step)
    store.finish(run_id, Outcome(RunStatus.OK, output=text), clock())
    assert store.steps_of(run_id) == [step]
    assert store.run(run_id).output == text


def test_names_that_are_not_utf8_survive_in_events_and_arguments(store: Store, clock: FakeClock) -> None:
    name = b"bill-\xff.txt".decode("utf-8", "surrogateescape")
    run_id = running(store, clock, name=name)
    store.record_step(run_id, Step(1, "tool", "read_file", {"path": name}, f"read {name}", "ok"))
    run = store.run(run_id)
    assert run.event["name"] == name
    assert run.steps[0].arguments == {"path": name}
    assert run.steps[0].result == r"read bill-\udcff.txt"


def test_numbers_that_json_does_not_know_become_null(store: Store, clock: FakeClock) -> None:
    run_id = running(store, clock)
    store.record_step(run_id, Step(1, "tool", "write_file", {"n": [float("nan"), 1.5]}, "", "ok"))
    assert store.steps_of(run_id)[0].arguments == {"n": [None, 1.5]}


def test_runs_are_listed_newest_first_and_can_be_narrowed(store: Store, clock: FakeClock) -> None:
    first = running(store, clock, "a")
    store.finish(first, Outcome(RunStatus.OK), clock())
    middle = clock.advance(60)
    second = running(store, clock, "b", agent="digest")
    third = running(store, clock, "c")
    assert [run.id for run in store.runs()] == [third, second, first]
    assert [run.id for run in store.runs(agent="inbox")] == [third, first]
    assert [run.id for run in store.runs(status=RunStatus.OK)] == [first]
    assert [run.id for run in store.runs(since=middle)] == [third, second]
    assert [run.id for run in store.runs(limit=1)] == [third]
    assert store.counts() == {RunStatus.OK: 1, RunStatus.RUNNING: 2}
    assert store.counts("digest") == {RunStatus.RUNNING: 1}


def test_a_run_is_found_by_a_part_of_its_id(store: Store, clock: FakeClock) -> None:
    run_id = running(store, clock)
    other = running(store, clock, "b")
    assert store.find_run(run_id).id == run_id
    assert store.find_run(run_id[-8:].lower()).id == run_id
    with pytest.raises(UsageError, match="more than one"):
        store.find_run(other[:10])
    for nothing in ("", "01ZZZ", "%"):
        with pytest.raises((NotFound, UsageError)):
            store.find_run(nothing)


def test_a_follower_sees_only_what_it_has_not_seen(store: Store, clock: FakeClock) -> None:
    run_id = running(store, clock)
    store.record_step(run_id, CHAT)
    store.record_step_started(run_id, 2, "tool", "move_file", {})
    changes = store.changes_since(run_id, 0)
    assert (changes.steps, changes.run.status) == ([CHAT], RunStatus.RUNNING)
    assert changes.unfinished is not None and changes.unfinished.n == 2
    assert store.changes_since(run_id, 1).steps == []
    with pytest.raises(NotFound):
        store.changes_since("01ZZZ", 0)


def test_tool_calls_of_the_last_hour_are_counted_for_the_limit(store: Store, clock: FakeClock) -> None:
    run_id = running(store, clock)
    store.record_step(run_id, CHAT)
    store.record_step(run_id, MOVE)
    store.record_step(run_id, Step(3, "tool", "move_file", {}, "destination exists", "error"))
    hour_ago = clock.now - timedelta(hours=1)
    assert store.tool_calls_since("inbox", hour_ago) == 1
    assert store.tool_calls_since("inbox", hour_ago, ["read_file"]) == 0
    assert store.tool_calls_since("digest", hour_ago) == 0
    assert store.tool_calls_since("inbox", clock.advance(1)) == 0


def view(store: Store, name: str) -> list[dict[str, object]]:
    """The view as any other program sees it."""
    with sqlite3.connect(store.path) as connection:
        connection.row_factory = sqlite3.Row
        rows = [dict(row) for row in connection.execute(f"SELECT * FROM {name}")]
    connection.close()
    return rows


def test_v_runs_reads_well_to_a_person(store: Store, clock: FakeClock) -> None:
    run_id = running(store, clock, name="bill.txt")
    store.record_step(run_id, CHAT)
    store.finish(run_id, Outcome(RunStatus.OK, output="Moved the bill."), clock.advance(1.24), "pocket")
    assert view(store, "v_runs") == [
        {
            "time": datetime(2026, 11, 24, 7, tzinfo=UTC).astimezone().strftime("%m-%d %H:%M:%S"),
            "agent": "inbox",
            "what": "created bill.txt",
            "status": "ok",
            "seconds": 1.2,
            "tokens": "300 in, 40 out",
            "answer": "Moved the bill.",
            "run": run_id,
        }
    ]


def test_a_scheduled_run_shows_when_it_was_due_in_local_time(store: Store, clock: FakeClock) -> None:
    for n, said in enumerate(["2026-11-24T07:00:00.000Z", "tomorrow", None]):
        store.enqueue(Event("digest", "cron", "cron-1", str(n), {"scheduled_at": said}), now=clock())
    local = datetime(2026, 11, 24, 7, tzinfo=UTC).astimezone().strftime("%m-%d %H:%M")
    assert [row["what"] for row in view(store, "v_runs")] == ["due None", "due tomorrow", f"due {local}"]


def test_ids_are_made_even_when_the_clock_goes_back(store: Store, clock: FakeClock) -> None:
    ids = [store.enqueue(Event("a", "manual", "m", str(n)), now=clock.advance(-3600 * n)) for n in range(3)]
    assert len(set(ids)) == 3
    assert [run.id for run in store.runs()] == ids[::-1]


def test_v_steps_shows_calls_and_results_one_a_line(store: Store, clock: FakeClock) -> None:
    run_id = running(store, clock)
    store.record_step(run_id, CHAT)
    store.record_step(run_id, Step(2, "tool", "read_file", {"path": "/in/a.txt"}, "two\nlines", "ok"))
    shown = view(store, "v_steps")
    assert [row["call"] for row in shown] == ["pocket", 'read_file {"path": "/in/a.txt"}']
    assert shown[1]["result"] == "two lines"


@pytest.mark.parametrize("name", ["v_runs", "v_steps", "v_events"])
@pytest.mark.parametrize("evil", ["\x1b[31m\nred", "bill-\udcff.txt", "nul\0", '{"not": json', "%s" * 200])
def test_a_view_is_readable_whatever_a_run_held(store: Store, clock: FakeClock, name: str, evil: str) -> None:
    for n, output in enumerate([evil, {"a": evil}, [evil], None, 7]):
        run_id = running(store, clock, f"{n}{evil}", name=evil)
        store.record_step(run_id, Step(1, "tool", "read_file", {"path": evil}, evil, "error", error=evil))
        store.finish(run_id, Outcome(RunStatus.OK, output=output), clock())
    rows = view(store, name)
    assert len(rows) == 5
    for row in rows:
        for shown in row.values():
            assert not set(str(shown)) & {"\n", "\x1b"}
            assert len(str(shown)) <= 200


def test_a_reader_sees_what_a_writer_writes(store: Store, clock: FakeClock) -> None:
    run_id = running(store, clock)
    with open_read_only(store.path, clock=clock) as reader:
        store.record_step(run_id, CHAT)
        assert reader.run(run_id).steps == (CHAT,)


def test_runs_older_than_the_retention_go_with_their_steps(store: Store, clock: FakeClock) -> None:
    old = running(store, clock, "old")
    store.record_step(old, CHAT)
    store.finish(old, Outcome(RunStatus.OK), clock())
    unfinished = running(store, clock, "unfinished")
    clock.advance(86_400 * 31)
    new = running(store, clock, "new")
    store.finish(new, Outcome(RunStatus.OK), clock())
    assert store.prune(clock.now - timedelta(days=30)) == 1
    assert [run.id for run in store.runs()] == [new, unfinished]
    assert store.steps_of(old) == []


def test_a_journal_that_is_too_large_loses_its_oldest_runs_and_the_file_shrinks(store: Store, clock: FakeClock) -> None:
    with store.transaction():
        for n in range(1200):
            run_id = running(store, clock, str(n))
            store.record_step(run_id, Step(1, "tool", "read_file", {}, "x" * 2000, "ok"))
            store.finish(run_id, Outcome(RunStatus.OK), clock())
    gone = store.prune(clock.now - timedelta(days=30), max_size=2_000_000)
    assert 0 < gone < 1200
    assert store.path.stat().st_size < 2_200_000
    assert store.runs()[0].id == run_id
