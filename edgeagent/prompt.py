"""Turns an agent and an event into the first messages of a conversation.

What is the same for every event of an agent comes first (the system message, then the tools, which the chat template
adds); what varies comes last, in the user message. There is no clock, path or id in the first part, so that its state
in the model can be kept. `pocket` is trained on these very renderings.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from edgeagent.schema import Event, Json, Message, Run, Step

_SHOWN_LAST = "preview"
_NOT_SHOWN = frozenset({"mtime", "sha256", "boot_id"})
"""Event data that costs many tokens and tells a model nothing. Templates and `when` still see it."""


def opening_messages(instructions: str, event: Event) -> list[Message]:
    """The system message and the user message that start a run."""
    return [Message("system", instructions.strip()), Message("user", render_event(event.trigger, event.data))]


def render_event(trigger: str, data: Json) -> str:
    """An event as the model reads it: one `key: value` a line, values as JSON so that they can be copied exactly.

    The text preview of a file comes last and as it is, because that is how a model reads text best.
    """
    lines = [f"event: {trigger}"]
    for key, value in data.items():
        if key != _SHOWN_LAST and key not in _NOT_SHOWN and value is not None:
            lines.append(f"{key}: {json.dumps(value, ensure_ascii=False)}")
    preview = data.get(_SHOWN_LAST)
    if isinstance(preview, str):
        lines.append("text:\n" + preview.strip() if preview.strip() else "text: (none)")
    return "\n".join(lines)


def messages_of_earlier(runs: Sequence[Run]) -> list[Message]:
    """What earlier runs of a thread come to: each event, and the answer to it."""
    messages: list[Message] = []
    for run in runs:
        answer = run.output if isinstance(run.output, str) else json.dumps(run.output, ensure_ascii=False)
        messages += [Message("user", render_event(run.trigger, run.event)), Message("assistant", answer)]
    return messages


def messages_of_steps(steps: Sequence[Step]) -> list[Message]:
    """The conversation that recorded steps stand for, so that an interrupted run goes on where it stood."""
    messages: list[Message] = []
    for step in steps:
        if step.kind == "chat" and step.status != "ok":
            continue  # nothing was said: the model's host died
        if step.kind == "chat":
            messages.append(Message("assistant", step.result, step.reasoning, step.calls))
        else:
            messages.append(Message("tool", step.result, name=step.name))
    return messages
