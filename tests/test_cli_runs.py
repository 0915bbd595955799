"""The commands of the journal: list, show, cancel, retry, export, watch."""

from __future__ import annotations

import json
import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from api_world import served
from cli_world import World, seeded

from edgeagent.cli.command import SINCE
from edgeagent.schema import Outcome, RunStatus


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_before_anything_ran_the_list_is_empty_and_nothing_is_made(world: World) -> None:
    done = world.call("runs", "list")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "no runs\n")
    assert world.json("runs", "list", "--json") == []
    assert not (world.home / "edgeagent.db").exists()
    assert world.call("runs", "show", "x").exit_code == 5


def test_runs_are_listed_newest_first_on_80_columns(world: World) -> None:
    ids = seeded(world)
    lines = world.call("runs", "list").stdout.splitlines()
    assert lines[0].split() == ["RUN", "TIME", "AGENT", "EVENT", "STATUS", "TOOK"]
    assert [line.split()[0] for line in lines[1:]] == [
        ids[key][-8:].lower() for key in ("queued", "other", "failed", "ok")
    ]
    assert "created failed.txt  failed (tool_error)" in lines[3]
    assert max(len(line) for line in lines) <= 80
    world.variables["COLUMNS"] = "140"
    assert "Filed it." in world.call("runs", "list").stdout


def test_runs_are_picked_by_agent_status_time_and_number(world: World) -> None:
    ids = seeded(world)

    def listed(*options: str) -> list[str]:
        return [run["id"] for run in world.json("runs", "list", "--json", *options)]

    assert listed("--agent", "other") == [ids["other"]]
    assert listed("--status", "failed") == [ids["failed"]]
    assert listed("--since", "90m") == [ids["queued"], ids["other"]]
    assert listed("--limit", "1") == [ids["queued"]]
    assert listed("--since", "2020-01-01", "--limit", "9") == [ids[key] for key in ("queued", "other", "failed", "ok")]


@pytest.mark.parametrize("text", ["yesterday", "2h30", "", "99999999999d", "2026-13-01"])
def test_a_time_that_is_none_is_told(world: World, text: str) -> None:
    done = world.call("runs", "list", "--since", text)
    assert done.exit_code == 2
    assert "neither a duration such as 2h or 7d nor a date" in done.stderr


def test_since_takes_durations_and_local_dates() -> None:
    assert abs(SINCE.convert("2h", None, None) - (datetime.now(UTC) - timedelta(hours=2))) < timedelta(seconds=5)
    assert SINCE.convert("2026-11-24T07:00:00+01:00", None, None) == datetime(2026, 11, 24, 6, tzinfo=UTC)
    assert SINCE.convert("2026-11-24", None, None) == datetime(2026, 11, 24).astimezone(UTC)


def test_a_run_is_shown_by_a_part_of_its_id(world: World) -> None:
    ids = seeded(world)
    shown = world.call("runs", "show", ids["failed"][-8:].lower()).stdout
    assert ids["failed"] in shown
    assert "failed (tool_error)" in shown
    assert "move_file: destination exists" in shown
    assert world.json("runs", "show", ids["ok"], "--json")["output"] == "Filed it."
    assert world.call("runs", "show", "0").exit_code == 2  # more than one
    assert world.call("runs", "show", "zzzz").exit_code == 5


def test_runs_are_cancelled_and_retried_without_a_daemon(world: World) -> None:
    ids = seeded(world)
    assert world.call("runs", "cancel", ids["queued"]).stdout == f"{ids['queued'][-8:].lower()} cancelled\n"
    assert world.json("runs", "cancel", ids["ok"], "--json") == {"id": ids["ok"], "status": "ok"}
    assert world.json("runs", "retry", ids["failed"], "--json") == {"id": ids["failed"], "status": "queued"}
    again = world.call("runs", "retry", ids["failed"])
    assert again.exit_code == 2
    assert "is queued" in again.stderr
    assert world.call("runs", "cancel", "zzzz").exit_code == 5


def test_with_a_daemon_it_is_asked_to_cancel_and_retry(world: World) -> None:
    with served(world.home) as (backend, client):
        run_id = client.submit("inbox", {})
        asked: list[str] = []
        cancel = backend.cancel
        backend.cancel = lambda run_id: asked.append(run_id) or cancel(run_id)  # type: ignore[method-assign,func-returns-value]
        assert world.run("runs", "cancel", run_id[-8:]).returncode == 0
        assert asked == [run_id]
        assert world.run("runs", "retry", run_id).returncode == 0
        assert backend.store.run(run_id).status is RunStatus.QUEUED


def test_export_gives_whole_runs_a_line_each_oldest_first(world: World) -> None:
    ids = seeded(world)
    lines = world.call("runs", "export").stdout.splitlines()
    assert [json.loads(line)["id"] for line in lines] == list(ids.values())
    assert world.call("runs", "export", "--status", "running").stdout == ""


def test_watch_follows_one_run_to_its_end(world: World) -> None:
    with served(world.home) as (backend, client):
        run_id = client.submit("inbox", {"name": "a.txt", "change": "created"}, trigger="file")
        process = world.started("runs", "watch", run_id[-8:])
        assert process.stdout
        assert process.stdout.readline().startswith("agent")
        backend.work(run_id, 3)
        backend.end(run_id, Outcome(RunStatus.OK, output="Filed the bill."))
        shown, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "moved to /c/b.txt" in shown
    assert shown.count("Filed the bill.") == 1


def test_watch_tells_of_every_end_until_ctrl_c(world: World) -> None:
    with served(world.home) as (backend, client):
        process = world.started("runs", "watch", "--json")
        assert process.stderr
        assert process.stderr.readline().startswith("waiting")
        time.sleep(0.5)
        run_id = client.submit("inbox", {})
        backend.work(run_id, 1)
        backend.end(run_id, Outcome(RunStatus.OK, output="Done."))
        assert process.stdout
        told = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert (told["id"], told["output"], len(told["steps"])) == (run_id, "Done.", 1)
    assert process.returncode == 130
