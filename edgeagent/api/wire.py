"""Runs, steps and errors as JSON, and back. What goes over the socket is what `runs show --json` prints."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from edgeagent.errors import (
    AgentFileError,
    ConfigError,
    DaemonNotRunning,
    Denied,
    EdgeagentError,
    HomeError,
    ModelError,
    NotFound,
    Problem,
    SecretError,
    ToolError,
    Unauthorized,
    UsageError,
)
from edgeagent.schema import Json, Run, RunStatus, Step, ToolCall, Usage, parse_time

MAX_BODY = 1_000_000
"""Bytes of a request. An event is small; a file is named by its path."""

_ERRORS: dict[str, type[EdgeagentError]] = {
    kind.code: kind
    for kind in (
        *(UsageError, ConfigError, DaemonNotRunning, Denied, Unauthorized, NotFound),
        *(HomeError, SecretError, ModelError, ToolError),
    )
}


def step_to_json(step: Step) -> Json:
    return asdict(step)


def step_from_json(data: Json) -> Step:
    return Step(**{**data, "calls": tuple(ToolCall(**call) for call in data["calls"])})


def run_from_json(data: Json) -> Run:
    """The inverse of `Run.as_json`."""
    given: dict[str, Any] = {name: data[name] for name in Run.__dataclass_fields__}
    for name in ("created_at", "started_at", "ended_at"):
        given[name] = parse_time(given[name]) if given[name] else None
    given["status"] = RunStatus(given["status"])
    given["usage"] = Usage(**given["usage"])
    given["steps"] = tuple(step_from_json(step) for step in given["steps"])
    return Run(**given)


def error_to_json(error: EdgeagentError) -> Json:
    """`{"error": {"code", "message", "hint"}}`, with `problems` where an agent file is wrong."""
    told: Json = {"code": error.code, "message": error.message, "hint": error.hint}
    if isinstance(error, AgentFileError):
        told["problems"] = [asdict(problem) for problem in error.problems]
    return {"error": told}


def error_from_json(data: Json) -> EdgeagentError:
    """The exception that the daemon meant. A code of a newer daemon becomes the base of the tree."""
    told = data["error"]
    if told["code"] == AgentFileError.code:
        return AgentFileError([Problem(**problem) for problem in told["problems"]])
    return _ERRORS.get(told["code"], EdgeagentError)(told["message"], told.get("hint", ""))
