"""`edgeagent trigger`: an event for the daemon."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from edgeagent.cli.app import App, pass_app
from edgeagent.cli.asking import tell_of_waiting
from edgeagent.cli.command import AGENT, Command, json_option
from edgeagent.cli.events import Given, event_options, make_event
from edgeagent.cli.run import agent_for_daemon, as_long_as_it_is_read
from edgeagent.cli.running import exit_code, follow, note_waiting
from edgeagent.cli.trace import Trace


@click.command(cls=Command)
@click.argument("agent", type=AGENT)
@event_options
@click.option("--dry-run", is_flag=True, help="End before the first call that would change something.")
@click.option("--wait", is_flag=True, help="Wait for the end of the run, and exit by it.")
@json_option
@pass_app
def trigger(app: App, agent: str, given: Given, dry_run: bool, wait: bool, as_json: bool) -> int:
    """Hand an event to the daemon.

    Prints the id of the run, which the daemon works when its turn comes.
    """
    daemon = app.daemon()
    kind, data = make_event(given, app.runtime.agent(agent), datetime.now(UTC))
    run_id = daemon.submit(agent_for_daemon(agent), data, trigger=kind, dry_run=dry_run)
    if not wait:
        app.screen.json({"id": run_id}) if as_json else app.screen.line(run_id)
        return 0
    if not as_json:
        app.screen.line(run_id)
        app.screen.flush()
    trace = Trace(app.screen, is_brief=app.quiet, is_live=not as_json)
    ended, was_interrupted = follow(
        daemon,
        run_id,
        (lambda step: None) if as_json else as_long_as_it_is_read(trace.step),
        note_waiting(app.note, trace.pause),
    )
    app.screen.json(ended.as_json()) if as_json else trace.end(ended)
    tell_of_waiting(app, ended)
    return exit_code(ended, was_interrupted=was_interrupted)
