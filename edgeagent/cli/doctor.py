"""`edgeagent doctor`: a line for each part of the installation."""

from __future__ import annotations

from dataclasses import asdict

import click

from edgeagent.cli.app import App, pass_app
from edgeagent.cli.checks import Finding, findings
from edgeagent.cli.command import Command, json_option
from edgeagent.cli.screen import one_line

_STYLES = {"ok": "green", "warn": "yellow", "fail": "red"}
_PART = 9
_INDENT = " " * (6 + _PART)


@click.command(cls=Command)
@json_option
@pass_app
def doctor(app: App, as_json: bool) -> int:
    """Check this installation, part by part.

    Loads the default model and lets it answer. Exits with 1 where something fails; a warning is no failure.
    """
    found = []
    for finding in findings(app):
        found.append(finding)
        if not as_json:
            _show(app, finding)
    has_failed = any(finding.state == "fail" for finding in found)
    if as_json:
        app.screen.json({"ok": not has_failed, "checks": [asdict(finding) for finding in found]})
    return 1 if has_failed else 0


def _show(app: App, finding: Finding) -> None:
    """At once: loading the model takes a while."""
    if app.quiet and finding.state == "ok":
        return
    screen = app.screen
    lead = f"{screen.style(finding.state.ljust(4), _STYLES[finding.state])}  {finding.part.ljust(_PART)}"
    screen.wrapped(one_line(finding.text), _INDENT, lead)
    if finding.hint and finding.state != "ok":
        screen.wrapped(one_line(f"try: {finding.hint}"), _INDENT, style="dim")
    screen.flush()
