"""`edgeagent agents explain`: what an agent may really do, with everything resolved as it is now.

Asks the policy itself, with calls that stand for all that a tool can do. Decides nothing and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgeagent.agents.risk import risk_of
from edgeagent.cli.screen import Column, Screen
from edgeagent.errors import EdgeagentError
from edgeagent.mcp.tools import McpTool
from edgeagent.policy import AgentPolicy, bound_secrets, decide, policy_of
from edgeagent.schema import Json, ToolSpec
from edgeagent.tools.base import Tool, Varying
from edgeagent.tools.skill import SkillCall
from edgeagent.tools.skill_script import RunSkillScript

if TYPE_CHECKING:
    from edgeagent.agents import Agent
    from edgeagent.runtime import Runtime

_MAKERS = frozenset("write_file append_file create_directory".split())
_WRITERS = _MAKERS | {"move_file", "delete_file"}
ALWAYS, ON_CHANGE, NEVER = "always", "on change", "never"


def explained(runtime: Runtime, agent: Agent) -> Json:
    """The effective grant as JSON. NotFound, SkillError, McpError where a skill or server cannot be used."""
    policy = policy_of(agent, runtime.home.user)
    risk = risk_of(agent)
    return {
        "agent": agent.name,
        "file": str(agent.path),
        "model": _model(runtime, agent),
        "approval": agent.approval,
        "paths": {"read": _shown(policy.read_roots), "write": _shown(policy.write_roots)},
        "hosts": sorted(policy.network),
        "secrets": {tool: sorted(names) for tool, names in policy.secrets.items()},
        "tools": [_tool(tool, policy, runtime.home.user) for tool in runtime.toolbox_of(agent).tools()],
        "risk": {
            "reads": list(risk.reads),
            "outside": list(risk.outside),
            "network": list(risk.network),
            "is_there": risk.is_there,
            "accepted": agent.accept_risk,
        },
    }


def _model(runtime: Runtime, agent: Agent) -> Json:
    """Which model, and where it is: empty `endpoint` for here. One behind an endpoint reads all that the agent does."""
    try:
        entry = runtime.models.entry(agent)
    except EdgeagentError:
        return {"name": agent.model_words or runtime.config.model.default, "endpoint": ""}
    return {"name": entry.name, "endpoint": entry.source if entry.origin == "endpoint" else ""}


def show(screen: Screen, told: Json) -> None:
    """The same for people."""
    risk = told["risk"]
    parts = "reads files, takes input from outside, reaches the network: all three"
    screen.pairs(
        [
            ("agent", told["agent"]),
            ("model", told["model"]["name"]),
            ("told to", told["model"]["endpoint"] and f"{told['model']['endpoint']}: all that it reads and does"),
            ("may read", "\n".join(told["paths"]["read"]) or "nothing"),
            ("may write", "\n".join(told["paths"]["write"]) or "nothing"),
            ("may reach", "\n".join(told["hosts"]) or "nothing"),
            ("secrets", "\n".join(f"{tool}: {', '.join(names)}" for tool, names in told["secrets"].items()) or "none"),
            ("approval", told["approval"]),
            ("risk", f"{parts}{', accepted' if risk['accepted'] else ''}" if risk["is_there"] else ""),
        ]
    )
    screen.line()
    if not told["tools"]:
        screen.line("no tools")
        return
    columns = [Column("TOOL"), Column("ASKS"), Column("READS", flexible=True), Column("WRITES", flexible=True)]
    columns += [Column("REACHES", flexible=True), Column("SECRETS", flexible=True)]
    screen.table(columns, [_row(tool) for tool in told["tools"]], {ALWAYS: "yellow", ON_CHANGE: "yellow"})


def _row(tool: Json) -> list[str]:
    lists = (tool["paths"]["read"], tool["paths"]["write"], tool["hosts"], tool["secrets"])
    return [tool["name"], tool["asks"], *(", ".join(items) or "-" for items in lists)]


def _tool(tool: Tool, policy: AgentPolicy, home_dir: Path) -> Json:
    reads, writes, hosts = _reach(tool, policy, home_dir)
    spec = tool.spec_of({}) if isinstance(tool, RunSkillScript) else tool.spec
    return {
        "name": spec.name,
        "origin": spec.origin or "built in",
        "asks": _asks(list(_calls(tool, spec, writes, hosts)), policy),
        "paths": {"read": reads, "write": writes},
        "hosts": hosts,
        "secrets": sorted(_secrets(tool, policy)),
    }


def _asks(calls: list[tuple[ToolSpec, tuple[Path, ...], tuple[str, ...]]], policy: AgentPolicy) -> str:
    verdicts = {decide(spec, (), writes, policy, hosts).verdict for spec, writes, hosts in calls} - {"deny"}
    if len(verdicts) == 2:
        return ON_CHANGE
    return ALWAYS if verdicts == {"ask"} else NEVER


def _calls(
    tool: Tool, spec: ToolSpec, writes: list[str], hosts: list[str]
) -> Iterator[tuple[ToolSpec, tuple[Path, ...], tuple[str, ...]]]:
    """Calls that stand for all of a tool's: with the most that it reaches, and for `http_request` a mere look."""
    granted = tuple(Path(path) for path in writes if path.startswith("/"))
    if isinstance(tool, Varying) and not spec.origin:
        yield replace(spec, read_only=True), granted, tuple(hosts)
        yield replace(spec, read_only=False), granted, tuple(hosts)
    else:
        yield spec, granted, tuple(hosts)


def _reach(tool: Tool, policy: AgentPolicy, home_dir: Path) -> tuple[list[str], list[str], list[str]]:
    """What a tool can touch: its need, cut to the grant. Paths that come as arguments are any of the granted ones."""
    reads, writes = _shown((*policy.read_roots, *policy.write_roots)), _shown(policy.write_roots)
    if isinstance(tool, SkillCall):
        needs = tool.tool.needs
        hosts = [host for host in needs.network if host.lower() in policy.network]
        return (reads if needs.read or needs.write else []), (writes if needs.write else []), hosts
    if isinstance(tool, McpTool):
        reach = tool.reach(policy.read_roots, policy.write_roots, policy.network, home_dir)
        return _shown((*reach.reads, *reach.writes)), _shown(reach.writes), list(reach.hosts)
    if isinstance(tool, RunSkillScript):
        return reads, writes, sorted(policy.network)
    name = tool.spec.name
    if name in ("http_request", "notify", "remember", "recall", "load_skill"):
        return [], [], sorted(policy.network) if name == "http_request" else []
    return [] if name in _MAKERS else reads, writes if name in _WRITERS else [], []


def _secrets(tool: Tool, policy: AgentPolicy) -> frozenset[str]:
    granted = bound_secrets(policy.secrets, tool.spec.name)
    if isinstance(tool, McpTool):
        return granted & frozenset(tool.servers.find(tool.server).settings.secrets)
    if isinstance(tool, RunSkillScript):
        return granted & {name for skill in tool.skills.values() for name in skill.requirements.env}
    return granted & frozenset(tool.tool.needs.secrets) if isinstance(tool, SkillCall) else granted


def _shown(roots: tuple[Path, ...]) -> list[str]:
    return list(dict.fromkeys(map(str, roots)))
