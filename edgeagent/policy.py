"""One pure function: what an agent's file allows of one planned tool call.

Owns the order deny > ask > allow. Does not touch the file system: paths come here resolved, symlinks and all, and the
tools make sure at the moment of use that they still mean the same place.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from edgeagent.agents import Agent
from edgeagent.schema import Decision, ToolSpec

_ASKS_NOBODY = frozenset({"remember", "notify"})
"""What `on-write` lets pass though it is no reading: the agent's own notes, a word to the person who would be asked."""

_ASKS_UNLESS_NAMED = frozenset({"run_skill_script"})
"""Programs that nobody described, with all that the agent is granted."""


@dataclass(frozen=True, slots=True)
class AgentPolicy:
    """The part of an agent's file that policy needs. Roots are resolved; a write root can be read too.

    `network` holds `host:port` in lower case, `secrets` the names that each tool may use, `named` the tools that the
    file lists one by one.
    """

    read_roots: tuple[Path, ...] = ()
    write_roots: tuple[Path, ...] = ()
    approval: Literal["never", "on-write", "always"] = "on-write"
    approve: frozenset[str] = frozenset()
    network: frozenset[str] = frozenset()
    secrets: Mapping[str, frozenset[str]] = field(default_factory=dict)
    named: frozenset[str] = frozenset()


def policy_of(agent: Agent, home_dir: Path) -> AgentPolicy:
    """What the file of an agent grants, with its paths as they resolve now."""
    grants = agent.grants
    return AgentPolicy(
        read_roots=agent.read_roots(home_dir),
        write_roots=agent.write_roots(home_dir),
        approval=agent.approval,
        approve=frozenset(agent.approve),
        network=frozenset(host.lower() for host in grants.network),
        secrets={tool: frozenset(names) for tool, names in grants.secrets.items()},
        named=frozenset(agent.tools),
    )


def decide(
    spec: ToolSpec,
    reads: Sequence[Path],
    writes: Sequence[Path],
    policy: AgentPolicy,
    hosts: Sequence[str] = (),
    secrets: Sequence[str] = (),
) -> Decision:
    """Allow, ask or deny a call of `spec` that would read `reads`, write `writes` (all resolved), reach `hosts` and use
    `secrets`."""
    for path in writes:
        if not is_within(path, policy.write_roots):
            return Decision("deny", f"may not write {_shown(path)}")
    for path in reads:
        if not is_within(path, (*policy.read_roots, *policy.write_roots)):
            return Decision("deny", f"may not read {_shown(path)}")
    for host in hosts:
        if host not in policy.network:
            return Decision("deny", f"may not reach {host}")
    for name in secrets:
        if name not in bound_secrets(policy.secrets, spec.name):
            return Decision("deny", f"may not use the secret {name}")
    if spec.name in policy.approve or (spec.name in _ASKS_UNLESS_NAMED and spec.name not in policy.named):
        return Decision("ask", f"{spec.name} always asks")
    if policy.approval == "always":
        return Decision("ask", "every call asks")
    asks_nobody = spec.name in _ASKS_NOBODY and not spec.origin  # a skill may call its tool what it likes
    if policy.approval == "on-write" and acts(spec, writes, hosts) and not asks_nobody:
        return Decision("ask", f"{spec.name} changes something")
    return Decision("allow", "within the grants")


def bound_secrets(secrets: Mapping[str, Collection[str]], tool: str) -> frozenset[str]:
    """The names of the secrets that a tool may use: those bound to it, and to the MCP server that it is of."""
    server, is_of_server, _ = tool.partition("/")
    return frozenset((*secrets.get(tool, ()), *(secrets.get(server, ()) if is_of_server else ())))


def is_within(path: Path, roots: Iterable[Path]) -> bool:
    """Whether a resolved path is one of the resolved roots or below one."""
    return any(path.is_relative_to(root) for root in roots)


def acts(spec: ToolSpec, writes: Sequence[Path], hosts: Sequence[str]) -> bool:
    """Whether a call may change something: by the grants that it uses. What a skill or a server says of its own tools
    does not count."""
    if spec.origin:
        return bool(writes or hosts)
    return bool(writes) or not spec.read_only


def _shown(path: Path) -> str:
    """The path on one line whatever bytes are in it; the same escapes as in tool results."""
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in str(path))
