"""One skill folder: its SKILL.md, read as leniently as the Agent Skills specification asks of a client.

What is odd is a warning and the skill loads; only a frontmatter that is no YAML, or has no description, is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeagent.agents.frontmatter import Document, read_document
from edgeagent.errors import NotFound, Problem, SkillError
from edgeagent.skills.files import open_inside, skill_files
from edgeagent.skills.requires import Requirements, read_requirements
from edgeagent.skills.sidecar import SkillTool, read_sidecar

MANIFEST = "SKILL.md"
SIDECAR_KEY = "edgeagent-tools"
MAX_NAME, MAX_DESCRIPTION, MAX_COMPATIBILITY = 64, 1024, 500
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*", re.ASCII)
_KEYS = frozenset({"name", "description", "license", "compatibility", "metadata", "allowed-tools"})
_BARE = re.compile(r"^(?P<key>[A-Za-z][\w-]*):[ \t]+(?P<value>[^\s\"'|>{\[&*!#%@`].*)$")


@dataclass(frozen=True, slots=True)
class Skill:
    """What a skill folder says. `tools` come from its tools.yaml; `scripts` are what its scripts/ holds."""

    name: str
    description: str
    folder: Path
    instructions: str
    license: str
    compatibility: str
    metadata: dict[str, Any]
    allowed_tools: tuple[str, ...]
    requirements: Requirements
    tools: tuple[SkillTool, ...]
    scripts: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def has_sidecar(self) -> bool:
        return bool(self.tools)


def read_skill(folder: Path) -> Skill:
    """The skill in a folder.

    Raises:
        NotFound: there is no SKILL.md. SkillError: it cannot be read, is no YAML, or has no description; or its
        tools.yaml is wrong.
    """
    file = folder / MANIFEST
    try:
        raw = open_inside(folder, MANIFEST).read_bytes()
    except FileNotFoundError:
        raise NotFound(f"{folder} is no skill: there is no {MANIFEST} in it", "edgeagent skills list") from None
    except OSError as error:
        raise SkillError([Problem(str(file), 1, f"cannot be read: {error.strerror}")]) from error
    document = _read(raw, file)
    data = document.data
    description = data.get("description")
    if not isinstance(description, str) or not description.strip():
        raise SkillError([Problem(str(file), document.line_of(("description",)), 'missing key "description"')])
    warnings = list(_warnings(data, folder))
    metadata = data["metadata"] if isinstance(data.get("metadata"), dict) else {}
    scripts = tuple(path for path in skill_files(folder) if path.startswith("scripts/"))
    sidecar = metadata.get(SIDECAR_KEY)
    tools: tuple[SkillTool, ...] = ()
    if isinstance(sidecar, str):
        tools = read_sidecar(folder, sidecar)
    elif (folder / "tools.yaml").exists():
        warnings.append(f"tools.yaml is not used: metadata does not announce it ({SIDECAR_KEY}: tools.yaml)")
    return Skill(
        name=_name(data, folder),
        description=" ".join(description.split()),
        folder=folder,
        instructions=document.body,
        license=_text(data, "license"),
        compatibility=_text(data, "compatibility"),
        metadata=metadata,
        allowed_tools=_words(data.get("allowed-tools")),
        requirements=read_requirements(metadata),
        tools=tools,
        scripts=scripts,
        warnings=tuple(warnings),
    )


def _read(raw: bytes, file: Path) -> Document:
    """The document; with values quoted that hold a colon, where that is what keeps it from being YAML."""
    document = read_document(raw)
    if any("broken YAML" in message for _, message in document.problems):
        document = read_document(_with_quotes(raw))
    fatal = [
        Problem(str(file), line, message)
        for line, message in document.problems
        if not message.startswith(("empty body", "key ", "YAML tags"))
    ]
    if fatal:
        raise SkillError(fatal)
    return document


def _with_quotes(raw: bytes) -> bytes:
    """Skills in the wild write `description: Use this when: ...`, which YAML does not take."""
    lines = raw.decode("utf-8", "replace").split("\n")
    fences = [number for number, line in enumerate(lines) if line.rstrip() == "---"][:2]
    for number in range(*fences) if len(fences) == 2 else ():
        found = _BARE.match(lines[number].rstrip())
        if found and ": " in found["value"]:
            escaped = found["value"].replace("\\", "\\\\").replace('"', '\\"')
            lines[number] = f'{found["key"]}: "{escaped}"'
    return "\n".join(lines).encode()


def _name(data: dict[str, Any], folder: Path) -> str:
    """The name it is known by here: its own where it is one, else the folder's."""
    name = data.get("name")
    return name if isinstance(name, str) and _NAME.fullmatch(name) and len(name) <= MAX_NAME else folder.name


def _warnings(data: dict[str, Any], folder: Path) -> Iterator[str]:
    name = data.get("name")
    if not isinstance(name, str):
        yield f'no name; it is known by its folder, "{folder.name}"'
    elif not _NAME.fullmatch(name) or len(name) > MAX_NAME:
        yield f'"{name}" is not a name of the specification (a-z, 0-9 and single -, at most {MAX_NAME})'
    elif name != folder.name:
        yield f'it is named "{name}", but its folder "{folder.name}"'
    for key, limit in (("description", MAX_DESCRIPTION), ("compatibility", MAX_COMPATIBILITY)):
        value = data.get(key)
        if isinstance(value, str) and len(value) > limit:
            yield f"{key} has {len(value)} characters; the specification allows {limit}"
    if "metadata" in data and not isinstance(data["metadata"], dict):
        yield "metadata is no table of keys and values, so it is not used"
    unknown = sorted(set(data) - _KEYS)
    if unknown:
        yield f"keys that the specification does not have: {', '.join(unknown)}"


def _text(data: dict[str, Any], key: str) -> str:
    value = data.get(key)
    return value if isinstance(value, str) else ""


def _words(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(re.findall(r"[^\s,(]+(?:\([^)]*\))?", value))
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()
