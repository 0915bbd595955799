"""Runs one command confined, with everything that it starts.

    sandbox = open_sandbox(forbidden, scratch).require()
    outcome = run(sandbox, Command(argv=("python3", "scripts/sum.py"), folder=skill_folder))

Owns how a command is confined and what ends it. Does not own what may be granted: policy decides, and hands in paths
and hosts that are already resolved and allowed.
"""

from edgeagent.sandbox.bubblewrap import Bubblewrap
from edgeagent.sandbox.confined import Confined, Sandbox
from edgeagent.sandbox.landlocked import Landlocked
from edgeagent.sandbox.opening import OpenedSandbox, open_sandbox
from edgeagent.sandbox.places import read_written
from edgeagent.sandbox.proof import Attempt, Proof
from edgeagent.sandbox.request import Command, Connection, Level, Limit, Limits, Outcome
from edgeagent.sandbox.run import run

__all__ = [
    "Attempt",
    "Bubblewrap",
    "Command",
    "Confined",
    "Connection",
    "Landlocked",
    "Level",
    "Limit",
    "Limits",
    "OpenedSandbox",
    "Outcome",
    "Proof",
    "Sandbox",
    "open_sandbox",
    "read_written",
    "run",
]
