"""The call syntax of a model, read off its chat template: what is derived, what may be written, what is read back."""

from __future__ import annotations

from typing import Any

import pytest
from llguidance import LLMatcher, LLTokenizer
from templates_world import NAMES, chatml, derived, needs_public, public

from edgeagent.bundled import bundled
from edgeagent.errors import ModelError
from edgeagent.model.syntax.derive import GENERIC
from edgeagent.model.syntax.probe import USER
from edgeagent.model.syntax.syntax import CallSyntax
from edgeagent.model.template import ChatTemplate
from edgeagent.schema import Json, Message, ToolCall, ToolSpec
from edgeagent.tools.specs import BUILTIN_SPECS

ALL = tuple(BUILTIN_SPECS.values())
RICH: Json = {
    "type": "object",
    "properties": {
        "path": {"type": "string"},
        "count": {"type": "integer", "minimum": -20},
        "flag": {"type": "boolean"},
        "maybe": {"type": ["null", "integer"]},
        "items": {"type": "array", "items": {"type": "string"}},
        "deep": {
            "type": "object",
            "properties": {"x": {"type": "string"}, "y": {"type": "array", "items": {"type": "number"}}},
            "required": ["x"],
            "additionalProperties": False,
        },
        "kind": {"enum": ["one", "two three"]},
    },
    "required": ["path"],
    "additionalProperties": False,
}
EMPTY: Json = {"type": "object", "properties": {}, "additionalProperties": False}
TOOL, SHORTER = ToolSpec("some_tool", "Does.", RICH), ToolSpec("some", "Does less.", EMPTY)
TOOLS = (SHORTER, TOOL)
CALLS: tuple[Json, ...] = (
    {"path": "plain"},
    {"path": "5"},
    {"path": "true", "items": []},
    {"path": "", "maybe": None, "items": ["a", "b c"], "kind": "two three"},
    {"path": "ünï 漢 {brace} [x] a=1, b", "count": -12, "flag": False},
    {"path": "x", "flag": True, "deep": {"x": "it's", "y": [1.5, 2]}},
)
QUOTES: Json = {"path": "two\nlines, \"quoted\" and 'single' \\ back <b>", "count": 3}
UNESCAPED = {"LFM2.5-8B-A1B"}
"""Templates that write a text between quotes as it is: such a text cannot be told from what follows."""


@pytest.fixture(scope="session")
def byte_tokenizer() -> LLTokenizer:
    return LLTokenizer("byte")


def matcher(
    syntax: CallSyntax,
    tokenizer: LLTokenizer,
    tools: tuple[ToolSpec, ...] = TOOLS,
    output: Any = None,
    thinking: int = 32,
) -> LLMatcher:
    grammar = syntax.grammar(tools, output, 32)
    made = LLMatcher(tokenizer, LLMatcher.grammar_from_lark(grammar))
    assert not made.is_error(), made.get_error()
    return made


def accepted(grammar: LLMatcher, text: str) -> int:
    """How many bytes of the text the grammar takes; -1 where it comes to its end, or takes all and may end there."""
    data = list(text.encode())
    fresh = grammar.deep_copy()
    count = fresh.validate_tokens(data)
    fresh.consume_tokens(data[:count])
    return -1 if fresh.is_stopped() or (count == len(data) and fresh.is_accepting()) else count


def rendered_call(template: ChatTemplate, syntax: CallSyntax, arguments: Json) -> str:
    """What the model would write for a call, from the template's own rendering of one."""
    call = ToolCall(TOOL.name, arguments)
    talk = (Message("system", "S"), Message("user", USER), Message("assistant", "", "", (call,)))
    pieces = template.render(talk, TOOLS, habits=syntax.habits, add_generation_prompt=False)
    tail = "".join(text for text, _ in pieces).rpartition(USER)[2]
    opener = syntax.call.opener or TOOL.name
    return opening(syntax, syntax.leads[0]) + tail[tail.index(opener) :]


def opening(syntax: CallSyntax, lead: str) -> str:
    return f"why{lead}" if syntax.thinking and syntax.thinking.is_open else lead


# --- the public templates ---------------------------------------------------------------------------------------------


@needs_public
@pytest.mark.parametrize("name", NAMES)
def test_a_call_as_a_public_template_writes_it_is_read_back_and_fits_the_grammar(
    name: str, byte_tokenizer: LLTokenizer
) -> None:
    template = ChatTemplate(public(name), bos="<bos>", eos="<eos>")
    syntax = derived(public(name))
    grammar = matcher(syntax, byte_tokenizer)
    for arguments in [*CALLS, *([] if name in UNESCAPED else [QUOTES])]:
        written = rendered_call(template, syntax, arguments)
        assert syntax.read(written, TOOLS, False).call == ToolCall(TOOL.name, arguments), written
        if arguments is not QUOTES:  # a text in tags, which some templates mark in XML's way
            assert accepted(grammar, written) == -1, written[accepted(grammar, written) :]


