"""The jinja2 that chat templates expect, sandboxed and bounded: a template comes with a model file and is untrusted.

Every loop counts its turns and looks at the clock, and growing strings are measured, so that a template which loops or
swells ends in a ModelError. What one call into C does cannot be stopped from inside: in a process of its own (the
model host) `in_own_process` sets a limit of memory while a template runs, and ends the process when time is up.
"""

from __future__ import annotations

import contextlib
import json
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
from jinja2 import meta, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import SandboxedEnvironment

from edgeagent.errors import ModelError
from edgeagent.model.limits import ENDLESS
from edgeagent.schema import Json

MAX_SOURCE = 1_000_000
"""Characters of a template."""
MAX_RENDERED = 2_000_000
"""Characters of what a template renders, and of any text that it makes on the way."""
MAX_TURNS = 2_000_000
"""Turns of all loops together."""
MAX_SECONDS = 10.0
HARD_SECONDS = 30
"""After this the process ends, where it is one of its own."""
MAX_MEMORY = 1_000_000_000
"""Bytes on top of what the process has when a template begins, likewise."""

MAX_INDENT = 16
"""Spaces a level of JSON."""

_FAILURES = (
    jinja2.TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What a template can raise: its own faults, and those of the data it reaches into."""
_one_at_a_time = threading.RLock()


class TemplateFault(jinja2.TemplateError):
    """What a template raises through `raise_exception`."""


class _Budget:
    """What is left for one rendering."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        self._turns = 0
        self._until = time.monotonic() + MAX_SECONDS

    def turn(self) -> None:
        self._turns += 1
        if self._turns > MAX_TURNS or (self._turns % 256 == 0 and time.monotonic() > self._until):
            raise endless()

    def measured(self, size: int) -> None:
        if size > MAX_RENDERED or time.monotonic() > self._until:
            raise endless()


def endless() -> ModelError:
    return ModelError(ENDLESS, "use another model file")


class _Generation(Extension):
    """`{% generation %}` marks the assistant's own tokens for training; at inference it is transparent."""

    tags = {"generation"}  # noqa: RUF012  # jinja2 declares it so

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Environment(SandboxedEnvironment):
    """Counts loops, and refuses texts that swell. Lists may be changed, as some templates do: they get copies."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, budget: _Budget) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"])
        self.budget = budget
        self.filters["edgeagent_counted"] = self._counted
        self.filters["edgeagent_joined"] = self._joined

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for loop in list(tree.find_all(nodes.For)):
            loop.iter = nodes.Filter(loop.iter, "edgeagent_counted", [], [], None, None, lineno=loop.lineno)
        for concat in list(tree.find_all(nodes.Concat)):
            whole = nodes.List(concat.nodes, lineno=concat.lineno)
            concat.nodes = [nodes.Filter(whole, "edgeagent_joined", [], [], None, None, lineno=concat.lineno)]
        tree.set_environment(self)
        return tree

    def _counted(self, items: Any) -> Any:
        if isinstance(items, jinja2.Undefined):
            return items
        listed = items if isinstance(items, list | tuple | str | dict | range) else list(items)
        return _Counted(listed, self.budget)

    def _joined(self, parts: list[Any]) -> str:
        texts = [str(part) for part in parts]
        self.budget.measured(sum(map(len, texts)))
        return "".join(texts)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "**":
            raise TemplateFault("a chat template has no use for powers")
        sizes = [len(value) for value in (left, right) if isinstance(value, str | list | tuple)]
        if operator == "*":
            numbers = [abs(value) for value in (left, right) if isinstance(value, int)]
            bits = sum(number.bit_length() for number in numbers)
            self.budget.measured(max([1, *sizes]) * max([1, *numbers]) if sizes else bits)
        elif operator == "%" and isinstance(left, str):
            raise TemplateFault("a chat template may not format by %")
        else:
            self.budget.measured(sum(sizes))
        return super().call_binop(context, operator, left, right)

    def call(self, context: Any, function: Any, /, *arguments: Any, **named: Any) -> Any:
        self.budget.turn()
        if any(isinstance(value, int) and abs(value) > MAX_RENDERED for value in (*arguments, *named.values())):
            raise endless()
        owner = getattr(function, "__self__", None)
        if isinstance(owner, str):
            self.budget.measured(_most(owner, [value for value in arguments if isinstance(value, str)]))
        return super().call(context, function, *arguments, **named)


class _Counted:
    """Goes through items and counts; has a length, for `loop.length` and `loop.last`."""

    def __init__(self, items: Any, budget: _Budget) -> None:
        self._items = items
        self._budget = budget

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Any]:
        for item in self._items:
            self._budget.turn()
            yield item


def _most(text: str, arguments: list[str]) -> int:
    """How long a text can get at most by a method of it, such as `replace`."""
    if len(arguments) >= 2:  # replace
        old, new = arguments[:2]
        return len(text) + (text.count(old) if old else len(text) + 1) * len(new)
    return len(text)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    indent = None if indent is None else min(indent, MAX_INDENT)
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys, default=_listed
    )


def _listed(value: Any) -> Any:
    """What `map` and `select` give is a list in other implementations."""
    if isinstance(value, jinja2.Undefined):
        return None
    if isinstance(value, Iterable):
        return list(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def _raise_exception(message: str) -> None:
    raise TemplateFault(message)


def _now(pattern: str) -> str:
    return datetime.now().strftime(pattern)


class BoundedTemplate:
    """One template, compiled. `render` raises ModelError whatever is wrong with it. Thread-safe: one at a time.

    Args:
        in_own_process: this process may be ended, and its memory limited, for the sake of a hostile template.
    """

    def __init__(self, source: str, *, in_own_process: bool = False, now: Callable[[str], str] = _now) -> None:
        if len(source) > MAX_SOURCE:
            raise ModelError(f"the model's chat template is too long: {len(source)} characters")
        self._budget = _Budget()
        self._in_own_process = in_own_process
        environment = _Environment(self._budget)
        environment.filters["tojson"] = _tojson
        environment.globals["raise_exception"] = _raise_exception
        environment.globals["strftime_now"] = now
        environment.globals["datetime"] = now("%Y-%m-%d")
        try:
            with self._bounds():
                self._template = environment.from_string(source)
                self.variables = frozenset(meta.find_undeclared_variables(environment.parse(source)))
        except (*_FAILURES, SyntaxError) as error:
            raise ModelError(f"the model's chat template cannot be read: {error}") from error

    def render(self, variables: Json) -> str:
        with _one_at_a_time, self._bounds():
            self._budget.start()
            parts: list[str] = []
            size = 0
            try:
                for part in self._template.generate(**variables):
                    size += len(part)
                    self._budget.measured(size)
                    parts.append(part)
            except _FAILURES as error:
                raise ModelError(f"the model's chat template failed: {error or type(error).__name__}") from error
            return "".join(parts)

    def _bounds(self) -> contextlib.AbstractContextManager[None]:
        return _hard_bounds() if self._in_own_process else contextlib.nullcontext()


@contextlib.contextmanager
def _hard_bounds() -> Iterator[None]:
    """Ends the process after a time that no template needs, even within one call into C, and limits its memory."""
    with _one_at_a_time:
        signal.setitimer(signal.ITIMER_REAL, HARD_SECONDS)  # the kernel ends the process: nothing handles this signal
        try:
            with _memory_limit():
                yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


@contextlib.contextmanager
def _memory_limit() -> Iterator[None]:
    statm = Path("/proc/self/statm")
    if not statm.exists():  # not Linux: other systems do not hold this limit
        yield
        return
    import resource

    used = int(statm.read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = used + MAX_MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
