"""`edgeagent tools`: what agents can be allowed to do."""

from __future__ import annotations

import click

from edgeagent.cli.app import App, pass_app
from edgeagent.cli.command import AGENT, Group, json_option
from edgeagent.cli.screen import Column
from edgeagent.schema import ToolSpec


@click.group(cls=Group)
def tools() -> None:
    """What agents can be allowed to do."""


@tools.command("list")
@click.option("--agent", type=AGENT, metavar="NAME", help="Only the tools of this agent.")
@json_option
@pass_app
def list_tools(app: App, agent: str | None, as_json: bool) -> None:
    """The tools that agents can name, with their arguments.

    Those of MCP servers are shown once a server has been started.
    """
    if agent:
        specs = app.runtime.toolbox_of(app.runtime.agent(agent)).specs()
    else:
        specs = (*app.runtime.toolbox.specs(), *app.runtime.mcp.known_specs())
    if as_json:
        app.screen.json([_as_json(spec) for spec in specs])
    elif specs:
        columns = [Column("TOOL"), Column("ARGUMENTS", flexible=True), Column("EFFECT"), Column("ABOUT", flexible=True)]
        app.screen.table(columns, [[spec.name, _arguments(spec), _effect(spec), spec.description] for spec in specs])
    else:
        app.note("no tools")


def _as_json(spec: ToolSpec) -> dict[str, object]:
    annotations = {"read_only": spec.read_only, "destructive": spec.destructive, "idempotent": spec.idempotent}
    return {
        "name": spec.name,
        "description": spec.description,
        "input_schema": spec.parameters,
        "annotations": annotations,
        "origin": spec.origin or "built in",
    }


def _arguments(spec: ToolSpec) -> str:
    """`path, [head], [tail]`"""
    required = spec.parameters.get("required", [])
    names = spec.parameters.get("properties", {})
    return ", ".join(name if name in required else f"[{name}]" for name in names)


def _effect(spec: ToolSpec) -> str:
    if spec.read_only:
        return "reads"
    return "replaces" if spec.destructive else "adds"
