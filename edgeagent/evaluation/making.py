"""Makes the skills of a case file real: folders with a SKILL.md, a tools.yaml and a script that says what it shall.

They are installed and trusted in the scratch home, so that a call of theirs runs in the sandbox like any other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from edgeagent.evaluation.cases import MadeSkill, MadeTool
from edgeagent.schema import Json
from edgeagent.skills import SkillLibrary

_SCRIPT = """\
import json, sys
answer = json.load(open("scripts/answers.json", encoding="utf-8"))[sys.argv[1]]
print(answer["text"], file=sys.stderr if answer["fails"] else sys.stdout)
sys.exit(1 if answer["fails"] else 0)
"""


def install_made(skills: Mapping[str, MadeSkill], library: SkillLibrary, folder: Path, now: datetime) -> None:
    """Writes the skills into the library's folder and trusts them."""
    for name, skill in skills.items():
        _write(folder / name, name, skill)
        library.trust(name, now)


def _write(folder: Path, name: str, skill: MadeSkill) -> None:
    scripts = folder / "scripts"
    scripts.mkdir(parents=True)
    head = {"name": name, "description": skill.description, "metadata": {"edgeagent-tools": "tools.yaml"}}
    body = skill.instructions or skill.description
    (folder / "SKILL.md").write_text(f"---\n{_yaml(head)}---\n{body}\n", encoding="utf-8")
    tools = {"version": 1, "tools": [_tool(tool) for tool in skill.tools]}
    (folder / "tools.yaml").write_text(_yaml(tools), encoding="utf-8")
    (scripts / "answer.py").write_text(_SCRIPT, encoding="utf-8")
    answers = {
        tool.name: {"text": tool.fails if tool.fails is not None else tool.gives, "fails": tool.fails is not None}
        for tool in skill.tools
    }
    (scripts / "answers.json").write_text(json.dumps(answers), encoding="utf-8")


def _tool(tool: MadeTool) -> Json:
    return {
        "name": tool.name,
        "description": tool.description,
        "run": ["python3", "scripts/answer.py", tool.name],
        "input": "stdin-json",
        "input_schema": tool.schema_of_arguments,
        "annotations": {"read_only": tool.read_only},
    }


def _yaml(value: Json) -> str:
    """JSON is YAML, one key a line."""
    return "".join(f"{key}: {json.dumps(inner, ensure_ascii=False)}\n" for key, inner in value.items())
