"""Talks to a chat template in sentinels and keeps what it answers.

Finds the form of conversation that the template takes (its `Habits`), and the renderings that the call syntax is read
from. Everything after the user's last word in a rendering is called its tail.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import product
from typing import Protocol

from edgeagent.errors import ModelError
from edgeagent.model.syntax.habits import (
    ARGUMENT_FORMS,
    CONTENT_FORMS,
    ArgumentForm,
    Habits,
    as_is,
    call_id,
    shown_call,
)
from edgeagent.model.syntax.values import find_json
from edgeagent.schema import Json, ToolCall

SYSTEM, USER, FINAL, RESULT, WHY = "zqsystem text", "zquser text", "zqfinal text", "zqresult text", "zqwhy text"
TOOL = "zq_tool"
FIRST, KEY, LAST = "zq_a", "zq_k", "zq_z"
"""Names of parameters, in the order of the alphabet: some templates sort them."""
ONE, TWO = "zqone text", "zqtwo text"
NUMBER = 471100
LIST, TABLE = ["zqitem text", NUMBER, True], {"zq_p": "zqdeep text", "zq_q": None}
PLAIN_ARGUMENTS: Json = {FIRST: ONE, KEY: NUMBER, LAST: TWO}
_REASONING_KEYS = ("reasoning_content", "reasoning", "thinking", "thought", "tool_plan")

FUNCTION: Json = {
    "type": "function",
    "function": {
        "name": TOOL,
        "description": "Sentinel.",
        "parameters": {
            "type": "object",
            "properties": {
                FIRST: {"type": "string", "description": "First."},
                KEY: {"type": "string", "description": "Between."},
                LAST: {"type": "string", "description": "Last."},
            },
            "required": [FIRST],
            "additionalProperties": False,
        },
    },
}


class Renders(Protocol):
    """What is needed of a template: `ChatTemplate.render_data`."""

    def render_data(self, messages: list[Json], functions: list[Json], *, add_generation_prompt: bool) -> str: ...


@dataclass(frozen=True, slots=True)
class Tails:
    """Renderings after the user's last word.

    Args:
        prompt: what the model is to continue.
        added: what of it the template adds for the model to continue; all of it where that cannot be told.
        call, final: a turn with a call, or with a final answer, at the end of a conversation.
        thought_call, thought_final: the same with reasoning; empty where the template shows none.
    """

    prompt: str
    added: str
    final: str
    call: str = ""
    thought_call: str = ""
    thought_final: str = ""


@dataclass
class Probe:
    """One template under question."""

    template: Renders
    habits: Habits = field(default_factory=lambda: Habits(reasoning_key=""))

    def look(self) -> Tails:
        """Learns the habits, and gives the tails. ModelError where not even a plain question renders."""
        self._learn_roles()
        prompt = self._needed([self._user()], prompt=True)
        final = self._needed([self._user(), _final()], prompt=False)
        added = prompt.removeprefix(self._needed([self._user()], prompt=False)) or prompt
        thought = self._thought([_final()])
        if not self.habits.shows_calls:
            return Tails(prompt, added, final, thought_final=thought)
        call, thought_call = self.call(PLAIN_ARGUMENTS) or "", self._thought([self.call_message(PLAIN_ARGUMENTS)])
        return Tails(prompt, added, final, call, thought_call, thought)

    # --- renderings ---------------------------------------------------------------------------------------------

    def tail(self, messages: list[Json], *, prompt: bool = False, with_tools: bool = True) -> str | None:
        """The rendering after the user's last word; None where the template fails or does not show it."""
        if self.habits.shows_system:
            messages = [{"role": "system", "content": SYSTEM}, *messages]
        functions = [FUNCTION] if with_tools and self.habits.shows_tools else []
        try:
            text = self.template.render_data(messages, functions, add_generation_prompt=prompt)
        except ModelError:
            return None
        _, found, after = text.rpartition(USER)
        return after if found else None

    def call(self, arguments: Json, number: int = 0) -> str | None:
        """The tail of a turn with that call, which is the call of that number in the conversation."""
        before: list[Json] = []
        for earlier in range(number):
            before += [
                self.call_message(PLAIN_ARGUMENTS, earlier),
                self.result_message(earlier),
                _final(),
                self._user(),
            ]
        messages = [self._user(), *before, self.call_message(arguments, number)]
        tail = self.tail(messages)
        if tail is None and number == 0:  # a template that insists on the result
            tail = self.tail([*messages, self.result_message(number)])
            tail = tail.partition(RESULT)[0] if tail else None
        return tail

    def call_message(self, arguments: Json, number: int = 0) -> Json:
        message: Json = {"role": "assistant", "content": ""}
        message["tool_calls"] = [shown_call(ToolCall(TOOL, arguments), self.habits, as_is, number)]
        if self.habits.content == "none":
            message["content"] = None
        elif self.habits.content == "absent":
            del message["content"]
        return message

    def result_message(self, number: int = 0) -> Json:
        return {"role": "tool", "content": RESULT, "name": TOOL, "tool_call_id": call_id(number)}

    def _user(self) -> Json:
        return {"role": "user", "content": USER}

    def _needed(self, messages: list[Json], *, prompt: bool) -> str:
        tail = self.tail(messages, prompt=prompt)
        if tail is None:
            raise ModelError("the model's chat template does not show what a user says", "use another model file")
        return tail

    def _thought(self, messages: list[Json]) -> str:
        """The tail of a turn with reasoning; empty where the template shows none."""
        if not self.habits.reasoning_key:
            return ""
        last = {**messages[-1], self.habits.reasoning_key: WHY}
        tail = self.tail([self._user(), *messages[:-1], last])
        return tail if tail and WHY in tail else ""

    # --- habits -------------------------------------------------------------------------------------------------

    def _learn_roles(self) -> None:
        self.habits = replace(self.habits, shows_system=self._shows_system())
        self._learn_calls()
        self.habits = replace(self.habits, shows_tools=self._shows_tools())
        self.habits = replace(self.habits, shows_results=self._shows_results())
        self.habits = replace(self.habits, reasoning_key=self._reasoning_key())

    def _shows_system(self) -> bool:
        """In a conversation that goes on, too: some templates drop the system message after a while."""
        system = {"role": "system", "content": SYSTEM}
        user = {"role": "user", "content": USER}
        longer = [system, user, _final(), {"role": "user", "content": "zqmore text"}, _final()]
        return all(SYSTEM in self._whole(messages) for messages in ([system, user], longer))

    def _whole(self, messages: list[Json], functions: list[Json] | None = None) -> str:
        try:
            return self.template.render_data(messages, functions or [], add_generation_prompt=False)
        except ModelError:
            return ""

    def _shows_tools(self) -> bool:
        return TOOL in self._whole([{"role": "user", "content": USER}], [FUNCTION])

    def _learn_calls(self) -> None:
        """Which form of a call the template writes best."""
        best: tuple[tuple[int, int], Habits] = ((0, 0), replace(self.habits, shows_calls=False))
        for arguments, content in product(ARGUMENT_FORMS, CONTENT_FORMS):
            self.habits = replace(self.habits, shows_calls=True, arguments=arguments, content=content)
            tail = self.call(PLAIN_ARGUMENTS)
            quality = _quality(tail, arguments), -len(tail or "")
            if quality[0] and quality > best[0]:
                best = (quality, self.habits)
        self.habits = best[1]

    def _shows_results(self) -> bool:
        if not self.habits.shows_calls:
            return False
        tail = self.tail([self._user(), self.call_message(PLAIN_ARGUMENTS), self.result_message()], prompt=True)
        return tail is not None and RESULT in tail

    def _reasoning_key(self) -> str:
        messages = [_final()]
        if self.habits.shows_calls:
            messages.append(self.call_message(PLAIN_ARGUMENTS))
        for key in _REASONING_KEYS:
            self.habits = replace(self.habits, reasoning_key=key)
            if any(self._thought([message]) for message in messages):
                return key
        return ""


def _quality(tail: str | None, arguments: ArgumentForm) -> int:
    """How well a tail shows the sentinel call; 0 where it does not.

    JSON is best; then parameters in a notation of the template's own; then what a template writes that expects text.
    """
    if tail is None or TOOL not in tail:
        return 0
    if find_json(tail, PLAIN_ARGUMENTS):
        return 4 if arguments == "object" else 2
    is_shown = all(str(part) in tail for item in PLAIN_ARGUMENTS.items() for part in item)
    if not is_shown or f'\\"{FIRST}' in tail:
        return 0
    return 1 if arguments == "text" or repr(PLAIN_ARGUMENTS) in tail else 3


def _final() -> Json:
    return {"role": "assistant", "content": FINAL}
