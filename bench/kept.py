"""What was measured, kept part by part outside the repository, so that a run goes on where it was broken off.

A part is kept with the commit and the state of the code that it was measured of, when, and what else went on. Writes
and reads files and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
WHOLE = ("idle", "speeds")
"""Parts that measure more of edgeagent than its model host."""
HARNESS = ("rows", "agent_rows", "ours", "peers", "lines", "calls", "row", "free_loop", "python_peer", "random_model")
"""Files of bench/ that figures depend on."""


def code(part: str) -> str:
    """Changes when the code does that a part measures: of the model host alone, or of all of edgeagent."""
    measured = ROOT / "edgeagent" if part in WHOLE else ROOT / "edgeagent" / "model"
    digest = hashlib.sha256()
    for path in sorted([*measured.rglob("*.py"), *(ROOT / "bench" / f"{name}.py" for name in HARNESS)]):
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


class Kept:
    """The results of one scale, a file for each part."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, part: str, result: dict[str, Any]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        temporary = self._folder / f".{part}.tmp"
        temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        os.replace(temporary, self._folder / f"{part}.json")

    def get(self, part: str) -> dict[str, Any] | None:
        try:
            read = json.loads((self._folder / f"{part}.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return read if isinstance(read, dict) else None

    def all(self, parts: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Of those parts, what there is, in their order."""
        found = {part: self.get(part) for part in parts}
        return {part: result for part, result in found.items() if result is not None}

    def missing(self, parts: Iterable[str]) -> list[str]:
        """The parts to be measured: never measured, not of the code as it is, or taken on a busy machine."""
        return [part for part in parts if not _stands(part, self.get(part))]


def _stands(part: str, result: dict[str, Any] | None) -> bool:
    return result is not None and result["code"] == code(part) and result["is_quiet"]
