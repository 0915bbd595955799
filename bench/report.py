"""docs/benchmarks.md and its picture, made from docs/benchmarks.json: what bench/run.py measured, part by part.

No figure is typed. A row that was taken while others used the machine is shown and does not count.

python bench/report.py      write both again
"""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the table, and whether it counts: nobody else used the machine while it was measured."""

    row: dict[str, Any]
    counts: bool

    def cells(self) -> list[str]:
        row, value, met = self.row, median(self.row), is_met(self.row)
        target = f"{'≥' if row['at_least'] else '≤'} {row['target']:g}{'' if row['peer'] else ' ' + row['unit']}"
        return [
            row["what"],
            row["peer"],
            measured(row["ours"], row["unit"]),
            measured(row["peers"], row["unit"]) if row["peer"] else "",
            figure(value) if row["peer"] and value is not None else "",
            spread(row),
            target,
            "" if met is None else "busy" if not self.counts else "yes" if met else "**no**",
        ]


TITLES = ["what", "compared with", "we", "they", "ratio", "spread", "target", "met"]


def lines(parts: dict[str, Any]) -> list[Line]:
    return [Line(row, part["is_quiet"]) for part in parts.values() for row in part["rows"]]


def table(titles: list[str], cells: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in [titles, ["---"] * len(titles), *cells])


def plain(shown: list[Line]) -> str:
    """The table for a terminal."""
    cells = [TITLES, *([cell.replace("**", "") for cell in line.cells()] for line in shown)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(TITLES))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells
    )


def page(parts: dict[str, Any]) -> str:
    shown = lines(parts)
    notes = "\n".join(
        f"- {row['what']}, against {row['peer'] or 'nobody'}: {row['note']}."
        for row in (line.row for line in shown)
        if row["note"]
    )
    speeds = [[*found, "" if part["is_quiet"] else "busy"] for part in parts.values() for found in part["speeds"]]
    return f"""# Benchmarks

Measured by `make bench`, which writes this page; nothing in it is typed by hand. We and the program that we are
compared with take turns on the same model file, threads and tokens. A ratio is of one such pair; the median of all
pairs counts, and the spread is from the smallest to the largest. Times are as the caller sees them: ours with the pipe
to the model host, llama-server's with its HTTP.{_warning(parts)}

![Ratios and targets](benchmarks.svg)

{table(TITLES, [line.cells() for line in shown])}

What exactly:

{notes}

## edgeagent itself

{table(["what", "measured", "target", ""], speeds)}

## When it was measured

The load average before a part also holds what the part before did; so what others took of the machine, before and
while a part was measured, is worked out from the processor times of all and of ours.

{table(WHEN, [_when(name, part) for name, part in parts.items()])}

## The machine and the programs

{table(["what", "value"], _machine(parts))}
"""


WHEN = ["part", "when", "commit", "pairs", "seconds", "load average before", "others before", "others meanwhile"]


def _when(name: str, part: dict[str, Any]) -> list[str]:
    others = [f"{part[key]:.2f} cores" for key in ("others_before", "others")]
    load = f"{part['load_before']:.2f}"
    return [name, part["when"], part["commit"], str(part["pairs"]), str(part["seconds"]), load, *others]


def _machine(parts: dict[str, Any]) -> list[list[str]]:
    """What the figures hang on; where parts differ in it, all that it was."""
    names = dict.fromkeys(name for part in parts.values() for name in part["machine"])
    values = {name: dict.fromkeys(part["machine"].get(name, "") for part in parts.values()) for name in names}
    return [[name, "; ".join(filter(None, found))] for name, found in values.items()]


def _warning(parts: dict[str, Any]) -> str:
    busy = [name for name, part in parts.items() if not part["is_quiet"]]
    if not busy:
        return ""
    return f"\n\n**Others used the machine while {', '.join(busy)} were measured: those figures do not count.**"


def picture(parts: dict[str, Any]) -> str:
    """A bar for each compared row: how far beyond its target it is. The line is the target; right of it is better."""
    compared = [line for line in lines(parts) if line.row["peer"]]
    height = LINE * (len(compared) + 2)
    unit = (WIDTH - LEFT - RIGHT) / 2
    bars = []
    for number, line in enumerate(compared):
        row = line.row
        value = median(row)
        top = LINE * (number + 1)
        gain = None if not value else value / row["target"] if row["at_least"] else row["target"] / value
        length = unit * min(2.0, gain) if gain else 0.0
        color = {True: GOOD, False: BAD, None: NONE}[is_met(row) if line.counts else None]
        said = (
            f"{figure(value)}, target {'≥' if row['at_least'] else '≤'} {row['target']:g}" if value else "not measured"
        )
        name = _escaped(f"{row['what']} / {row['peer']}")
        bars.append(
            f'<text x="{LEFT - 8}" y="{top + 14}" text-anchor="end">{name}</text>'
            f'<rect x="{LEFT}" y="{top + 2}" width="{length:.1f}" height="{LINE - 8}" fill="{color}"/>'
            f'<text x="{LEFT + 2 * unit + 6:.1f}" y="{top + 14}">{said}</text>'
        )
    target = LEFT + unit
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        ' font-family="sans-serif" font-size="11">\n'
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>\n'
        f'<text x="{target}" y="14" text-anchor="middle">target</text>\n'
        + "\n".join(bars)
        + f'\n<line x1="{target}" y1="20" x2="{target}" y2="{height - LINE}" stroke="black" stroke-dasharray="4 3"/>'
        "\n</svg>\n"
    )


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


def write(parts: dict[str, Any], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "benchmarks.json").write_text(json.dumps(parts, indent=1) + "\n", encoding="utf-8")
    (folder / "benchmarks.md").write_text(page(parts), encoding="utf-8")
    (folder / "benchmarks.svg").write_text(picture(parts), encoding="utf-8")


if __name__ == "__main__":
    write(json.loads((DOCS / "benchmarks.json").read_text(encoding="utf-8")), DOCS)
