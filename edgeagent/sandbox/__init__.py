"""Runs one command confined, with everything that it starts.

    outcome = run(Bubblewrap(forbidden), Command(argv=("python3", "scripts/sum.py"), folder=skill_folder))

Owns how a command is confined and what ends it. Does not own what may be granted: policy decides, and hands in paths
and hosts that are already resolved and allowed.
"""

from edgeagent.sandbox.bubblewrap import Bubblewrap
from edgeagent.sandbox.confined import Confined, Sandbox
from edgeagent.sandbox.request import Command, Connection, Level, Limit, Limits, Outcome
from edgeagent.sandbox.run import run

__all__ = [
    "Bubblewrap",
    "Command",
    "Confined",
    "Connection",
    "Level",
    "Limit",
    "Limits",
    "Outcome",
    "Sandbox",
    "run",
]
