"""`python -m torture SCALE [PROMISE,PROMISE]`: makes the trials one after the other and prints violations in n."""

from __future__ import annotations

import sys

from torture.plan import PROMISES
from torture.tally import Tally
from torture.world import scratch


def main(scale: float, only: set[int]) -> int:
    broken = 0
    for promise in PROMISES:
        if only and promise.number not in only:
            continue
        tally = Tally()
        for batch in promise.batches(scale):
            with scratch() as root:
                batch.trials(tally, root)
        print(f"{promise.number:2} {promise.title}: {tally.violations} violations in {tally.n}", flush=True)
        for told in tally.told:
            print(f"     {told}")
        for name, value in tally.figures.items():
            print(f"     {name}: {value:g}")
        broken += tally.violations
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), {int(number) for number in sys.argv[2].split(",") if number}))
