"""`make bench`: the table of docs/benchmarks.md, measured here and now. Takes about a quarter of an hour.

    python bench/run.py [--scale full|quick] [--pairs N] [--rows NAME,...] [--out FOLDER]

full   builds llama-server and llama-bench (once, ten minutes more), makes a model with random weights, measures every
       row against its peer and writes docs/benchmarks.md. Nothing else should run meanwhile.
quick  shows that the harness works, on the bundled model and without peers; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import report
from rows import QUICK, Bench, Scale

from edgeagent.bundled import bundled
from edgeagent.model.llama import engine_version, system_info
from edgeagent.model.loading import usable_cores

ROOT = Path(__file__).parent.parent


def machine(model: Path, threads: int) -> dict[str, str]:
    """What the figures hang on."""
    return {
        "when": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "commit": _output("git", "-C", str(ROOT), "describe", "--always", "--dirty"),
        "processor": f"{_processor()}, {usable_cores()} cores",
        "instructions": " ".join(part.split("=")[0].strip() for part in system_info().split("|") if part.strip()),
        "memory": f"{psutil.virtual_memory().total / 1e9:.0f} GB",
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "python": platform.python_version(),
        "llama.cpp": engine_version(),
        "llguidance": version("llguidance"),
        "model": f"{model.stem}, {model.stat().st_size / 1e6:.0f} MB",
        "threads": str(threads),
        "load before": f"{os.getloadavg()[0]:.2f}",
    }


def _output(*command: str) -> str:
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
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("speeds.py"))], capture_output=True, text=True, check=True
    )
    rows = [line.strip("| ").split("|") for line in done.stdout.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def chosen(scale: str, pairs: int | None) -> tuple[Scale, Path, Path, Path | None]:
    """How much, the model, the small model, and where the peers are."""
    if scale == "quick":
        pocket = bundled("models") / "pocket" / "pocket.gguf"
        return QUICK, pocket, pocket, None
    from peers import built
    from random_model import QWEN, SMALL, made

    full = Scale() if pairs is None else replace(Scale(), pairs=pairs)
    return full, made(QWEN), made(SMALL), built()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=["full", "quick"], default="full")
    parser.add_argument("--pairs", type=int, help="pairs of each row; default 5")
    parser.add_argument("--threads", type=int, help="default: all cores, and one for quick")
    parser.add_argument("--model", type=Path, help="another file than the one with random weights")
    parser.add_argument("--rows", default="", help="only these: " + " ".join(Bench.PARTS))
    parser.add_argument("--out", type=Path, help="folder to write to; default: docs for a full run, else nowhere")
    arguments = parser.parse_args()
    scale, model, small, programs = chosen(arguments.scale, arguments.pairs)
    model = arguments.model or model
    threads = arguments.threads or (1 if arguments.scale == "quick" else usable_cores())
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:4.0f} s] {text}", file=sys.stderr, flush=True)

    data: dict[str, Any] = {"machine": machine(model, threads), "rows": [], "speeds": []}
    with tempfile.TemporaryDirectory(prefix="edgeagent-bench-") as scratch:
        bench = Bench(model, small, threads, scale, Path(scratch), programs, say)
        for row in bench.rows([name for name in arguments.rows.split(",") if name]):
            data["rows"].append(row.as_json())
            print(report.plain(data["rows"][-1:]).splitlines()[1], file=sys.stderr, flush=True)
    if not arguments.rows and arguments.scale == "full":
        say("edgeagent itself")
        data["speeds"] = speeds()
    print(report.plain(data["rows"]))
    for what, value, target in data["speeds"]:
        print(f"{what}: {value} ({target})")
    out = arguments.out or (ROOT / "docs" if arguments.scale == "full" and not arguments.rows else None)
    if out:
        report.write(data, out)
        say(f"wrote {out / 'benchmarks.md'}")


if __name__ == "__main__":
    main()
