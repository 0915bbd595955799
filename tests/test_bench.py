"""The benchmark's harness: every row is measured, a broken run goes on, and the page holds what was measured alone."""

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
    "first token, warm, same prompt",
    "first token, warm, next event",
    "five agents in turn, warm",
    "resident memory",
    "one tool call",
    "decode under a schema",
    "four runs at once",
    "idle daemon, resident memory",
    "idle daemon, processor",
    "valid turns at temperature 1, random weights",
}


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCH / "run.py"), "--scale", "quick", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make bench SCALE=quick` writes when it is told where."""
    folder = tmp_path_factory.mktemp("bench")
    done = bench("--out", str(folder), "--kept", str(folder / "kept"))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def parts(out: Path) -> Any:
    return json.loads((out / "benchmarks.json").read_text(encoding="utf-8"))


def test_every_row_of_the_table_is_measured(parts: Any) -> None:
    rows = [row for part in parts.values() for row in part["rows"]]
    assert {row["what"] for row in rows} == ROWS
    assert all(row["ours"] and all(value >= 0 for value in row["ours"]) for row in rows)
    assert parts["valid"]["rows"][0]["ours"] == [100]
    assert len(parts["speeds"]["speeds"]) == 5
    for part in parts.values():
        assert {"processor", "memory", "llama.cpp", "model", "threads"} <= set(part["machine"])
        assert part["commit"] and part["when"] and part["load_before"] >= 0 and part["others"] >= 0


def test_the_page_and_the_picture_are_made_from_the_figures(out: Path, parts: Any) -> None:
    report = runpy.run_path(str(BENCH / "report.py"))
    page = (out / "benchmarks.md").read_text(encoding="utf-8")
    assert page == report["page"](parts)
    rows = [row for part in parts.values() for row in part["rows"]]
    assert all(f"| {row['what']} |" in page for row in rows)
    assert all(f"| {name} | {part['when']} | {part['commit']} |" in page for name, part in parts.items())
    picture = (out / "benchmarks.svg").read_text(encoding="utf-8")
    assert picture.startswith("<svg") and picture.count("<rect") == 1 + sum(bool(row["peer"]) for row in rows)


def test_parts_are_measured_one_by_one_and_the_page_is_made_of_all_that_is_there(out: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    for name in ("warm", "valid"):
        (kept / f"{name}.json").write_bytes((out / "kept" / f"{name}.json").read_bytes())
    done = bench("--kept", str(kept), "--rows", "memory", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "benchmarks.json").read_text(encoding="utf-8"))
    assert list(written) == ["warm", "memory", "valid"]
    assert all((kept / f"{name}.json").exists() for name in written)
    assert bench("--rows", "nonsense").returncode == 2


def test_what_stands_is_not_measured_again(out: Path) -> None:
    code = runpy.run_path(str(BENCH / "kept.py"))["code"]
    kept = runpy.run_path(str(BENCH / "kept.py"))["Kept"](out / "kept")
    measured = kept.get("warm")
    kept.put("warm", measured | {"is_quiet": True, "code": code("warm")})
    assert kept.missing(["warm", "unheard"]) == ["unheard"]
    kept.put("warm", measured | {"is_quiet": True, "code": "of another day"})
    assert kept.missing(["warm"]) == ["warm"]
    kept.put("warm", measured | {"is_quiet": False, "code": code("warm")})
    assert kept.missing(["warm"]) == ["warm"]


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
    assert report["Line"](row, True).cells() == ["x", "y", "2.00 s", "10.0 s", "0.20", "0.10 to 0.90", "≤ 0.2", "yes"]
    assert report["Line"](row, False).cells()[-1] == "busy"
    assert report["is_met"](row | {"target": 0.15}) is False
    assert report["is_met"](row | {"at_least": True, "target": 0.5}) is False
    assert report["is_met"](row | {"ratios": []}) is None


def test_the_work_of_others_is_told_from_our_own() -> None:
    program = f"import sys; sys.path.insert(0, {str(BENCH)!r}); import quiet; watch = quiet.Watch(0.0)\n"
    own = "sum(n * n for n in range(3_000_000)); print(watch.end().others)"
    spin = "import time; until = time.monotonic() + 60\nwhile time.monotonic() < until: pass"
    alone = subprocess.run([sys.executable, "-c", program + own], capture_output=True, text=True, check=True)
    other = subprocess.Popen([sys.executable, "-c", spin])
    try:
        command = [sys.executable, "-c", f"{program}import time; time.sleep(2); print(watch.end().others)"]
        beside = subprocess.run(command, capture_output=True, text=True, check=True)
    finally:
        other.kill()
        other.wait()
    assert float(beside.stdout) > 0.2
    assert float(alone.stdout) >= 0


def test_no_figure_stands_in_the_program_that_writes_the_page() -> None:
    source = (BENCH / "report.py").read_text(encoding="utf-8")
    text = source[source.index('return f"""# Benchmarks') : source.index("def picture")]
    assert not re.findall(r"\d+\.\d+", re.sub(r":\.\d+f", "", text))
