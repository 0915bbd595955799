"""The agent trigger: whatever ends a run, who follows has its event in the same moment. And the startup trigger."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest
from conftest import FakeClock

from edgeagent.agents import AgentTrigger
from edgeagent.errors import HomeError
from edgeagent.schema import Event, Outcome, Run, RunStatus
from edgeagent.store import Store, open_store
from edgeagent.store.chains import MOST_HOPS
from edgeagent.triggers.chain import ChainTrigger
from edgeagent.triggers.startup import StartupTrigger, boot_id

Status = Literal["ok", "failed", "cancelled", "interrupted", "skipped"]


class Line:
    """Agents that follow each other."""

    def __init__(self, store: Store, clock: FakeClock) -> None:
        self.store = store
        self.clock = clock
        self._keys = 0

    def follow(self, agent: str, upstream: str, status: Sequence[Status] = ("ok",)) -> ChainTrigger:
        settings = AgentTrigger(trigger="agent", id="agent-1", agent=upstream, status=tuple(status))
        trigger = ChainTrigger(agent, settings, store=self.store, agents=lambda: ["reader", "writer"])
        trigger.start()
        return trigger

    def begin(self, agent: str = "reader") -> str:
        self._keys += 1
        run_id = self.store.enqueue(Event(agent, "manual", "manual", f"k{self._keys}", {}), now=self.clock())
        assert run_id is not None
        return run_id

    def end(self, run_id: str, status: RunStatus = RunStatus.OK, output: object = "read") -> None:
        assert self.store.claim_run(run_id, "daemon:1:1", self.clock())
        self.store.finish(run_id, Outcome(status, output=output), self.clock())

    def run(self, agent: str = "reader", status: RunStatus = RunStatus.OK) -> str:
        run_id = self.begin(agent)
        self.end(run_id, status)
        return run_id

    def of(self, agent: str) -> list[Run]:
        return list(reversed(self.store.runs(agent)))


@pytest.fixture
def line(store: Store, clock: FakeClock) -> Line:
    return Line(store, clock)


def test_the_end_of_a_run_is_an_event_that_tells_of_it(line: Line) -> None:
    line.follow("writer", "reader")
    run_id = line.run()
    (followed,) = line.of("writer")
    assert followed.event == {"run_id": run_id, "agent": "reader", "status": "ok", "output": "read"}
    assert (followed.trigger, followed.trigger_id, followed.status) == ("agent", "agent-1", "queued")


def test_only_the_ends_that_are_asked_for_count(line: Line) -> None:
    line.follow("writer", "reader", ["failed", "cancelled"])
    line.run()
    failed = line.run(status=RunStatus.FAILED)
    waiting = line.begin()
    line.store.cancel(waiting, line.clock())
    line.run("somebody else", RunStatus.FAILED)
    assert [run.event["run_id"] for run in line.of("writer")] == [failed, waiting]


def test_a_run_that_is_retried_is_followed_once(line: Line) -> None:
    line.follow("writer", "reader", ["failed", "ok"])
    run_id = line.run(status=RunStatus.FAILED)
    line.store.retry(run_id)
    line.end(run_id)
    assert len(line.of("writer")) == 1


def test_an_event_that_is_skipped_at_once_is_an_end_too(line: Line) -> None:
    line.follow("writer", "reader", ["skipped"])
    line.store.enqueue(
        Event("reader", "cron", "cron-1", "k", {}), now=line.clock(), status=RunStatus.SKIPPED, reason="missed"
    )
    assert [run.event["status"] for run in line.of("writer")] == ["skipped"]


def test_several_may_follow_one(line: Line) -> None:
    line.follow("writer", "reader")
    line.follow("second", "reader")
    line.run()
    assert len(line.of("writer")) == len(line.of("second")) == 1


def test_agents_that_start_each_other_come_to_an_end(line: Line) -> None:
    line.follow("reader", "writer", ["ok", "skipped"])
    line.follow("writer", "reader", ["ok", "skipped"])
    line.run()
    while run := line.store.claim("daemon:1:1", line.clock()):
        line.store.finish(run.id, Outcome(RunStatus.OK), line.clock())
    runs = line.store.runs(limit=1000)
    assert [run.status for run in runs] == ["skipped"] + ["ok"] * (MOST_HOPS + 1)
    assert "in a row" in str(runs[0].reason)


def test_an_agent_that_follows_itself_comes_to_an_end(line: Line) -> None:
    line.follow("reader", "reader", ["skipped"])
    line.store.enqueue(Event("reader", "cron", "c", "k", {}), now=line.clock(), status=RunStatus.SKIPPED, reason="x")
    while run := line.store.claim("daemon:1:1", line.clock()):
        line.store.finish(run.id, Outcome(RunStatus.SKIPPED), line.clock())
    assert len(line.store.runs(limit=1000)) == 1 + MOST_HOPS + 1


def test_what_ended_while_nobody_followed_is_made_up_for(line: Line) -> None:
    trigger = line.follow("writer", "reader")
    followed, under_way = line.run(), line.begin()
    trigger.stop()
    missed = line.run()
    line.end(under_way)
    assert len(line.of("writer")) == 1
    line.follow("writer", "reader")
    line.follow("writer", "reader")
    assert sorted(run.event["run_id"] for run in line.of("writer")) == sorted([followed, missed, under_way])


def test_what_ended_before_an_agent_first_followed_is_no_event(line: Line) -> None:
    line.run()
    line.follow("writer", "reader")
    assert line.of("writer") == []
    line.follow("writer", "somebody")
    line.run()
    line.follow("writer", "reader")
    assert line.of("writer") == []


def test_another_process_that_ends_a_run_is_followed_as_well(line: Line, tmp_path: Path, clock: FakeClock) -> None:
    line.follow("writer", "reader")
    run_id = line.begin()
    with open_store(tmp_path / "edgeagent.db", clock=clock) as other:
        other.cancel(run_id, clock())
        assert other.runs("writer") == []
        other.retry(run_id)
        assert other.claim_run(run_id, "cli:1:1", clock())
        other.finish(run_id, Outcome(RunStatus.OK), clock())
        assert len(other.runs("writer")) == 1


def test_neither_the_end_nor_what_follows_is_written_without_the_other(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    line.follow("writer", "reader")
    run_id = line.begin()
    with monkeypatch.context() as patch:
        patch.setattr(line.store, "_clock", _broken)
        with pytest.raises(sqlite3.OperationalError):
            line.end(run_id)
    assert line.store.run(run_id).status == "running" and line.of("writer") == []
    line.store.finish(run_id, Outcome(RunStatus.OK), line.clock())
    assert len(line.of("writer")) == 1


def _broken() -> None:
    raise sqlite3.OperationalError("as if the disk failed between the two")


def test_a_chain_says_whom_it_follows(line: Line) -> None:
    assert line.follow("writer", "reader").state().text == "after runs of reader that end ok"
    assert line.follow("writer", "nobody").state().condition == "waiting"


def test_each_boot_is_one_event(store: Store, clock: FakeClock) -> None:
    for boot in ("first", "first", "second", "second"):
        trigger = StartupTrigger("greeter", "startup-1", store=store, clock=clock, boot_id=boot.strip)
        trigger.start()
        trigger.scan(clock())
    assert [run.event for run in store.runs()] == [{"boot_id": "second"}, {"boot_id": "first"}]
    assert trigger.state().condition == "ok"


def test_the_kernel_tells_the_boot_and_a_system_that_does_not_is_told(store: Store, clock: FakeClock) -> None:
    assert boot_id() == boot_id() and len(boot_id()) == len("6c9a1f4e-0000-4000-8000-000000000000")

    def unknown() -> str:
        raise HomeError("this system does not tell", os.devnull)

    trigger = StartupTrigger("greeter", "startup-1", store=store, clock=clock, boot_id=unknown)
    trigger.start()
    assert trigger.state().condition == "error" and store.runs() == []
