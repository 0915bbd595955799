"""All SQL of edgeagent: one SQLite file that holds the queue, the journal, what triggers remember, and memory.

    connection  the file, its locks, its errors in words
    migrations  the tables        views    what people see        values   Python to columns and back
    journal     steps and runs    admission  events to runs         queue     claim, put off, end
    triggers    files, schedule   memory     notes                  retention forgetting
    store       `Store` and how to open it
    damage      a damaged file aside         backup    a copy beside a running daemon

Everything above this floor sees `Store` and never SQL.
"""

from edgeagent.store.backup import back_up
from edgeagent.store.damage import Opened, open_checked
from edgeagent.store.journal import Changes
from edgeagent.store.store import Store, make_apart, open_read_only, open_store
from edgeagent.store.values import FileState, UnfinishedStep

__all__ = [
    "Changes",
    "FileState",
    "Opened",
    "Store",
    "UnfinishedStep",
    "back_up",
    "make_apart",
    "open_checked",
    "open_read_only",
    "open_store",
]
