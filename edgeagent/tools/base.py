"""What every tool is made of: the protocol, the plan, the context, and how text is shown to a model.

Owns no tool, no policy and no file access. A tool plans first (arguments checked, paths resolved, nothing changed),
is then allowed or refused, and only then applied. The plan is stored before it is applied and carries what is needed
to tell after a crash whether it was carried out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

from pydantic import BaseModel, ConfigDict, ValidationError

from edgeagent.errors import Denied, ToolError
from edgeagent.policy import bound_secrets, is_within
from edgeagent.schema import Json, ToolSpec


class Memory(Protocol):
    """The notes of one agent."""

    def remember(self, text: str) -> object: ...

    def recall(self, query: str, limit: int = 5) -> list[str]: ...


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _no_secret(tool: str, name: str) -> str:
    raise Denied(f"{tool} may not use the secret {name}")


def _as_it_is(text: str) -> str:
    return text


@dataclass(frozen=True, slots=True)
class ToolContext:
    """What a tool may know of the run that calls it.

    `home_dir` is what `~` stands for; the roots are resolved grants; `result_limit` is in characters. `own_write` is
    told every path that a call made, changed or took away, so it may be gone by then. `run_id` and `step` name the
    call for ever: a plan of the same two is the same call. `secrets` are the names that each tool may use, and `secret`
    gives the value of one to the tool of that name; `redact` takes the values out of a text, which must happen before
    it is cut. `stopped` says whether the run is to end, for calls that take long.
    """

    home_dir: Path
    read_roots: tuple[Path, ...]
    write_roots: tuple[Path, ...]
    trash: Path
    memory: Memory
    result_limit: int
    own_write: Callable[[Path], object]
    run_id: str
    step: int
    now: Callable[[], datetime] = _utc_now
    network: frozenset[str] = frozenset()
    secrets: Mapping[str, frozenset[str]] = field(default_factory=dict)
    secret: Callable[[str, str], str] = _no_secret
    redact: Callable[[str], str] = _as_it_is
    stopped: Callable[[], bool] = lambda: False

    @property
    def key(self) -> str:
        """The idempotency key: the same when a call is made again after a crash.

        A process gets it as the variable EDGEAGENT_IDEMPOTENCY_KEY, a server as the header Idempotency-Key.
        """
        return f"{self.run_id}-{self.step}"

    def may_read(self, *paths: Path) -> bool:
        return all(is_within(path, (*self.read_roots, *self.write_roots)) for path in paths)

    def may_use(self, tool: str, secret: str) -> bool:
        return secret in bound_secrets(self.secrets, tool)

    def may_write(self, *paths: Path) -> bool:
        return all(is_within(path, self.write_roots) for path in paths)


@dataclass(frozen=True, slots=True)
class Plan:
    """One call, checked and resolved, not yet carried out. `detail` holds the fingerprints taken while planning.

    `hosts` are the `host:port` that it reaches, in lower case; `secrets` the names of those that it uses.
    """

    tool: str
    arguments: Json
    reads: tuple[Path, ...] = ()
    writes: tuple[Path, ...] = ()
    detail: Json = field(default_factory=dict)
    hosts: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()

    def as_json(self) -> Json:
        """The form that is stored. Names that are not UTF-8 are lone surrogates, which JSON escapes."""
        return {
            "tool": self.tool,
            "arguments": self.arguments,
            "reads": [str(path) for path in self.reads],
            "writes": [str(path) for path in self.writes],
            "detail": self.detail,
            "hosts": list(self.hosts),
            "secrets": list(self.secrets),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Plan:
        return cls(
            tool=stored["tool"],
            arguments=stored["arguments"],
            reads=tuple(Path(path) for path in stored["reads"]),
            writes=tuple(Path(path) for path in stored["writes"]),
            detail=stored["detail"],
            hosts=tuple(stored.get("hosts", ())),
            secrets=tuple(stored.get("secrets", ())),
        )


class Tool(Protocol):
    """A typed function that a model may call. All three methods raise ToolError or OSError; nothing else is meant."""

    @property
    def spec(self) -> ToolSpec: ...

    def plan(self, arguments: Json, context: ToolContext) -> Plan:
        """Checks arguments and resolves paths; changes nothing, and looks at nothing outside the grants."""

    def apply(self, plan: Plan, context: ToolContext) -> str:
        """Carries the plan out and says what was done. Applying again what is half done finishes it."""

    def was_applied(self, plan: Plan, context: ToolContext) -> str | None:
        """The result where this very plan was carried out to its end already; None where it was not, or partly."""


@runtime_checkable
class Varying(Protocol):
    """A tool whose annotations depend on the call: to fetch a page is not to send a form."""

    def spec_of(self, arguments: Json) -> ToolSpec:
        """The spec as it holds for these arguments, which have not been checked."""


class Arguments(BaseModel):
    """Arguments as a model wrote them: nothing unknown, nothing converted."""

    model_config: ClassVar[ConfigDict] = ConfigDict(strict=True, extra="forbid", frozen=True)


class PathArguments(Arguments):
    path: str


ArgumentsT = TypeVar("ArgumentsT", bound=Arguments)


def parse_arguments(kind: type[ArgumentsT], arguments: object) -> ArgumentsT:
    """Untrusted arguments as `kind`, or one ToolError line that names the first few faults."""
    try:
        return kind.model_validate(arguments)
    except ValidationError as error:
        faults = [_fault(dict(found)) for found in error.errors(include_url=False)[:3]]
        raise ToolError("; ".join(faults)) from error


def _fault(found: Json) -> str:
    name = shown(".".join(str(part) for part in found["loc"])) or "arguments"
    match found["type"]:
        case "missing":
            return f"{name} is missing"
        case "extra_forbidden":
            return f"no argument named {name}"
        case "string_type":
            return f"{name} must be text"
        case "int_type":
            return f"{name} must be a whole number"
        case _:
            return f"{name}: {found['msg'].lower()}"


def shown(value: str | Path) -> str:
    """A path or name on one line, as a JSON string would hold it without its quotes.

    Line breaks, bytes that are not UTF-8 (lone surrogates) and other characters that cannot be seen are escaped, so
    that a model which copies what it read into a JSON argument names the same file.
    """
    text = str(value)
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(json.dumps(char)[1:-1] if char == "\\" or not char.isprintable() else char for char in text)


def cut(text: str, limit: int) -> str:
    """The text, or its beginning and how many characters are missing. The marker comes on top of the limit."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}\n[cut: {len(text) - limit} more characters]"


def counted(number: int, noun: str) -> str:
    """`1 line`, `2 lines`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
