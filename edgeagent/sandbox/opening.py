"""Picks the highest level that this machine has, and proves it before it is used.

`none` is not a sandbox: it is the reasons why there is none, and `OpenedSandbox.require` refuses.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from edgeagent.errors import SandboxError
from edgeagent.sandbox.bubblewrap import Bubblewrap
from edgeagent.sandbox.confined import Sandbox
from edgeagent.sandbox.landlocked import Landlocked
from edgeagent.sandbox.proof import Proof, prove
from edgeagent.sandbox.request import Level

RANKS: dict[Level, int] = {"none": 0, "reduced": 1, "full": 2}

_HINTS: dict[Level, str] = {
    "full": "let this user make namespaces (sysctl kernel.unprivileged_userns_clone, user.max_user_namespaces)",
    "reduced": "use a newer kernel",
}


@dataclass(frozen=True, slots=True)
class OpenedSandbox:
    """What this machine has."""

    sandbox: Sandbox | None
    proof: Proof
    reasons: tuple[str, ...]
    """Why it is not a higher level; a line for each."""
    hint: str = ""
    """What to do for a higher level."""

    @property
    def level(self) -> Level:
        return self.sandbox.level if self.sandbox else "none"

    def require(self) -> Sandbox:
        """The sandbox, or SandboxError with the reasons."""
        if self.sandbox is None:
            raise SandboxError(f"no skill runs without a sandbox: {'; '.join(self.reasons)}", self.hint)
        return self.sandbox


def open_sandbox(forbidden: tuple[Path, ...], scratch: Path, minimum: Level = "reduced") -> OpenedSandbox:
    """The highest level that is there and from which no attempt gets out. Takes a fraction of a second.

    Args:
        forbidden: places that no command is ever given: `Home.state()`.
        scratch: a folder of edgeagent's own, for the scratch folders of level `reduced`.
        minimum: lower levels are left out.
    """
    folder = swept(scratch)
    return choose(candidates(forbidden, folder), folder, minimum)


def candidates(forbidden: tuple[Path, ...], scratch: Path) -> tuple[Sandbox, ...]:
    """Every level of this system, the highest first, whether this machine has it or not."""
    if sys.platform == "linux":
        return Bubblewrap(forbidden), Landlocked(scratch, forbidden)
    return ()


def choose(levels: tuple[Sandbox, ...], scratch: Path, minimum: Level) -> OpenedSandbox:
    reasons: list[str] = []
    hint = ""
    for sandbox in levels:
        if RANKS[sandbox.level] < RANKS[minimum]:
            reasons.append(f"{sandbox.level}: less than sandbox.minimum in config.toml")
            continue
        try:
            sandbox.check()
        except SandboxError as error:
            reasons.append(f"{sandbox.level}: {error.message}")
            hint = hint or error.hint
            continue
        proof = prove(sandbox, scratch)
        if proof.holds:
            return OpenedSandbox(sandbox, proof, tuple(reasons), hint)
        hint = hint or _HINTS[sandbox.level]
        what = proof.trouble or f"a command could {', '.join(proof.escapes)}"
        reasons.append(f"{sandbox.level}: {what}")
    return OpenedSandbox(
        None, Proof(), tuple(reasons) or (f"no sandbox for {sys.platform}",), hint or "edgeagent doctor"
    )


def swept(scratch: Path) -> Path:
    """The folder, made where it is missing, without what processes that are gone left in it."""
    scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
    for place in scratch.iterdir():
        owner = place.name.partition("-")[0]
        if owner.isdigit() and not _is_alive(int(owner)):
            shutil.rmtree(place, ignore_errors=True)
    return scratch.resolve()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
