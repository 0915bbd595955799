"""`edgeagent skills`: what agents can be lent, where it came from, and whether it may run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeagent.cli.app import App, pass_app
from edgeagent.cli.command import Group, json_option
from edgeagent.cli.screen import Column
from edgeagent.errors import SkillError
from edgeagent.schema import Json

if TYPE_CHECKING:
    from edgeagent.skills import Installed, Skill


@click.group(cls=Group)
def skills() -> None:
    """Skills: folders with a SKILL.md that bring instructions and tools.

    Nothing in a skill is executed by adding it. What it runs, it runs in the sandbox, with what the agent grants.
    """


@skills.command("list")
@json_option
@pass_app
def list_skills(app: App, as_json: bool) -> None:
    """The skills on this device, and whether they may run."""
    found = app.runtime.skills.all()
    if as_json:
        app.screen.json([_as_json(one) for one in found])
        return
    columns = [Column("SKILL"), Column("STATE"), Column("FROM"), Column("TOOLS", flexible=True)]
    columns.append(Column("ABOUT", flexible=True))
    rows = [[one.name, one.state, one.origin, _tools(one.skill), _about(one)] for one in found]
    app.screen.table(columns, rows, {"ready": "green", "changed": "red", "broken": "red"})
    if not found:
        app.note("no skills; add one: edgeagent skills add PATH")


@skills.command()
@click.argument("name", metavar="SKILL")
@json_option
@pass_app
def show(app: App, name: str, as_json: bool) -> None:
    """One skill: what it says, what its tools ask for, and its state."""
    found = app.runtime.skills.find(name)
    if as_json:
        app.screen.json(_as_json(found) | {"instructions": found.skill.instructions if found.skill else ""})
        return
    skill = found.skill
    app.screen.pairs(
        [
            ("name", found.name),
            ("state", f"{found.state}: {found.reason}" if found.reason else found.state),
            ("from", found.origin),
            ("folder", str(found.folder)),
            ("fingerprint", found.fingerprint),
            *((("about", skill.description), ("licence", skill.license)) if skill else ()),
        ]
    )
    if skill:
        _show_requests(app, skill)
        for warning in skill.warnings:
            app.note(f"warning: {warning}")
    if found.hint:
        app.note(f"try: {found.hint}")


@skills.command()
@click.argument("source", metavar="PATH|ARCHIVE|GIT-URL")
@click.option("--replace", is_flag=True, help="Replace an installed skill of the same name.")
@click.option("--yes", is_flag=True, help="Trust it without asking.")
@json_option
@pass_app
def add(app: App, source: str, replace: bool, yes: bool, as_json: bool) -> int:
    """Install skills from a folder, a .zip, .skill or .tar.gz, or a git address.

    Shows what their tools ask for, and asks before they are trusted. Without a terminal and without --yes they are
    installed but not trusted.
    """
    from edgeagent.runtime import utc_now
    from edgeagent.skills.fetch import staged

    library = app.runtime.skills
    added: list[Installed] = []
    with staged(source, app.home.skills) as found:
        for problem in found.refused:
            app.note(f"left out: {problem}")
        library.check_free([skill.name for skill in found.skills], replace=replace)
        for skill in found.skills:
            if library.is_bundled(skill.name):
                app.note(f"{skill.name} takes the place of the skill of that name that came with edgeagent")
            known = library.pin(skill.name)
            if not as_json:
                app.screen.line(f"{skill.name}: {skill.description}")
                _show_requests(app, skill, known.requested if known else None)
                for warning in skill.warnings:
                    app.note(f"warning: {warning}")
            is_trusted = yes or app.confirm(f"trust {skill.name}?")
            library.install(skill, replace=replace)
            if is_trusted:
                library.trust(skill.name, utc_now(), source=source)
            added.append(library.find(skill.name))
    for one in added:
        if as_json:
            app.screen.json(_as_json(one), indent=2 if len(added) == 1 else None)
        else:
            app.screen.line(f"{one.name}: {one.state}")
            if one.hint:
                app.note(f"try: {one.hint}")
    return 4 if any(one.state in ("untrusted", "changed", "broken") for one in added) else 0


@skills.command()
@click.argument("name", metavar="SKILL")
@click.option("--yes", is_flag=True, help="Without asking.")
@pass_app
def trust(app: App, name: str, yes: bool) -> int:
    """Let a new or changed skill run, as its files are now. Shows what it asks for, and what of that is new."""
    from edgeagent.runtime import utc_now

    library = app.runtime.skills
    found = library.find(name)
    if found.skill is None:
        raise SkillError.of(f"skill {name} cannot be read: {found.reason}", found.hint)
    known = library.pin(name)
    _show_requests(app, found.skill, known.requested if known else None)
    if not yes and not app.confirm(f"trust {name}?"):
        app.note(f"not trusted; try: edgeagent skills trust {name} --yes")
        return 4
    now = library.trust(name, utc_now())
    app.screen.line(f"{name}: {now.state}, pinned to {now.fingerprint}")
    return 0


@skills.command()
@click.argument("name", metavar="SKILL")
@pass_app
def remove(app: App, name: str) -> None:
    """Delete an installed skill."""
    app.runtime.skills.remove(name)
    app.screen.line(f"removed {name}")


@skills.command()
@click.argument("target", metavar="PATH|SKILL")
@click.option("--strict", is_flag=True, help="Warnings, and what the reference validator says, are faults too.")
@json_option
@pass_app
def validate(app: App, target: str, strict: bool, as_json: bool) -> int:
    """Check a skill folder: its files, its tools.yaml, and whether scripts take the arguments that it promises.

    Asks the reference validator of the Agent Skills specification as well, where it is installed (pip install
    skills-ref).
    """
    from edgeagent.skills import read_skill
    from edgeagent.skills.drift import drift
    from edgeagent.skills.reference import reference_faults

    folder = Path(target).expanduser()
    if not folder.is_dir():
        folder = app.runtime.skills.find(target).folder
    problems: list[str] = []
    warnings: list[str] = []
    try:
        skill = read_skill(folder)
        warnings = list(skill.warnings)
        problems = drift(skill)
    except SkillError as error:
        problems = [str(problem) for problem in error.problems] or [error.message]
    reference = reference_faults(folder)
    told = [*warnings, *(f"reference validator: {fault}" for fault in reference or ())]
    if strict:
        problems, warnings, told = [*problems, *told], [], []
    if as_json:
        found = {"folder": str(folder), "valid": not problems, "problems": problems, "warnings": warnings}
        app.screen.json(found | {"reference": None if reference is None else list(reference)})
    else:
        for problem in problems:
            app.screen.line(problem)
        for warning in told:
            app.note(f"warning: {warning}")
        if not problems:
            app.screen.line(f"{folder}: valid")
    return 2 if problems else 0


@skills.command()
@click.argument("target", metavar="PATH|SKILL")
@json_option
@pass_app
def test(app: App, target: str, as_json: bool) -> int:
    """Run the tests that a skill declares, in the sandbox. Exit code 1 when one does not hold."""
    from edgeagent.tools.skill_test import run_tests

    folder = Path(target).expanduser()
    library = app.runtime.skills
    found = library.look(folder) if folder.is_dir() else library.find(target)
    if found.skill is None:
        raise SkillError.of(f"skill {found.name} cannot be read: {found.reason}", found.hint)
    missing = library.missing(found.skill)
    if missing:
        raise SkillError.of(f"skill {found.name} does not run: this machine lacks {', '.join(missing)}", found.hint)
    verdicts = list(run_tests(found, app.runtime.sandbox.require))
    failed = [one for one in verdicts if one.fault]
    if as_json:
        tests = [{"tool": one.tool, "test": one.number, "ok": not one.fault, "fault": one.fault} for one in verdicts]
        counts = {"passed": len(verdicts) - len(failed), "failed": len(failed)}
        app.screen.json({"skill": found.name, **counts, "tests": tests})
        return 1 if failed else 0
    for one in verdicts:
        app.screen.line(f"{one.tool} {one.number}: {one.fault or 'ok'}")
    if not verdicts:
        app.note("it declares no tests")
    return 1 if failed else 0


def _as_json(one: Installed) -> Json:
    skill = one.skill
    return {
        "name": one.name,
        "description": skill.description if skill else "",
        "state": one.state,
        "reason": one.reason,
        "origin": one.origin,
        "folder": str(one.folder),
        "fingerprint": one.fingerprint,
        "tools": [tool.name for tool in skill.tools] if skill else [],
        "scripts": list(skill.scripts) if skill else [],
        "warnings": list(skill.warnings) if skill else [],
    }


def _about(one: Installed) -> str:
    return one.skill.description if one.skill and one.state == "ready" else one.reason


def _tools(skill: Skill | None) -> str:
    if skill is None:
        return ""
    names = [tool.name for tool in skill.tools] or (["run_skill_script"] if skill.scripts else [])
    return ", ".join(names) or "none"


def _show_requests(app: App, skill: Skill, before: Json | None = None) -> None:
    """What each tool asks for. With `before`, what it asked for when it was trusted, marked as a difference is."""
    from edgeagent.skills.library import requests

    now = _lines(requests(skill))
    then = _lines(before) if before is not None else now
    for line in sorted({*now, *then}):
        mark = "  " if before is None or (line in now and line in then) else "+ " if line in now else "- "
        app.screen.line(mark + line)
    if not now:
        app.screen.line("  instructions only: it runs nothing")


def _lines(asked: Json) -> list[str]:
    found = []
    for tool, kinds in asked.items():
        found += [f"{tool} asks for {kind}: {', '.join(values)}" for kind, values in kinds.items()]
        if not kinds:
            found.append(f"{tool} asks for nothing")
    return found
