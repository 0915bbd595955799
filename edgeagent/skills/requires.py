"""What a skill says it needs of a machine, and what of that is missing here.

Public skills say so in `metadata.openclaw` (or under one of the names that it had before): `requires.bins`, `anyBins`,
`env`, `config`, and `os`. `metadata.edgeagent` may say the same, and `requires.python`: modules that the Python of the
system must have, since skills run with that one. Their `install` entries are shown to nobody and never run.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SECTIONS = ("edgeagent", "openclaw", "clawdbot")
"""Looked at in this order; then whatever else in the metadata says `requires`, since programs are renamed."""
_SYSTEMS = {"linux": "linux", "darwin": "darwin", "macos": "darwin", "win32": "win32", "windows": "win32"}


@dataclass(frozen=True, slots=True)
class Requirements:
    """Programs (all of `bins`, one of `any_bins`), environment variables, settings, modules of Python, and systems;
    empty: any."""

    bins: tuple[str, ...] = ()
    any_bins: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    config: tuple[str, ...] = ()
    python: tuple[str, ...] = ()
    systems: tuple[str, ...] = ()
    always: bool = False
    """Whether it works in part without the others, and only the system counts."""

    def missing(
        self,
        secrets: Collection[str] = (),
        which: Callable[[str], str | None] = shutil.which,
        system: str = sys.platform,
        has_module: Callable[[str], bool] = lambda name: has_module(name),
    ) -> tuple[str, ...]:
        """What this machine lacks, in words. `secrets` are the names of secrets that can be given as environment."""
        found = []
        if not self.always:
            found = list(self._missing(secrets, which, has_module))
        if self.systems and not any(_SYSTEMS.get(name.lower(), name) == system for name in self.systems):
            found.append(f"another system ({', '.join(self.systems)})")
        return tuple(found)

    def _missing(
        self, secrets: Collection[str], which: Callable[[str], str | None], has_module: Callable[[str], bool]
    ) -> Iterator[str]:
        yield from (f"the program {name}" for name in self.bins if which(name) is None)
        if self.any_bins and not any(which(name) for name in self.any_bins):
            yield f"one of the programs {', '.join(self.any_bins)}"
        yield from (f"the secret {name}" for name in self.env if name not in secrets)
        yield from (f"the setting {name} of another program" for name in self.config)
        yield from (f"the Python module {name}" for name in self.python if not has_module(name))


def read_requirements(metadata: dict[str, Any]) -> Requirements:
    """The requirements in a skill's metadata; what is malformed counts as none."""
    known = [table_of(metadata.get(section)) for section in _SECTIONS]
    others = [table_of(value) for name, value in metadata.items() if name not in _SECTIONS]
    for table in (*known, *(other for other in (*others, metadata) if table_of(other.get("requires")))):
        if not table:
            continue
        requires = table_of(table.get("requires"))
        return Requirements(
            bins=_names(requires.get("bins")),
            any_bins=_names(requires.get("anyBins")),
            env=_names(requires.get("env")),
            config=_names(requires.get("config")),
            python=_names(requires.get("python")),
            systems=_names(table.get("os")),
            always=table.get("always") is True,
        )
    return Requirements()


def has_module(name: str) -> bool:
    """Whether the Python of the system, which is the one in the sandbox, has a module of that name. Asks the disk."""
    program = shutil.which("python3", path="/usr/local/bin:/usr/bin:/bin")
    roots = {Path("/usr"), Path("/usr/local")} | ({Path(program).resolve().parent.parent} if program else set())
    places = [f"lib*/python3*/*-packages/{name}{ending}" for ending in ("", ".py", ".*.so")]
    return name.isidentifier() and any(any(root.glob(place)) for root in roots for place in places)


def table_of(value: Any) -> dict[str, Any]:
    """A table, or one that was written as JSON inside a string, as older skills do."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    return value if isinstance(value, dict) else {}


def _names(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()
