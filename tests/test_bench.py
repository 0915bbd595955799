"""The benchmark's harness: every row is measured, and the page holds what was measured and nothing else."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).parent.parent / "bench"
ROWS = {
    "prefill, 100 tokens",
    "decode, 8 tokens",
    "first token after a restart",
    "first token, warm",
    "five agents in turn, warm",
    "resident memory",
    "one tool call",
    "decode under a schema",
    "four runs at once",
    "idle daemon, resident memory",
    "idle daemon, processor",
    "valid turns at temperature 1, random weights",
}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make bench SCALE=quick` writes when it is told where."""
    folder = tmp_path_factory.mktemp("bench")
    command = [sys.executable, str(BENCH / "run.py"), "--scale", "quick", "--out", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def data(out: Path) -> Any:
    return json.loads((out / "benchmarks.json").read_text(encoding="utf-8"))


def test_every_row_of_the_table_is_measured(data: Any) -> None:
    assert {row["what"] for row in data["rows"]} == ROWS
    assert all(row["ours"] and all(value >= 0 for value in row["ours"]) for row in data["rows"])
    valid = next(row for row in data["rows"] if row["what"].startswith("valid"))
    assert valid["ours"] == [100]
    assert {"processor", "memory", "llama.cpp", "model", "threads", "load before"} <= set(data["machine"])


def test_the_page_and_the_picture_are_made_from_the_figures(out: Path, data: Any) -> None:
    report = runpy.run_path(str(BENCH / "report.py"))
    page = (out / "benchmarks.md").read_text(encoding="utf-8")
    assert page == report["page"](data)
    assert all(f"| {row['what']} |" in page for row in data["rows"])
    picture = (out / "benchmarks.svg").read_text(encoding="utf-8")
    assert picture.startswith("<svg") and picture.count("<rect") == 1 + sum(bool(row["peer"]) for row in data["rows"])


def test_a_ratio_is_of_pairs_and_met_on_its_own_side_of_the_target() -> None:
    report = runpy.run_path(str(BENCH / "report.py"))
    row: dict[str, Any] = {
        "what": "x",
        "peer": "y",
        "unit": "s",
        "ours": [1.0, 2.0, 9.0],
        "peers": [10.0, 10.0, 10.0],
        "note": "",
    }
    row |= {"ratios": [0.1, 0.2, 0.9], "at_least": False, "target": 0.2}
    assert report["is_met"](row) is True
    assert report["cells"](row) == ["x", "y", "2.00 s", "10.0 s", "0.20", "0.10 to 0.90", "≤ 0.2", "yes"]
    assert report["is_met"](row | {"target": 0.15}) is False
    assert report["is_met"](row | {"at_least": True, "target": 0.5}) is False
    assert report["is_met"](row | {"ratios": []}) is None


def test_no_figure_stands_in_the_program_that_writes_the_page() -> None:
    source = (BENCH / "report.py").read_text(encoding="utf-8")
    text = source[source.index('return f"""# Benchmarks') : source.index("def picture")]
    assert not re.findall(r"\d+\.\d+", text)
