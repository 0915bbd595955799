"""The plain data that moves between the floors: events, runs, steps, messages, tool calls.

Everything here is frozen and knows nothing about SQL, models or files. Times are aware UTC datetimes inside and
RFC 3339 with milliseconds outside; ids are ULIDs; durations are seconds as float; sizes are bytes as int.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Literal

Json = dict[str, Any]
"""A JSON object. Values are what `json.loads` gives."""


class RunStatus(StrEnum):
    """Where a run stands. SPEC section 5."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    DEFERRED = "deferred"
    OK = "ok"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    SKIPPED = "skipped"

    @property
    def is_terminal(self) -> bool:
        return self in _TERMINAL


_TERMINAL = frozenset({RunStatus.OK, RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.INTERRUPTED, RunStatus.SKIPPED})


class Reason(StrEnum):
    """Why a run failed. SPEC section 5."""

    MODEL_ERROR = "model_error"
    TOOL_ERROR = "tool_error"
    LIMIT_STEPS = "limit_steps"
    LIMIT_SECONDS = "limit_seconds"
    LIMIT_TOKENS = "limit_tokens"
    LIMIT_ACTIONS = "limit_actions"
    EXPECTATION = "expectation"
    DENIED = "denied"
    INVALID_OUTPUT = "invalid_output"
    CRASHED = "crashed"


@dataclass(frozen=True, slots=True)
class Event:
    """One occurrence of a trigger, for one agent.

    `key` is unique for that occurrence and agent: a second insert with the same key does nothing.
    `trigger` is the kind (file, cron, ...), `trigger_id` the id within the agent.
    """

    agent: str
    trigger: str
    trigger_id: str
    key: str
    data: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class QueueLimit:
    """How many runs of an agent may go on and wait (`concurrency` of its file).

    `queued` and `single` and `restart` work one run at a time, `parallel` up to `max`. What would be more than `max`
    waiting is skipped; with `single` whatever comes while another run waits or goes on. With `restart` a new run takes
    the place of those.
    """

    mode: Literal["queued", "single", "restart", "parallel"] = "queued"
    max: int = 100

    @property
    def at_once(self) -> int:
        return self.max if self.mode == "parallel" else 1


@dataclass(frozen=True, slots=True)
class Terms:
    """How a caller wants a run to be made. `agent_path` names the agent's file where a person chose the agent."""

    agent_path: str | None = None
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """What the model is told about a tool, and what policy needs to know. `parameters` is a JSON Schema (an object).

    `origin` is empty for what is built in, else says whose tool it is (`skill NAME`, `mcp NAME`): its annotations are
    then its own words, which policy does not take.
    """

    name: str
    description: str
    parameters: Json
    read_only: bool = False
    destructive: bool = False
    idempotent: bool = False
    origin: str = ""

    def as_function(self) -> Json:
        """The OpenAI form, which is what chat templates take."""
        return {
            "type": "function",
            "function": {"name": self.name, "description": self.description, "parameters": self.parameters},
        }


@dataclass(frozen=True, slots=True)
class ToolCall:
    name: str
    arguments: Json


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool gave back. `text` is what the model sees."""

    status: Literal["ok", "error", "denied", "waiting"]
    text: str

    @property
    def is_ok(self) -> bool:
        return self.status == "ok"


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation. `reasoning` and `calls` belong to the assistant, `name` to a tool result."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    reasoning: str = ""
    calls: tuple[ToolCall, ...] = ()
    name: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What policy says of one tool call, with the reason in words."""

    verdict: Literal["allow", "ask", "deny"]
    reason: str


@dataclass(frozen=True, slots=True)
class Step:
    """One model call or tool call of a run, as recorded. `n` counts from 1 within the run."""

    n: int
    kind: Literal["chat", "tool"]
    name: str
    arguments: Json
    result: str
    status: Literal["ok", "error", "denied", "waiting"]
    error: str = ""
    seconds: float = 0.0
    time_to_first_token: float | None = None
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning: str = ""
    calls: tuple[ToolCall, ...] = ()
    disk_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    """What a run spent. `cached_tokens` are input tokens that were not read again; of them, the state of `disk_tokens`
    came from a file and that of the rest was in memory."""

    input_tokens: int = 0
    cached_tokens: int = 0
    disk_tokens: int = 0
    output_tokens: int = 0
    model_seconds: float = 0.0
    tool_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of one agent for one event: the object that `runs show --json` prints (SPEC section 5)."""

    id: str
    agent: str
    trigger: str
    trigger_id: str
    event: Json
    status: RunStatus
    reason: str | None
    output: Any
    error: str | None
    model: str | None
    attempt: int
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    usage: Usage = Usage()
    steps: tuple[Step, ...] = ()

    @property
    def seconds(self) -> float | None:
        if self.started_at is None or self.ended_at is None:
            return None
        return (self.ended_at - self.started_at).total_seconds()

    def as_json(self) -> Json:
        """The object of SPEC section 5."""
        shown = {name: getattr(self, name) for name in self.__dataclass_fields__}
        for name in ("created_at", "started_at", "ended_at"):
            shown[name] = format_time(shown[name]) if shown[name] else None
        shown["status"] = self.status.value
        shown["seconds"] = self.seconds
        shown["usage"] = asdict(self.usage)
        shown["steps"] = [asdict(step) for step in self.steps]
        return shown


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended, as the loop sees it. `output` is text, or JSON where the agent asks for it.

    `reason` is a `Reason` where the run failed, else words.
    """

    status: RunStatus
    reason: str | None = None
    output: Any = None
    error: str | None = None


def format_time(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds: 2026-11-24T07:00:00.000Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_time(text: str) -> datetime:
    """The inverse of `format_time`; also takes any ISO 8601 time with an offset."""
    return datetime.fromisoformat(text)


def lookup(data: Mapping[str, Any], dotted: str) -> Any:
    """The value at a dotted path such as `event.path`; None where nothing stands there."""
    value: Any = data
    for part in dotted.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value
