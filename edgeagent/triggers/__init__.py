"""Triggers: each kind turns something that happens in the world into events in the journal, and does nothing else.

    base        the protocol             build       from an agent's settings to triggers
    file        files in a folder: watching the turns; folders, observer and inotify what the system tells; listing
                and contents what is there; settling the wait; manifest and judging what is new; own what the agent
                did itself; patterns which files count; filesystems which folders must be polled
    webhook     HTTP requests    chain    runs of other agents    startup    boots
    table       rows of a database: foreign reads it, outbox what is put into it for changes and deletions
    mqtt        messages, from the session that broker keeps
    schedule    cron, every, at: occurrences the calendar, alarms and alarm the ringing

What runs for an event is the worker's affair; what an agent file may say about a trigger is `edgeagent.agents`.
"""
