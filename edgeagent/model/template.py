"""Renders a model's own chat template, and keeps what came from outside from becoming control tokens.

Owns the marking of special-token texts inside messages and tools. Does not tokenize, and does not know any model by
name; what a template is like is a `Habits`, learnt by `syntax.derive`.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from edgeagent.errors import ModelError
from edgeagent.model.bounded_jinja import BoundedTemplate
from edgeagent.model.syntax.habits import PLAIN, Habits, as_template_takes, functions_of, simple_functions
from edgeagent.schema import Json, Message, ToolSpec

_TOOL_NAMES = frozenset({"functions", "xml_tools", "available_tools", "custom_tools"})
"""What templates that do not know `tools` call them."""


class _Functions(list[Json]):
    """Prints itself as JSON, for templates that just write it out."""

    def __str__(self) -> str:
        return json.dumps(self, ensure_ascii=False)


class ChatTemplate:
    """One model's chat template.

    Args:
        source: the Jinja text from the GGUF's metadata.
        special: texts of the model's special tokens. Where one of them stands in a message, or in what a tool says of
            itself (name, description, schema), it is text, and `render` says so by splitting there.
        bos, eos: texts of those tokens, for templates that print them.
        in_own_process: this process may be ended where the template cannot be stopped otherwise.
    """

    def __init__(
        self, source: str, special: Iterable[str] = (), bos: str = "", eos: str = "", *, in_own_process: bool = False
    ) -> None:
        self.source = source
        texts = sorted((text for text in special if len(text) > 1 and text.strip()), key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, texts))) if texts else None
        self._tokens = {"bos_token": bos, "eos_token": eos}
        self._template = BoundedTemplate(source, in_own_process=in_own_process)
        others = self._template.variables & _TOOL_NAMES
        self._tool_names = {"tools"} if "tools" in self._template.variables else others

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec],
        *,
        habits: Habits = PLAIN,
        add_generation_prompt: bool = True,
    ) -> list[tuple[str, bool]]:
        """The prompt as pieces `(text, is_literal)`; literal pieces must be tokenized without special tokens."""
        marks = _Marks(self._special, messages, tools)
        shown = as_template_takes(messages, tools, habits, marks.hide)
        functions = marks.hide(functions_of(tools)) if habits.shows_tools else []
        try:
            text = self.render_data(shown, functions, add_generation_prompt=add_generation_prompt)
        except ModelError:
            simple = marks.hide(simple_functions(tools)) if functions else functions
            if simple == functions:
                raise
            text = self.render_data(shown, simple, add_generation_prompt=add_generation_prompt)
        return marks.split(text)

    def render_data(self, messages: list[Json], functions: list[Json], *, add_generation_prompt: bool) -> str:
        """The template's text for messages and tools in the form that it takes. Changes neither."""
        variables: Json = {
            "messages": copy.deepcopy(messages),
            "add_generation_prompt": add_generation_prompt,
            **self._tokens,
        }
        if functions or self._tool_names != {"tools"}:  # which some test for being defined, others for being true
            variables |= {name: _Functions(copy.deepcopy(functions)) for name in self._tool_names}
        return self._template.render(variables)


class _Marks:
    """Stands private-use characters in for special-token texts while a template runs."""

    def __init__(self, special: re.Pattern[str] | None, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> None:
        self._special = special
        parts = [asdict(message) for message in messages] + [asdict(tool) for tool in tools]
        used = set(json.dumps(parts, ensure_ascii=False))
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
            return {self.hide(key): self.hide(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.hide(item) for item in value]
        return value

    def split(self, rendered: str) -> list[tuple[str, bool]]:
        if not self._mark_of:
            return [(rendered, False)]
        text_of = {form: text for text, mark in self._mark_of.items() for form in _forms(mark)}
        parts = re.split(f"({'|'.join(map(re.escape, text_of))})", rendered)
        return [(text_of.get(part, part), part in text_of) for part in parts if part]


def _forms(mark: str) -> tuple[str, str, str]:
    """A mark as it is, and as a template shows it that writes JSON in ASCII, or a list as Python does."""
    return mark, json.dumps(mark)[1:-1], repr(mark)[1:-1]
