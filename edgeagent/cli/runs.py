"""`edgeagent runs`: the journal. Reads the database itself, so that it works whether or not a daemon runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime

import click

from edgeagent.cli.app import App, pass_app
from edgeagent.cli.command import AGENT, SINCE, Decorated, Group, json_option
from edgeagent.cli.running import exit_code
from edgeagent.cli.screen import Column
from edgeagent.cli.trace import Trace
from edgeagent.cli.words import (
    STATUS_STYLES,
    answer_of,
    event_of,
    local_time,
    run_event_words,
    seconds,
    short_id,
    short_time,
    status_of,
)
from edgeagent.schema import Run, RunStatus
from edgeagent.store import Store

_ROOMY = 110
"""Columns from which on the answers are shown beside the events."""
_ALL = 1_000_000_000
_LATEST = 500
_WATCH_SECONDS = 0.2


def _filters(function: Decorated) -> Decorated:
    for option in (
        click.option("--since", type=SINCE, metavar="WHEN", help="Since then: 2h, 7d, 2026-11-24."),
        click.option(
            "--status", type=click.Choice([status.value for status in RunStatus]), metavar="STATUS", help="Standing so."
        ),
        click.option("--agent", type=AGENT, metavar="NAME", help="Of this agent."),
    ):
        function = option(function)
    return function


@click.group(cls=Group)
def runs() -> None:
    """What has run, and how it went.

    A run is named by its id or by the beginning or end of it.
    """


@runs.command("list")
@_filters
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="At most so many, the newest.")
@json_option
@pass_app
def list_runs(
    app: App, agent: str | None, status: str | None, since: datetime | None, limit: int, as_json: bool
) -> None:
    """Runs, newest first."""
    found = _found(app, agent, status, since, limit)
    if as_json:
        app.screen.json([run.as_json() for run in found])
    elif found:
        _table(app, found)
    else:
        app.note("no runs")


def _found(app: App, agent: str | None, status: str | None, since: datetime | None, limit: int) -> list[Run]:
    store = app.journal_if_any()
    if store is None:
        return []
    with store:
        return store.runs(agent, RunStatus(status) if status else None, since, limit)


def _table(app: App, found: list[Run]) -> None:
    is_roomy = not app.screen.fits or app.screen.width >= _ROOMY
    columns = [
        Column("RUN"),
        Column("TIME"),
        Column("AGENT", flexible=True),
        Column("EVENT", flexible=True),
        Column("STATUS"),
        Column("TOOK", right=True),
        *([Column("ANSWER", flexible=True)] if is_roomy else []),
    ]
    rows = [
        [
            short_id(run.id),
            short_time(run.created_at),
            run.agent,
            event_of(run),
            status_of(run),
            seconds(run.seconds),
            *([answer_of(run)] if is_roomy else []),
        ]
        for run in found
    ]
    styles = {status_of(run): STATUS_STYLES[run.status.value] for run in found if run.status.value in STATUS_STYLES}
    app.screen.table(columns, rows, styles)


@runs.command()
@click.argument("run_id", metavar="RUN")
@json_option
@pass_app
def show(app: App, run_id: str, as_json: bool) -> None:
    """One run, step by step."""
    with app.journal() as store:
        run = store.find_run(run_id)
    if as_json:
        app.screen.json(run.as_json())
    else:
        _show(app, run)


def _show(app: App, run: Run) -> None:
    app.screen.pairs(
        [
            ("run", run.id),
            ("created", local_time(run.created_at)),
            ("attempt", str(run.attempt) if run.attempt > 1 else ""),
        ]
    )
    trace = _begun(app, run)
    for step in run.steps:
        trace.step(step)
    trace.end(run)


def _begun(app: App, run: Run, *, is_live: bool = False) -> Trace:
    trace = Trace(app.screen, is_brief=app.quiet, is_live=is_live)
    path = str(run.event.get("path") or "")
    trace.begin(agent=run.agent, model=run.model or "", event=run_event_words(run), path=path)
    return trace


@runs.command()
@click.argument("run_id", metavar="[RUN]", required=False)
@json_option
@pass_app
def watch(app: App, run_id: str | None, as_json: bool) -> int:
    """Follow one run to its end, or all runs as they end.

    One run gives the exit code, as with `edgeagent run`. All of them are followed until Ctrl-C. With --json every run
    is one line.
    """
    with app.journal() as store:
        if run_id is None:
            _watch_all(app, store, as_json)
            return 0
        return exit_code(_watch_one(app, store, store.find_run(run_id).id, as_json))


def _watch_one(app: App, store: Store, run_id: str, as_json: bool) -> Run:
    trace, seen = Trace(app.screen, is_brief=True) if as_json else _begun(app, store.run(run_id), is_live=True), 0
    while True:
        changes = store.changes_since(run_id, seen)
        for step in changes.steps:
            seen = step.n
            if not as_json:
                trace.step(step)
        if changes.run.status.is_terminal:
            break
        time.sleep(_WATCH_SECONDS)
    ended = store.run(run_id)
    app.screen.json(ended.as_json(), indent=None) if as_json else trace.end(ended)
    return ended


def _watch_all(app: App, store: Store, as_json: bool) -> None:
    app.note("waiting for runs to end; Ctrl-C to leave")
    for run in _endings(store):
        if as_json:
            app.screen.json(store.run(run.id).as_json(), indent=None)
        else:
            told = f"{short_time(run.ended_at)}  {short_id(run.id)}  {run.agent}  {event_of(run)}  "
            style = STATUS_STYLES.get(run.status.value)
            status = app.screen.style(status_of(run), *([style] if style else []))
            app.screen.line(f"{told}{status} {seconds(run.seconds)}".rstrip())
        app.screen.flush()


def _endings(store: Store) -> Iterator[Run]:
    """Runs that end from now on, the earliest first."""
    known = _ended(store).keys()
    while True:
        ended = _ended(store)
        yield from (ended[key] for key in sorted(ended.keys() - known))
        known = ended.keys()
        time.sleep(_WATCH_SECONDS)


def _ended(store: Store) -> dict[tuple[datetime, str], Run]:
    """The latest runs that have ended, by when they did: a run that is retried ends again."""
    return {(run.ended_at, run.id): run for run in store.runs(limit=_LATEST) if run.ended_at}


@runs.command()
@click.argument("run_id", metavar="RUN")
@json_option
@pass_app
def cancel(app: App, run_id: str, as_json: bool) -> None:
    """End a run, or take it out of the queue."""
    with app.journal() as store:
        run_id = store.find_run(run_id).id
    daemon = app.daemon_if_any()
    if daemon:
        status = daemon.cancel(run_id)
    else:
        from datetime import UTC

        with app.runtime.writer() as store:
            status = store.cancel(run_id, datetime.now(UTC))
    _tell(app, run_id, status, as_json)


@runs.command()
@click.argument("run_id", metavar="RUN")
@json_option
@pass_app
def retry(app: App, run_id: str, as_json: bool) -> None:
    """Queue a run that did not end well once more.

    The daemon works it from the beginning; without a daemon it waits in the queue for one.
    """
    with app.journal() as store:
        run_id = store.find_run(run_id).id
    daemon = app.daemon_if_any()
    if daemon:
        daemon.retry(run_id)
    else:
        with app.runtime.writer() as store:
            store.retry(run_id)
        app.note("it runs when the daemon does: edgeagent daemon")
    _tell(app, run_id, RunStatus.QUEUED, as_json)


@runs.command()
@click.argument("run_id", metavar="RUN")
@click.option("--dry-run", is_flag=True, help="End before the first call that would change something.")
@json_option
@pass_app
def replay(app: App, run_id: str, dry_run: bool, as_json: bool) -> int:
    """Run the agent once more for the event of an earlier run.

    Makes a new run, with the agent as it is now, and shows it live; the earlier run stays as it is. Exits as
    `edgeagent run` does.
    """
    from edgeagent.cli.run import carry_out

    with app.journal() as store:
        earlier = store.find_run(run_id)
        name = store.terms(earlier.id).agent_path or earlier.agent
    agent = app.runtime.agent(name)
    return carry_out(app, name, agent, earlier.trigger, earlier.event, dry_run=dry_run, as_json=as_json)


@runs.command()
@click.argument("run_id", metavar="RUN")
@json_option
@pass_app
def resume(app: App, run_id: str, as_json: bool) -> int:
    """Go on, in this process, with a run that is queued.

    For machines without a daemon: what an approval was given to, or a retry queued, is worked here and now.
    """
    from edgeagent.cli.asking import ask_person, nobody_there, tell_of_waiting
    from edgeagent.cli.run import as_long_as_it_is_read
    from edgeagent.cli.running import exit_code, stop_on_interrupt

    with app.journal() as store:
        run = store.find_run(run_id)
    trace = Trace(app.screen, is_brief=True) if as_json else _begun(app, run, is_live=True)
    show = (lambda step: None) if as_json else as_long_as_it_is_read(trace.step)
    with stop_on_interrupt() as stop:
        ask = ask_person(app.notes, trace.pause, stop) if app.can_ask else nobody_there
        try:
            ended = app.runtime.resume(run.id, ask=ask, on_step=show, stop=stop)
        finally:
            trace.pause()
        was_interrupted = stop.is_set()
    app.screen.json(ended.as_json()) if as_json else trace.end(ended)
    tell_of_waiting(app, ended)
    return exit_code(ended, was_interrupted=was_interrupted)


def _tell(app: App, run_id: str, status: RunStatus, as_json: bool) -> None:
    if as_json:
        app.screen.json({"id": run_id, "status": status.value})
    else:
        told = "asked to stop" if status is RunStatus.RUNNING else status.value
        app.screen.line(f"{short_id(run_id)} {told}")


@runs.command()
@_filters
@pass_app
def export(app: App, agent: str | None, status: str | None, since: datetime | None) -> None:
    """Runs with their steps, one JSON object a line, oldest first."""
    found = _found(app, agent, status, since, _ALL)
    if not found:
        return
    with app.journal() as store:
        for run in reversed(found):
            app.screen.json(store.run(run.id).as_json(), indent=None)
