"""What commands know of MCP servers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from mcp_world import PYTHON, McpWorld

from edgeagent.cli.app import App
from edgeagent.cli.main import cli


class Commands(McpWorld):
    def app(self) -> App:
        found = {finding.text.split(":")[0]: finding for finding in _check_mcp(world.app())}

    assert {name: finding.state for name, finding in found.items()} == {
        "changed": "warn",
        "gone": "fail",
        "plain": "ok",
    }
    assert found["plain"].text == "plain: 6 tools"
    assert found["changed"].hint == "edgeagent mcp trust changed"


def test_a_run_in_the_foreground_leaves_no_server_behind(world: Commands) -> None:
    import psutil

    script = world.root / "echo.script.json"
    script.write_text(json.dumps([{"name": "plain/echo", "arguments": {"text": "hi"}}, "Said it."]))
    world.agent(f"mcp: [plain]\nmodel: {script}")
    done = world.json("run", "tester")
    assert done["status"] == "ok" and done["steps"][1]["result"] == "hi"
    assert not [one for one in psutil.process_iter(["cmdline"]) if str(world.program) in (one.info["cmdline"] or [])]
