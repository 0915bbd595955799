"""Agents that could be talked into giving files away: who reads private files, takes what outsiders wrote, and reaches
the network, all at once (the "lethal trifecta"). Such an agent must let a person see every call, or say that it knows.

Reads files: something is granted to read or write, and a tool gives the model what is in it (`read_file`,
`query_database`, any skill, any MCP server). Takes outside input: a trigger whose event holds what others wrote
(`webhook`, `mqtt`, `sqlite`, `file`, and `agent`, which hands on what another agent says), or answers from the network.
Reaches the network: a host is granted, and a tool can use it (`http_request`, any skill, any MCP server).

A file that is read on purpose does not count as outside input, else reading would always be both; nor does the preview
of a file event count as reading, since it holds nothing but what came in.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgeagent.agents.agent import Frontmatter

_READERS = ("read_file", "query_database")
_SENDERS = ("http_request",)
_OUTSIDE = ("webhook", "mqtt", "sqlite", "file", "agent")


@dataclass(frozen=True, slots=True)
class Risk:
    """What makes up each of the three; together they are the risk."""

    reads: tuple[str, ...]
    outside: tuple[str, ...]
    network: tuple[str, ...]

    @property
    def is_there(self) -> bool:
        return bool(self.reads and self.outside and self.network)

    def __str__(self) -> str:
        parts = (", ".join(part) for part in (self.reads, self.outside, self.network))
        return "reads files ({}), takes input from outside ({}) and reaches the network ({})".format(*parts)


def risk_of(agent: Frontmatter) -> Risk:
    others = (*(f"skill {name}" for name in agent.skills), *(f"mcp {name}" for name in agent.mcp))
    others += tuple(tool for tool in agent.tools if "/" in tool)  # one tool of a server
    grants = agent.grants
    reads = (*(tool for tool in _READERS if tool in agent.tools), *others) if grants.read or grants.write else ()
    network = (*(tool for tool in _SENDERS if tool in agent.tools), *others) if grants.network else ()
    kinds = dict.fromkeys(trigger.trigger for trigger in agent.triggers if trigger.trigger in _OUTSIDE)
    return Risk(reads, (*kinds, *network), network)


def objection(agent: Frontmatter) -> str | None:
    """What is wrong with taking the risk; None where it is not there, every call asks, or the file accepts it."""
    risk = risk_of(agent)
    if not risk.is_there or agent.approval == "always" or agent.accept_risk:
        return None
    return (
        f"this agent {risk} at once, so a text could talk it into sending files away; "
        "take one of the three away, or say approval: always, or accept_risk: true"
    )
