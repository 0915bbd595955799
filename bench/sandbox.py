"""What the sandbox adds to a call: the median of 50, a bare command and a confined one taking turns.

.venv/bin/python bench/sandbox.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from edgeagent.sandbox import Bubblewrap, Command, Landlocked, Sandbox, run

TURNS = 50
TARGET_MS = 15.0
PROGRAM = "/bin/true"


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        levels: tuple[Sandbox, ...] = (Bubblewrap(), Landlocked(folder))
        added = {sandbox.level: _added(sandbox, folder) for sandbox in levels}
    for level, (bare, confined) in added.items():
        print(
            f"{level}: {confined - bare:.1f} ms over the bare command ({bare:.1f} ms bare, {confined:.1f} ms confined)"
        )
    bare, confined = added["full"]
    return 0 if confined - bare <= TARGET_MS else 1


def _added(sandbox: Sandbox, folder: Path) -> tuple[float, float]:
    """The medians in milliseconds, bare and confined."""
    command = Command((PROGRAM,), folder)
    pairs = [
        (
            _milliseconds(lambda: subprocess.run([PROGRAM], capture_output=True, check=True)),
            _milliseconds(lambda: run(sandbox, command)),
        )
        for _ in range(TURNS)
    ]
    return statistics.median(pair[0] for pair in pairs), statistics.median(pair[1] for pair in pairs)


def _milliseconds(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return (time.perf_counter() - began) * 1000


if __name__ == "__main__":
    sys.exit(main())