@needs_public
@pytest.mark.parametrize("name", NAMES)
def test_a_final_answer_is_read_and_cannot_spell_a_call(name: str, byte_tokenizer: LLTokenizer) -> None:
    syntax = derived(public(name))
    grammar = matcher(syntax, byte_tokenizer)
    answer = "It is done.\nAll {of} it [x]."
    written = opening(syntax, syntax.leads[1]) + syntax.final.before + answer
    assert accepted(grammar, written) == -1
    assert syntax.read(written, TOOLS, False).text == answer
    if len(syntax.call.opener.strip()) > 2:
        assert accepted(grammar, f"{written}{syntax.call.opener}x") != -1


GENERIC_ONES = {
    "HuggingFaceTB-SmolLM3-3B",
    "LFM2.5-Instruct",
    "google-gemma-2-2b-it",
    "microsoft-Phi-3.5-mini-instruct",
}
"""Templates that write no calls."""


@needs_public
@pytest.mark.parametrize("name", NAMES)
def test_the_call_syntax_is_the_template_s_own_wherever_it_has_one(name: str) -> None:
    assert (derived(public(name)).call is GENERIC) == (name in GENERIC_ONES)


@needs_public
@pytest.mark.parametrize("name", NAMES)
def test_a_whole_conversation_with_tools_is_shown_by_every_template(name: str) -> None:
    template, syntax = ChatTemplate(public(name), bos="<bos>", eos="<eos>"), derived(public(name))
    talk = (
        Message("system", "You file documents."),
        Message("user", "event: file"),
        Message("assistant", "", "a reason", (ToolCall("some_tool", {"path": "/a"}),)),
        Message("tool", "moved to /b", name="some_tool"),
    )
    shown = "".join(text for text, _ in template.render(talk, TOOLS, habits=syntax.habits))
    for part in ("You file documents.", "event: file", "some_tool", "/a", "moved to /b"):
        assert part in shown, part


THINKING = {
    "ByteDance-Seed-OSS": ("<seed:think>", "</seed:think>", False),
    "GLM-4.7-Flash": ("<think>", "</think>", True),
    "Qwen-Qwen3-0.6B": ("<think>", "</think>", False),
    "Qwen3.5-4B": ("", "</think>", True),
    "mistralai-Ministral-3-14B-Reasoning-2512": ("[THINK]", "[/THINK]", False),
    "openai-gpt-oss-120b": ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant", False),
}


@needs_public
@pytest.mark.parametrize("name", THINKING)
def test_thinking_blocks_are_found_in_public_templates(name: str) -> None:
    thinking = derived(public(name)).thinking
    assert thinking and (thinking.opening, thinking.closing, thinking.is_open) == THINKING[name]


# --- single traits ----------------------------------------------------------------------------------------------------

TRAITS = {
    "an object with names of its own": '{"tool_name": "{{ call.name }}", "parameters": {{ call.arguments | tojson }}}',
    "the arguments before the name": (
        '<call>{"parameters": {{ call.arguments | tojson }}, "tool": "{{ call.name }}"}</call>'
    ),
    "an object in an array": '<calls>[{"name": "{{ call.name }}", "arguments": {{ call.arguments | tojson }}}]</calls>',
    "the name as the key": '<calls>[{"{{ call.name }}": {{ call.arguments | tojson }}}]</calls>',
    "a name followed by an object": "<call>{{ call.name }}\n{{ call.arguments | tojson }}</call>",
    "an object without spaces": '<call>{{ call.name }}{{ call.arguments | tojson(separators=(",", ":")) }}</call>',
    "tagged parameters": (
        "<call><function={{ call.name }}>{% for key, value in call.arguments.items() %}<parameter={{ key }}>"
        "{{ value if value is string else value | tojson }}</parameter>{% endfor %}</function></call>"
    ),
    "parameters in the order of their names": (
        "<call name='{{ call.name }}'>{% for key, value in call.arguments | dictsort %}<arg name='{{ key }}'>"
        "{{ value if value is string else value | tojson }}</arg>{% endfor %}</call>"
    ),
    "a call as in Python": (
        "[{{ call.name }}({% for key, value in call.arguments.items() %}{{ key }}="
        "{{ value | tojson if value is string else value }}{{ '' if loop.last else ', ' }}{% endfor %})]"
    ),
}


