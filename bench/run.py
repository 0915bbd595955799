"""`make bench`: the table of docs/benchmarks.md, measured here and now. Takes about a quarter of an hour.

    python bench/run.py [--scale full|quick] [--rows PART,...] [--again] [--page] [--pairs N] [--out FOLDER]

full   builds llama-server and llama-bench (once, ten minutes more), makes a model with random weights, measures every
       part against its peer and writes docs/benchmarks.md. Nothing else should run meanwhile.
quick  shows that the harness works, on the bundled model and without peers; its figures mean nothing.

Each part is kept when it ends (see kept.py), so that a run which was broken off goes on with what is missing: what was
never measured, what is of other code than this, and what was taken while others used the machine. `--again` measures
all anew, `--rows` just those parts, `--page` nothing. The page is written from all that is kept; it says of each part
when it was taken, of which commit, and how busy the machine was, and does not count what was taken on a busy one.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import agent_rows
import psutil
import report
import rows
from kept import ROOT, Kept, code
from peers import CACHE
from quiet import BUSY_CORES, Watch, others_now, wait_for_quiet
from row import QUICK, Row, Scale
from rows import Bench

from edgeagent.bundled import bundled
from edgeagent.model.llama import engine_version, system_info
from edgeagent.model.loading import usable_cores

PARTS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "rates": rows.rates,
    "restart": rows.restart,
    "warm": rows.warm,
    "agents": rows.agents,
    "calls": rows.calls,
    "constraint": rows.constraint,
    "together": rows.together,
    "memory": rows.memory,
    "idle": agent_rows.idle,
    "valid": agent_rows.valid,
}
SPEEDS = "speeds"
"""The part that is a program of its own: what is measured of edgeagent itself."""
ALL = [*PARTS, SPEEDS]
PATIENCE = 90.0
"""Seconds that a part waits for others to end what they do; then it is measured all the same, and marked."""
IMPATIENCE = 10.0
"""How long the parts after it wait where that was in vain."""


def machine(model: Path, threads: int) -> dict[str, str]:
    """What the figures hang on."""
    return {
        "processor": f"{_processor()}, {usable_cores()} cores",
        "instructions": " ".join(part.split("=")[0].strip() for part in system_info().split("|") if part.strip()),
        "memory": f"{psutil.virtual_memory().total / 1e9:.0f} GB",
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "python": platform.python_version(),
        "llama.cpp": engine_version(),
        "llguidance": version("llguidance"),
        "model": f"{model.stem}, {model.stat().st_size / 1e6:.0f} MB",
        "threads": str(threads),
    }


def commit() -> str:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude=*"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def speeds() -> list[list[str]]:
    """The rows of bench/speeds.py, which is a program of its own."""
    program = [sys.executable, str(Path(__file__).with_name("speeds.py"))]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    lines = [line.strip("| ").split("|") for line in done.stdout.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line] for line in lines[2:]]


@dataclasses.dataclass
class Session:
    """One run of this program: measures parts and keeps them."""

    kept: Kept
    model: Path
    small: Path
    threads: int
    scale: Scale
    programs: Path | None
    patience: float

    def __post_init__(self) -> None:
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        print(f"[{time.monotonic() - self._began:4.0f} s] {text}", file=sys.stderr, flush=True)

    def measure(self, part: str) -> None:
        others = wait_for_quiet(self.patience) if self.patience else others_now(0.1)
        if others > BUSY_CORES:
            self.patience = min(self.patience, IMPATIENCE)
        self.say(f"{part}: others take {others:.2f} cores")
        watch, began = Watch(others), time.monotonic()
        lines, found = ([], speeds()) if part == SPEEDS else (self._rows(part), [])
        seconds, around = time.monotonic() - began, watch.end()
        result = {
            "rows": [row.as_json() for row in lines],
            "speeds": found,
            "when": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
            "commit": commit(),
            "code": code(part),
            "seconds": round(seconds),
            "pairs": self.scale.pairs,
            "machine": machine(self.model, self.threads),
            "is_quiet": around.is_quiet,
            **dataclasses.asdict(around),
        }
        self.kept.put(part, result)
        if result["rows"]:
            print(report.plain(report.lines({part: result})), file=sys.stderr, flush=True)
        busy = "" if around.is_quiet else f"; does not count: others took {around.others:.2f} cores meanwhile"
        self.say(f"{part}: done in {seconds:.0f} s{busy}")

    def _rows(self, part: str) -> list[Row]:
        with tempfile.TemporaryDirectory(prefix="edgeagent-bench-") as scratch:
            bench = Bench(self.model, self.small, self.threads, self.scale, Path(scratch), self.programs)
            return list(PARTS[part](bench))


def session(arguments: argparse.Namespace) -> Session:
    """How much, with which models and peers, and where it is kept."""
    if arguments.scale == "quick":
        pocket = bundled("models") / "pocket" / "pocket.gguf"
        folder = arguments.kept or Path(tempfile.mkdtemp(prefix="edgeagent-bench-kept-"))
        return Session(Kept(folder), pocket, pocket, arguments.threads or 1, QUICK, None, 0.0)
    from peers import built
    from random_model import QWEN, SMALL, made

    threads = arguments.threads or usable_cores()
    scale = Scale() if arguments.pairs is None else replace(Scale(), pairs=arguments.pairs)
    folder = arguments.kept or CACHE / "results"
    return Session(Kept(folder), arguments.model or made(QWEN), made(SMALL), threads, scale, built(), PATIENCE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=["full", "quick"], default="full")
    parser.add_argument("--rows", default="", help="only these parts: " + " ".join(ALL))
    parser.add_argument("--again", action="store_true", help="measure all of them, whatever is kept")
    parser.add_argument("--page", action="store_true", help="measure nothing, write the page from what is kept")
    parser.add_argument("--pairs", type=int, help="pairs of each row; default 5")
    parser.add_argument("--threads", type=int, help="default: all cores, and one for quick")
    parser.add_argument("--model", type=Path, help="another file than the one with random weights")
    parser.add_argument("--kept", type=Path, help="folder of what was measured; default: beside the peers, outside git")
    parser.add_argument("--out", type=Path, help="folder to write to; default: docs for a full run, else nowhere")
    arguments = parser.parse_args()
    named = [name for name in arguments.rows.split(",") if name]
    if unknown := set(named) - set(ALL):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(ALL)}")
    run = session(arguments)
    wanted = named or (ALL if arguments.again else run.kept.missing(ALL))
    for part in [] if arguments.page else wanted:
        run.measure(part)
    found = run.kept.all(ALL)
    print(report.plain(report.lines(found)))
    for what, value, target in found.get(SPEEDS, {}).get("speeds", []):
        print(f"{what}: {value} ({target})")
    out = arguments.out or (ROOT / "docs" if arguments.scale == "full" else None)
    if out and found:
        report.write(found, out)
        run.say(f"wrote {os.path.relpath(out / 'benchmarks.md')}")


if __name__ == "__main__":
    main()
