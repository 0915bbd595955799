"""What the model may write in one turn, as a grammar, and the reading of what it wrote.

A turn is an optional thinking block, then one tool call with arguments that match the tool's JSON Schema, or a final
answer. Masks come from llguidance. Owns one call syntax, the most common one (JSON between `<tool_call>` tags); the
syntax of other chat templates is derived elsewhere when it comes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgeagent.errors import ModelError
from edgeagent.schema import Json, ToolCall, ToolSpec

OPEN_CALL, CLOSE_CALL = "<tool_call>", "</tool_call>"
OPEN_THINK, CLOSE_THINK = "<think>", "</think>"

# A weak model wanders in whitespace for ever unless there is none to choose; and nothing would be forced.
_FIXED_SPACES = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


@dataclass(frozen=True, slots=True)
class Turn:
    """What a model wrote in one turn."""

    text: str
    reasoning: str
    call: ToolCall | None


def turn_grammar(
    tools: Sequence[ToolSpec],
    output_schema: Json | None,
    *,
    is_special: Callable[[str], bool],
    max_thinking_tokens: int,
) -> str:
    """The grammar of one turn, in llguidance's Lark dialect.

    Args:
        is_special: whether a text is a single special token of the vocabulary; else it is matched as plain text.
        max_thinking_tokens: limit of the thinking block; 0 forbids it.
    """

    def tag(text: str) -> str:
        return text if is_special(text) else json.dumps(text)

    answers = ["final"]
    rules: list[str] = []
    if tools:
        answers.append("call")
        calls = " | ".join(f"call_{n}" for n in range(len(tools)))
        rules.append(f'call: {tag(OPEN_CALL)} "\\n" ({calls}) "\\n" {tag(CLOSE_CALL)}')
        rules += [_call_rule(n, tool) for n, tool in enumerate(tools)]
    if output_schema is None:
        rules += ["final: TEXT", _plain_text()]
    else:
        rules.append(f"final: {_json_rule(output_schema)}")
    thinking = ""
    if max_thinking_tokens and is_special(OPEN_THINK) and is_special(CLOSE_THINK):
        thinking = "thinking? "
        rules.append(f"thinking: {OPEN_THINK} thought {CLOSE_THINK} /\\n{{1,2}}/")
        rules.append(f"thought[max_tokens={max_thinking_tokens}]: /(.|\\n)*/")
    return "\n".join([f"start: {thinking}({' | '.join(answers)})", *rules])


def _plain_text() -> str:
    """Final text: anything that does not spell a tag."""
    return f"TEXT: /(.|\\n)+/ & ~/(.|\\n)*({re.escape(OPEN_CALL)}|{re.escape(OPEN_THINK)})(.|\\n)*/"


def _call_rule(number: int, tool: ToolSpec) -> str:
    head = json.dumps(f'{{"name": {json.dumps(tool.name)}, "arguments": ')
    return f'call_{number}: {head} {_json_rule(tool.parameters)} "}}"'


def _json_rule(schema: Json) -> str:
    return "%json " + json.dumps({**schema, "x-guidance": _FIXED_SPACES})


def read_turn(written: str, output_is_json: bool) -> Turn:
    """What a finished turn says.

    Raises:
        ModelError: the text is not of the grammar, which means it was cut.
    """
    reasoning, rest = "", written
    if written.startswith(OPEN_THINK):
        reasoning, mark, rest = written[len(OPEN_THINK) :].partition(CLOSE_THINK)
        if not mark:
            raise ModelError("the model's thinking was cut")
    rest = rest.strip("\n") if not output_is_json else rest.strip()
    if not rest.startswith(OPEN_CALL):
        return Turn(rest.strip(), reasoning.strip(), None)
    inner = rest[len(OPEN_CALL) :].lstrip()
    try:
        read, _ = json.JSONDecoder().raw_decode(inner)  # not up to the closing tag: an argument may spell it
        return Turn("", reasoning.strip(), ToolCall(read["name"], read["arguments"]))
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError("the model's call was cut") from error
