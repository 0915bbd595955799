"""Runs the tests that a skill declares in its tools.yaml, in the sandbox, and says which held."""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeagent.errors import EdgeagentError
from edgeagent.schema import Json
from edgeagent.skills import Installed, SkillTool
from edgeagent.skills.sidecar import SkillTest
from edgeagent.tools.base import ToolContext
from edgeagent.tools.skill import SkillCall
from edgeagent.tools.skill_command import OpenSandbox

_PLAIN = frozenset({"status", "output", "contains", "exists"})
_LIMIT = 100_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one declared test went; `fault` is empty where it held."""

    tool: str
    number: int
    fault: str


class _Nothing:
    """Stands for the notes of an agent: tools of skills have none."""

    def remember(self, text: str) -> None: ...

    def recall(self, query: str, limit: int = 5) -> list[str]:
        return []


def run_tests(installed: Installed, sandbox: OpenSandbox) -> Iterator[Verdict]:
    """Every declared test, in order. The skill may be untrusted: the sandbox confines it all the same."""
    skill = installed.skill
    assert skill is not None, "a broken skill has no tests"
    ready = Installed(installed.name, installed.folder, installed.origin, "ready", skill, installed.fingerprint)
    for tool in skill.tools:
        for number, test in enumerate(tool.tests, start=1):
            call = SkillCall(skill, tool, lambda name: ready, sandbox)
            yield Verdict(tool.name, number, _fault(call, tool, test))


def _fault(call: SkillCall, tool: SkillTool, test: SkillTest) -> str:
    with tempfile.TemporaryDirectory(prefix="edgeagent-skill-test-") as made:
        folder = Path(made).resolve()
        for name, content in test.files.items():
            target = folder / name
            if not target.resolve().is_relative_to(folder):
                return f"the file {name} would lie outside of the test's folder"
            target.parent.mkdir(parents=True, exist_ok=True)
            raw = content.encode() if isinstance(content, str) else base64.b64decode(content.base64)
            target.write_bytes(raw)
        context = _context(folder, call.skill.folder.resolve(), tool)
        try:
            result, status = call.apply(call.plan(_placed(test.arguments, tool, folder), context), context), "ok"
        except EdgeagentError as error:
            result, status = error.message, "error"
        return _compared(test.expect, result, status, folder)


def _context(folder: Path, own: Path, tool: SkillTool) -> ToolContext:
    """Grants the test's folder, the skill's own files for reading, and nothing else."""
    return ToolContext(
        home_dir=folder,
        read_roots=(folder, own),
        write_roots=(folder,),
        trash=folder / ".trash",
        memory=_Nothing(),
        result_limit=_LIMIT,
        own_write=lambda path: None,
        run_id="test",
        step=0,
        network=frozenset(),
    )


def _placed(arguments: Json, tool: SkillTool, folder: Path) -> Json:
    """The arguments, with relative paths taken as lying in the test's folder."""
    paths = {*tool.needs.read, *tool.needs.write}

    def place(value: Any) -> Any:
        if isinstance(value, list):
            return [place(item) for item in value]
        return str(folder / value) if isinstance(value, str) and not value.startswith(("/", "~")) else value

    return {name: place(value) if name in paths else value for name, value in arguments.items()}


def _compared(expect: Json, result: str, status: str, folder: Path) -> str:
    result = result.replace(str(folder) + "/", "")
    wanted_status = expect.get("status", "ok")
    if status != wanted_status:
        return f"ended with {status}: {result[:200]}"
    if "contains" in expect and str(expect["contains"]) not in result:
        return f"{expect['contains']!r} is not in {result[:200]!r}"
    for path in expect.get("exists", ()):
        if not (folder / path).exists():
            return f"{path} does not exist afterwards"
    wanted = {key: value for key, value in expect.items() if key not in _PLAIN}
    if not wanted and "output" not in expect:
        return ""
    try:
        got: Any = json.loads(result)
    except ValueError:
        got = result.strip()
    if "output" in expect and got != expect["output"]:
        return f"gave {result[:200]!r}"
    for key, value in wanted.items():
        if not isinstance(got, dict) or got.get(key) != value:
            return f"{key} is not {value!r} in {result[:200]!r}"
    return ""
