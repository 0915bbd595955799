"""How the real daemon is seen: its log, its numbers, its addresses, and commands that look at runs."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from daemon_world import Place, wait_for
from test_api_guard import free_port

from edgeagent.errors import NotFound
from edgeagent.schema import RunStatus


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def lines(text: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in text.splitlines()]


def test_the_log_is_kept_by_agent_and_time(place: Place) -> None:
    assert place.call("logs") == ""
    place.agent("one", f'triggers: [{{trigger: file, path: "{place.inbox}", settle: 100ms}}]')
    place.agent("two", "triggers: []", script=[{"error": "the model is tired"}])
    with place.daemon():
        place.drop("a.txt")
        wait_for(lambda: place.ended("one"))
        place.call("trigger", "two")
        wait_for(lambda: place.runs("two")[0].error)
        run_id = place.ended("one")[0].id
    told = lines(place.call("logs", "--json"))
    assert told[0]["message"].startswith("ready: 2 agents, process ")
    assert [line["message"] for line in lines(place.call("logs", "--agent", "one", "--json"))] == [
        f"run {run_id} of one ended ok"
    ]
    (failed,) = lines(place.call("logs", "--agent", "two", "--json"))
    assert (failed["level"], failed["agent"]) == ("warning", "two") and "the model is tired" in failed["message"]
    assert f"run {run_id} of one ended ok" in place.call("logs", "--since", "1h")
    assert place.call("logs", "--since", "2100-01-01") == ""


def test_the_log_is_followed_over_a_restart(place: Place) -> None:
    with place.daemon():
        pass
    with place.started("logs", "-f", "--json") as follower:
        assert follower.stdout
        assert "ready" in follower.stdout.readline()
        with place.daemon():
            assert "ready" in follower.stdout.readline()
        follower.send_signal(signal.SIGINT)
        follower.communicate(timeout=30)
    assert follower.returncode == 130


def test_stderr_is_json_where_that_is_asked_for(place: Place) -> None:
    with place.daemon("--log-format", "json"):
        pass
    (ready,) = lines(place.stderr.read_text())
    assert set(ready) == {"time", "level", "message"} and ready["level"] == "info"


def test_the_journal_of_systemd_gets_priorities(place: Place) -> None:
    """As systemd connects it: a stream socket whose device and inode are in JOURNAL_STREAM."""
    (place.home / "agents" / "broken.md").write_text("---\nnmae: x\n---\nGo.\n")
    place.stderr.touch()
    status = place.stderr.stat()
    place.variables["JOURNAL_STREAM"] = f"{status.st_dev}:{status.st_ino}"
    with place.daemon():
        pass
    warning, ready = place.stderr.read_text().splitlines()
    assert warning.startswith("<4>") and "broken.md:2" in warning
    assert ready.startswith("<6>ready: 0 agents")


def test_the_daemon_listens_on_tcp_as_soon_as_the_settings_say_so(place: Place) -> None:
    port = free_port()
    with place.daemon():
        token_file = Path(place.client.status()["api"]["token_file"])
        assert place.client.status()["api"]["listen"] == ""
        place.config(f'[api]\nlisten = "127.0.0.1:{port}"\n')
        wait_for(lambda: place.client.status()["api"]["listen"])
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/metrics", headers={"Authorization": f"Bearer {token_file.read_text().strip()}"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert b"edgeagent_info{version=" in answer.read()
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/health", timeout=30)
        shown = place.call("status").split()
        assert {f"http://127.0.0.1:{port}", str(token_file)} <= set(shown)
        place.config("")
        wait_for(lambda: not place.client.status()["api"]["listen"])
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen(request, timeout=30)


def test_the_numbers_count_runs_steps_and_calls(place: Place) -> None:
    place.agent()
    with place.daemon():
        place.drop("a.txt")
        wait_for(lambda: place.ended())
        text = place.client.metrics()
    assert 'edgeagent_runs_ended_total{agent="inbox",status="ok"} 1\n' in text
    assert 'edgeagent_runs{status="ok"} 1\n' in text
    assert 'edgeagent_tool_calls_total{agent="inbox",tool="move_file",status="ok"} 1\n' in text
    assert 'edgeagent_trigger_up{agent="inbox",trigger="file-1"} 1\n' in text
    assert 'edgeagent_tokens_total{agent="inbox",kind="output"} 2\n' in text


def test_numbers_that_are_switched_off_are_not_there(place: Place) -> None:
    place.config("[telemetry]\nmetrics = false\n")
    with place.daemon(), pytest.raises(NotFound, match="switched off"):
        place.client.metrics()


@pytest.mark.parametrize("with_daemon", [True, False])
def test_an_event_is_replayed_as_a_new_run(place: Place, with_daemon: bool) -> None:
    place.agent(settings="triggers: []")
    place.drop("a.txt")
    first = place.json("run", "inbox", "--file", str(place.inbox / "a.txt"))
    assert first["status"] == "ok"
    (place.done / "a.txt").rename(place.inbox / "a.txt")

    def replayed() -> None:
        again = place.json("runs", "replay", first["id"])
        assert (again["status"], again["event"]) == ("ok", first["event"])
        assert again["id"] != first["id"]

    if with_daemon:
        with place.daemon():
            replayed()
    else:
        replayed()
    assert len(place.runs()) == 2


def test_a_replay_of_an_agent_that_is_gone_is_told(place: Place) -> None:
    path = place.agent(settings="triggers: []", script=["Done."])
    first = place.json("run", "inbox")
    path.unlink()
    place.call("runs", "replay", first["id"], code=5)
    place.call("runs", "replay", "01ZZZZZZ", code=5)


def test_watching_a_run_exits_as_the_run_does(place: Place) -> None:
    place.agent("fails", "triggers: []\nlimits: {attempts: 1}", script=[0.5, {"error": "no"}])
    with place.daemon():
        run_id = place.call("trigger", "fails").strip()
        watched = json.loads(place.call("runs", "watch", run_id, "--json", code=1))
    assert (watched["status"], watched["reason"]) == ("failed", "model_error")


def test_who_waits_for_a_deferred_run_is_told_and_may_leave(place: Place) -> None:
    place.agent(settings="triggers: []\npower: {on: battery}")
    with place.daemon(), place.started("run", "inbox") as process:
        wait_for(lambda: any(run.status is RunStatus.DEFERRED for run in place.runs()))
        assert process.stderr
        told = process.stderr.readline()
        assert told.startswith("deferred: on mains power, and power.on is battery")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert place.runs()[0].status is RunStatus.CANCELLED


def test_a_daemon_that_is_not_running_is_told_by_its_exit_code(place: Place) -> None:
    place.agent(settings="triggers: []")
    assert place.json("status", code=3)["running"] is False
    place.call("trigger", "inbox", code=3)


def test_the_daemon_loads_no_heavy_library_to_start() -> None:
    code = "import sys, edgeagent.daemon; print({'llama_cpp', 'mcp', 'numpy', 'jinja2'} & set(sys.modules))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed == "set()\n"


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the kernel shows no libraries of a process here")
def test_a_daemon_on_a_new_home_holds_no_library_that_it_does_not_need(place: Place) -> None:
    """numpy comes with sqlite-utils, rpds with jsonschema: together they would be a quarter of what a daemon takes."""
    for example in sorted((Path(__file__).parent.parent / "examples").glob("*.md")):
        (place.home / "agents" / example.name).write_bytes(example.read_bytes())
    with place.daemon() as process:
        wait_for(lambda: len(place.client.status()["agents"]) >= 3)
        mapped = Path(f"/proc/{process.pid}/maps").read_text()
    assert "_pydantic_core" in mapped
    assert [name for name in ("numpy", "rpds", "llama", "libggml") if f"/{name}" in mapped] == []


def test_two_agents_with_a_single_run_each_are_worked_at_once(place: Place) -> None:
    place.config("[daemon]\nworkers = 2\n")
    for name in ("one", "two"):
        place.agent(name, "triggers: []", script=[60, "Done."])
    with place.daemon():
        for name in ("one", "two"):
            place.call("trigger", name)
        wait_for(lambda: [run.status for run in place.runs()] == [RunStatus.RUNNING] * 2)


def test_a_newer_event_takes_the_place_of_the_run_that_goes_on(place: Place) -> None:
    place.agent(settings="triggers: []\nconcurrency: {mode: restart}", script={"*old*": [60, "late"], "*": ["Done."]})
    with place.daemon():
        old = place.call("trigger", "inbox", "--input", "name=old").strip()
        wait_for(lambda: place.run(old).status is RunStatus.RUNNING)
        new = place.call("trigger", "inbox", "--input", "name=new").strip()
        wait_for(lambda: place.run(new).status is RunStatus.OK)
    assert place.run(old).status is RunStatus.CANCELLED
    assert place.run(old).error == "a newer event took its place (concurrency: restart)"
