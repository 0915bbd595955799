"""skills/skills.lock: which skills a person let in, from where, and the fingerprint that each is pinned to.

A skill runs only while its files add up to the pinned fingerprint. The file is JSON, sorted, written whole or not at
all, and meant to be looked at.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgeagent.errors import SkillError

LOCK_NAME = "skills.lock"


@dataclass(frozen=True, slots=True)
class Pin:
    """One skill as it was trusted. `requested` is what its tools asked for then, so that a change can be shown."""

    fingerprint: str
    source: str
    trusted_at: str
    requested: dict[str, dict[str, list[str]]]


def read_lock(path: Path) -> dict[str, Pin]:
    """The pins by skill name; none where there is no file. SkillError where it is not what edgeagent wrote."""
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
        return {name: Pin(**pin) for name, pin in data["skills"].items()}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SkillError.of(
            f"{path} cannot be read: {error}", "remove it, then trust each skill again: edgeagent skills trust NAME"
        ) from error


def write_lock(path: Path, pins: dict[str, Pin]) -> None:
    """Replaces the file in one step."""
    data = {"version": 1, "skills": {name: asdict(pins[name]) for name in sorted(pins)}}
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with fresh.open("w", encoding="utf-8") as file:
        file.write(json.dumps(data, indent=2, sort_keys=True) + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path)
