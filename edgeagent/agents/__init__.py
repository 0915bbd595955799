"""Agent files: one Markdown file is one frozen `Agent`. Parses and checks untrusted text once; runs nothing."""

from edgeagent.agents.agent import Agent, Expectation, Grants, Limits, ModelTable, Power
from edgeagent.agents.conditions import Condition
from edgeagent.agents.load import LoadedAgents, load_agent, load_agents, parse_agent
from edgeagent.agents.template import render
from edgeagent.agents.triggers import (
    AgentTrigger,
    AnyTrigger,
    AtTrigger,
    CronTrigger,
    EveryTrigger,
    FileTrigger,
    MqttTrigger,
    SqliteTrigger,
    StartupTrigger,
    WebhookTrigger,
)

__all__ = [
    "Agent",
    "AgentTrigger",
    "AnyTrigger",
    "AtTrigger",
    "Condition",
    "CronTrigger",
    "EveryTrigger",
    "Expectation",
    "FileTrigger",
    "Grants",
    "Limits",
    "LoadedAgents",
    "ModelTable",
    "MqttTrigger",
    "Power",
    "SqliteTrigger",
    "StartupTrigger",
    "WebhookTrigger",
    "load_agent",
    "load_agents",
    "parse_agent",
    "render",
]
