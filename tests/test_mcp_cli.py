"""What commands know of MCP servers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner, Result
from mcp_world import PYTHON, McpWorld

from edgeagent.cli.app import App
from edgeagent.cli.checks import _check_mcp
from edgeagent.cli.main import cli


class Commands(McpWorld):
    def app(self) -> App:
        variables = {"EDGEAGENT_HOME": str(self.home), "HOME": str(self.root), "PATH": "/usr/bin:/bin"}
        return App(variables | {"COLUMNS": "100", "EDGEAGENT_SECRET_TOKEN": "hush-hush-value"})

    def call(self, *arguments: str) -> Result:
        return CliRunner().invoke(cli, list(arguments), prog_name="edgeagent", obj=self.app())

    def json(self, *arguments: str) -> Any:
        return json.loads(self.call(*arguments, "--json").stdout)


@pytest.fixture
def world(tmp_path: Path) -> Commands:
    made = Commands(tmp_path)
    made.server("good")
    made.agent()
    return made


def states(world: Commands) -> dict[str, str]:
    return {server["name"]: server["state"] for server in world.json("mcp", "list")}


def test_a_server_is_new_then_ready_then_changed_and_trusted_again(world: Commands) -> None:
    assert states(world) == {"plain": "new"}
    assert world.call("agents", "validate", "tester").exit_code == 0, "it starts the server to see its tools"
    assert states(world) == {"plain": "ready"}
    world.program.write_text(world.program.read_text().replace("Says the text again.", "Says it."))
    assert states(world) == {"plain": "changed"}
    bad = world.call("agents", "validate", "tester")
    assert bad.exit_code == 2
    assert "tester.md:3: MCP server plain is not used: its files have changed since it was trusted" in bad.stdout
    asked = world.call("mcp", "trust", "plain")
    assert asked.exit_code == 4 and "plain: tool echo is described otherwise" in asked.stdout
    assert states(world) == {"plain": "changed"}, "nobody said yes"
    trusted = world.call("mcp", "trust", "plain", "--yes")
    assert trusted.exit_code == 0 and "plain: ready, pinned to sha256:" in trusted.stdout
    assert states(world) == {"plain": "ready"}


def test_a_server_is_shown_with_its_tools_and_what_was_left_out(world: Commands) -> None:
    world.server("names")
    world.call("mcp", "trust", "plain", "--yes")
    shown = world.call("mcp", "show", "plain")
    assert "own files    " + str(world.folder) in shown.stdout and "echo" in shown.stdout
    assert "warning: twin is left out: 2 tools have that name" in shown.stderr
    told = world.json("mcp", "show", "plain")
    assert told["tools"] == ["plain/echo"] and len(told["left_out"]) > 4
    assert "\u202e" not in shown.output and "\a" not in shown.output


def test_a_server_that_is_not_there_is_not_found(world: Commands) -> None:
    done = world.call("mcp", "show", "plane")
    assert done.exit_code == 5
    assert 'no MCP server named plane; did you mean "plain"' in done.stderr


def test_the_list_of_tools_knows_servers(world: Commands) -> None:
    assert not [tool for tool in world.json("tools", "list") if "/" in tool["name"]], "none was started yet"
    (echo, *_) = world.json("tools", "list", "--agent", "tester")
    assert echo["name"] == "plain/echo" and echo["origin"] == "mcp plain"
    assert echo["annotations"] == {"read_only": False, "destructive": True, "idempotent": False}
    assert "plain/echo" in [tool["name"] for tool in world.json("tools", "list")]


def test_explain_shows_what_a_server_can_reach(world: Commands) -> None:
    world.server("good", more=f"write = []\nread = ['{world.shared}']\nsecrets = ['TOKEN']")
    world.agent("mcp: [plain]", grants=f"{{write: ['{world.shared}'], secrets: {{plain: [TOKEN, OTHER]}}}}")
    told = next(tool for tool in world.json("agents", "explain", "tester")["tools"] if tool["name"] == "plain/echo")
    assert told["origin"] == "mcp plain" and told["asks"] == "never"
    assert told["paths"] == {"read": [str(world.shared)], "write": []} and told["secrets"] == ["TOKEN"]


def test_explain_says_that_a_server_which_may_write_asks(world: Commands) -> None:
    world.agent(approval="on-write")
    asks = {tool["name"]: tool["asks"] for tool in world.json("agents", "explain", "tester")["tools"]}
    assert asks["plain/echo"] == "always"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ("mcp: [plian]", 'tester.md:3: unknown MCP server "plian"; did you mean "plain"'),
        ("tools: [other/echo]", 'tester.md:3: unknown MCP server "other"; config.toml has no [mcp.other]'),
        ("tools: [plain/ehco]", 'tester.md:3: MCP server plain has no tool ehco; did you mean "echo"'),
    ],
)
def test_validate_finds_names_that_lead_nowhere(world: Commands, settings: str, told: str) -> None:
    world.agent(settings)
    done = world.call("agents", "validate", "tester")
    assert done.exit_code == 2 and told in done.stdout


def test_without_the_sdk_there_is_a_word_on_what_to_install(world: Commands) -> None:
    missing = world.root / "missing" / "mcp_types"
    missing.mkdir(parents=True)
    (missing / "__init__.py").write_text("raise ImportError")
    variables = dict(world.app().environ) | {"PYTHONPATH": os.pathsep.join([str(missing.parent), *sys.path])}
    command = [sys.executable, "-m", "edgeagent.cli", "mcp", "trust", "plain", "--yes"]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, cwd=world.root)
    assert done.returncode == 1
    assert done.stderr == "error: MCP servers need the package mcp\ntry: pip install 'edgeagent[mcp]'\n"


def test_doctor_tells_of_each_server(world: Commands) -> None:
    world.declare("gone", ["no-such-program"])
    world.declare("changed", [PYTHON, str(world.program), "good"])
    world.call("mcp", "trust", "changed", "--yes")
    world.program.write_text(world.program.read_text() + "#\n")
    world.call("mcp", "trust", "plain", "--yes")
    found = {finding.text.split(":")[0]: finding for finding in _check_mcp(world.app())}
    told = {name: finding.state for name, finding in found.items()}
    assert told == {"changed": "warn", "gone": "fail", "plain": "ok"}
    assert found["plain"].text == "plain: 6 tools"
    assert found["changed"].hint == "edgeagent mcp trust changed"


def test_a_run_in_the_foreground_leaves_no_server_behind(world: Commands) -> None:
    script = world.root / "echo.script.json"
    script.write_text(json.dumps([{"name": "plain/echo", "arguments": {"text": "hi"}}, "Said it."]))
    world.agent(f"mcp: [plain]\nmodel: {script}")
    done = world.json("run", "tester")
    assert done["status"] == "ok" and done["steps"][1]["result"] == "hi"
    assert not [one for one in psutil.process_iter(["cmdline"]) if str(world.program) in (one.info["cmdline"] or [])]
