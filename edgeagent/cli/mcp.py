"""`edgeagent mcp`: the servers of config.toml, what they offer, and whether they are trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edgeagent.cli.app import App, pass_app
from edgeagent.cli.command import AGENT, Group, json_option
from edgeagent.cli.screen import Column
from edgeagent.schema import Json

if TYPE_CHECKING:
    from edgeagent.mcp.listing import Listing
    from edgeagent.mcp.servers import Reach, Server


@click.group(cls=Group)
def mcp() -> None:
    """MCP servers: what they offer, and whether they are trusted.

    They are declared in config.toml, as [mcp.NAME] command = [...], and run in the sandbox with what an agent grants.
    """


@mcp.command("list")
@json_option
@pass_app
def list_servers(app: App, as_json: bool) -> None:
    """The servers of config.toml. Starts none."""
    servers = app.runtime.mcp
    found = [servers.find(name) for name in servers.names()]
    if as_json:
        app.screen.json([_as_json(one) for one in found])
        return
    columns = [Column("SERVER"), Column("STATE"), Column("TOOLS"), Column("COMMAND", flexible=True)]
    rows = [[one.name, one.state, _count(one), " ".join(one.settings.command)] for one in found]
    app.screen.table(columns, rows, {"ready": "green", "changed": "red", "broken": "red"})
    for one in found:
        if one.reason:
            app.note(f"{one.name}: {one.reason}; try: {one.hint}")
    if not found:
        app.note('no servers; write one into config.toml: [mcp.NAME] command = ["program"]')


@mcp.command()
@click.argument("name", metavar="SERVER")
@json_option
@pass_app
def show(app: App, name: str, as_json: bool) -> None:
    """One server: its command, its own files, and its tools as they were trusted."""
    found = app.runtime.mcp.find(name)
    if as_json:
        app.screen.json(_as_json(found))
        return
    places = found.places
    app.screen.pairs(
        [
            ("name", found.name),
            ("state", f"{found.state}: {found.reason}" if found.reason else found.state),
            ("command", " ".join(found.settings.command)),
            ("own files", "\n".join(map(str, places.own)) if places else ""),
            ("fingerprint", found.fingerprint if found.pin else ""),
            ("trusted", found.pin.trusted_at if found.pin else ""),
        ]
    )
    if found.pin:
        _show_tools(app, found.pin.listing)
    if found.hint:
        app.note(f"try: {found.hint}")


@mcp.command()
@click.argument("name", metavar="SERVER")
@click.option("--agent", type=AGENT, metavar="NAME", help="Start it with what this agent grants.")
@click.option("--yes", is_flag=True, help="Without asking.")
@pass_app
def trust(app: App, name: str, agent: str | None, yes: bool) -> int:
    """Use a server as it is now: its command, its files and its tools.

    Starts it in the sandbox, shows its tools and what of them is new, and asks.
    """
    servers = app.runtime.mcp
    before = servers.find(name)
    now = servers.look(name, _reach(app, before, agent))
    if before.reason:
        app.screen.line(f"{name}: {before.reason}")
    for change in before.pin.listing.changes(now) if before.pin else ():
        app.screen.line(f"{name}: {change}")
    _show_tools(app, now)
    if not yes and not app.confirm(f"trust {name}?"):
        app.note(f"not trusted; try: edgeagent mcp trust {name} --yes")
        return 4
    after = servers.trust(name, now)
    app.screen.line(f"{name}: {after.state}, pinned to {after.fingerprint}")
    return 0


def _reach(app: App, server: Server, agent: str | None) -> Reach:
    """What the agent grants; where none is named, what the first one does that has the server."""
    from edgeagent.mcp.servers import Reach
    from edgeagent.mcp.tools import reach_for

    if agent is not None:
        return reach_for(server, app.runtime.agent(agent), app.home.user)
    for one in app.runtime.load_agents().agents.values():
        if server.name in one.mcp or any(tool.startswith(f"{server.name}/") for tool in one.tools):
            return reach_for(server, one, app.home.user)
    return Reach("")


def _show_tools(app: App, listing: Listing) -> None:
    columns = [Column("TOOL"), Column("SAYS"), Column("ABOUT", flexible=True)]
    rows = []
    for tool in listing.tools.values():
        says = "reads" if tool.read_only else "replaces" if tool.destructive else "adds"
        rows.append([tool.name, says, tool.description.replace("\n", " ")])
    app.screen.table(columns, rows)
    for problem in listing.problems:
        app.note(f"warning: {problem}")


def _count(one: Server) -> str:
    return str(len(one.pin.listing.tools)) if one.pin else "-"


def _as_json(one: Server) -> Json:
    listing = one.pin.listing if one.pin else None
    return {
        "name": one.name,
        "state": one.state,
        "reason": one.reason,
        "command": list(one.settings.command),
        "own_files": [str(path) for path in one.places.own] if one.places else [],
        "fingerprint": one.fingerprint if one.pin else None,
        "trusted_at": one.pin.trusted_at if one.pin else None,
        "tools": [tool.spec(one.name).name for tool in listing.tools.values()] if listing else [],
        "left_out": list(listing.problems) if listing else [],
    }
