"""What was tried so far, one line of JSON a batch, in a folder outside of the sources: a run that was cut goes on.

A line is written when its batch is over and is on the disk before the next batch begins. A promise whose trials are to
be made again gets a line that says so; nothing is deleted.
"""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Record:
    """One batch that was made, or that could not be (`not_made` says why)."""

    scale: float
    promise: int
    label: str
    commit: str
    ended_at: str
    seconds: float
    tally: dict[str, Any]
    not_made: str = ""


class Records:
    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "records.jsonl"

    def add(self, record: Record) -> None:
        self._append(vars(record))

    def begin_again(self, promise: int, scale: float, why: str, label: str = "") -> None:
        """What this promise, or one batch of it, has so far counts no more."""
        self._append({"again": promise, "label": label, "scale": scale, "why": why})

    def made(self, scale: float) -> list[Record]:
        """The batches that count, in the order in which they ended."""
        counted: list[Record] = []
        for line in self._lines():
            if line["scale"] != scale:
                continue
            if "again" in line:
                again, label = line["again"], line.get("label", "")
                counted = [one for one in counted if one.promise != again or label not in ("", one.label)]
            else:
                counted.append(Record(**line))
        return [record for record in counted if not record.not_made]

    def begun_again(self, scale: float) -> list[tuple[int, str]]:
        """The promises whose trials were begun again, and why."""
        lines = [line for line in self._lines() if "again" in line and line["scale"] == scale]
        return [
            (line["again"], f"{line['label']}: {line['why']}" if line.get("label") else line["why"]) for line in lines
        ]

    def _lines(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        whole, _, _ = self.path.read_text("utf-8").rpartition("\n")  # a line that was cut short does not count
        return [json.loads(line) for line in whole.splitlines()]

    def _append(self, line: dict[str, Any]) -> None:
        self.path.touch()
        with self.path.open("rb+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            content = file.read()
            file.truncate(content.rfind(b"\n") + 1)
            file.seek(0, os.SEEK_END)
            file.write(json.dumps(line).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
