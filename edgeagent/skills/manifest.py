"""One skill folder: its SKILL.md, read as leniently as the Agent Skills specification asks of a client.

What is odd is a warning and the skill loads; only a frontmatter that is no YAML, or has no description, is refused.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from edgeagent.agents.frontmatter import MAX_BYTES, Document, read_document
from edgeagent.errors import NotFound, Problem, SkillError
from edgeagent.skills.files import (
    MANIFEST,
    is_program,
    manifest_in,
    open_inside,
    read_head,
    skill_files,
    skill_links,
)
from edgeagent.skills.requires import Requirements, read_requirements, table_of
from edgeagent.skills.sidecar import SkillTool, read_sidecar

SIDECAR_KEY = "edgeagent-tools"
MAX_NAME, MAX_DESCRIPTION, MAX_COMPATIBILITY = 64, 1024, 500
_WORD = r"[^\W_]+"
_NAME = re.compile(f"{_WORD}(-{_WORD})*")
_KEYS = frozenset({"name", "description", "license", "compatibility", "metadata", "allowed-tools"})
_BARE = re.compile(r"^(?P<key>[A-Za-z][\w-]*):[ \t]+(?P<value>[^\s].*)$")
_BLANK = re.compile(rb"\A(?:\xef\xbb\xbf)?\s*(?=---)")
_TEXTS = (".md", ".txt")


@dataclass(frozen=True, slots=True)
class Skill:
    """What a skill folder says. `tools` come from its tools.yaml; `scripts` are the programs that its scripts/ holds,
    and `documents` the texts that its instructions may send a reader to."""

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
    documents: tuple[str, ...]
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
    file = folder / (manifest_in(folder) or MANIFEST)
    try:
        raw = read_head(open_inside(folder, file.name), MAX_BYTES)
    except FileNotFoundError:
        raise NotFound(f"{folder} is no skill: there is no {MANIFEST} in it", "edgeagent skills list") from None
    except OSError as error:
        raise SkillError([Problem(str(file), 1, f"cannot be read: {error.strerror}")]) from error
    document, warnings = _read(raw, file)
    data = document.data
    description = _scalar(data.get("description"))
    if not description.strip():
        raise SkillError([Problem(str(file), document.line_of(("description",)), 'missing key "description"')])
    metadata = table_of(data.get("metadata"))
    files = skill_files(folder)
    warnings += _warnings(data, folder)
    warnings += _about_files(folder, file.name, metadata)
    sidecar = metadata.get(SIDECAR_KEY)
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
        tools=read_sidecar(folder, sidecar) if isinstance(sidecar, str) else (),
        scripts=tuple(name for name in files if name.startswith("scripts/") and is_program(folder / name)),
        documents=tuple(name for name in files if name.endswith(_TEXTS) and name != file.name),
        warnings=tuple(warnings),
    )


def _read(raw: bytes, file: Path) -> tuple[Document, list[str]]:
    """The document, and what was odd about it; with values quoted, where that is what keeps it from being YAML."""
    raw = _BLANK.sub(b"", raw, count=1)
    document = read_document(raw)
    warnings = []
    if any("broken YAML" in message for _, message in document.problems):
        document = read_document(_with_quotes(raw))
        warnings.append(
            "its frontmatter is no YAML as it stands: quote the values that hold a colon or begin with a sign"
        )
    fatal = []
    for line, message in document.problems:
        if message.startswith("no frontmatter"):
            message = "no frontmatter, so it has no description: the first line must be ---"
        if message.startswith("key "):
            warnings.append(f"line {line}: {message}")
        elif not message.startswith("empty body"):
            fatal.append(Problem(str(file), line, message.replace("an agent file", "a SKILL.md")))
    if fatal:
        raise SkillError(fatal)
    return document, warnings


def _with_quotes(raw: bytes) -> bytes:
    """Skills in the wild write `description: Use when: ...` or `argument-hint: [a] [b]`, which YAML does not take."""
    lines = raw.decode("utf-8", "replace").split("\n")
    fences = [number for number, line in enumerate(lines) if line.rstrip() == "---"][:2]
    for number in range(*fences) if len(fences) == 2 else ():
        found = _BARE.match(lines[number].rstrip())
        if found and not _is_yaml(found["value"]) and _is_whole(found["value"]):
            escaped = found["value"].replace("\\", "\\\\").replace('"', '\\"')
            lines[number] = f'{found["key"]}: "{escaped}"'
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def _is_yaml(value: str) -> bool:
    """Whether a value is YAML by itself, on one line."""
    try:
        for _ in yaml.parse(f"key: {value}", Loader=yaml.SafeLoader):
            pass
    except yaml.YAMLError:
        return False
    return True


def _is_whole(value: str) -> bool:
    """Whether everything that is opened in a value is closed: else it is not an odd text but a broken one."""
    if value[0] in "\"'":
        return False
    return all(value.count(opening) == value.count(closing) for opening, closing in ("[]", "{}"))


def _about_files(folder: Path, manifest: str, metadata: dict[str, Any]) -> Iterator[str]:
    if manifest != MANIFEST:
        yield f"{manifest} should be named {MANIFEST}"
    links = skill_links(folder)
    if links:
        more = f" and {len(links) - 3} more" if len(links) > 3 else ""
        yield f"links are no part of a skill, so it goes without {', '.join(links[:3])}{more}"
    if SIDECAR_KEY not in metadata and (folder / "tools.yaml").exists():
        yield f"tools.yaml is not used: metadata does not announce it ({SIDECAR_KEY}: tools.yaml)"


def _name(data: dict[str, Any], folder: Path) -> str:
    """The name it is known by here: its own where it is one, else the folder's."""
    name = _scalar(data.get("name")).strip()
    return name if _is_name(name) else folder.name


def _is_name(name: str) -> bool:
    name = unicodedata.normalize("NFKC", name)
    return bool(_NAME.fullmatch(name)) and name == name.lower() and len(name) <= MAX_NAME


def _warnings(data: dict[str, Any], folder: Path) -> Iterator[str]:
    name = _scalar(data.get("name")).strip()
    if not name:
        yield f'no name; it is known by its folder, "{folder.name}"'
    elif not _is_name(name):
        yield f'"{name}" is not a name of the specification (small letters, 0-9 and single -, at most {MAX_NAME})'
    elif name != folder.name:
        yield f'it is named "{name}", but its folder "{folder.name}"'
    for key, limit in (("description", MAX_DESCRIPTION), ("compatibility", MAX_COMPATIBILITY)):
        value = data.get(key)
        if isinstance(value, str) and len(value) > limit:
            yield f"{key} has {len(value)} characters; the specification allows {limit}"
    if data.get("metadata") and not table_of(data["metadata"]):
        yield "metadata is no table of keys and values, so it is not used"
    unknown = sorted(set(data) - _KEYS)
    if unknown:
        yield f"keys that the specification does not have: {', '.join(unknown)}"


def _scalar(value: Any) -> str:
    """A text, or what was meant as one: `name: 2048`."""
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


def _text(data: dict[str, Any], key: str) -> str:
    value = data.get(key)
    return value if isinstance(value, str) else ""


def _words(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(re.findall(r"[^\s,(]+(?:\([^)]*\))?", value))
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()
