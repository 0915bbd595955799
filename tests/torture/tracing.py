"""strace: killing, delaying or failing a process at a chosen call, and the log of what it wrote and synced."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torture.world import World

_STRACE = ("strace", "-f", "-qq", "-o", "/dev/null")
"""Without --seccomp-bpf: with it, strace 6.1 drops the signals that it is to inject."""


def is_there() -> bool:
    return shutil.which("strace") is not None


def killing(call: str, number: int) -> list[str]:
    """Kills the process at that call of whichever thread comes to it first."""
    return [*_STRACE, "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={number}"]


def delaying(call: str, seconds: float) -> list[str]:
    """Each such call takes that much longer."""
    return [*_STRACE, "-e", f"trace={call}", "-e", f"inject={call}:delay_enter={int(seconds * 1e6)}"]


def failing(call: str, error: str, pid: int) -> list[str]:
    """For a process that runs: each such call fails until strace ends."""
    return ["strace", "-f", "-qq", "-o", "/dev/null", "-p", str(pid), "-e", f"inject={call}:error={error}"]


def logging(calls: Iterable[str], log: Path, *options: str) -> list[str]:
    return ["strace", "-f", "--seccomp-bpf", "-qq", *options, "-o", str(log), "-e", f"trace={','.join(calls)}"]


def longest_counts(world: World, calls: Iterable[str]) -> dict[str, int]:
    """How often the busiest thread makes each call, from the start of a daemon to the end of what is to do."""
    from torture.world import until

    log = world.root / "calls.log"
    with world.run_daemon(logging(calls, log)) as process:
        world.wait_until_it_answers(process)
        world.submit(1)
        world.submit(1, "caller")
        until(world.all_ended, 60)
        process.terminate()
    counts = Counter(re.findall(r"^(\d+) +(\w+)\(", log.read_text(errors="replace"), re.MULTILINE))
    longest: dict[str, int] = {}
    for call in calls:
        named = call.split(",")
        longest[call] = max((count for (_, name), count in counts.items() if name in named), default=1)
    return longest
