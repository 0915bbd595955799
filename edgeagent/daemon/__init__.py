"""The long-running process: what starts and stops in which order, and what it does when the world changes.

daemon      the composition root        crew       agents and their triggers, as the files say
workers     threads that take runs      status     what the daemon says of itself
supervisor  what systemd is told        attention  how threads and signals wake each other
listening   where it can be reached     upkeep     the journal kept whole and small
lock        one daemon a home
"""

from edgeagent.daemon.daemon import Daemon

__all__ = ["Daemon"]
