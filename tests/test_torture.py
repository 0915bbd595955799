"""The harness of `make torture` sees what it is there for: each kind of broken promise is planted and must be told."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from torture.effects import outside
from torture.partial import written_in_parts
from torture.plan import PROMISES, Batch, Promise
from torture.power import cuts
from torture.records import Record, Records
from torture.report import Told, page
from torture.runner import Job, Runner
from torture.tally import Tally, summed
from torture.world import World, is_whole

from edgeagent.schema import Event, Outcome, RunStatus
from edgeagent.store import Store, open_store

NOW = datetime(2026, 11, 25, tzinfo=UTC)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """One event by hand, `a`, that was accepted, and one file, `f.txt`, that was found: both went well."""
    world = World(tmp_path)
    world.dropped.append("f.txt")
    (world.done / "f.txt").write_text("moved")
    with journal(world) as store:
        world.accepted[ended(store, "desk", "a")] = "a"
        ended(store, "inbox", "f.txt")
    world.ledger("desk").write_text("a\n")
    world.ledger("inbox").write_text("f.txt\n")
    return world


def journal(world: World) -> Store:
    return open_store(world.home / "edgeagent.db")


def ended(store: Store, agent: str, name: str, status: RunStatus = RunStatus.OK, key: str = "") -> str:
    run_id = store.enqueue(Event(agent, "manual", "manual", key or name, {"name": name}), now=NOW)
    assert run_id
    store.finish(run_id, Outcome(status), NOW)
    return run_id


def told(world: World) -> list[str]:
    tally = Tally()
    world.settle(tally)
    return tally.told


def test_accounts_that_are_right_are_not_complained_of(world: World) -> None:
    assert told(world) == []


def test_a_lost_event_is_seen(world: World) -> None:
    world.accepted["01AAAAAAAAAAAAAAAAAAAAAAAA"] = "b"
    assert told(world) == ["the accepted event b is lost"]


def test_a_file_without_a_run_is_seen(world: World) -> None:
    world.dropped.append("g.txt")
    assert told(world) == ["g.txt has 0 runs"]


def test_a_second_run_for_a_file_is_seen(world: World) -> None:
    with journal(world) as store:
        ended(store, "inbox", "f.txt", key="another key")
    assert "f.txt has 2 runs" in told(world)


@pytest.mark.parametrize("agent", ["desk", "inbox"])
def test_a_doubled_effect_is_seen(world: World, agent: str) -> None:
    with world.ledger(agent).open("a") as ledger:
        ledger.write("a\n" if agent == "desk" else "f.txt\n")
    assert [words for words in told(world) if "is there 2 times" in words]


def test_an_effect_that_was_repeated_before_the_run_gave_up_is_seen(world: World) -> None:
    with journal(world) as store:
        ended(store, "caller", "c", RunStatus.INTERRUPTED)
    world.ledger("caller").write_text("c\nc\n")
    assert told(world) == ["the effect of c, interrupted, is there 2 times"]


def test_a_false_success_is_seen(world: World) -> None:
    world.ledger("desk").write_text("")
    assert told(world) == ["the effect of a is there 0 times"]


def test_a_move_that_is_said_to_be_done_and_is_not_is_seen(world: World) -> None:
    (world.done / "f.txt").unlink()
    assert told(world) == ["f.txt was not moved"]


def test_an_effect_that_no_run_knows_of_is_seen(world: World) -> None:
    world.ledger("caller").write_text("stranger\n")
    assert told(world) == ["effects without a run: ['stranger']"]


def test_a_run_that_failed_is_seen(world: World) -> None:
    with journal(world) as store:
        ended(store, "desk", "b", RunStatus.FAILED)
    assert [words for words in told(world) if words.startswith("a run of b ended failed")]


def test_a_damaged_database_is_seen(world: World) -> None:
    assert is_whole(world.home / "edgeagent.db")
    path = world.home / "edgeagent.db"
    content = bytearray(path.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    path.write_bytes(content)
    assert not is_whole(path)


def test_the_server_outside_writes_down_each_request(tmp_path: Path) -> None:
    with outside(tmp_path / "ledger") as server:
        for _ in range(2):
            connection = http.client.HTTPConnection("127.0.0.1", server.port)
            connection.request("POST", "/", b"one")
            assert connection.getresponse().status == 200
            connection.close()
    assert (tmp_path / "ledger").read_text() == "one\none\n"


def test_a_request_that_was_cut_off_by_a_kill_is_none(tmp_path: Path) -> None:
    with outside(tmp_path / "ledger") as server, socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\non")
        client.shutdown(socket.SHUT_WR)
        assert client.recv(100) == b""
    assert not (tmp_path / "ledger").exists()


def test_a_database_that_is_not_synced_loses_events_in_a_power_cut(tmp_path: Path) -> None:
    tally = Tally()
    cuts(tally, tmp_path, 40, 1, synchronous="normal", rounds=2)
    assert [words for words in tally.told if "accepted event" in words and "is lost" in words]


def test_files_that_are_taken_too_early_are_seen_in_part(tmp_path: Path) -> None:
    tally = Tally()
    written_in_parts(tally, tmp_path, 1, 2.0, settle=0.05)
    assert [words for words in tally.told if words.startswith("slowly-0.txt was seen")]


# --- records, and going on from them ----------------------------------------------------------------------------------


def record(promise: int, label: str, tally: Tally | None = None, not_made: str = "") -> Record:
    made = Tally(n=3) if tally is None else tally
    return Record(1.0, promise, label, "abc", "2026-11-25T12:00:00+00:00", 1.0, made.as_json(), not_made)


def test_a_line_that_was_cut_short_does_not_count_and_what_follows_does(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.add(record(1, "a"))
    with records.path.open("a") as file:
        file.write('{"scale": 1.0, "promi')
    records.add(record(1, "b"))
    assert [one.label for one in records.made(1.0)] == ["a", "b"]


def test_what_could_not_be_made_does_not_count(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.add(record(1, "a", not_made="the machine was busy"))
    assert records.made(1.0) == []


def test_a_promise_that_begins_anew_counts_from_then_on(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.add(record(1, "a"))
    records.add(record(2, "a"))
    records.begin_again(1, 1.0, "an event was lost")
    records.add(record(1, "b"))
    assert [(one.promise, one.label) for one in records.made(1.0)] == [(2, "a"), (1, "b")]
    records.begin_again(1, 1.0, "the server was wrong", "b")
    assert [(one.promise, one.label) for one in records.made(1.0)] == [(2, "a")]
    assert records.begun_again(1.0) == [(1, "an event was lost"), (1, "b: the server was wrong")]


def test_a_batch_that_breaks_is_told_and_is_neither_a_pass_nor_a_violation(tmp_path: Path) -> None:
    said: list[str] = []
    runner = Runner(Records(tmp_path), 1.0, "abc", said.append)
    nobody = Promise(1, "kills", "", lambda scale: iter(()))
    assert not runner.run([Job(nobody, Batch("no such batch", lambda tally, root: None, 1.0))])
    assert [words for words in said if "no such batch: not made: it ended with 1" in words]
    assert runner.records.made(1.0) == []


def test_a_runner_that_is_stopped_leaves_its_batch_to_be_made(tmp_path: Path) -> None:
    runner = Runner(Records(tmp_path), 1.0, "abc", lambda words: None)
    poison = next(promise for promise in PROMISES if promise.number == 10)
    threading.Timer(1.0, runner.stop).start()
    assert not runner.run([Job(poison, next(poison.batches(1.0)))])
    assert runner.records.made(1.0) == []


def test_the_worst_figure_is_kept_and_one_beyond_its_target_is_a_violation() -> None:
    tally = Tally()
    for value in (3.0, 12.0, 5.0):
        tally.measured("until it ended", value, "s", at_most=10)
    tally.measured("rate", 400, at_least=300)
    tally.measured("rate", 500, at_least=300)
    whole = summed([json.loads(json.dumps(tally.as_json()))])
    assert whole.told == ["until it ended: 12 s, and it is to be at most 10 s"]
    assert (whole.figures["until it ended"].value, whole.figures["rate"].value) == (12.0, 400)


def test_the_page_holds_what_the_records_say(tmp_path: Path) -> None:
    tally = Tally(n=1234)
    tally.measured("until it ended", 12.5, "s", at_most=10)
    tally.note("locked for 6 s instead of 60 s")
    written = page([record(3, "lock 0", tally)], Told("a machine", 1.0, [(1, "an event was lost")]))
    assert "| 1 of 28 | 1,234 | 1 |" in written
    assert "| 3 | until it ended | 12.5 s | at most 10 s **(missed)** |" in written
    assert "- 3: locked for 6 s instead of 60 s" in written
    assert "- 1: an event was lost" in written
    assert "| not tried yet |" in written
