"""A model that says what a JSON file tells it to: `model: /path/NAME.script.json` instead of a GGUF.

For trying an agent's plumbing, and a whole daemon, without a model: triggers, queue, policy, tools and recovery are the
real ones. The file is a list of turns, or an object that gives such a list for each pattern of event text (the first
pattern that matches counts):

    text                                  the final answer
    {"name": TOOL, "arguments": {...}}    a call
    {"error": TEXT}                       the model fails
    a number                              seconds of thinking before the turn that follows

`{{ event.path }}` and its like are filled in from the event. Which turn is next follows from the conversation alone, so
a run that goes on in another process goes on in the script as well. The file is read at each turn.
"""

from __future__ import annotations

import fnmatch
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeagent.agents import render
from edgeagent.errors import ModelCancelled, ModelError, UsageError
from edgeagent.model.protocol import ChatRequest, ChatResult
from edgeagent.schema import Json, ToolCall

SUFFIX = ".script.json"
_HINT = 'a list of texts, calls {"name", "arguments"}, errors {"error"} and seconds'


def is_script(path: Path) -> bool:
    return path.name.endswith(SUFFIX)


class ScriptModel:
    """One script file. Thread-safe: it keeps nothing."""

    def __init__(self, path: Path) -> None:
        self.name = path.name.removesuffix(".json")
        self._path = path

    def chat(self, request: ChatRequest, stop: threading.Event, on_text: Callable[[str], None]) -> ChatResult:
        """The next turn of the script; see `Model.chat`."""
        event = next((message.content for message in request.messages if message.role == "user"), "")
        said = sum(message.role == "assistant" for message in request.messages)
        thinking, turn = self._turn(self._turns(event), said)
        if stop.wait(thinking) if thinking else stop.is_set():
            raise ModelCancelled("cancelled")
        try:
            turn = _filled(turn, {"event": _event_data(event)})
        except UsageError as error:
            raise ModelError(f"{self._path}: {error.message}") from error
        size = sum(len(message.content) for message in request.messages)
        if isinstance(turn, dict) and "error" in turn:
            raise ModelError(str(turn["error"]))
        if isinstance(turn, dict):
            call = ToolCall(str(turn.get("name")), turn.get("arguments") or {})
            return ChatResult("", "", call, "call", size, 0, 1, thinking, thinking)
        on_text(str(turn))
        return ChatResult(str(turn), "", None, "stop", size, 0, 1, thinking, thinking)

    def _turns(self, event: str) -> list[Any]:
        try:
            script = json.loads(self._path.read_bytes())
        except (OSError, ValueError) as error:
            raise ModelError(f"{self._path} cannot be read as a script: {error}", _HINT) from error
        if isinstance(script, dict):
            script = next((turns for pattern, turns in script.items() if fnmatch.fnmatchcase(event, pattern)), None)
        if not isinstance(script, list):
            raise ModelError(f"{self._path} has no turns for this event", _HINT)
        return script

    def _turn(self, turns: list[Any], number: int) -> tuple[float, Any]:
        """The turn of that number, counted from 0, and the seconds of thinking before it."""
        thinking = 0.0
        for turn in turns:
            if isinstance(turn, int | float):
                thinking += turn
            elif number == 0:
                return thinking, turn
            else:
                number, thinking = number - 1, 0.0
        raise ModelError(f"{self._path} has no more turns", _HINT)

    def close(self) -> None:
        """Nothing to end."""


def _event_data(rendered: str) -> Json:
    """The data of an event from its rendering (`prompt.render_event`): one `key: value` a line."""
    data: Json = {}
    for line in rendered.partition("\ntext:")[0].splitlines()[1:]:
        key, _, value = line.partition(": ")
        try:
            data[key] = json.loads(value)
        except ValueError:
            continue
    return data


def _filled(turn: Any, data: Json) -> Any:
    if isinstance(turn, str):
        return render(turn, data)
    if isinstance(turn, dict):
        return {key: _filled(value, data) for key, value in turn.items()}
    return [_filled(item, data) for item in turn] if isinstance(turn, list) else turn
