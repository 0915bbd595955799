"""A small world for tests of tools: a granted folder, a secret outside it, a memory, and a way to be killed."""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgeagent.policy import AgentPolicy, decide
from edgeagent.schema import Decision, Json, ToolCall, ToolResult, ToolSpec
from edgeagent.tools import atomic
from edgeagent.tools.base import Plan, ToolContext
from edgeagent.tools.toolbox import Toolbox, builtin_tools

SYSTEM_CALLS = tuple(
    getattr(os, name)
    for name in (
        *("open", "close", "read", "write", "fsync", "mkdir", "unlink", "link", "rename", "replace", "symlink"),
        *("fchmod", "utime", "ftruncate", "lseek", "pread", "stat", "fstat", "scandir", "access"),
    )
)


class Notes:
    """The least memory there can be."""

    def __init__(self) -> None:
        self.kept: list[str] = []

    def remember(self, text: str) -> None:
        self.kept.append(text)

    def recall(self, query: str, limit: int = 5) -> list[str]:
        words = query.lower().split()
        return [note for note in self.kept if any(word in note.lower() for word in words)][:limit]


@dataclass
class World:
    """`granted` may be read and written, `readable` only read, `secret` neither."""

    root: Path
    limit: int = 2000
    notes: Notes = field(default_factory=Notes)
    own: list[Path] = field(default_factory=list)
    plans: list[Plan] = field(default_factory=list)
    step: int = 1

    def __post_init__(self) -> None:
        self.root = Path(os.path.realpath(self.root))
        for name in ("granted", "readable", "secret"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        self.granted, self.readable, self.secret = (self.root / n for n in ("granted", "readable", "secret"))
        self.more_roots: tuple[Path, ...] = ()
        self.toolbox = Toolbox(builtin_tools())
        self.trash = self.root / "trash"

    @property
    def context(self) -> ToolContext:
        return ToolContext(
            home_dir=self.root,
            read_roots=(self.readable,),
            write_roots=(self.granted, *self.more_roots),
            trash=self.trash,
            memory=self.notes,
            result_limit=self.limit,
            own_write=self.own.append,
            run_id="01JDRUN",
            step=self.step,
            now=lambda: datetime(2026, 11, 24, 7, 0, tzinfo=UTC),
        )

    def decide(self, spec: ToolSpec, plan: Plan) -> Decision:
        roots = (self.granted, *self.more_roots)
        return decide(spec, plan.reads, plan.writes, AgentPolicy((self.readable,), roots, "never"))

    def call(self, name: str, /, **arguments: Any) -> ToolResult:
        return self.toolbox.call(
            ToolCall(name, {key: str(v) if isinstance(v, Path) else v for key, v in arguments.items()}),
            self.context,
            decide=self.decide,
            record_started=self.plans.append,
        )

    def plan(self, name: str, /, **arguments: Any) -> Plan:
        tool = next(tool for tool in builtin_tools() if tool.spec.name == name)
        return tool.plan({key: str(v) if isinstance(v, Path) else v for key, v in arguments.items()}, self.context)

    def apply(self, plan: Plan) -> ToolResult:
        return self.toolbox.apply(plan, self.context)

    def resume(self, plan: Plan) -> ToolResult:
        result = self.toolbox.resume(Plan.from_json(roundtrip(plan.as_json())), self.context, decide=self.decide)
        assert result is not None, "nobody can tell whether it was carried out"
        return result


def roundtrip(value: Json) -> Json:
    """What a journal does to a plan."""
    loaded: Json = json.loads(json.dumps(value))
    return loaded


def finished_before_kill(at: int, action: Callable[[], object]) -> bool:
    """Runs `action` in a process of its own that is killed at its `at`-th system call, before that call takes effect.

    A write is half done when the kill comes. True where the action ended first.
    """
    child = os.fork()
    if child == 0:
        try:
            _arm(at)
            action()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return False
    assert os.WEXITSTATUS(status) == 0
    return True


def _arm(at: int) -> None:
    """Only ever called in a child that is about to die: patches what the code under test calls."""
    left = at
    really_write = os.write

    def killing(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **keywords: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                if function is really_write:
                    really_write(args[0], bytes(args[1])[: len(args[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **keywords)

        return call

    rename = atomic._system_rename()
    if rename is not None:
        atomic._system_rename = lambda: killing(rename)  # type: ignore[assignment]
    for function in SYSTEM_CALLS:
        setattr(os, function.__name__, killing(function))


def without_rename_noreplace(source: int, old: bytes, target: int, new: bytes) -> int:
    """The answer of a file system that cannot rename without replacing."""
    return errno.EINVAL
