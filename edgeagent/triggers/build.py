"""From what an agent file says to triggers that can be started. The one place that knows all kinds."""

from __future__ import annotations

import platform
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING

from edgeagent.secrets import Secrets
from edgeagent.store import Store
from edgeagent.triggers.alarms import Alarms
from edgeagent.triggers.base import Trigger, WallClock
from edgeagent.triggers.chain import ChainTrigger
from edgeagent.triggers.file import FileTrigger
from edgeagent.triggers.mqtt import MqttTrigger
from edgeagent.triggers.schedule import ScheduleTrigger
from edgeagent.triggers.startup import StartupTrigger, boot_id
from edgeagent.triggers.table import TableTrigger
from edgeagent.triggers.watching import Watching
from edgeagent.triggers.webhook import Hooks, WebhookTrigger

if TYPE_CHECKING:
    from edgeagent.agents import Agent


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What triggers of all agents share. Start `watching` and `alarms` before the triggers, stop them after."""

    store: Store
    watching: Watching
    alarms: Alarms
    clock: WallClock
    home_dir: Path
    """What `~` stands for."""
    local_zone: tzinfo
    agents: Callable[[], Collection[str]]
    """The names of the agents that there are."""
    hooks: Hooks
    secrets: Secrets
    boot_id: Callable[[], str] = boot_id


def build_triggers(agent: Agent, around: Surroundings) -> list[Trigger]:
    """The triggers of one agent, in the order of its file."""
    return [_build(agent.name, settings, around) for settings in agent.triggers]


def _build(agent: str, settings: object, around: Surroundings) -> Trigger:
    from edgeagent.agents import triggers as kinds

    store, clock = around.store, around.clock
    if isinstance(settings, kinds.FileTrigger):
        return FileTrigger(
            agent, settings, home_dir=around.home_dir, store=store, watching=around.watching, clock=clock
        )
    if isinstance(settings, kinds.CronTrigger | kinds.EveryTrigger | kinds.AtTrigger):
        zone, machine = around.local_zone, platform.node()
        return ScheduleTrigger(
            agent, settings, store=store, alarms=around.alarms, clock=clock, local_zone=zone, machine=machine
        )
    if isinstance(settings, kinds.WebhookTrigger):
        return WebhookTrigger(agent, settings, store=store, hooks=around.hooks, secrets=around.secrets, clock=clock)
    if isinstance(settings, kinds.SqliteTrigger):
        return TableTrigger(agent, settings, home_dir=around.home_dir, store=store, clock=clock)
    if isinstance(settings, kinds.AgentTrigger):
        return ChainTrigger(agent, settings, store=store, agents=around.agents)
    if isinstance(settings, kinds.StartupTrigger):
        return StartupTrigger(agent, settings.id, store=store, clock=clock, boot_id=around.boot_id)
    assert isinstance(settings, kinds.MqttTrigger)
    return MqttTrigger(agent, settings, store=store, secrets=around.secrets, clock=clock)


def machine_zone() -> tzinfo:
    """The time zone of this machine with its daylight saving; UTC where the machine's settings make no sense."""
    from zoneinfo import ZoneInfoNotFoundError

    from tzlocal import get_localzone

    try:
        return get_localzone()
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC
