"""The tools for an agent's own notes: remember and recall. Where notes are kept and how they are searched is the
memory's matter, which the context brings; nobody else sees them.
"""

from __future__ import annotations

from edgeagent.errors import ToolError
from edgeagent.schema import Json
from edgeagent.tools.base import Arguments, Plan, ToolContext, cut, parse_arguments
from edgeagent.tools.specs import BUILTIN_SPECS

_RECALLED = 5
_SEARCHED = 100


class RememberArguments(Arguments):
    text: str


class RecallArguments(Arguments):
    query: str


class Remember:
    spec = BUILTIN_SPECS["remember"]

    def plan(self, arguments: Json, context: ToolContext) -> Plan:
        text = _storable(parse_arguments(RememberArguments, arguments).text).strip()
        if not text:
            raise ToolError("the text is empty")
        return Plan(self.spec.name, {"text": text})

    def apply(self, plan: Plan, context: ToolContext) -> str:
        context.memory.remember(plan.arguments["text"])
        return "kept"

    def was_applied(self, plan: Plan, context: ToolContext) -> str | None:
        """A note that is there already, from this call or an earlier one, need not be kept twice."""
        text = plan.arguments["text"]
        return "kept" if text in context.memory.recall(text, limit=_SEARCHED) else None


class Recall:
    spec = BUILTIN_SPECS["recall"]

    def plan(self, arguments: Json, context: ToolContext) -> Plan:
        query = _storable(parse_arguments(RecallArguments, arguments).query)
        return Plan(self.spec.name, {"query": query})

    def apply(self, plan: Plan, context: ToolContext) -> str:
        notes = context.memory.recall(plan.arguments["query"], limit=_RECALLED)
        return cut("\n".join(f"- {note}" for note in notes), context.result_limit) or "nothing found"

    def was_applied(self, plan: Plan, context: ToolContext) -> str | None:
        return None


def _storable(text: str) -> str:
    """Lone surrogates and NUL have no place in a database's text."""
    return text.encode("utf-8", "replace").decode().replace("\0", "")