@pytest.mark.parametrize("trait", TRAITS)
def test_a_way_to_write_calls_is_read_off(trait: str, byte_tokenizer: LLTokenizer) -> None:
    source = chatml(TRAITS[trait])
    template, syntax = ChatTemplate(source), derived(source)
    assert syntax.call is not GENERIC
    grammar = matcher(syntax, byte_tokenizer)
    calls = [*CALLS, QUOTES]
    if "order of their names" in trait:
        calls = [{"path": "x"}, {"count": 3, "path": "two\nlines"}]
    for arguments in calls:
        written = rendered_call(template, syntax, arguments)
        assert syntax.read(written, TOOLS, False).call == ToolCall(TOOL.name, arguments), written
        assert accepted(grammar, written) == -1, written[accepted(grammar, written) :]


def test_a_template_that_takes_arguments_as_text_gets_text() -> None:
    syntax = derived(chatml('<call>{"name": "{{ call.name }}", "arguments": {{ call.arguments + "" }}}</call>'))
    assert syntax.habits.arguments == "text" and syntax.call is not GENERIC


def test_a_system_message_goes_to_the_user_where_there_is_no_such_role() -> None:
    refusal = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    source = chatml("x", before=refusal, tools="")
    template, syntax = ChatTemplate(source), derived(source)
    talk = (Message("system", "You file documents."), Message("user", "event: file"))
    shown = "".join(text for text, _ in template.render(talk, TOOLS, habits=syntax.habits))
    assert "You file documents." in shown and "system\n" not in shown
    assert "some_tool(path: string" in shown and '{"name": "NAME", "arguments"' in shown


def test_a_template_that_changes_its_messages_does_not_change_ours() -> None:
    source = (
        "{% set ns = namespace(seen=[]) %}{% for m in messages %}{% set _ = m.update({'content': 'x' ~ m.content}) %}"
        "{% set _ = ns.seen.append(m.content) %}{% endfor %}{{ ns.seen | join }}"
    )
    talk = (Message("user", "event"),)
    assert ChatTemplate(source).render(talk, ()) == [("xevent", False)]
    assert talk[0].content == "event"


def test_a_token_that_ends_the_turn_is_no_part_of_a_call() -> None:
    source = chatml("<call>{{ call.name }}{{ call.arguments | tojson }}<end>").replace("<|im_end|>", "")
    assert derived(source, ("<end>",), ("<end>",)).call.after == ()
    assert derived(source, ("<end>",), ()).call.after in ((), ("<end>",))


def test_special_tokens_are_tokens_in_the_grammar() -> None:
    source = (bundled("models") / "pocket" / "chat_template.jinja").read_text(encoding="utf-8")
    plain = derived(source).grammar(ALL, None, 0)
    assert '"<tool_call>\\n' in plain
    assert "<[1000]>" in derived(source, ("<tool_call>",)).grammar(ALL, None, 0)


# --- the bundled model's syntax ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pocket() -> CallSyntax:
    return derived((bundled("models") / "pocket" / "chat_template.jinja").read_text(encoding="utf-8"))


@pytest.mark.parametrize("value", ['a "quoted" name', "two\nlines", "tab\t", "ünï", "\\back", "</tool_call>", "\u2028"])
def test_a_call_is_read_back_exactly(pocket: CallSyntax, value: str) -> None:
    call = f'{{"name": "read_file", "arguments": {_json({"path": value})}}}'
    turn = pocket.read(f"<think>\nwhy\n</think>\n<tool_call>\n{call}\n</tool_call>", ALL, output_is_json=False)
    assert turn.call == ToolCall("read_file", {"path": value})
    assert turn.reasoning == "why"


def _json(value: Json) -> str:
    import json

    return json.dumps(value, ensure_ascii=False)


def test_an_answer_is_text_without_its_thinking(pocket: CallSyntax) -> None:
    turn = pocket.read("<think>\nno rule\n</think>\nLeft it.\n", ALL, output_is_json=False)
    assert (turn.text, turn.reasoning, turn.call) == ("Left it.", "no rule", None)


@pytest.mark.parametrize(
    "written", ["<think>\nnever ends", '<tool_call>\n{"name": "read_fi', "<tool_call>\n[]\n</tool_call>"]
)
def test_a_cut_turn_is_an_error_and_not_an_answer(pocket: CallSyntax, written: str) -> None:
    with pytest.raises(ModelError):
        pocket.read(written, ALL, output_is_json=False)


def test_an_output_schema_takes_the_place_of_free_text(pocket: CallSyntax, byte_tokenizer: LLTokenizer) -> None:
    schema = {"type": "object", "properties": {"folder": {"type": "string"}}, "required": ["folder"]}
    grammar = matcher(pocket, byte_tokenizer, (), output=schema)
    assert accepted(grammar, '{"folder": "x"}') == -1
    assert accepted(grammar, "words") == 0
