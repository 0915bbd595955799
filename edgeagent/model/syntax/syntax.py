"""How one model writes a turn: the grammar of it, and the reading of what was written under that grammar.

A turn is a thinking block, where the model has one, then one tool call with arguments that match the tool's JSON
Schema, or a final answer. Masks come from llguidance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgeagent.errors import ModelError
from edgeagent.model.syntax.call import CallForm, Slot
from edgeagent.model.syntax.habits import Habits
from edgeagent.model.syntax.lark import Rules, escaped, longest, without
from edgeagent.model.syntax.schema_rules import json_rule
from edgeagent.model.syntax.text import Cutter
from edgeagent.model.syntax.thinking import Thinking
from edgeagent.schema import Json, ToolCall, ToolSpec

_CHARACTERS_A_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Turn:
    """What a model wrote in one turn."""

    text: str
    reasoning: str
    call: ToolCall | None


@dataclass(frozen=True, slots=True)
class FinalForm:
    """What stands around a final answer; `closing` may be left out."""

    before: str = ""
    closing: str = ""


@dataclass(frozen=True)
class CallSyntax:
    """One model's way of writing.

    Args:
        leads: what comes before a call and before a final answer where nothing is thought.
        special: the special tokens of the vocabulary by their text.
    """

    call: CallForm
    final: FinalForm
    thinking: Thinking | None
    leads: tuple[str, str]
    habits: Habits
    special: Mapping[str, int]

    # --- grammar ------------------------------------------------------------------------------------------------

    def grammar(self, tools: Sequence[ToolSpec], output_schema: Json | None, max_thinking_tokens: int) -> str:
        """The grammar of one turn, in llguidance's Lark dialect.

        Args:
            max_thinking_tokens: limit of the thinking block; 0 forbids it.

        Raises:
            ModelError: a schema that cannot be written as a grammar; says which tool's.
        """
        rules = Rules(self.special)
        final = self._final_rule(rules, tools, output_schema)
        call = self._any_call(rules, tools)
        turn = rules.rule(f"{call} | {final}" if call else final)
        leads = [rules.text(lead) for lead in self.leads]
        plain = rules.rule(f"{leads[0]} {call} | {leads[1]} {final}" if call else f"{leads[1]} {final}")
        thinking = self._thinking_rule(rules, max_thinking_tokens)
        if thinking is None:
            return rules.as_text(plain)
        assert self.thinking
        thought = f"{thinking} {turn}"
        return rules.as_text(thought if self.thinking.is_open else f"{thought} | {plain}")

    def _any_call(self, rules: Rules, tools: Sequence[ToolSpec]) -> str:
        options = []
        for tool in tools:
            try:
                options.append(self.call.rule(rules, tool))
            except ModelError as error:
                raise ModelError(f"tool {tool.name}: {error.message}", error.hint) from error
        return rules.rule(" | ".join(options)) if options else ""

    def _final_rule(self, rules: Rules, tools: Sequence[ToolSpec], output_schema: Json | None) -> str:
        if output_schema is None:
            body = rules.terminal(self._plain_text(tools))
        else:
            body = rules.rule(json_rule(output_schema))
        closing = f"({rules.text(self.final.closing)})?" if rules.is_special(self.final.closing) else ""
        return rules.rule(" ".join(filter(None, (self.final.before and rules.text(self.final.before), body, closing))))

    def _plain_text(self, tools: Sequence[ToolSpec]) -> str:
        """Final text: anything that does not begin like a call, and does not spell what opens one."""
        forbidden = [self._opening_tag()] if tools else []
        if self.thinking and self.thinking.opening:
            forbidden.append(self.thinking.opening)
        text = without([tag for tag in forbidden if tag], r"/(.|\n)+/")
        starts = self._bare_starts(tools)
        if self.thinking and self.thinking.gap is None:
            starts.append("\n")  # belongs to the gap; a text that took it would hide a call behind it
        return f"({text} & ~/({'|'.join(map(escaped, starts))})(.|\\n)*/)" if starts else text

    def _opening_tag(self) -> str:
        """What of a call's beginning cannot stand in a final answer: its first tag, else all of it."""
        opener = self.call.opener
        tags = Cutter(self.special).tags(opener)
        if tags:
            return opener[slice(*tags[0])]
        return opener.strip() if len(opener.strip()) > 2 else ""

    def _bare_starts(self, tools: Sequence[ToolSpec]) -> list[str]:
        """What a final answer cannot begin with, where a call begins without a tag."""
        if not tools or self.final.before or Cutter(self.special).tags(self.call.opener):
            return []
        opener = self.call.opener.lstrip()
        if opener:
            return [opener[0]]
        following = next((piece for piece in self.call.before if isinstance(piece, str)), "")
        return [tool.name + following[:1] for tool in tools] if Slot.NAME in self.call.before else []

    def _thinking_rule(self, rules: Rules, max_tokens: int) -> str | None:
        thinking = self.thinking
        if thinking is None:
            return None
        gap = r"/\n{0,2}/" if thinking.gap is None else rules.text(thinking.gap)
        opening = "" if thinking.is_open else rules.text(thinking.opening)
        if not max_tokens:
            return f"{rules.text(thinking.closing)} {gap}" if thinking.is_open else None
        if rules.is_special(rules.split(thinking.closing)[0]):
            thought = rules.reserve("thought")
            pattern = rules.terminal(without([thinking.closing]))
            rules.define(thought, pattern, f"[max_tokens={max_tokens}]")
            thought = f"{thought} {rules.text(thinking.closing)}"
        else:  # no token ends it, so that its length is counted in characters
            most = min(max_tokens * _CHARACTERS_A_TOKEN, longest(thinking.closing))
            thought = rules.up_to(rf"/(.|\n){{0,{most}}}/", thinking.closing)
        return " ".join(filter(None, (opening, thought, gap)))

    # --- reading ------------------------------------------------------------------------------------------------

    def read(self, written: str, tools: Sequence[ToolSpec], output_is_json: bool) -> Turn:
        """What a finished turn says.

        Raises:
            ModelError: the text is not of the grammar, which means it was cut.
        """
        reasoning, rest = self._without_thinking(written)
        call = self.call.read(rest.removeprefix(self.leads[0]), tools) or self.call.read(rest.lstrip(), tools)
        if call:
            return Turn("", reasoning, call)
        tag = self._opening_tag()
        if tools and tag and rest.lstrip().startswith(tag):
            raise ModelError("the model's call was cut")
        text = rest.removeprefix(self.leads[1]).removeprefix(self.final.before)
        return Turn(text.strip().removesuffix(self.final.closing).strip(), reasoning, None)

    def _without_thinking(self, written: str) -> tuple[str, str]:
        thinking = self.thinking
        if thinking is None:
            return "", written
        if not thinking.is_open:
            if not written.lstrip().startswith(thinking.opening):
                return "", written
            written = written.lstrip().removeprefix(thinking.opening)
        reasoning, mark, rest = written.partition(thinking.closing)
        if not mark:
            raise ModelError("the model's thinking was cut")
        if thinking.gap and rest.startswith(thinking.gap):
            return reasoning.strip(), rest[len(thinking.gap) :]
        return reasoning.strip(), rest.lstrip("\n") if thinking.gap is None else rest
