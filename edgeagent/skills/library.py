"""The skills of this installation: bundled ones and installed ones, and whether each may run.

A bundled skill is trusted with the package that it came in. An installed one is trusted while its fingerprint is the
one in skills.lock. An installed skill takes the place of a bundled one of the same name.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from edgeagent.errors import NotFound, SkillError, UsageError
from edgeagent.schema import format_time
from edgeagent.skills.files import fingerprint, manifest_in
from edgeagent.skills.lock import LOCK_NAME, Pin, read_lock, write_lock
from edgeagent.skills.manifest import Skill, read_skill

State = Literal["ready", "untrusted", "changed", "broken", "unmet"]


@dataclass(frozen=True, slots=True)
class Installed:
    """One skill as it is here. `reason` says in words why it is not ready, and `hint` what to do about it."""

    name: str
    folder: Path
    origin: Literal["bundled", "installed"]
    state: State
    skill: Skill | None
    fingerprint: str
    reason: str = ""
    hint: str = ""

    def usable(self) -> Skill:
        """The skill, for running it. SkillError where it may not run."""
        if self.skill is None or self.state != "ready":
            raise SkillError.of(f"skill {self.name} does not run: {self.reason}", self.hint)
        return self.skill


class SkillLibrary:
    """Finds skills. Reads folders when asked; holds nothing in memory.

    Args:
        bundled: the folder of the skills that came with edgeagent.
        folder: where installed skills and skills.lock are.
        secrets: the names of secrets that there are; asked where a skill requires one.
    """

    def __init__(self, bundled: Path, folder: Path, secrets: Callable[[], Collection[str]] = tuple) -> None:
        self._bundled = bundled
        self._folder = folder
        self._secrets = secrets

    @property
    def lock(self) -> Path:
        return self._folder / LOCK_NAME

    def names(self) -> list[str]:
        return sorted({path.name for root in (self._bundled, self._folder) for path in _folders(root)})

    def all(self) -> list[Installed]:
        return [self.find(name) for name in self.names()]

    def find(self, name: str) -> Installed:
        """The skill of that name, in whatever state. NotFound where there is none."""
        if "/" not in name and name not in ("", ".", ".."):
            for root in (self._folder, self._bundled):
                if manifest_in(root / name):
                    return self._look(name, root / name, is_bundled=root is self._bundled)
        raise NotFound(f"no skill named {name}", "edgeagent skills list")

    def look(self, folder: Path) -> Installed:
        """The skill in a folder that is not installed, as if it were."""
        return self._look(folder.resolve().name, folder, is_bundled=False)

    def _look(self, name: str, folder: Path, *, is_bundled: bool) -> Installed:
        origin: Literal["bundled", "installed"] = "bundled" if is_bundled else "installed"
        try:
            skill, digest = read_skill(folder), fingerprint(folder)
        except SkillError as error:
            return Installed(
                name, folder, origin, "broken", None, "", error.message, f"edgeagent skills validate {folder}"
            )
        state, reason, hint = self._state(name, skill, digest, is_bundled)
        return Installed(name, folder, origin, state, skill, digest, reason, hint)

    def _state(self, name: str, skill: Skill, digest: str, is_bundled: bool) -> tuple[State, str, str]:
        if not is_bundled:
            pin = read_lock(self.lock).get(name)
            if pin is None:
                return "untrusted", "nobody has trusted it yet", f"edgeagent skills trust {name}"
            if pin.fingerprint != digest:
                return "changed", "its files have changed since it was trusted", f"edgeagent skills trust {name}"
        missing = self.missing(skill)
        if missing:
            return "unmet", f"this machine lacks {', '.join(missing)}", _hint(missing)
        return "ready", "", ""

    def missing(self, skill: Skill) -> tuple[str, ...]:
        """What this machine lacks of what a skill requires, in words."""
        return skill.requirements.missing(self._secrets() if skill.requirements.env else ())

    # --- changing what is installed -------------------------------------------------------------------------------

    def check_free(self, names: Iterable[str], *, replace: bool = False) -> None:
        """UsageError where a skill of one of these names is installed already and is not to be replaced."""
        for name in names:
            if not replace and (self._folder / name).exists():
                raise UsageError(
                    f"a skill named {name} is installed already",
                    f"edgeagent skills remove {name}, or add it again with --replace",
                )

    def is_bundled(self, name: str) -> bool:
        return manifest_in(self._bundled / name) is not None

    def install(self, staged: Skill, *, replace: bool = False) -> None:
        """Takes a skill folder that was checked and staged on the same disk into the library. It is not trusted yet."""
        self.check_free([staged.folder.name], replace=replace)
        target = self._folder / staged.folder.name
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if target.exists():  # put aside whole and deleted with the staging folder: a kill destroys neither
            os.replace(target, staged.folder.parent / f".replaced-{staged.folder.name}")
        os.replace(staged.folder, target)

    def trust(self, name: str, now: datetime, *, source: str = "") -> Installed:
        """Pins an installed skill to what its files are now."""
        found = self.find(name)
        if found.origin == "bundled":
            raise UsageError(f"skill {name} came with edgeagent and is trusted with it", "edgeagent skills list")
        if found.skill is None:
            raise SkillError.of(found.reason, found.hint)
        pins = read_lock(self.lock)
        known = pins.get(name)
        pins[name] = Pin(
            fingerprint=found.fingerprint,
            source=source or (known.source if known else str(found.folder)),
            trusted_at=format_time(now),
            requested=requests(found.skill),
        )
        write_lock(self.lock, pins)
        return self.find(name)

    def pin(self, name: str) -> Pin | None:
        return read_lock(self.lock).get(name)

    def remove(self, name: str) -> None:
        """Deletes an installed skill and its pin. UsageError for one that came with edgeagent."""
        found = self.find(name)
        if found.origin == "bundled":
            raise UsageError(f"skill {name} came with edgeagent and cannot be removed", "leave it out of your agents")
        pins = read_lock(self.lock)
        if pins.pop(name, None):
            write_lock(self.lock, pins)
        shutil.rmtree(found.folder)


def requests(skill: Skill) -> dict[str, dict[str, list[str]]]:
    """What each tool of a skill asks for; scripts without a sidecar ask for everything that their agent grants."""
    asked = {
        tool.name: {kind: list(values) for kind, values in tool.needs.model_dump().items() if values}
        for tool in skill.tools
    }
    if not skill.has_sidecar and skill.scripts:
        asked["run_skill_script"] = {"scripts": list(skill.scripts)}
    return asked


def _hint(missing: tuple[str, ...]) -> str:
    secret = next((one.removeprefix("the secret ") for one in missing if one.startswith("the secret ")), "")
    return f"edgeagent secrets set {secret}" if secret else "install what it lacks"


def _folders(root: Path) -> Iterator[Path]:
    if root.is_dir():
        yield from (path for path in root.iterdir() if not path.name.startswith(".") and manifest_in(path))
