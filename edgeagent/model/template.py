"""Renders a model's own chat template, and keeps what came from outside from becoming control tokens.

Owns the jinja2 environment (the one that Hugging Face templates expect, sandboxed) and the marking of special-token
texts inside message contents. Does not tokenize and does not know any model by name.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from edgeagent.errors import ModelError
from edgeagent.schema import Json, Message, ToolSpec

MAX_RENDERED = 2_000_000
"""Characters. A template that renders more is refused."""
MAX_SECONDS = 10.0


class TemplateFault(jinja2.TemplateError):
    """What a template raises through `raise_exception`."""


class _Generation(Extension):
    """`{% generation %}` marks the assistant's own tokens for training; at inference it is transparent."""

    tags = {"generation"}  # noqa: RUF012  # jinja2 declares it so

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    raise TemplateFault(message)


def _environment(strftime_now: Callable[[str], str]) -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = strftime_now
    return environment


def as_openai(message: Message) -> Json:
    """The message in the form that chat templates take."""
    shown: Json = {"role": message.role, "content": message.content}
    if message.reasoning:
        shown["reasoning_content"] = message.reasoning
    if message.calls:
        shown["tool_calls"] = [
            {"type": "function", "function": {"name": call.name, "arguments": call.arguments}} for call in message.calls
        ]
    if message.name:
        shown["name"] = message.name
    return shown


class ChatTemplate:
    """One model's chat template.

    Args:
        source: the Jinja text from the GGUF's metadata.
        special: texts of the model's special tokens. Where one of them stands in a message's content it is text, and
            `render` says so by splitting there.
        bos, eos: texts of those tokens, for templates that print them.
    """

    def __init__(self, source: str, special: Iterable[str] = (), bos: str = "", eos: str = "") -> None:
        texts = sorted((text for text in special if len(text) > 1), key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, texts))) if texts else None
        self._tokens = {"bos_token": bos, "eos_token": eos}
        environment = _environment(lambda pattern: datetime.now().strftime(pattern))
        try:
            self._template = environment.from_string(source)
        except jinja2.TemplateError as error:
            raise ModelError(f"the model's chat template cannot be read: {error}") from error

    def render(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], *, add_generation_prompt: bool = True
    ) -> list[tuple[str, bool]]:
        """The prompt as pieces `(text, is_literal)`; literal pieces must be tokenized without special tokens."""
        marks = _Marks(self._special, messages)
        variables: Json = {
            "messages": [marks.hide(as_openai(message)) for message in messages],
            "add_generation_prompt": add_generation_prompt,
            **self._tokens,
        }
        if tools:  # some templates test whether it is defined, others whether it is true
            variables["tools"] = [tool.as_function() for tool in tools]
        size, until = 0, time.monotonic() + MAX_SECONDS
        parts: list[str] = []
        try:
            for part in self._template.generate(**variables):
                size += len(part)
                if size > MAX_RENDERED or time.monotonic() > until:
                    raise ModelError("the model's chat template renders without end")
                parts.append(part)
        except (jinja2.TemplateError, TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
            raise ModelError(f"the model's chat template failed: {error}") from error
        return marks.split("".join(parts))


class _Marks:
    """Stands private-use characters in for special-token texts while a template runs."""

    def __init__(self, special: re.Pattern[str] | None, messages: Sequence[Message]) -> None:
        self._special = special
        used = set(json.dumps([as_openai(message) for message in messages], ensure_ascii=False))
        self._free = (chr(code) for code in range(0xF0000, 0xFFFFD) if chr(code) not in used)
        self._mark_of: dict[str, str] = {}

    def _mark(self, match: re.Match[str]) -> str:
        if match[0] not in self._mark_of:
            self._mark_of[match[0]] = next(self._free)
        return self._mark_of[match[0]]

    def hide(self, value: Any) -> Any:
        if self._special is None:
            return value
        if isinstance(value, str):
            return self._special.sub(self._mark, value)
        if isinstance(value, dict):
            return {key: self.hide(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.hide(item) for item in value]
        return value

    def split(self, rendered: str) -> list[tuple[str, bool]]:
        if not self._mark_of:
            return [(rendered, False)]
        text_of = {mark: text for text, mark in self._mark_of.items()}
        parts = re.split(f"([{''.join(text_of)}])", rendered)
        return [(text_of.get(part, part), part in text_of) for part in parts if part]
