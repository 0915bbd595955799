"""The kinds of command, and the options that more than one has. Knows no command by name."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from edgeagent.cli.app import App
from edgeagent.units import parse_duration

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
_NAME = re.compile(r"[a-z0-9-]{1,64}", re.ASCII)


def _set_flag(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and parameter.name:
        setattr(context.ensure_object(App), parameter.name, True)


COMMON = (
    click.Option(
        ["-q", "--quiet"], is_flag=True, expose_value=False, callback=_set_flag, help="Only what was asked for."
    ),
    click.Option(
        ["-v", "--verbose"], is_flag=True, expose_value=False, callback=_set_flag, help="More; with errors a traceback."
    ),
)
"""Options that are taken before and after the name of a command."""


class Command(click.Command):
    """A command that takes -q and -v too."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        own = super().get_params(ctx)
        return [*own[:-1], *COMMON, *own[-1:]]  # --help stays last


class Group(click.Group):
    """A noun: its commands take -q and -v, and without one of them it shows what there is."""

    command_class = Command

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **{"no_args_is_help": True} | settings)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # in the order of the file, which is the order of use


class AgentName(click.ParamType[str]):
    """The name of an agent, or a path to its file."""

    name = "agent"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        if "/" in incomplete or incomplete.startswith("."):
            return [CompletionItem(incomplete, type="file")]
        folder = ctx.ensure_object(App).home.agents
        names = sorted(path.stem for path in folder.glob("*.md")) if folder.is_dir() else []
        # A shell puts what it is given into the command line: nothing but what can be the name of an agent.
        return [CompletionItem(name) for name in names if name.startswith(incomplete) and _NAME.fullmatch(name)]


class Since(click.ParamType[datetime]):
    """A moment: a duration ago (2h, 7d) or a date or time (2026-11-24, 2026-11-24T07:00)."""

    name = "when"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            return datetime.now(UTC) - timedelta(seconds=parse_duration(value))
        except (ValueError, OverflowError):
            pass  # no duration; then it is a date
        try:
            return datetime.fromisoformat(value).astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is neither a duration such as 2h or 7d nor a date such as 2026-11-24", param, ctx)


AGENT = AgentName()
SINCE = Since()


def json_option(function: Decorated) -> Decorated:
    return click.option("--json", "as_json", is_flag=True, help="JSON instead of a picture.")(function)
