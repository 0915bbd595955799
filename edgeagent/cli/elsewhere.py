"""Models behind endpoints, for `models` and `doctor`: which ones agents name, and whether their servers answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from edgeagent.agents.agent import ModelTable
from edgeagent.cli.app import App
from edgeagent.errors import EdgeagentError, ModelError, NotFound, SecretError
from edgeagent.model.catalog import CatalogEntry, elsewhere
from edgeagent.model.endpoint import Address, EndpointModel
from edgeagent.schema import Json

ANSWER_SECONDS = 15.0
_SCHEMES = ("http://", "https://")


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """One model of a server, and the agents that name it."""

    entry: CatalogEntry
    model: EndpointModel
    agents: tuple[str, ...]


def named_by_agents(app: App) -> list[Elsewhere]:
    """Every one that an agent uses, once. An agent whose address is none is left out: `agents validate` tells."""
    models = app.runtime.models
    found: dict[int, Elsewhere] = {}
    for name, agent in app.runtime.load_agents().agents.items():
        try:
            entry, model = models.entry(agent), models.of(agent)
        except EdgeagentError:
            continue
        if not isinstance(model, EndpointModel):
            continue
        known = found.get(id(model))
        found[id(model)] = Elsewhere(entry, model, (*(known.agents if known else ()), name))
    return list(found.values())


def find(app: App, name: str) -> Elsewhere | None:
    """The one that is meant: by its name, by its address, or by an address that no agent names. UsageError."""
    if name.startswith(_SCHEMES):
        known = [one for one in named_by_agents(app) if one.entry.source == str(Address.parse(name))]
        return known[0] if known else _unnamed(app, name)
    return next((one for one in named_by_agents(app) if one.entry.name == name), None)


def _unnamed(app: App, address: str) -> Elsewhere:
    model = app.runtime.models.behind(ModelTable(endpoint=address))
    return Elsewhere(elsewhere(model.server.address, model.name), model, ())


def facts(one: Elsewhere) -> Json:
    """What its server says. ModelError where it does not answer."""
    return {"endpoint": one.entry.source, "models": _models(one), "agents": list(one.agents)}


def fact_rows(one: Elsewhere, told: Json) -> list[tuple[str, str]]:
    return [
        ("name", one.entry.name),
        ("about", one.entry.description),
        ("agents", ", ".join(one.agents)),
        ("it has", "\n".join(told["models"])),
    ]


def check(app: App) -> Iterator[tuple[Literal["ok", "fail"], str, str]]:
    """For each: `ok` or `fail`, what is so, and what to do about it."""
    for one in named_by_agents(app):
        try:
            there = _models(one)
        except (ModelError, NotFound, SecretError) as error:
            yield "fail", f"{one.entry.name}, for {', '.join(one.agents)}: {error.message}", error.hint
        else:
            shown = ", ".join(there[:5]) + (" ..." if len(there) > 5 else "")
            yield "ok", f"{one.entry.name} behind {one.entry.source}, which has {shown or 'no list of models'}", ""


def _models(one: Elsewhere) -> list[str]:
    stop = threading.Event()
    alarm = threading.Timer(ANSWER_SECONDS, stop.set)
    alarm.daemon = True
    alarm.start()
    try:
        return one.model.server.models(stop)
    except ModelError as error:
        if stop.is_set():
            told = f"{one.entry.source} did not answer within {ANSWER_SECONDS:g} seconds"
            raise ModelError(told, "is the server running?") from error
        raise
    finally:
        alarm.cancel()
