"""`edgeagent run`: one run of one agent, shown live. Through the daemon where one runs, else in this process."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeagent.cli.app import App, pass_app
from edgeagent.cli.asking import ask_person, nobody_there, tell_of_waiting
from edgeagent.cli.command import AGENT, Command, json_option
from edgeagent.cli.events import Given, event_options, make_event
from edgeagent.cli.running import exit_code, follow, note_waiting, stop_on_interrupt
from edgeagent.cli.trace import Trace
from edgeagent.schema import Event, Json, Run, Step

if TYPE_CHECKING:
    from edgeagent.agents import Agent

OnStep = Callable[[Step], None]


@click.command(cls=Command)
@click.argument("agent", type=AGENT)
@event_options
@click.option("--dry-run", is_flag=True, help="End before the first call that would change something.")
@json_option
@pass_app
def run(app: App, agent: str, given: Given, dry_run: bool, as_json: bool) -> int:
    """Run one agent now and show what it does.

    AGENT is a name, or a path to an agent's file. Without an event an agent with a schedule gets the event that it
    would get now. Works with and without a daemon. A call that needs approval is asked about at the terminal; where
    there is none the run waits, and the command ends with 4: see edgeagent approvals.
    """
    chosen = app.runtime.agent(agent)
    trigger, data = make_event(given, chosen, datetime.now(UTC))
    return carry_out(app, agent, chosen, trigger, data, dry_run=dry_run, as_json=as_json)


def carry_out(app: App, name: str, chosen: Agent, trigger: str, data: Json, *, dry_run: bool, as_json: bool) -> int:
    """One run of an agent, which was named `name`, for an event: shown live, to its end. Gives the exit code."""
    model = app.runtime.check_model(chosen).name
    daemon = app.daemon_if_any()
    trace = Trace(app.screen, is_brief=app.quiet or as_json, is_live=True)
    show = (lambda step: None) if as_json else as_long_as_it_is_read(trace.step)
    try:
        if not as_json:
            with suppress(OSError):  # as below: who reads is no matter of the run
                _begin(trace, chosen, model, trigger, data)
        if daemon:
            run_id = daemon.submit(agent_for_daemon(name), data, trigger=trigger, dry_run=dry_run)
            ask = ask_person(app.notes, trace.pause) if app.can_ask else nobody_there
            ended, was_interrupted = follow(daemon, run_id, show, note_waiting(app.note, trace.pause), ask)
        else:
            ended, was_interrupted = _run_here(app, trace, chosen, trigger, data, dry_run, show)
    finally:
        trace.pause()
    app.screen.json(ended.as_json()) if as_json else trace.end(ended)
    tell_of_waiting(app, ended)
    return exit_code(ended, was_interrupted=was_interrupted)


def _run_here(
    app: App, trace: Trace, agent: Agent, trigger: str, data: Json, dry_run: bool, show: OnStep
) -> tuple[Run, bool]:
    with stop_on_interrupt() as stop:
        ask = ask_person(app.notes, trace.pause, stop) if app.can_ask else nobody_there
        ended = app.runtime.run_once(agent, trigger, data, ask=ask, dry_run=dry_run, on_step=show, stop=stop)
        return ended, stop.is_set()


def _begin(trace: Trace, agent: Agent, model: str, trigger: str, data: Json) -> None:
    from edgeagent.cli.words import event_words

    event = Event(agent.name, trigger, trigger, "", data)
    trace.begin(agent=agent.name, model=model, event=event_words(event), path=str(data.get("path") or ""))


def agent_for_daemon(agent: str) -> str:
    """The daemon has another working folder, so a path goes there in full."""
    is_path = "/" in agent or agent.endswith(".md")
    return str(Path(agent).resolve()) if is_path else agent


def as_long_as_it_is_read(show: OnStep) -> OnStep:
    """Whoever reads our output may go away (`| head`), or its disk may fill: the run is not to fail by that."""
    is_read = True

    def step(step: Step) -> None:
        nonlocal is_read
        try:
            if is_read:
                show(step)
        except OSError:
            is_read = False

    return step
