"""`python -m torture`: makes the trials that are not on record yet, and writes what all of them gave."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from datetime import datetime
from pathlib import Path

from torture.machine import ROOT, commit, machine
from torture.plan import PROMISES
from torture.records import Records
from torture.report import Told, page
from torture.runner import Job, Runner
from torture.tally import summed

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgeagent-torture"
PAGE = ROOT / "docs" / "reliability.md"


def main() -> int:
    asked = _arguments()
    records = Records(asked.records)
    only = _numbers(asked.only)
    for word in filter(None, asked.again.split(",")):
        number, _, label = word.partition(":")
        records.begin_again(int(number), asked.scale, asked.why, label)
    complete = True
    if not asked.report:
        complete = _make(records, asked.scale, only, asked.beside, asked.busy)
    _write_page(records, asked.scale)
    return 0 if complete and not _print(records, asked.scale, only) else 1


def _make(records: Records, scale: float, only: set[int], beside: bool, busy: int) -> bool:
    runner = Runner(records, scale, commit(), _say, busy)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: runner.stop())
    complete = runner.run(_left(records, scale, only, beside))
    if not complete:
        _say("not everything was made; the same command goes on from here")
    return complete


def _left(records: Records, scale: float, only: set[int], beside: bool) -> list[Job]:
    """What is to be made: the promises with the shortest trials first."""
    made = {(record.promise, record.label) for record in records.made(scale)}
    chosen = [(promise, list(promise.batches(scale))) for promise in PROMISES if not only or promise.number in only]
    chosen.sort(key=lambda pair: sum(batch.seconds for batch in pair[1]))
    return [
        Job(promise, batch)
        for promise, batches in chosen
        for batch in batches
        if (promise.number, batch.label) not in made and not (beside and batch.kind == "alone")
    ]


def _write_page(records: Records, scale: float) -> None:
    """A full one into the documentation; a smaller one is no news and lies beside the records."""
    target = PAGE if scale >= 1 else records.path.with_name(f"reliability-{scale:g}.md")
    target.write_text(page(records.made(scale), Told(machine(), scale, records.begun_again(scale))), "utf-8")
    _say(f"written: {target}")


def _print(records: Records, scale: float, only: set[int]) -> int:
    """How many violations there were."""
    broken = 0
    for promise in PROMISES:
        if only and promise.number not in only:
            continue
        tally = summed(record.tally for record in records.made(scale) if record.promise == promise.number)
        print(f"{promise.number:2} {promise.title}: {tally.violations} violations in {tally.n}")
        for told in tally.told:
            print(f"     {told}")
        broken += tally.violations
    return broken


def _say(words: str) -> None:
    print(f"{datetime.now():%H:%M:%S} {words}", file=sys.stderr, flush=True)


def _numbers(text: str) -> set[int]:
    return {int(number) for number in text.split(",") if number}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="torture", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="1 is full scale; 0.01 takes minutes")
    parser.add_argument("--only", default="", help="numbers of promises, with commas")
    parser.add_argument("--records", type=Path, default=CACHE, help="the folder that a run goes on from")
    parser.add_argument("--beside", action="store_true", help="without what measures: other work goes on here")
    parser.add_argument("--busy", type=int, default=1, help="how many batches that keep a core busy go on at a time")
    parser.add_argument("--again", default="", help="promises, or single batches as in `1:random 9`, to count anew")
    parser.add_argument("--why", default="it was asked for", help="why it begins anew, for the page")
    parser.add_argument("--report", action="store_true", help="only write the page")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
