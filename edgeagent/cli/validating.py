"""What `agents validate` finds beyond the file itself: schemas that no model can be held to, prompts that cannot fit.

Each local model is asked once for all of its agents, in a process of its own that reads its vocabulary and template.
A server is not asked: of an agent whose model is behind an endpoint only the schemas are looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgeagent.agents import Agent
from edgeagent.agents.frontmatter import read_document
from edgeagent.errors import EdgeagentError, ModelError, Problem, SkillError, UsageError
from edgeagent.fields import Location
from edgeagent.model.client import HostModel
from edgeagent.model.endpoint import EndpointModel
from edgeagent.model.endpoint.checking import schemas_fault
from edgeagent.model.inspecting import Inspection, inspect, schema_fault
from edgeagent.model.protocol import ChatRequest
from edgeagent.runtime import Runtime
from edgeagent.schema import Message

NEEDED = 16
"""Tokens that an event takes at least."""


@dataclass(slots=True)
class Checked:
    """What was found of one agent. `tokens` of the prompt are the same for every event; None where nobody counted."""

    problems: list[Problem] = field(default_factory=list)
    tokens: int | None = None
    budget: int = 0


def check_agents(runtime: Runtime, agents: Mapping[str, Agent]) -> dict[str, Checked]:
    """The agents by the name of their file, looked at with the models that they name."""
    checked = {file: Checked(budget=agent.limits.prompt_tokens) for file, agent in agents.items()}
    by_model: dict[tuple[Path, int], list[tuple[str, ChatRequest]]] = {}
    for file, agent in agents.items():
        try:
            request = _request(runtime, agent)
        except EdgeagentError as error:
            place = ("skills",) if isinstance(error, SkillError) else ("mcp",) if agent.mcp else ("tools",)
            checked[file].problems.append(_problem(agent, file, place, error.message))
            continue
        try:
            model = _model(runtime, agent)
        except UsageError as error:
            checked[file].problems.append(_problem(agent, file, ("model",), error.message))
            continue
        if isinstance(model, EndpointModel):
            _note(checked[file], agent, file, ("tools",), schemas_fault(request.tools))
        elif model is None:
            _note(checked[file], agent, file, ("tools",), schema_fault(request))
        else:
            by_model.setdefault((model.path, model.options.context), []).append((file, request))
    for (path, context), asked in by_model.items():
        _inspect(path, context, asked, agents, checked)
    return checked


def _request(runtime: Runtime, agent: Agent) -> ChatRequest:
    messages = (Message("system", agent.body.strip()), Message("user", ""))
    return ChatRequest(messages, runtime.toolbox_of(agent).specs(), agent.output)


def _model(runtime: Runtime, agent: Agent) -> HostModel | EndpointModel | None:
    """The agent's model where it is a file that is there, or behind an endpoint. UsageError where that is none."""
    try:
        model = runtime.models.of(agent)
    except UsageError:
        raise
    except EdgeagentError:
        return None  # the run will say what is wrong
    if isinstance(model, EndpointModel):
        return model
    return model if isinstance(model, HostModel) and model.path.is_file() else None


def _inspect(
    path: Path,
    context: int,
    asked: list[tuple[str, ChatRequest]],
    agents: Mapping[str, Agent],
    checked: dict[str, Checked],
) -> None:
    try:
        found = inspect(path, context, [request for _, request in asked])
    except ModelError as error:
        for file, _ in asked:
            _note(checked[file], agents[file], file, ("model",), error.message)
        return
    for (file, _), inspection in zip(asked, found, strict=True):
        _judge(checked[file], agents[file], file, inspection)


def _judge(checked: Checked, agent: Agent, file: str, found: Inspection) -> None:
    checked.tokens = found.tokens
    _note(checked, agent, file, ("tools",), found.tools)
    _note(checked, agent, file, ("output",), found.output)
    fixed = f"the instructions and the tools take {found.tokens} tokens"
    limit = agent.limits.prompt_tokens
    if found.tokens + NEEDED > found.context:
        fault = f"{fixed}, and the model's context holds {found.context}"
        _note(checked, agent, file, ("model",), fault)
    elif found.tokens + NEEDED > limit:
        place = ("limits", "prompt_tokens")
        _note(checked, agent, file, place, f"limits.prompt_tokens: {fixed} of {limit}, which leaves none for an event")


def _note(checked: Checked, agent: Agent, file: str, place: Location, fault: str) -> None:
    if fault:
        checked.problems.append(_problem(agent, file, place, fault))


def _problem(agent: Agent, file: str, place: Location, message: str) -> Problem:
    return Problem(file, read_document(agent.path.read_bytes()).line_of(place), message)
