"""Promise 6: what came, changed or went while the daemon was down is found, and nothing twice."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path

from torture.tally import NotMade, Tally
from torture.world import World, journal_runs, until


def while_down(tally: Tally, root: Path, files: int) -> None:
    world = World(root)
    world.agent(
        "inbox",
        f'triggers: [{{trigger: file, path: "{world.inbox}", settle: 100ms, changes: [created, modified, deleted]}}]\n'
        "concurrency: {mode: queued, max: 1000000}",
        ["Seen."],
    )
    third = max(1, files // 3)
    old = [f"old-{n}.txt" for n in range(2 * third)]
    world.drop(*old)  # the baseline: they are no events
    with world.run_daemon() as process:
        world.wait_until_it_answers(process)
        world.drop("sign.txt")
        if not until(lambda: journal_runs(world.home), 120):
            raise NotMade("the first file was not found in two minutes")
        process.kill()
    expected = Counter({("sign.txt", "created"): 1})
    for name in old[:third]:
        (world.inbox / name).write_text("edited\n")
        expected[name, "modified"] += 1
    for name in old[third:]:
        (world.inbox / name).unlink()
        expected[name, "deleted"] += 1
    new = [f"new-{n}.txt" for n in range(third)]
    world.drop(*new)
    expected.update((name, "created") for name in new)
    began = time.monotonic()
    with world.run_daemon() as process:
        until(lambda: len(journal_runs(world.home)) >= len(expected), 120 + files / 5, 0.2)
        tally.measured(f"until {files} changes made while down were found", time.monotonic() - began, "s")
        until(world.all_ended, 120 + files / 5, 0.5)
        os.kill(process.pid, 9)
    with world.run_daemon() as process:  # once more: nothing is found twice
        world.wait_until_it_answers(process)
        time.sleep(3)
    found = Counter((str(run.event["name"]), str(run.event["change"])) for run in journal_runs(world.home))
    tally.tried(len(expected))
    for event, count in (expected | found).items():
        tally.check(found[event] == 1 == expected[event], f"{event} was found {found[event]} times, not {count}")
