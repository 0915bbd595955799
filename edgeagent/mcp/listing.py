"""What a server says of its tools, made fit to be shown: names checked, texts cleaned, schemas cut to what can be held.

All of it is untrusted text. The result is frozen data that is stored, pinned and turned into specs; nothing of it
decides what is allowed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edgeagent.mcp.schemas import SchemaFault, held
from edgeagent.mcp.texts import visible
from edgeagent.schema import Json, ToolSpec

MOST_TOOLS = 5_000
MOST_BYTES = 4_000_000
"""Of a whole list as JSON."""
MOST_AT_ONCE = 128
"""Tools that an agent can have of one server without naming them."""
_DESCRIPTION = 1_000
_PROBLEMS = 20
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}(?:/[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63})?", re.ASCII)


class ListFault(Exception):
    """A list that is no list of tools, or is too large."""


@dataclass(frozen=True, slots=True)
class ListedTool:
    """One tool as it may be shown. `output_schema` None: none, or one that is not held."""

    name: str
    description: str
    input_schema: Json
    output_schema: Json | None = None
    read_only: bool = False
    destructive: bool = True
    idempotent: bool = False

    def spec(self, server: str) -> ToolSpec:
        return ToolSpec(
            f"{server}/{self.name}",
            self.description,
            self.input_schema,
            read_only=self.read_only,
            destructive=self.destructive and not self.read_only,
            idempotent=self.idempotent,
            origin=f"mcp {server}",
        )

    def as_json(self) -> Json:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, slots=True)
class Listing:
    """The tools of a server by name, and what was left out and why. `raw` is the digest of all that the server said."""

    tools: Mapping[str, ListedTool]
    raw: str
    problems: tuple[str, ...] = ()
    digests: Mapping[str, str] = field(default_factory=dict)
    """Of each tool as the server described it, for telling what has changed."""

    def as_json(self) -> Json:
        return {
            "tools": [tool.as_json() for tool in self.tools.values()],
            "raw": self.raw,
            "problems": list(self.problems),
            "digests": dict(self.digests),
        }

    @classmethod
    def from_json(cls, stored: Json) -> Listing:
        """Raises KeyError and TypeError where it is none."""
        tools = [ListedTool(**tool) for tool in stored["tools"]]
        return cls(
            {tool.name: tool for tool in tools}, stored["raw"], tuple(stored["problems"]), dict(stored["digests"])
        )

    def changes(self, now: Listing) -> list[str]:
        """In words, what is not as it was."""
        told = [f"tool {name} is gone" for name in self.digests.keys() - now.digests.keys()]
        told += [f"tool {name} is new" for name in now.digests.keys() - self.digests.keys()]
        both = self.digests.keys() & now.digests.keys()
        told += [f"tool {name} is described otherwise" for name in both if self.digests[name] != now.digests[name]]
        return sorted(told)


def listing(told: Iterable[Json]) -> Listing:
    """What a server's list comes to. `told` are its tools as JSON, in its order. Raises ListFault."""
    described = list(told)
    text = json.dumps(described, sort_keys=True)
    if len(described) > MOST_TOOLS or len(text) > MOST_BYTES:
        size = f"{len(described)} tools in {len(text) // 1000} KB"
        raise ListFault(f"it lists {size}; at most {MOST_TOOLS} in {MOST_BYTES // 1000} KB are taken")
    names = Counter(str(tool.get("name")) for tool in described)
    tools: dict[str, ListedTool] = {}
    problems: list[str] = []
    digests: dict[str, str] = {}
    for tool in described:
        name = str(tool.get("name"))
        if fault := _name_fault(name, names[name]):
            problems.append(fault)
            continue
        digests[name] = _digest(tool)
        try:
            tools[name] = _tool(name, tool)
        except SchemaFault as error:
            problems.append(f"{name} is left out: {error}")
    told_problems = list(dict.fromkeys(problems))
    if len(told_problems) > _PROBLEMS:
        told_problems[_PROBLEMS:] = [f"and {len(told_problems) - _PROBLEMS} more"]
    # The order of a list says nothing, so that a server which shuffles it has not changed.
    raw = _digest(sorted(described, key=lambda tool: (str(tool.get("name")), json.dumps(tool, sort_keys=True))))
    return Listing(tools, raw, tuple(told_problems), digests)


def _name_fault(name: str, count: int) -> str:
    if not _NAME.fullmatch(name):
        return f"{visible(name, 80)!r} is left out: a tool is named by letters, digits and _ . -"
    if count > 1:
        return f"{name} is left out: {count} tools have that name"
    return ""


def _tool(name: str, told: Json) -> ListedTool:
    annotations = told.get("annotations")
    hints: Json = annotations if isinstance(annotations, dict) else {}
    output = told.get("outputSchema")
    try:
        output_schema = held(output) if isinstance(output, dict) else None
    except SchemaFault:
        output_schema = None
    return ListedTool(
        name=name,
        description=visible(
            str(told.get("description") or hints.get("title") or told.get("title") or ""), _DESCRIPTION
        ),
        input_schema=held(told.get("inputSchema"), arguments=True),
        output_schema=output_schema,
        read_only=hints.get("readOnlyHint") is True,
        destructive=hints.get("destructiveHint") is not False,
        idempotent=hints.get("idempotentHint") is True,
    )


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
