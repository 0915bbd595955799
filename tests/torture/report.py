"""docs/reliability.md, from the records alone: nobody types a number into it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from torture.plan import PROMISES, Promise
from torture.records import Record
from torture.tally import Figure, Tally, summed

HEAD = """\
# Reliability

What the daemon promises, and how often each promise was tried and broken. `make torture` wrote this page: it drives the
real daemon, mostly on scripts instead of models, through kills, power cuts, full disks and bursts of files, and settles
accounts with ledgers that the daemon cannot touch. How each trial goes is told in the modules of `tests/torture/`.
"""
TELL = 3
"""Violations of a promise that the page shows."""


@dataclass(frozen=True)
class Told:
    """What the page says beside the records."""

    machine: str
    scale: float
    again: list[tuple[int, str]]


def page(records: list[Record], told: Told) -> str:
    by_number = {promise.number: [one for one in records if one.promise == promise.number] for promise in PROMISES}
    tallies = {number: summed(one.tally for one in ended) for number, ended in by_number.items()}
    parts = [HEAD, _when(records, told), _table(by_number, tallies, told.scale), _measured(tallies)]
    parts += [_shortened(by_number, tallies, told.scale), _broken(tallies), _again(told.again)]
    return "\n".join(part for part in parts if part)


def _when(records: list[Record], told: Told) -> str:
    if not records:
        return "Nothing was tried yet.\n"
    commits = ", ".join(f"`{name}` ({count})" for name, count in Counter(one.commit for one in records).most_common())
    days = sorted({one.ended_at[:10] for one in records})
    dates = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    hours = sum(one.seconds for one in records) / 3600
    return (
        f"Made {dates}, in {hours:.1f} hours of trials, at scale {told.scale:g}. Batches by commit: {commits}.\n\n"
        f"Machine: {told.machine}.\n"
    )


def _table(by_number: dict[int, list[Record]], tallies: dict[int, Tally], scale: float) -> str:
    rows = ["| # | promise | full scale | batches | n | violations |", "|---|---|---|---|---|---|"]
    for promise in PROMISES:
        made, tally = by_number[promise.number], tallies[promise.number]
        all_batches = len(list(promise.batches(scale)))
        n = f"{tally.n:,}" if made else "not tried yet"
        violations = str(tally.violations) if made else ""
        batches = f"{len(made)} of {all_batches}"
        rows.append(f"| {promise.number} | {promise.title} | {promise.full} | {batches} | {n} | {violations} |")
    return "\n".join(rows) + "\n"


def _measured(tallies: dict[int, Tally]) -> str:
    rows = [row for number, tally in tallies.items() for row in _figures(number, tally.figures)]
    if not rows:
        return ""
    head = ["## Measured", "", "The worst of all trials.", "", "| # | what | measured | target |", "|---|---|---|---|"]
    return "\n".join([*head, *rows]) + "\n"


def _figures(number: int, figures: dict[str, Figure]) -> Iterable[str]:
    for name, figure in sorted(figures.items()):
        mark = "" if figure.holds else " **(missed)**"
        yield f"| {number} | {name} | {figure.value:g} {figure.unit}".rstrip() + f" | {figure.target}{mark} |"


def _shortened(by_number: dict[int, list[Record]], tallies: dict[int, Tally], scale: float) -> str:
    lines = [f"- {number}: {words}" for number, tally in tallies.items() for words in tally.notes]
    if scale < 1:
        lines.append(f"- all: {scale:g} of the numbers that full scale has")
    for promise in PROMISES:
        if left := _left(promise, by_number[promise.number], scale):
            lines.append(f"- {promise.number}: not made yet: {left}")
    return "## Less than full scale\n\n" + "\n".join(lines) + "\n" if lines else ""


def _left(promise: Promise, made: list[Record], scale: float) -> str:
    done = {one.label for one in made}
    left = [batch.label for batch in promise.batches(scale) if batch.label not in done]
    return "" if not left else f"{len(left)} batches ({', '.join(left[:3])}{' ...' if len(left) > 3 else ''})"


def _broken(tallies: dict[int, Tally]) -> str:
    lines = [f"- {number}: {words}" for number, tally in tallies.items() for words in tally.told[:TELL]]
    return "## Violations\n\n" + "\n".join(lines) + "\n" if lines else ""


def _again(again: list[tuple[int, str]]) -> str:
    lines = [f"- {number}: {why}" for number, why in again]
    told = "Trials whose count began anew, because a violation was found and mended, or a trial was:"
    return f"## Begun again\n\n{told}\n\n" + "\n".join(lines) + "\n" if lines else ""
