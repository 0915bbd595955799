"""Promise 9: SIGTERM in the middle of anything: the daemon ends within ten seconds, and the run goes on later.

The model is the bundled one, which reads a long prompt with one thread and then has to write a long list. What it is at
is seen from outside: while it reads a prompt, its host neither reads nor writes; when it writes, each piece is a write.
"""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import psutil

from torture.tally import NotMade, Tally
from torture.tracing import delaying
from torture.world import World, until

STOP_SECONDS = 10.0
PLACES = ("prefill", "decode", "tool", "insert")
QUIET_SECONDS = 0.25
"""A host that has loaded its model and does nothing with its files for so long is reading a prompt."""
SETTINGS = '[daemon]\nworkers = 2\n[model]\nthreads = 1\n[prefix_cache]\nmax_size = "0B"\n'
TALKER = """\
---
name: talker
model: pocket
triggers: []
limits: {prompt_tokens: 3950, output_tokens: 1000, attempts: 1000, seconds: 3600}
output:
  type: object
  properties: {kinds: {type: array, minItems: 50, maxItems: 50, items: {enum: [bill, letter, note, map]}}}
  required: [kinds]
  additionalProperties: false
---
Say of each line what it is.
"""


def terminated(tally: Tally, root: Path, times: int, seed: int, lines: int = 190) -> None:
    """So many signals, each place in turn. One that fell elsewhere does not count, and is made again.

    `lines` of a letter are the prompt: 190 take 2.4 s of one core to read.
    """
    dice = random.Random(seed)
    world = World(root)
    world.config(SETTINGS)
    (world.home / "agents" / "talker.md").write_text(TALKER)
    left = [PLACES[number % len(PLACES)] for number in range(times)]
    for _ in range(4 * times):
        if not left:
            break
        if _terminated(tally, world, left[0], dice, lines):
            left.pop(0)
            tally.tried()
    if left:
        raise NotMade(f"a signal in {left[0]} could not be made to fall there")
    world.finish(tally)


def _terminated(tally: Tally, world: World, place: str, dice: random.Random, lines: int) -> bool:
    """Whether the signal fell where it was to fall."""
    world.put(1)
    with world.run_daemon(_tracer(place)) as process:
        world.wait_until_it_answers(process)
        pid = int((world.home / "daemon.lock").read_text())
        if not _came_there(world, pid, place, dice, lines):
            return False
        began = time.monotonic()
        os.kill(pid, signal.SIGTERM)
        ended = until(lambda: process.poll() is not None, 60)
        seconds = time.monotonic() - began
    tally.check(ended, f"in {place}: it did not end")
    tally.check(process.returncode == 0, f"in {place}: it ended with {process.returncode}")
    tally.check(not [run for run in world.runs() if run.status == "running"], f"in {place}: a run is left running")
    tally.measured(f"from SIGTERM in {place} to the end", seconds, "s", at_most=STOP_SECONDS)
    return True


def _came_there(world: World, pid: int, place: str, dice: random.Random, lines: int) -> bool:
    if place == "insert":
        world.put(3)
        time.sleep(dice.random() * 0.5)
        return True
    if place == "tool":
        came = until(lambda: _is_in_a_move(world), 60, 0.02)
        time.sleep(dice.random() * 0.3)
        return came
    if not _talks(world):
        name = f"letter-{time.monotonic_ns()}"
        letter = " ".join(f"Line {n} of a long letter about the weather." for n in range(lines))
        world.accepted[world.client.submit("talker", {"name": name, "preview": letter})] = name
    host = _host(pid)
    if host is None or not _reads_a_prompt(host):
        return False
    before = _calls(host)
    time.sleep(dice.random() * 0.5)
    if place == "prefill":
        return _calls(host) == before and _talks(world)
    until(lambda: _calls(host) >= before + 3 or not _talks(world), 60, 0.02)
    time.sleep(dice.random() * 0.3)
    return _calls(host) >= before + 3 and _talks(world)


def _talks(world: World) -> bool:
    """Whether the run with the long prompt goes on; a host without one is quiet too."""
    return any(not run.status.is_terminal for run in world.runs("talker"))


def _tracer(place: str) -> list[str]:
    """What makes a moment long enough to be met."""
    return {"tool": delaying("renameat2", 1.0), "insert": delaying("fdatasync", 0.2)}.get(place, [])


def _is_in_a_move(world: World) -> bool:
    """The line is noted, and the step after it has begun and not ended."""
    return any(run.status == "running" and len(world.run(run.id).steps) == 3 for run in world.runs("inbox"))


def _host(pid: int) -> psutil.Process | None:
    found: list[psutil.Process] = []

    def look() -> bool:
        try:
            children = psutil.Process(pid).children()
            found[:] = [child for child in children if "edgeagent.model.host" in child.cmdline()]
        except psutil.Error:
            found.clear()
        return bool(found)

    return found[0] if until(look, 60, 0.02) else None


def _reads_a_prompt(host: psutil.Process) -> bool:
    """Waits until it does; False where it never came to it."""
    before, since = (0, 0), time.monotonic()

    def is_quiet() -> bool:
        nonlocal before, since
        now = (_calls(host), _bytes_read(host))
        if now != before:
            before, since = now, time.monotonic()
        return before[0] > 0 and time.monotonic() - since >= QUIET_SECONDS

    return until(is_quiet, 60, 0.02)


def _calls(host: psutil.Process) -> int:
    """How often it wrote; -1 where it is gone."""
    return _io(host, "syscw")


def _bytes_read(host: psutil.Process) -> int:
    return _io(host, "rchar")


def _io(host: psutil.Process, name: str) -> int:
    try:
        lines = Path(f"/proc/{host.pid}/io").read_text().splitlines()
    except OSError:
        return -1
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
