"""Runs one command confined, with everything that it starts.

    sandbox = open_sandbox(forbidden, scratch).require()
    outcome = run(sandbox, Command(argv=("python3", "scripts/sum.py"), folder=skill_folder))

Owns how a command is confined and what ends it. Does not own what may be granted: policy decides, and hands in paths
and hosts that are already resolved and allowed.

Covered at both levels: only its own folder (read-only), a scratch folder and the granted paths are opened or changed;
other processes are neither read, traced nor signalled; no socket of this machine is reached; nothing that it started is
left when the call ends, nor when this process is killed; memory, processor time, wall time, processes, size of files,
scratch and output are limited; secrets are in no argument and no environment; dangerous system calls are refused.
Only `full` has granted hosts, through a proxy, and its own processes, users and mounts; at `reduced` a path's existence
and size can still be seen, and changes of mode and time take no effect.

Not covered: faults of the kernel; granted folders filled up; memory in pipes and sockets; what goes to a granted host;
facts about the machine. On macOS there is no level. docs/security.md says all of this for users, and tests/attacks has
the attacks, each with a control that shows it works unconfined.
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
