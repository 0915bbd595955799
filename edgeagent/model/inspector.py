"""Looks at what agents would ask of a model, in a process of its own, without loading the weights.

    python -m edgeagent.model.inspector MODEL.gguf CONTEXT

In: a JSON list of chat requests. Out: for each a JSON object `{"tokens", "context", "tools", "output"}`, the last two
what is wrong with the schemas of the tools and of the answer. A GGUF and its template are untrusted, so that this ends
like the model host where they are hostile.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgeagent.errors import EdgeagentError, ModelError
from edgeagent.model.confine import confine
from edgeagent.model.protocol import ChatRequest
from edgeagent.model.wire import request_from_json
from edgeagent.schema import Json

if TYPE_CHECKING:
    from edgeagent.model.conversation import Conversations
    from edgeagent.model.sampling import Grammars


def main() -> None:
    sink = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # llama.cpp may print to descriptor 1
    requests = [request_from_json(data) for data in json.load(sys.stdin)]
    confine(None)
    from edgeagent.model.conversation import Conversations  # heavy: llama.cpp
    from edgeagent.model.llama import Weights
    from edgeagent.model.sampling import Grammars

    try:
        weights = Weights(Path(sys.argv[1]), only_vocabulary=True)
        context = int(sys.argv[2])
        if weights.trained_context:
            context = min(context, weights.trained_context)
        conversations = Conversations(Path(sys.argv[1]), weights, context)
        grammars = Grammars(weights)
        answer: Json = {"found": [_looked_at(request, context, conversations, grammars) for request in requests]}
    except EdgeagentError as error:
        answer = {"error": error.message, "hint": error.hint}
    sink.write(json.dumps(answer))
    sink.flush()
    os._exit(0)  # llama.cpp's own clean-up may crash after a failed load


def _looked_at(request: ChatRequest, context: int, conversations: Conversations, grammars: Grammars) -> Json:
    return {
        "tokens": len(conversations.prompt(request)),
        "context": context,
        "tools": _fault(replace(request, output_schema=None), conversations, grammars),
        "output": _fault(replace(request, tools=()), conversations, grammars),
    }


def _fault(request: ChatRequest, conversations: Conversations, grammars: Grammars) -> str:
    try:
        grammars.begin(conversations.grammar(request))
    except ModelError as error:
        return error.message.partition("\n")[0]
    return ""


if __name__ == "__main__":
    main()
