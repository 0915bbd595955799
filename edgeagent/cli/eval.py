"""`edgeagent eval`: how well a model does on cases that people wrote, through a real daemon in a scratch home."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from edgeagent.cli.app import App, pass_app
from edgeagent.cli.command import AGENT, Command, json_option
from edgeagent.errors import CaseFileError, EdgeagentError, NotFound, Problem, UsageError

if TYPE_CHECKING:
    from edgeagent.evaluation.reading import Known, Prepared
    from edgeagent.evaluation.running import Judged

_ENDINGS = (".yaml", ".yml")


@click.command(cls=Command, name="eval")
@click.argument("words", nargs=-1, type=AGENT, metavar="[AGENT]")
@click.option(
    "--cases",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A case file, or a folder of them; several may follow.",
)
@click.option("--model", metavar="NAME", help="The model for all cases; otherwise the one that each agent names.")
@click.option("--free", is_flag=True, help="Once more without holding calls to their grammar, as a column beside.")
@click.option(
    "--at-least", type=click.FloatRange(0, 100), metavar="PERCENT", help="End with 0 when so many pass; usually: all."
)
@click.option("--only", metavar="TEXT", help="Only cases with this in their name, category or split.")
@click.option("--real", is_flag=True, help="Take agents that may reach hosts, or folders outside the home.")
@click.option("--keep", is_flag=True, help="Keep the scratch home, to look around in it.")
@json_option
@pass_app
def evaluate(
    app: App,
    words: tuple[str, ...],
    cases: tuple[Path, ...],
    model: str | None,
    free: bool,
    at_least: float | None,
    only: str | None,
    real: bool,
    keep: bool,
    as_json: bool,
) -> int:
    """Try a model on cases: what must be done for an event.

    Cases are written by hand (docs/eval.md). Each runs as in life, from the queue of a real daemon to tools in the
    sandbox, in a scratch home with the files that the case names; then the calls and the files are compared. AGENT
    takes the place of the agent that a case file names at its top. Ends with 1 where a case fails, or fewer than
    --at-least pass.
    """
    from edgeagent.cli.evaluated import Report

    agent, files = _sorted_out(words, cases)
    prepared = _read(app, files, agent, real)
    if only is not None:
        prepared = [case for case in prepared if _is_named(case, only)]
        if not prepared:
            raise UsageError(f'no case has "{only}" in its name, category or split', "edgeagent eval --help")
    models = _models(app, prepared, model, free)
    report = Report(app, len(prepared), is_quiet=as_json)
    for judged in _judged(app, prepared, models, is_free=False, keep=keep):
        report.add(judged)
    if free:
        for judged in _judged(app, prepared, models, is_free=True, keep=False):
            report.add_free(judged)
    app.screen.json(report.as_json()) if as_json else report.table()
    needed = 100.0 if at_least is None else at_least
    return 0 if 100 * report.count.share >= needed else 1


def _sorted_out(words: tuple[str, ...], cases: tuple[Path, ...]) -> tuple[str | None, list[Path]]:
    """The agent, and the case files: a shell that writes out `--cases *.yaml` leaves all but one among `words`."""
    agents = [word for word in words if not word.endswith(_ENDINGS)]
    if len(agents) > 1:
        raise UsageError(f"two agents: {agents[0]} and {agents[1]}", "edgeagent eval AGENT --cases FILE")
    files: list[Path] = []
    for path in (*cases, *(Path(word) for word in words if word.endswith(_ENDINGS))):
        found = sorted(child for child in path.iterdir() if child.suffix in _ENDINGS) if path.is_dir() else [path]
        if not found:
            raise UsageError(f"no case files (*.yaml) in {path}", f"ls {path}")
        files += found
    return (agents[0] if agents else None), files


def _read(app: App, files: list[Path], agent: str | None, is_real: bool) -> list[Prepared]:
    """The cases of all files, or every problem in them."""
    from edgeagent.evaluation.reading import read_cases

    known = _known(app)
    cases: list[Prepared] = []
    problems: list[Problem] = []
    for file in files:
        try:
            cases += read_cases(file, known, agent, is_real=is_real)
        except CaseFileError as error:
            problems += error.problems
    if problems:
        raise CaseFileError(problems)
    return cases


def _known(app: App) -> Known:
    from edgeagent.evaluation.reading import Known

    runtime = app.runtime
    skills = [one.skill for one in runtime.skills.all() if one.skill]
    return Known(
        home=runtime.home,
        tools=runtime.tool_names(),
        skills=runtime.skills.names(),
        models=runtime.catalog.names(),
        schemas={tool.name: tool.input_schema for skill in skills for tool in skill.tools},
        agent_file=lambda name: runtime.agent(name).path,
    )


def _is_named(case: Prepared, text: str) -> bool:
    return any(text.casefold() in part.casefold() for part in (case.case.name, case.category, case.split))


def _models(app: App, cases: list[Prepared], model: str | None, is_free: bool) -> dict[str, str]:
    """By agent file: what its `model` key is to say. NotFound or UsageError where a model is not here or no model."""
    if model is not None and model.startswith(("http://", "https://")):
        if is_free:
            raise _not_held(model)
        return {case.agent_text: model for case in cases}
    from edgeagent.agents.agent import ModelTable
    from edgeagent.model.script import is_script

    found: dict[str, str] = {}
    for case in cases:
        given = app.runtime.catalog.find(model) if model is not None else app.runtime.models.entry(case.agent)
        if is_free and (given.origin == "endpoint" or is_script(given.path)):
            raise _not_held(given.name)
        if given.origin == "path" and not given.is_here:
            raise NotFound(f"no model file {given.path}", "edgeagent models list")
        if model is not None or not isinstance(case.agent.model, ModelTable):
            found[case.agent_text] = str(given.path.resolve())
    return found


def _not_held(name: str) -> UsageError:
    return UsageError(f"--free takes away a grammar that {name} is not held to here", "leave out --free")


def _judged(app: App, cases: list[Prepared], models: dict[str, str], *, is_free: bool, keep: bool) -> Iterator[Judged]:
    from edgeagent.evaluation.running import Runner
    from edgeagent.evaluation.scratch import Scratch

    with _ended_in_order(), Scratch(app.home, app.environ, is_free=is_free, keep=keep) as scratch:
        if keep:
            app.note(f"the scratch home stays: EDGEAGENT_HOME={scratch.home} edgeagent runs list")
        runner = Runner(scratch, models)
        for case in cases:
            try:
                yield runner.judged(case)
            except EdgeagentError as error:
                place = f"{case.file}:{case.line}: {case.case.name}"
                raise EdgeagentError(f"{place}: {error.message}", error.hint) from error


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """SIGTERM ends as Ctrl-C does, so that no daemon and no scratch home are left behind."""

    def asked(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, asked)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
