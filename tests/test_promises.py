"""Each promise of the daemon, tried a few times: what `make torture` tries in earnest (tests/torture).

The trials are made once for all tests here, several at a time, because most of them wait most of the time.
"""

from __future__ import annotations

import pytest
from torture.plan import PROMISES, Promise
from torture.records import Record, Records
from torture.runner import Job, Runner
from torture.tally import summed

SCALE = 0.001


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    records = Records(tmp_path_factory.mktemp("torture"))
    jobs = [Job(promise, batch) for promise in PROMISES for batch in promise.batches(SCALE)]
    said: list[str] = []
    assert Runner(records, SCALE, "", said.append, busy=2).run(jobs), said
    return records.made(SCALE)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.title.split(":")[0])
def test_a_promise_is_kept(promise: Promise, made: list[Record]) -> None:
    tally = summed(record.tally for record in made if record.promise == promise.number)
    assert tally.n
    assert tally.told == []
