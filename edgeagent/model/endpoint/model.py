"""A model behind a server, as agents use it: one turn is one request, and one more where what came was not valid.

There is no tokenizer here, so that the conversation is fitted to its budget by a guess from its length; what was used
in the end is what the server says. Thread-safe.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from edgeagent.errors import ModelError, NotFound, PromptTooLong
from edgeagent.model.endpoint.checking import FaultError, call_in_text, checked_call, checked_output
from edgeagent.model.endpoint.reply import Reply
from edgeagent.model.endpoint.server import Server
from edgeagent.model.endpoint.wire import ToolNames, messages_json, tools_json
from edgeagent.model.fitting import AROUND, fitted
from edgeagent.model.protocol import ChatRequest, ChatResult, Sampling
from edgeagent.schema import Json, Message, ToolCall

CHARACTERS_A_TOKEN = 3
"""A guess that is rather too careful, for cutting what is too long."""
FEWEST_CHARACTERS = 5
"""As few tokens as text of some length can well have: a conversation that is too long even so is not sent."""
USUAL = Sampling()


@dataclass(frozen=True, slots=True)
class _Turn:
    call: ToolCall | None
    text: str
    reasoning: str


class EndpointModel:
    """Args:
    model: what the server calls it; empty: the only one that it has.
    context: tokens of a conversation; 0: as many as the server takes.
    """

    def __init__(self, server: Server, model: str = "", context: int = 0, sampling: Sampling = USUAL) -> None:
        self.server = server
        self.sampling = sampling
        self.name = model or server.address.place
        self._model = model
        self._context = context

    def chat(self, request: ChatRequest, stop: threading.Event, on_text: Callable[[str], None]) -> ChatResult:
        """Generates one turn; see `Model.chat`."""
        began = time.monotonic()
        names = ToolNames(request.tools)
        body = self._body(request, names, stop)
        replies: list[Reply] = []
        while True:
            replies.append(self._checked_size(self.server.chat(body, stop, on_text), request))
            reply = replies[-1]
            try:
                turn = _Turn(None, *reply.without_thinking()) if _is_cut(reply) else _read(reply, request, names)
                return _result(turn, replies, began)
            except FaultError as fault:
                if len(replies) > 1:
                    return self._given_up(fault, request, replies, began)
                body = _corrected(body, reply, str(fault), request)

    def close(self) -> None:
        """Nothing to end: every request has a connection of its own."""

    def _given_up(self, fault: FaultError, request: ChatRequest, replies: list[Reply], began: float) -> ChatResult:
        """A wrong call is an error. A wrong answer is for the run to judge."""
        if replies[-1].name is not None or request.output_schema is None:
            raise ModelError(f"{self.name} wrote a call that is not valid, twice: {fault}", "use another model")
        text, reasoning = replies[-1].without_thinking()
        return _result(_Turn(None, text, reasoning), replies, began)

    # --- the request --------------------------------------------------------------------------------------------

    def _body(self, request: ChatRequest, names: ToolNames, stop: threading.Event) -> Json:
        messages, guess = self._fitted(request)
        most = request.max_tokens
        if self._context:
            most = max(1, min(most, self._context - guess))
        body: Json = {
            "model": self._model_name(stop),
            "messages": messages_json(messages, names),
            "max_tokens": most,
            "stream": True,
            "stream_options": {"include_usage": True},
            **self._sampling_json(request),
        }
        if request.tools:
            body |= {"tools": tools_json(request.tools, names), "tool_choice": "auto", "parallel_tool_calls": False}
        elif request.output_schema is not None:
            body["response_format"] = response_format(request.output_schema)
        return body

    def _fitted(self, request: ChatRequest) -> tuple[tuple[Message, ...], int]:
        """The messages, cut to the budget, and a guess of their tokens."""
        budget = request.max_prompt_tokens or 2**31
        if self._context:
            budget = min(budget, self._context - min(request.max_tokens, self._context // 4))
        tools = _guess(json.dumps([tool.as_function() for tool in request.tools])) if request.tools else 0
        messages = fitted(_with_schema(request), budget, lambda part: tools + _count(part), _guess)
        guess = tools + _count(messages)
        least = guess * CHARACTERS_A_TOKEN // FEWEST_CHARACTERS
        if least > budget:
            told = f"the conversation has about {guess} tokens and may have {budget}"
            raise PromptTooLong(told, "raise limits.prompt_tokens")
        return messages, guess

    def _sampling_json(self, request: ChatRequest) -> Json:
        """How tokens are picked: what was asked for, since servers have defaults of their own."""
        chosen = self.sampling.of(request)
        sent: Json = {"temperature": chosen.temperature, "seed": chosen.seed}
        for name in ("top_k", "top_p", "min_p"):
            if getattr(chosen, name) != getattr(USUAL, name):
                sent[name] = getattr(chosen, name)
        if chosen.repetition_penalty != USUAL.repetition_penalty:  # llama.cpp's name for it, and vLLM's
            sent |= dict.fromkeys(("repeat_penalty", "repetition_penalty"), chosen.repetition_penalty)
        return sent

    def _model_name(self, stop: threading.Event) -> str:
        if not self._model:
            found = self.server.models(stop)
            if len(found) != 1:
                there = ", ".join(found[:10]) or "none"
                raise NotFound(f"{self.server.address} has more than one model, or none", f"name one of: {there}")
            self._model = found[0]
        return self._model

    def _checked_size(self, reply: Reply, request: ChatRequest) -> Reply:
        used, limit = reply.usage.prompt_tokens or 0, request.max_prompt_tokens
        if limit and used > limit:
            told = f"the conversation has {used} tokens and may have {limit}"
            raise PromptTooLong(told, "raise limits.prompt_tokens")
        return reply


def response_format(schema: Json) -> Json:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def _with_schema(request: ChatRequest) -> tuple[Message, ...]:
    """The messages; with what the final answer must look like, which nothing else tells a model elsewhere."""
    if request.output_schema is None:
        return request.messages
    schema = json.dumps(request.output_schema, ensure_ascii=False)
    told = f"Your final answer is JSON that matches this schema, and nothing else: {schema}"
    first, *others = request.messages
    if first.role != "system":
        return (Message("system", told), *request.messages)
    return (replace(first, content=f"{first.content}\n\n{told}"), *others)


def _corrected(body: Json, reply: Reply, fault: str, request: ChatRequest) -> Json:
    """The request once more, with what was wrong. An answer that did not match is then held to its schema."""
    said = reply.text if reply.name is None else f"{reply.name} {reply.arguments}"
    told = f"That was not valid: {fault}. Write it again so that it is."
    messages = [*body["messages"], {"role": "assistant", "content": said}, {"role": "user", "content": told}]
    again = {**body, "messages": messages}
    if reply.name is None and request.output_schema is not None:
        again["response_format"] = response_format(request.output_schema)
        if request.tools:
            again["tool_choice"] = "none"
    return again


# --- the answer ---------------------------------------------------------------------------------------------------


def _is_cut(reply: Reply) -> bool:
    return reply.finish == "length"


def _read(reply: Reply, request: ChatRequest, names: ToolNames) -> _Turn:
    """What a whole answer says. Raises FaultError."""
    text, reasoning = reply.without_thinking()
    if reply.name is not None:
        return _Turn(checked_call(reply.name, reply.arguments, request.tools, names), text, reasoning)
    if request.tools and (call := call_in_text(text, request.tools, names)):
        return _Turn(call, "", reasoning)
    if request.output_schema is not None:
        text = checked_output(text, request.output_schema)
    return _Turn(None, text, reasoning)


def _result(turn: _Turn, replies: list[Reply], began: float) -> ChatResult:
    now = time.monotonic()
    finish: Literal["call", "stop", "length"] = "call" if turn.call else "stop"
    if _is_cut(replies[-1]):
        finish = "length"
    return ChatResult(
        text=turn.text,
        reasoning=turn.reasoning,
        call=turn.call,
        finish=finish,
        input_tokens=sum(reply.usage.prompt_tokens or 0 for reply in replies),
        cached_tokens=sum(reply.cached_tokens() for reply in replies),
        output_tokens=sum(reply.output_tokens() for reply in replies),
        seconds=now - began,
        time_to_first_token=(replies[0].first_at or now) - began,
    )


def _count(messages: Sequence[Message]) -> int:
    return sum(AROUND + _guess(_written(message)) for message in messages)


def _written(message: Message) -> str:
    return message.content + "".join(f"{call.name} {call.arguments}" for call in message.calls)


def _guess(text: str) -> int:
    return -(-len(text) // CHARACTERS_A_TOKEN)
