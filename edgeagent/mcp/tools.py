"""Tools of MCP servers as the toolbox takes them: named `SERVER/TOOL`, planned, decided and recorded like any other.

A server may do with a call whatever it was granted, so a plan names all of that: the folders, hosts and secrets that
its process has. What it says of its own tools decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from edgeagent.agents import Agent
from edgeagent.errors import McpError, ToolError
from edgeagent.mcp.listing import MOST_AT_ONCE, ListedTool
from edgeagent.mcp.results import schema_fault, text_of
from edgeagent.mcp.servers import Reach, Server, Servers
from edgeagent.policy import is_within
from edgeagent.schema import Json, ToolSpec
from edgeagent.tools.base import Plan, Tool, ToolContext, cut
from edgeagent.tools.paths import resolve
from edgeagent.words import did_you_mean


def mcp_tools(agent: Agent, servers: Servers, home_dir: Path) -> list[Tool]:
    """The tools that an agent has of servers: all of those that it names, and single ones.

    Starts a server that was never started. NotFound, McpError where one cannot be used.
    """
    found: dict[str, McpTool] = {}
    for name in agent.mcp:
        server = _listed(name, agent, servers, home_dir)
        tools = _tools(server)
        if len(tools) > MOST_AT_ONCE:
            raise McpError(
                f"MCP server {name} has {len(tools)} tools, more than a model can choose from",
                f"name those that are needed, in tools: [{name}/{next(iter(tools))}]",
            )
        for tool in tools.values():
            found.setdefault(f"{name}/{tool.name}", McpTool(agent.name, name, tool, servers))
    for full in agent.tools:
        name, is_of_server, of_server = full.partition("/")
        if not is_of_server or full in found:
            continue
        tools = _tools(_listed(name, agent, servers, home_dir))
        if of_server not in tools:
            near = did_you_mean(of_server, tools)
            raise McpError(f"MCP server {name} has no tool {of_server}{near}", f"edgeagent mcp show {name}")
        found[full] = McpTool(agent.name, name, tools[of_server], servers)
    return list(found.values())


def reach_of(
    server: Server, agent: str, reads: Iterable[Path], writes: Iterable[Path], hosts: Iterable[str], home_dir: Path
) -> Reach:
    """What a server is given of an agent's grants, which are resolved: those that config.toml lets it have."""
    settings = server.settings
    written = _within(writes, settings.write, home_dir)
    wanted = None if settings.read is None else (*settings.read, *(settings.write or ()))
    read = [path for path in _within([*reads, *writes], wanted, home_dir) if not is_within(path, written)]
    wanted_hosts = None if settings.network is None else {host.lower() for host in settings.network}
    reached = sorted(host for host in hosts if wanted_hosts is None or host in wanted_hosts)
    return Reach(agent, tuple(read), tuple(written), tuple(reached))


def _within(granted: Iterable[Path], wanted: tuple[str, ...] | None, home_dir: Path) -> list[Path]:
    """The granted places, cut to those that are wanted and exist."""
    places = list(dict.fromkeys(granted))
    if wanted is not None:
        asked = [resolve(place, home_dir) for place in wanted]
        places = [place for place in places if is_within(place, asked)] + [
            place for place in asked if is_within(place, places)
        ]
    return [place for place in dict.fromkeys(places) if place.exists()]


def reach_for(server: Server, agent: Agent, home_dir: Path) -> Reach:
    """What a server is given of an agent's grants, with the secrets that are bound to it and not to one tool."""
    hosts = [host.lower() for host in agent.grants.network]
    reach = reach_of(server, agent.name, agent.read_roots(home_dir), agent.write_roots(home_dir), hosts, home_dir)
    bound = agent.grants.secrets.get(server.name, ())
    return replace(reach, secrets=tuple(name for name in server.settings.secrets if name in bound))


def _listed(name: str, agent: Agent, servers: Servers, home_dir: Path) -> Server:
    return servers.listed(name, reach_for(servers.find(name), agent, home_dir))


def _tools(server: Server) -> dict[str, ListedTool]:
    return dict(server.pin.listing.tools) if server.pin else {}


@dataclass(frozen=True, slots=True)
class McpTool:
    """One tool of a server, for one agent."""

    agent: str
    server: str
    tool: ListedTool
    servers: Servers

    @property
    def spec(self) -> ToolSpec:
        return self.tool.spec(self.server)

    def plan(self, arguments: Json, context: ToolContext) -> Plan:
        """Checks the arguments; what it may touch is all that its server is given."""
        if fault := schema_fault(arguments, self.tool.input_schema):
            raise ToolError(fault)
        server = self._same()
        reach = self.reach(context.read_roots, context.write_roots, context.network, context.home_dir)
        name = self.spec.name
        return Plan(
            tool=name,
            arguments=arguments,
            reads=reach.reads,
            writes=reach.writes,
            detail={"server": self.server, "fingerprint": server.fingerprint},
            hosts=reach.hosts,
            secrets=tuple(secret for secret in server.settings.secrets if context.may_use(name, secret)),
        )

    def reach(self, reads: Iterable[Path], writes: Iterable[Path], hosts: Iterable[str], home_dir: Path) -> Reach:
        """What its server is given of these grants."""
        return reach_of(self.servers.find(self.server), self.agent, reads, writes, hosts, home_dir)

    def apply(self, plan: Plan, context: ToolContext) -> str:
        server = self._same()
        if server.fingerprint != plan.detail["fingerprint"]:
            raise ToolError(f"MCP server {self.server} has changed since this call was planned")
        reach = Reach(self.agent, plan.reads, plan.writes, plan.hosts, plan.secrets)
        secrets = {name: context.secret(plan.tool, name) for name in plan.secrets}
        result = self.servers.call(server, reach, secrets, self.tool.name, plan.arguments, context.stopped)
        text = context.redact(text_of(result, self.tool.output_schema))
        return cut(text, context.result_limit)

    def _same(self) -> Server:
        """The server, if it still has the tool as the run was told of it."""
        server = self.servers.find(self.server).usable()
        if server.pin is None or server.pin.listing.tools.get(self.tool.name) != self.tool:
            raise ToolError(f"MCP server {self.server} is another one since this run began")
        return server

    def was_applied(self, plan: Plan, context: ToolContext) -> str | None:
        """A program of somebody else's: nobody can tell."""
        return None
