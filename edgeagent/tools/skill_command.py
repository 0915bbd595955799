"""What the tools of skills share: arguments checked, a command confined, its output read, the skill still the same."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from edgeagent.errors import EdgeagentError, NotFound, SandboxError, SecretError, SkillError, ToolError
from edgeagent.sandbox import Command, Outcome, Sandbox, run
from edgeagent.schema import Json
from edgeagent.skills import Installed, Skill
from edgeagent.skills.schemas import schema_fault
from edgeagent.tools.base import Plan, ToolContext, shown

_ERROR_CHARACTERS = 400
_ABSENT = re.compile(rb"(?:prlimit: failed to execute )?([^\n:]+): No such file or directory")

Find = Callable[[str], Installed]
"""The skill of a name as it is now, so that a change between two calls is seen."""
OpenSandbox = Callable[[], Sandbox]
"""The sandbox of this machine. SandboxError where it has none that a skill may run in."""


def check_arguments(arguments: Json, schema: Json) -> None:
    """ToolError, in one line, for arguments that a schema does not take."""
    if fault := schema_fault(arguments, schema):
        raise ToolError(shown(fault)[:_ERROR_CHARACTERS])


def printed(outcome: Outcome, what: str, seconds: float, redact: Callable[[str], str] = str) -> str:
    """What a command printed, redacted before it is cut. ToolError where it failed, was ended, or printed no text."""
    if outcome.limit is not None:
        raise ToolError(f"{what} was ended: {_LIMITS[outcome.limit].format(seconds=seconds)}")
    if outcome.exit_code:
        absent = _ABSENT.fullmatch(outcome.stderr.strip()) if outcome.exit_code == 127 else None
        if absent:
            program = absent[1].decode("utf-8", "replace")
            raise ToolError(
                f"{what} cannot be started: there is no {shown(program)} on this machine that skills can see"
            )
        said = redact((outcome.stderr or outcome.stdout).decode("utf-8", "replace")).strip()[-_ERROR_CHARACTERS:]
        raise ToolError(f"{what} ended with exit code {outcome.exit_code}: {said or 'it said nothing'}")
    try:
        return redact(outcome.stdout.decode("utf-8"))
    except UnicodeDecodeError:
        raise ToolError(f"{what} printed something that is not UTF-8 text") from None


_LIMITS = {
    "memory": "it used more memory than a tool may",
    "cpu": "it used more processor time than a tool may",
    "wall": "it took longer than {seconds:g} s",
    "processes": "it started more processes than a tool may",
    "scratch": "it wrote more than a tool may",
    "output": "it printed more than a tool may",
    "stopped": "the run was stopped",
}


def checked_output(text: str, schema: Json, what: str) -> str:
    """Output that must be JSON of a schema, on one line as the model reads it."""
    try:
        value: Any = json.loads(text)
    except ValueError:
        raise ToolError(f"{what} did not print the JSON that it declares") from None
    if fault := schema_fault(value, schema):
        raise ToolError(f"{what} printed JSON that does not match its schema: {fault[:_ERROR_CHARACTERS]}")
    return json.dumps(value, ensure_ascii=False)


def confined(sandbox: OpenSandbox, command: Command) -> Outcome:
    try:
        return run(sandbox(), command)
    except SandboxError as error:
        raise _told(error) from error


def usable(found: Installed) -> Skill:
    """The skill, for using it. ToolError, with what a person can do, where it may not be used."""
    try:
        return found.usable()
    except SkillError as error:
        raise _told(error) from error


def secrets_of(plan: Plan, context: ToolContext) -> dict[str, str]:
    """The values of a plan's secrets, at the moment of use. ToolError, with what a person can do, where one is not."""
    try:
        return {name: context.secret(plan.tool, name) for name in plan.secrets}
    except (NotFound, SecretError) as error:
        raise _told(error) from error


def _told(error: EdgeagentError) -> ToolError:
    return ToolError(f"{error.message}; {error.hint}" if error.hint else error.message)


def same_skill(find: Find, plan: Plan) -> Skill:
    """The skill of a plan, if it is still the one that the plan was made and allowed for."""
    found = find(plan.detail["skill"])
    skill = usable(found)
    if found.fingerprint != plan.detail["fingerprint"]:
        raise ToolError(f"skill {found.name} has changed since this call was planned")
    return skill
