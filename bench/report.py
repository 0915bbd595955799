"""docs/benchmarks.md and its picture, made from docs/benchmarks.json, which bench/run.py writes. No figure is typed.

python bench/report.py      write both again
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent.parent / "docs"
WIDTH, LINE, LEFT, RIGHT = 860, 26, 330, 150
GOOD, BAD, NONE = "#2e7d32", "#c62828", "#9e9e9e"


def figure(value: float) -> str:
    """Three digits that count."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.095 else f"{value:.3f}"


def measured(values: list[float], unit: str) -> str:
    return f"{figure(statistics.median(values))} {unit}" if values else "not measured"


def spread(row: dict[str, Any]) -> str:
    values = row["ratios"] if row["peer"] else row["ours"]
    return f"{figure(min(values))} to {figure(max(values))}" if len(values) > 1 else ""


def median(row: dict[str, Any]) -> float | None:
    values = row["ratios"] if row["peer"] else row["ours"]
    return statistics.median(values) if values else None


def is_met(row: dict[str, Any]) -> bool | None:
    value = median(row)
    if value is None:
        return None
    return bool(value >= row["target"] if row["at_least"] else value <= row["target"])


def cells(row: dict[str, Any]) -> list[str]:
    value, met = median(row), is_met(row)
    target = f"{'≥' if row['at_least'] else '≤'} {row['target']:g}{'' if row['peer'] else ' ' + row['unit']}"
    return [
        row["what"],
        row["peer"],
        measured(row["ours"], row["unit"]),
        measured(row["peers"], row["unit"]) if row["peer"] else "",
        figure(value) if row["peer"] and value is not None else "",
        spread(row),
        target,
        "" if met is None else "yes" if met else "**no**",
    ]


TITLES = ["what", "compared with", "we", "they", "ratio", "spread", "target", "met"]


def table(rows: list[dict[str, Any]]) -> str:
    lines = [TITLES, ["---"] * len(TITLES), *(cells(row) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def plain(rows: list[dict[str, Any]]) -> str:
    """The table for a terminal."""
    lines = [TITLES, *([cell.replace("**", "") for cell in cells(row)] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(TITLES))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def page(data: dict[str, Any]) -> str:
    machine = "\n".join(f"| {name} | {value} |" for name, value in data["machine"].items())
    notes = "\n".join(
        f"- {row['what']}, against {row['peer'] or 'nobody'}: {row['note']}." for row in data["rows"] if row["note"]
    )
    speeds = "\n".join(f"| {what} | {value} | {target} |" for what, value, target in data["speeds"])
    return f"""# Benchmarks

Measured by `make bench`, which writes this page; nothing in it is typed by hand. We and the program that we are
compared with take turns on the same model file, threads and tokens; a ratio is of one such pair, and the median of all
pairs counts. Times are as the caller sees them: ours with the pipe to the model host, llama-server's with its HTTP.

![Ratios and targets](benchmarks.svg)

{table(data["rows"])}

What exactly:

{notes}

## edgeagent itself

| what | measured | target |
|---|---|---|
{speeds}

## The machine and the programs

| what | value |
|---|---|
{machine}
"""


def picture(data: dict[str, Any]) -> str:
    """A bar for each compared row: how far beyond its target it is. The line is the target; right of it is better."""
    rows = [row for row in data["rows"] if row["peer"]]
    height = LINE * (len(rows) + 2)
    unit = (WIDTH - LEFT - RIGHT) / 2
    bars = []
    for number, row in enumerate(rows):
        value = median(row)
        top = LINE * (number + 1)
        gain = None if not value else value / row["target"] if row["at_least"] else row["target"] / value
        length = unit * min(2.0, gain) if gain else 0.0
        color = {True: GOOD, False: BAD, None: NONE}[is_met(row)]
        said = (
            f"{figure(value)}, target {'≥' if row['at_least'] else '≤'} {row['target']:g}" if value else "not measured"
        )
        name = _escaped(f"{row['what']} / {row['peer']}")
        bars.append(
            f'<text x="{LEFT - 8}" y="{top + 14}" text-anchor="end">{name}</text>'
            f'<rect x="{LEFT}" y="{top + 2}" width="{length:.1f}" height="{LINE - 8}" fill="{color}"/>'
            f'<text x="{LEFT + 2 * unit + 6:.1f}" y="{top + 14}">{said}</text>'
        )
    line = LEFT + unit
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        ' font-family="sans-serif" font-size="11">\n'
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>\n'
        f'<text x="{line}" y="14" text-anchor="middle">target</text>\n'
        + "\n".join(bars)
        + f'\n<line x1="{line}" y1="20" x2="{line}" y2="{height - LINE}" stroke="black" stroke-dasharray="4 3"/>'
        "\n</svg>\n"
    )


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


def write(data: dict[str, Any], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "benchmarks.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    (folder / "benchmarks.md").write_text(page(data), encoding="utf-8")
    (folder / "benchmarks.svg").write_text(picture(data), encoding="utf-8")


if __name__ == "__main__":
    write(json.loads((DOCS / "benchmarks.json").read_text(encoding="utf-8")), DOCS)
