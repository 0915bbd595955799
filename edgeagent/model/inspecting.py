"""What a model makes of an agent before it runs: the tokens of its fixed prompt, and whether its schemas can be held.

`inspect` asks a child process that reads the model's vocabulary and template alone. `schema_fault` needs no model.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeagent.errors import ModelError
from edgeagent.model.header import read_header
from edgeagent.model.limits import ENDLESS, HARD_SIGNAL
from edgeagent.model.process import child_environment
from edgeagent.model.protocol import ChatRequest
from edgeagent.model.syntax.derive import GENERIC_SYNTAX
from edgeagent.model.wire import request_to_json

SECONDS = 120.0
"""How long the child may take."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """One request, looked at: the tokens of its prompt, and what is wrong with the schemas of tools and answer."""

    tokens: int
    context: int
    tools: str
    output: str


def inspect(path: Path, context: int, requests: Sequence[ChatRequest]) -> list[Inspection]:
    """Each request, as the model in that file would take it. ModelError where the file cannot be used."""
    read_header(path)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "edgeagent.model.inspector", str(path), str(context)],
            input=json.dumps([request_to_json(request) for request in requests]),
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=child_environment(),
            timeout=SECONDS,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        raise ModelError(f"{path.name} could not be looked at within {SECONDS:.0f} s", "edgeagent doctor") from None
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        if done.returncode == -HARD_SIGNAL:
            raise ModelError(f"{path.name}: {ENDLESS}", "use another model file") from None
        raise ModelError(f"{path.name} cannot be read: the model host ended with code {done.returncode}") from None
    if "error" in answer:
        raise ModelError(answer["error"], answer["hint"])
    return [Inspection(**found) for found in answer["found"]]


def schema_fault(request: ChatRequest) -> str:
    """Why the schemas of tools and answer cannot be held while generating, whatever the model; empty where they can."""
    from llguidance import LLMatcher  # heavy: a native library

    try:
        grammar = GENERIC_SYNTAX.grammar(request.tools, request.output_schema, 0)
    except ModelError as error:
        return error.message
    found = LLMatcher.validate_grammar(LLMatcher.grammar_from_lark(grammar))
    return str(found).partition("\n")[0]
