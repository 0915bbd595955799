"""All SQL of edgeagent: one SQLite file that holds the queue, the journal, what triggers remember, and memory.

    connection  the file, its locks, its errors in words
    migrations  the tables        views    what people see        values   Python to columns and back
    journal     steps and runs    admission  events to runs         queue     claim, put off, end
    triggers    files, schedule   memory     notes                  retention forgetting
    store       `Store` and how to open it

Everything above this floor sees `Store` and never SQL.
"""

from edgeagent.store.journal import Changes
from edgeagent.store.store import Store, open_read_only, open_store
from edgeagent.store.values import FileState, UnfinishedStep

__all__ = ["Changes", "FileState", "Store", "UnfinishedStep", "open_read_only", "open_store"]
