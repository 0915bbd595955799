"""Evaluation: cases that people wrote, each run through a real daemon in a scratch home, and judged by what was done.

`cases` and `matching` are the format, `reading` finds what is wrong in a file, `agents` and `making` put an agent and
tools into the scratch home, `scratch` runs the daemon, `running` one case, `judging` says what is wrong with what was
done, `tally` counts.
"""
