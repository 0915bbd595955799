"""The data of one event, as its trigger makes it: of a file that somebody names, as if it had just been created, and of
a message that somebody writes."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgeagent.agents import Agent
from edgeagent.errors import NotFound, UsageError
from edgeagent.schema import Json, format_time
from edgeagent.triggers.contents import Unsteady, preview, read_contents
from edgeagent.triggers.listing import look

DEFAULT_PREVIEW = 400
"""Characters, where the agent has no file trigger that says otherwise."""


def preview_length(agent: Agent) -> int:
    lengths = (trigger.preview for trigger in agent.triggers if trigger.trigger == "file")
    return next(lengths, DEFAULT_PREVIEW)


def file_event(path: Path, characters: int) -> Json:
    """The data of a file trigger's event for a file that was just created."""
    full = os.path.realpath(path)
    try:
        seen = look(full)
        if seen is None or seen.oddity:
            raise _no_file(path)
        contents = read_contents(full, seen, lambda: False)
    except Unsteady:
        raise UsageError(f"{path} changes while it is read", "wait until it is written") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", f"ls -l '{path}'") from error
    return {
        "path": full,
        "name": os.path.basename(full),
        "size": seen.size,
        "mtime": _moment(seen.mtime_ns),
        "change": "created",
        "sha256": contents.sha256,
        "preview": preview(contents.head, characters),
    }


def _no_file(path: Path) -> UsageError | NotFound:
    if path.exists():
        return UsageError(f"{path} is not a file", "name a file")
    return NotFound(f"no file {path}", f"ls '{path.parent}'")


def _moment(nanoseconds: int) -> str:
    try:
        return format_time(datetime.fromtimestamp(nanoseconds / 1e9, UTC))
    except (ValueError, OverflowError, OSError):
        return ""  # a time that no calendar has, from a broken archive


def message_data(topic: str, payload: str, retain: bool) -> Json:
    """Of a message on a topic. `json` is there where the payload is a JSON object or list."""
    data: Json = {"topic": topic, "payload": payload, "retain": retain}
    parsed = _parsed(payload)
    return data if parsed is None else data | {"json": parsed}


def _parsed(text: str) -> Any:
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
