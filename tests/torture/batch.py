"""`python -m torture.batch PROMISE LABEL SCALE`: makes one batch of trials and prints its tally as JSON.

A process of its own, so that what a batch leaves or breaks is gone with it. SIGTERM ends it with what it started.
"""

from __future__ import annotations

import json
import signal
import sys
from types import FrameType

from torture.plan import find_batch
from torture.tally import NotMade, Tally
from torture.world import scratch


def make(number: int, label: str, scale: float) -> dict[str, object]:
    tally = Tally()
    try:
        with scratch() as root:
            find_batch(number, label, scale).trials(tally, root)
    except NotMade as error:
        return {"not_made": str(error)}
    return tally.as_json()


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    print(json.dumps(make(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]))))
