"""The grammar of a turn, and reading what was written under it."""

from __future__ import annotations

import json

import pytest
from llguidance import LLMatcher

from edgeagent.errors import ModelError
from edgeagent.model.constraint import read_turn, turn_grammar
from edgeagent.schema import ToolCall
from edgeagent.tools.specs import BUILTIN_SPECS

ALL = tuple(BUILTIN_SPECS.values())


def fault_of(grammar: str) -> str:
    return LLMatcher.validate_grammar(LLMatcher.grammar_from_lark(grammar))


def test_the_grammar_of_all_built_in_tools_compiles() -> None:
    assert fault_of(turn_grammar(ALL, None, is_special=lambda text: True, max_thinking_tokens=64)) == ""


def test_a_vocabulary_without_special_tags_has_them_as_text() -> None:
    assert fault_of(turn_grammar(ALL, None, is_special=lambda text: False, max_thinking_tokens=64)) == ""


def test_an_output_schema_takes_the_place_of_free_text() -> None:
    schema = {"type": "object", "properties": {"folder": {"type": "string"}}, "required": ["folder"]}
    assert fault_of(turn_grammar((), schema, is_special=lambda text: False, max_thinking_tokens=0)) == ""


def test_a_schema_that_is_no_schema_is_named_a_fault() -> None:
    grammar = turn_grammar((), {"type": "nonsense"}, is_special=lambda text: False, max_thinking_tokens=0)
    assert fault_of(grammar) != ""


@pytest.mark.parametrize("value", ['a "quoted" name', "two\nlines", "tab\t", "ünï", "\\back", "</tool_call>", "\u2028"])
def test_a_call_is_read_back_exactly(value: str) -> None:
    call = json.dumps({"name": "read_file", "arguments": {"path": value}}, ensure_ascii=False)
    turn = read_turn(f"<think>\nwhy\n</think>\n<tool_call>\n{call}\n</tool_call>", output_is_json=False)
    assert turn.call == ToolCall("read_file", {"path": value})
    assert turn.reasoning == "why"


def test_an_answer_is_text_without_its_thinking() -> None:
    turn = read_turn("<think>\nno rule\n</think>\nLeft it.\n", output_is_json=False)
    assert (turn.text, turn.reasoning, turn.call) == ("Left it.", "no rule", None)


@pytest.mark.parametrize(
    "written", ["<think>\nnever ends", '<tool_call>\n{"name": "read_fi', "<tool_call>\n[]\n</tool_call>"]
)
def test_a_cut_turn_is_an_error_and_not_an_answer(written: str) -> None:
    with pytest.raises(ModelError):
        read_turn(written, output_is_json=False)
