"""The text of a new agent file: it is valid as it stands, and says what to change."""

from __future__ import annotations

_TEXT = """\
---
# Check this file with: edgeagent agents validate {name}
description: Say in one line what this agent is for.

# When it runs. Other triggers: cron (schedule: "0 9 * * 1-5"), every (interval: 10m), at (time: 2026-12-24T18:00).
triggers:
  - trigger: file
    path: ~/Inbox
    patterns: ["**/*.txt"]

# What it may do; nothing else exists for it. See: edgeagent tools list
tools: [read_file, append_file]

# What it may touch; write implies read.
grants:
  read: [~/Inbox]
  write: [~/Notes]

# Who says yes to a call that changes something: on-write (a person), never (nobody needs to), always (to every call).
# Without a terminal the run waits until you say yes: edgeagent approvals list.
approval: on-write

# limits: {{steps: 8, seconds: 120, output_tokens: 1000}}

# What must be true at the end, whatever the model says.
# expect:
#   - {{tool: append_file}}
---
You keep notes about the documents that arrive in ~/Inbox.
- For a bill, append a line with the amount and the date to ~/Notes/bills.txt.
Do nothing for everything else.
"""


def starting_file(name: str) -> str:
    return _TEXT.format(name=name)
