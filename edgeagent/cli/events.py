"""The event that a person gives on the command line: a file, a JSON file, single values, or a schedule's due time."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeagent.cli.command import Decorated
from edgeagent.errors import NotFound, UsageError
from edgeagent.schema import Json, format_time

if TYPE_CHECKING:
    from edgeagent.agents import Agent

_FILE = click.Path(path_type=Path)
_TAKES = '--event takes an object such as {"path": "/a.txt"}'
_SCHEDULES = ("cron", "every", "at")


@dataclass(frozen=True, slots=True)
class Given:
    """What stands on the command line."""

    file: Path | None = None
    event: Path | None = None
    inputs: tuple[str, ...] = ()


def event_options(function: Decorated) -> Decorated:
    """--file, --event and --input, as one argument `given`."""

    @wraps(function)
    def gathered(*args: Any, file: Path | None, event: Path | None, inputs: tuple[str, ...], **others: Any) -> Any:
        return function(*args, given=Given(file, event, inputs), **others)

    decorated: Any = gathered
    for option in (
        click.option("--input", "inputs", multiple=True, metavar="KEY=VALUE", help="One value; JSON, or text."),
        click.option("--event", type=_FILE, metavar="FILE", help="A JSON object as the event; - for stdin."),
        click.option("--file", type=_FILE, metavar="FILE", help="As if this file had just been created."),
    ):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]


def make_event(given: Given, agent: Agent, now: datetime) -> tuple[str, Json]:
    """The kind of trigger that the event stands for, and its data."""
    data: Json = {}
    if given.event is not None:
        data |= read_event(given.event)
    if given.file is not None:
        from edgeagent.triggers.single import file_event, preview_length

        data |= file_event(given.file, preview_length(agent))
    if not data and not given.inputs and agent.triggers and agent.triggers[0].trigger in _SCHEDULES:
        return agent.triggers[0].trigger, _due(agent.triggers[0], now)
    data |= dict(read_input(text) for text in given.inputs)
    return _kind_of(data), data


def _kind_of(data: Json) -> str:
    """An event that reads like that of a trigger is shown to the model as one: that is what agents are tried with."""
    if "path" in data and "change" in data:
        return "file"
    return "cron" if "scheduled_at" in data else "manual"


def _due(trigger: Any, now: datetime) -> Json:
    """The event of a schedule that is due at this moment."""
    from zoneinfo import ZoneInfo

    zone = getattr(trigger, "timezone", None)
    local = now.astimezone(ZoneInfo(zone) if zone else None)
    return {"scheduled_at": format_time(now), "date": local.date().isoformat()}


def read_event(path: Path) -> Json:
    """The JSON object in a file, or on stdin for `-`."""
    try:
        data = json.loads(sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes())
    except FileNotFoundError:
        raise NotFound(f"no file {path}", f"ls '{path.parent}'") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", f"ls -l '{path}'") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not JSON: {error}", _TAKES) from error
    if not isinstance(data, dict):
        raise UsageError(f"{path} is not a JSON object", _TAKES)
    return data


def read_input(text: str) -> tuple[str, Any]:
    """`KEY=VALUE`; the value as JSON where it is JSON, else as text."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(f'"{text}" is not KEY=VALUE', "--input name=value")
    try:
        return key, json.loads(value)
    except (ValueError, RecursionError):
        return key, value
