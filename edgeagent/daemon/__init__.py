"""The long-running process: what starts and stops in which order, and what it does when the world changes.

daemon   the composition root        lock   one daemon a home
"""

from edgeagent.daemon.daemon import Daemon

__all__ = ["Daemon"]
