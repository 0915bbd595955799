"""MCP servers under a real daemon: started on first use, gone with it."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import psutil
from daemon_world import Place, wait_for
from mcp_world import PYTHON, SERVER

from edgeagent.schema import Json

ECHO: Json = {"name": "plain/echo", "arguments": {"text": "{{ event.name }}"}}


def place_with_server(root: Path, manner: str = "good") -> Place:
    place = Place(root)
    folder = root / "server"
    folder.mkdir()
    program = folder / "server.py"
    program.write_text(SERVER.read_text())
    place.config(f"[mcp.plain]\ncommand = {json.dumps([PYTHON, str(program), manner])}\n")
    place.agent(settings="mcp: [plain]", script=[ECHO, "Said it."])
    return place


def test_an_approval_holds_for_the_server_as_it_was_shown(tmp_path: Path) -> None:
    place = place_with_server(tmp_path)
    text = (place.home / "agents" / "inbox.md").read_text()
    (place.home / "agents" / "inbox.md").write_text(text.replace("approval: never", "approval: on-write"))
    with place.daemon():
        place.drop("a.txt", "b.txt")
        wait_for(lambda: [run.status for run in place.runs()] == ["waiting", "waiting"])
    first, second = place.json("approvals", "list")
    assert first["origin"] == "mcp plain" and first["fingerprint"].startswith("sha256:")
    place.call("approvals", "approve", first["id"])
    with place.daemon():
        wait_for(lambda: place.run(first["run_id"]).status == "ok")
    with (tmp_path / "server" / "server.py").open("a") as program:
        program.write("# another\n")
    place.call("approvals", "approve", second["id"])
    with place.daemon():
        wait_for(lambda: place.run(second["run_id"]).error)
    assert "its files have changed since it was trusted" in str(place.run(second["run_id"]).error)
    assert place.run(second["run_id"]).status != "ok"


def servers_of(root: Path) -> list[int]:
    """Processes that run the server of this place."""
    own = str(root / "server" / "server.py")
    lines = {one.pid: one.info["cmdline"] or [] for one in psutil.process_iter(["cmdline"])}
    return [pid for pid, line in lines.items() if line[:2] == [PYTHON, own]]


def test_a_file_makes_an_agent_call_a_server_in_the_sandbox(tmp_path: Path) -> None:
    place = place_with_server(tmp_path)
    with place.daemon() as daemon:
        place.drop("a.txt", "b.txt")
        wait_for(lambda: len(place.ended()) == 2)
        runs = [place.run(run.id) for run in place.ended()]
        assert [run.status for run in runs] == ["ok", "ok"], [run.error for run in runs]
        assert sorted(run.steps[1].result for run in runs) == ["a.txt", "b.txt"]
        assert len(servers_of(tmp_path)) == 1, "one process serves both"
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(60)
    assert servers_of(tmp_path) == []


def test_no_server_is_left_when_the_daemon_is_killed(tmp_path: Path) -> None:
    place = place_with_server(tmp_path, "leaves")
    with place.daemon() as daemon:
        place.drop("a.txt")
        wait_for(lambda: place.ended())
        assert len(servers_of(tmp_path)) == 2, "it has left a process behind in a session of its own"
        os.kill(daemon.pid, signal.SIGKILL)
        daemon.wait(60)
    wait_for(lambda: servers_of(tmp_path) == [])
