"""`edgeagent agents`: the agent files: list, show, write, check, switch on and off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from edgeagent.cli.app import App, pass_app
from edgeagent.cli.command import AGENT, Group, json_option
from edgeagent.cli.screen import Column
from edgeagent.cli.words import model_of, setting, trigger_words
from edgeagent.errors import AgentFileError, Problem, UsageError
from edgeagent.schema import Json

if TYPE_CHECKING:
    from edgeagent.agents import Agent
    from edgeagent.cli.validating import Checked

BAD = 2


@click.group(cls=Group)
def agents() -> None:
    """The agents: list, show, write, check, switch."""


@agents.command("list")
@json_option
@pass_app
def list_agents(app: App, as_json: bool) -> None:
    """The agents that can run."""
    loaded = app.runtime.load_agents()
    default = app.runtime.config.model.default
    if as_json:
        app.screen.json([_summary(agent, default) for agent in loaded.agents.values()])
    elif loaded.agents:
        columns = [Column("NAME"), Column("RUNS ON", flexible=True), Column("MODEL"), Column("ABOUT", flexible=True)]
        rows = [
            [agent.name, _runs_on(agent), model_of(agent, default), agent.description]
            for agent in loaded.agents.values()
        ]
        app.screen.table(columns, rows)
    elif not loaded.problems:
        app.note(f"no agents in {app.home.agents}; try: edgeagent init")
    app.note_problems(loaded.problems)


def _runs_on(agent: Agent) -> str:
    return "; ".join(_triggers(agent)) or "demand" if agent.enabled else "demand (disabled)"


def _triggers(agent: Agent) -> list[str]:
    return [trigger_words(trigger.model_dump(mode="json")) for trigger in agent.triggers]


def _summary(agent: Agent, default: str) -> Json:
    return {
        "name": agent.name,
        "description": agent.description,
        "path": str(agent.path),
        "triggers": [trigger.model_dump(mode="json") for trigger in agent.triggers],
        "model": model_of(agent, default).removesuffix(" (default)"),
        "enabled": agent.enabled,
    }


@agents.command()
@click.argument("name", type=AGENT, metavar="AGENT")
@json_option
@pass_app
def show(app: App, name: str, as_json: bool) -> None:
    """What one agent may do, when, and its instructions."""
    agent = app.runtime.agent(name)
    if as_json:
        app.screen.json(agent.model_dump(mode="json"))
        return
    screen = app.screen
    screen.pairs(_facts(agent, app.runtime.config.model.default))
    screen.line()
    screen.wrapped(agent.body.strip(), "  ")


def _facts(agent: Agent, default: str) -> list[tuple[str, str]]:
    limits = agent.limits
    return [
        ("name", agent.name),
        ("about", agent.description),
        ("file", str(agent.path)),
        ("runs on", "\n".join(_triggers(agent)) or "demand"),
        ("model", model_of(agent, default)),
        ("tools", ", ".join(agent.tools) or "none"),
        ("skills", ", ".join(agent.skills)),
        ("may read", ", ".join(agent.grants.read)),
        ("may write", ", ".join(agent.grants.write)),
        ("approval", ", ".join([agent.approval, *(f"always for {tool}" for tool in agent.approve)])),
        (
            "limits",
            f"{limits.steps} steps, {setting(limits.seconds)}, {limits.output_tokens} tokens out, "
            f"{limits.prompt_tokens} in, {limits.actions_per_hour} actions an hour, {limits.attempts} attempts",
        ),
        ("expects", "\n".join(_expectation(item.model_dump(exclude_none=True)) for item in agent.expect)),
    ]


def _expectation(item: Json) -> str:
    kind, value = next(iter(item.items()))
    return {"tool": f"{value} succeeded", "gone": f"{value} is gone", "exists": f"{value} exists"}[kind]


@agents.command()
@click.argument("name", type=AGENT, metavar="AGENT")
@json_option
@pass_app
def explain(app: App, name: str, as_json: bool) -> None:
    """What one agent may really do: paths as they resolve, hosts, secrets, and which of its tools ask."""
    from edgeagent.cli.explaining import explained, show

    told = explained(app.runtime, app.runtime.agent(name))
    if as_json:
        app.screen.json(told)
    else:
        show(app.screen, told)


@agents.command()
@click.argument("name")
@pass_app
def new(app: App, name: str) -> None:
    """Write a file to start a new agent from.

    Every key that matters at first is in it, with a comment.
    """
    from edgeagent.agents.agent import check_name
    from edgeagent.cli.starting import starting_file

    try:
        check_name(name)
    except ValueError as error:
        raise UsageError(str(error), "edgeagent agents new my-agent") from error
    app.home.create()
    path = app.home.agents / f"{name}.md"
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(starting_file(name))
    except FileExistsError:
        raise UsageError(f"{path} exists already", f"edgeagent agents show {name}") from None
    app.screen.line(str(path))
    app.note(f"edit it, then: edgeagent agents validate {name}")


@agents.command()
@click.argument("names", nargs=-1, type=AGENT, metavar="[AGENT]...")
@json_option
@pass_app
def validate(app: App, names: Sequence[str], as_json: bool) -> int:
    """Check agent files, all or those named.

    AGENT is a name or a path. Besides the file, the model is asked: whether it can be held to the schemas of the tools
    and of the answer, and how many tokens of its prompt the instructions and tools take. Exits with 2 where a file
    cannot be used.
    """
    from edgeagent.cli.validating import Checked, check_agents

    agents, problems = _named(app, names) if names else _all(app)
    found = check_agents(app.runtime, agents)
    for problem in problems:
        found.setdefault(problem.file, Checked()).problems.append(problem)
    if not names:
        found = dict(sorted(found.items()))
    is_bad = any(checked.problems for checked in found.values())
    if as_json:
        app.screen.json({"ok": not is_bad, "files": [_as_json(file, checked) for file, checked in found.items()]})
        return BAD if is_bad else 0
    for file, checked in found.items():
        for problem in checked.problems:
            app.screen.line(str(problem))
        if not checked.problems:
            app.screen.line(f"{file}: {app.screen.style('ok', 'green')}{_tokens_words(checked)}")
    if not found:
        app.note(f"no agents in {app.home.agents}; try: edgeagent init")
    return BAD if is_bad else 0


@agents.command()
@click.argument("name", type=AGENT, metavar="AGENT")
@json_option
@pass_app
def enable(app: App, name: str, as_json: bool) -> None:
    """Let an agent run by its triggers again.

    What came while it was disabled is found as after any other pause of the daemon. For a sqlite trigger that wants
    changes or deletions, this puts a table and SQLite triggers into that database.
    """
    from edgeagent.triggers.outbox import install_for

    for database in install_for(app.runtime.agent(name), app.home.user):
        app.note(f"changes are noted in {database} from now on")
    _switch(app, name, True, as_json)


@agents.command()
@click.argument("name", type=AGENT, metavar="AGENT")
@json_option
@pass_app
def disable(app: App, name: str, as_json: bool) -> None:
    """Switch an agent off until it is enabled.

    Its triggers end, and its runs that are queued wait; the run in hand goes on. By hand it can still be run.
    What `enable` has put into the databases of others is taken out again.
    """
    from edgeagent.triggers.outbox import remove_for

    _switch(app, name, False, as_json)
    for database in remove_for(app.runtime.agent(name), app.home.user):
        app.note(f"changes are no longer noted in {database}")


def _switch(app: App, name: str, is_enabled: bool, as_json: bool) -> None:
    daemon = app.daemon_if_any()
    if daemon:
        daemon.enable(name, is_enabled)
    else:
        name = app.runtime.agent(name).name
        with app.runtime.writer() as store:
            store.enable_agent(name, is_enabled)
    if as_json:
        app.screen.json({"name": name, "enabled": is_enabled})
    else:
        app.screen.line(f"{name} is {'enabled' if is_enabled else 'disabled'}")


def _tokens_words(checked: Checked) -> str:
    if checked.tokens is None:
        return ""
    return f" ({checked.tokens} of {checked.budget} prompt tokens are the same for every event)"


def _all(app: App) -> tuple[dict[str, Agent], list[Problem]]:
    """Every agent of the agents folder by its file, and what is wrong with the files that are none."""
    loaded = app.runtime.load_agents()
    return {str(agent.path): agent for agent in loaded.agents.values()}, list(loaded.problems)


def _named(app: App, names: Sequence[str]) -> tuple[dict[str, Agent], list[Problem]]:
    agents: dict[str, Agent] = {}
    problems: list[Problem] = []
    for name in names:
        try:
            agent = app.runtime.agent(name)
        except AgentFileError as error:
            problems += error.problems
        else:
            agents[str(agent.path)] = agent
    return agents, problems


def _as_json(file: str, checked: Checked) -> Json:
    told = [{"line": problem.line, "message": problem.message} for problem in checked.problems]
    return {"file": file, "ok": not told, "problems": told, "prompt_tokens": checked.tokens}
