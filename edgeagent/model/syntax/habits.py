"""How one chat template wants to be talked to, and a conversation put into that form.

Owns what differs between templates on the way in: no system role, no tool role, arguments as an object or as text, the
key of the reasoning, tools that the template does not show. What is learnt of a template by probing it is a `Habits`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from edgeagent.schema import Json, Message, ToolCall, ToolSpec

ArgumentForm = Literal["object", "text"]
ContentForm = Literal["empty", "none", "absent"]
ARGUMENT_FORMS: tuple[ArgumentForm, ...] = ("object", "text")
CONTENT_FORMS: tuple[ContentForm, ...] = ("empty", "none", "absent")
Hide = Callable[[Any], Any]
"""Puts stand-ins for special-token texts into a value from outside."""


def as_is(value: Any) -> Any:
    return value


def call_id(number: int) -> str:
    """The id of the call of that number in a conversation, from 0. Nine letters and digits: some templates insist."""
    return f"call{number % 100_000:05d}"


@dataclass(frozen=True, slots=True)
class Habits:
    """What a template takes.

    Args:
        shows_system: a system message stays visible for the whole conversation; else it goes into the first user one.
        arguments: calls carry their arguments as an object or as JSON text.
        content: what the content of a message with a call is.
        reasoning_key: where the template looks for reasoning; empty where it never shows any.
        shows_calls, shows_results, shows_tools: what the template writes by itself; the rest is written as text.
        instructions: how to call a tool, for the system message, where the template does not say it.
        write_call: the text of a call, where the template does not write calls.
    """

    shows_system: bool = True
    arguments: ArgumentForm = "object"
    content: ContentForm = "empty"
    reasoning_key: str = "reasoning_content"
    shows_calls: bool = True
    shows_results: bool = True
    shows_tools: bool = True
    instructions: str = ""
    write_call: Callable[[ToolCall, Hide], str] | None = None


PLAIN = Habits()


def as_template_takes(messages: Sequence[Message], tools: Sequence[ToolSpec], habits: Habits, hide: Hide) -> list[Json]:
    """The messages as a chat template takes them. Text from outside goes through `hide`; ours does not."""
    shown: list[Json] = []
    calls = 0
    for message in messages:
        shown.append(_shown(message, habits, hide, calls))
        calls += len(message.calls)
    _add_to_system(shown, _tool_text(tools, habits, hide))
    if not habits.shows_system:
        _merge_system(shown)
    return shown


def functions_of(tools: Sequence[ToolSpec]) -> list[Json]:
    return [tool.as_function() for tool in tools]


def simple_functions(tools: Sequence[ToolSpec]) -> list[Json]:
    """The tools in simple words: some templates fail where a parameter has no description, no type or several."""
    functions = functions_of(tools)
    for function in functions:
        parameters = function["function"]["parameters"]
        properties = {key: _simple(schema) for key, schema in parameters.get("properties", {}).items()}
        function["function"]["parameters"] = {**parameters, "properties": properties}
    return functions


def _simple(schema: Any) -> Json:
    shown = dict(schema) if isinstance(schema, dict) else {}
    kinds = shown.get("type") or ("string" if "enum" in shown else "object")
    if not isinstance(kinds, str):
        kinds = next((kind for kind in kinds if kind != "null"), "string")
    return {**shown, "type": kinds, "description": shown.get("description", "")}


def _shown(message: Message, habits: Habits, hide: Hide, number: int) -> Json:
    """One message; `number` calls were made before it."""
    if message.role == "tool":
        return _shown_result(message, habits, hide, number)
    shown: Json = {"role": message.role, "content": hide(message.content)}
    if message.reasoning and habits.reasoning_key:
        shown[habits.reasoning_key] = hide(message.reasoning)
    if message.calls and habits.shows_calls:
        shown["tool_calls"] = [shown_call(call, habits, hide, number + n) for n, call in enumerate(message.calls)]
        if habits.content == "none":
            shown["content"] = None
        elif habits.content == "absent":
            del shown["content"]
    elif message.calls and habits.write_call:
        shown["content"] = "".join(habits.write_call(call, hide) for call in message.calls)
    return shown


def shown_call(call: ToolCall, habits: Habits, hide: Hide, number: int) -> Json:
    """One call as a template takes it."""
    arguments = hide(call.arguments)
    if habits.arguments == "text":
        arguments = json.dumps(arguments, ensure_ascii=False)
    return {"type": "function", "id": call_id(number), "function": {"name": hide(call.name), "arguments": arguments}}


def _shown_result(message: Message, habits: Habits, hide: Hide, number: int) -> Json:
    content = hide(message.content)
    if not habits.shows_results:
        return {"role": "user", "content": f"<tool_response>\n{content}\n</tool_response>"}
    shown: Json = {"role": "tool", "content": content, "tool_call_id": call_id(max(number - 1, 0))}
    if message.name:
        shown["name"] = hide(message.name)
    return shown


def _tool_text(tools: Sequence[ToolSpec], habits: Habits, hide: Hide) -> str:
    if not tools:
        return ""
    listed = "" if habits.shows_tools else "Tools:\n" + "\n".join(hide(signature(tool)) for tool in tools)
    return "\n\n".join(filter(None, (listed, habits.instructions)))


def signature(tool: ToolSpec) -> str:
    """A tool on one line: `move_file(source: string, destination: string) Move or rename a file.`"""
    required = tool.parameters.get("required", ())
    parameters = [
        f"{key}{'' if key in required else '?'}: {_type_words(schema)}"
        for key, schema in tool.parameters.get("properties", {}).items()
    ]
    return f"{tool.name}({', '.join(parameters)}) {tool.description}"


def _type_words(schema: Any) -> str:
    if isinstance(schema, dict) and isinstance(schema.get("type"), str) and schema.keys() <= {"type", "description"}:
        return str(schema["type"])
    return json.dumps(schema, ensure_ascii=False)


def _add_to_system(shown: list[Json], text: str) -> None:
    if not text:
        return
    if shown and shown[0]["role"] == "system":
        shown[0]["content"] = "\n\n".join(filter(None, (shown[0]["content"], text)))
    else:
        shown.insert(0, {"role": "system", "content": text})


def _merge_system(shown: list[Json]) -> None:
    if not shown or shown[0]["role"] != "system":
        return
    system = shown.pop(0)["content"]
    if shown and shown[0]["role"] == "user":
        shown[0]["content"] = "\n\n".join(filter(None, (system, shown[0]["content"])))
    else:
        shown.insert(0, {"role": "user", "content": system})
