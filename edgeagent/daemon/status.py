"""What the daemon says of itself: the object behind `edgeagent status --json` and GET /v1/status. And the numbers
behind /metrics. Changes nothing."""

from __future__ import annotations

import os
from datetime import datetime

import psutil

import edgeagent
from edgeagent.agents import Agent
from edgeagent.daemon.crew import Crew
from edgeagent.runtime import Runtime
from edgeagent.schema import Json
from edgeagent.store import Store
from edgeagent.telemetry import Labels, gauge, labelled
from edgeagent.triggers.base import Trigger, TriggerState


def crew_json(crew: Crew, store: Store) -> Json:
    """Agents, triggers, and what is wrong with them."""
    agents = crew.agents
    orphans = [waiting.agent for waiting in store.waiting() if waiting.queued and waiting.agent not in agents]
    return {
        "agents": sorted(agents),
        "disabled": sorted(name for name, agent in agents.items() if not agent.enabled),
        "triggers": [_trigger_json(trigger, state) for trigger, state in crew.states()],
        "problems": crew.problems() + [f"runs wait for the agent {name}, which is not there" for name in orphans],
    }


def model_json(runtime: Runtime) -> Json:
    loaded = runtime.models.loaded()
    return {
        "name": loaded[0].name if loaded else runtime.config.model.default,
        "loaded": bool(loaded),
        "resident_bytes": sum(_resident(model.process_id) for model in loaded),
    }


def metrics_text(runtime: Runtime, store: Store, crew: Crew, started_at: datetime) -> str:
    """How things stand, for Prometheus."""
    model = model_json(runtime)
    up: dict[Labels, float] = {
        (("agent", trigger.agent), ("trigger", trigger.trigger_id)): float(state.condition == "ok")
        for trigger, state in crew.states()
    }
    counts = {status.value: float(count) for status, count in store.counts().items()}
    return "".join(
        (
            gauge("edgeagent_info", "The version.", {(("version", edgeagent.__version__),): 1.0}),
            gauge("edgeagent_start_time_seconds", "When the daemon started.", started_at.timestamp()),
            gauge("edgeagent_agents", "Agents that can run.", float(len(crew.agents))),
            gauge("edgeagent_runs", "Runs in the journal, by status.", labelled("status", counts)),
            gauge("edgeagent_trigger_up", "Whether a trigger is as it should be.", up),
            gauge("edgeagent_resident_bytes", "Memory of the daemon.", float(_resident(os.getpid()))),
            gauge("edgeagent_model_loaded", "Whether a model is loaded.", float(model["loaded"])),
            gauge("edgeagent_model_resident_bytes", "Memory of loaded models.", float(model["resident_bytes"])),
            gauge("edgeagent_journal_bytes", "Size of the journal's file.", float(store.path.stat().st_size)),
        )
    )


def agent_json(agent: Agent, default_model: str) -> Json:
    """What `agents list` shows."""
    return {
        "name": agent.name,
        "description": agent.description,
        "path": str(agent.path),
        "triggers": [trigger.trigger for trigger in agent.triggers],
        "model": agent.model_words or default_model,
        "enabled": agent.enabled,
    }


def _trigger_json(trigger: Trigger, state: TriggerState) -> Json:
    return {
        "agent": trigger.agent,
        "id": trigger.trigger_id,
        "condition": state.condition,
        "text": state.text,
    }


def _resident(pid: int | None) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss) if pid else 0
    except psutil.Error:
        return 0
