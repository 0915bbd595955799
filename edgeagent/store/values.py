"""How Python values become columns and come back: JSON, text, times, paths, and whole rows.

Owns no SQL beyond column names.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

from edgeagent.schema import Event, Json, Run, RunStatus, Step, ToolCall, Usage, parse_time

_WHAT_LENGTH = 80


@dataclass(frozen=True, slots=True)
class UnfinishedStep:
    """A step that was started and has no end: it runs now, or the process died in it."""

    n: int
    name: str
    arguments: Json
    plan: Json | None


@dataclass(frozen=True, slots=True)
class FileState:
    """What a file trigger knew of one file when it last looked. `appearance` counts within the trigger."""

    size: int
    mtime_ns: int
    inode: int
    sha256: str
    appearance: int


def to_json(value: Any) -> str:
    """JSON that SQLite's own functions accept, and readable where it can be: ü stays ü, a lone surrogate is escaped."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        return to_json(_without_nan(value))
    return text


def to_json_or_null(value: Any) -> str | None:
    return None if value is None else to_json(value)


def from_json(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def to_text(text: str) -> str:
    r"""Text that SQLite can hold: what is not valid Unicode (a file name in Latin-1) becomes \udc.. escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def to_key(key: str) -> str:
    """As `to_text`, but two keys that differ stay different: a name may hold the very text of another's escape."""
    text = to_text(key)
    return text if text == key else f"{text}#{sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def to_path(path: str) -> str | bytes:
    """Text where the path is valid UTF-8, so that people can read it; the bytes themselves where it is not."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return path.encode("utf-8", "surrogateescape")
    return path


def from_path(stored: str | bytes) -> str:
    return stored.decode("utf-8", "surrogateescape") if isinstance(stored, bytes) else stored


def describe(event: Event) -> str:
    """The event in a few words for a list: `created bill.txt`, or `due 11-24 07:00` in local time."""
    data = event.data
    if event.trigger == "file":
        words = f"{data.get('change', '')} {data.get('name') or data.get('path', '')}".strip()
    elif event.trigger == "agent":
        words = f"{data.get('agent', '')} {data.get('status', '')}".strip()
    elif event.trigger == "sqlite":
        words = f"{data.get('change', '')} {data.get('table', '')}".strip()
    elif "scheduled_at" in data:
        words = f"due {_local(str(data['scheduled_at']))}"
    else:
        names = ("topic", "name", "path", "run_id", "boot_id", "method")
        words = next((str(data[name]) for name in names if data.get(name)), "")
    words = " ".join(to_text(words or event.trigger).split())
    words = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in words)
    return words if len(words) <= _WHAT_LENGTH else words[: _WHAT_LENGTH - 1] + "…"


def _local(moment: str) -> str:
    try:
        return parse_time(moment).astimezone().strftime("%m-%d %H:%M")
    except ValueError:  # an event made by hand may say anything
        return moment


def to_run(row: sqlite3.Row, steps: tuple[Step, ...] = ()) -> Run:
    return Run(
        id=row["id"],
        agent=row["agent"],
        trigger=row["trigger"],
        trigger_id=row["trigger_id"],
        event=from_json(row["event"]),
        status=RunStatus(row["status"]),
        reason=row["reason"],
        output=from_json(row["output"]),
        error=row["error"],
        model=row["model"],
        attempt=row["attempt"],
        created_at=parse_time(row["created_at"]),
        started_at=to_time(row["started_at"]),
        ended_at=to_time(row["ended_at"]),
        usage=_to_usage(row),
        steps=steps,
    )


def to_time(text: str | None) -> datetime | None:
    return None if text is None else parse_time(text)


def step_columns(step: Step) -> dict[str, Any]:
    columns = asdict(step)
    columns["arguments"] = to_json(step.arguments)
    columns["calls"] = to_json([asdict(call) for call in step.calls])
    for name in ("name", "result", "error", "reasoning"):
        columns[name] = to_text(columns[name])
    return columns


def to_step(row: sqlite3.Row) -> Step:
    columns = {name: row[name] for name in Step.__dataclass_fields__}
    columns["arguments"] = from_json(row["arguments"])
    columns["calls"] = tuple(ToolCall(**call) for call in from_json(row["calls"]))
    return Step(**columns)


def _to_usage(row: sqlite3.Row) -> Usage:
    return Usage(
        input_tokens=row["input_tokens"] or 0,
        cached_tokens=row["cached_tokens"] or 0,
        disk_tokens=row["disk_tokens"] or 0,
        output_tokens=row["output_tokens"] or 0,
        model_seconds=row["model_seconds"] or 0.0,
        tool_seconds=row["tool_seconds"] or 0.0,
    )


def _without_nan(value: Any) -> Any:
    """A model may write NaN or Infinity, which Python's json reads; JSON has no such thing."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return value
