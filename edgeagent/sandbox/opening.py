"""Picks the highest level that this machine has, and proves it before it is used.

`none` is not a sandbox: it is the reasons why there is none, and `Opened.require` refuses.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edgeagent.errors import SandboxError
from edgeagent.home import Home
from edgeagent.sandbox.bubblewrap import Bubblewrap
from edgeagent.sandbox.confined import Sandbox
from edgeagent.sandbox.landlocked import Landlocked
from edgeagent.sandbox.proof import Proof, prove
from edgeagent.sandbox.request import Level

RANKS: dict[Level, int] = {"none": 0, "reduced": 1, "full": 2}


@dataclass(frozen=True, slots=True)
class Opened:
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


def open_sandbox(home: Home, minimum: Level = "reduced") -> Opened:
    """The highest level that is there and from which no attempt gets out. Takes a fraction of a second."""
    scratch = scratch_folder(home)
    return choose(candidates(home.state(), scratch), scratch, minimum)


def candidates(forbidden: tuple[Path, ...], scratch: Path) -> tuple[Sandbox, ...]:
    """Every level of this system, the highest first, whether this machine has it or not."""
    if sys.platform == "linux":
        return Bubblewrap(forbidden), Landlocked(scratch, forbidden)
    return ()


def choose(levels: tuple[Sandbox, ...], scratch: Path, minimum: Level) -> Opened:
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
            return Opened(sandbox, proof, tuple(reasons), hint)
        what = proof.trouble or f"a command could {', '.join(proof.escapes)}"
        reasons.append(f"{sandbox.level}: {what}")
    return Opened(None, Proof(), tuple(reasons) or (f"no sandbox for {sys.platform}",), hint or "edgeagent doctor")


def scratch_folder(home: Home) -> Path:
    """Where scratch folders lie that are no memory; what a process that was killed left there is removed."""
    folder = home.cache / "scratch" / str(os.getpid())
    for left in _left_behind(folder.parent):
        shutil.rmtree(left, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder.resolve()


def _left_behind(folder: Path) -> Iterator[Path]:
    with suppress(FileNotFoundError):
        for place in folder.iterdir():
            if place.name.isdigit() and not Path("/proc", place.name).exists():
                yield place
