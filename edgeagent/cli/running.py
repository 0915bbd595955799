"""One run, watched until it ends: in this process, or in the daemon. Owns Ctrl-C and asking for approval.

The first Ctrl-C ends the run in order, so that it is on the record as cancelled; the second ends the command.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from edgeagent.cli.screen import Screen, one_line
from edgeagent.cli.words import call_of
from edgeagent.schema import Decision, Run, RunStatus, Step, ToolCall

if TYPE_CHECKING:
    from edgeagent.api.client import DaemonClient

_CODES = {"limit_seconds": 124, "denied": 4}
INTERRUPTED = 130


def exit_code(run: Run, *, was_interrupted: bool = False) -> int:
    """SPEC section 10: what a run's end means for a script."""
    if was_interrupted and run.status is not RunStatus.OK:
        return INTERRUPTED
    if run.status in (RunStatus.OK, RunStatus.SKIPPED):
        return 0
    if run.status is RunStatus.WAITING:
        return 4
    return _CODES.get(run.reason or "", 1)


@contextmanager
def stop_on_interrupt() -> Iterator[threading.Event]:
    """Ctrl-C and SIGTERM set the event; the second of them ends the command at once."""
    stop = threading.Event()

    def asked(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, asked) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ask_person(
    notes: Screen, stop: threading.Event, before_asking: Callable[[], None]
) -> Callable[[ToolCall, Decision], bool]:
    """Asks at the terminal. Only a yes is a yes; Ctrl-C ends the run."""

    def approve(call: ToolCall, decision: Decision) -> bool:
        before_asking()
        notes.line(f"{notes.style('approval:', 'yellow', 'bold')} {one_line(decision.reason)}")
        notes.wrapped(one_line(call_of(call.name, call.arguments)), "  ")
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            sys.stderr.write("allow this call? [y/N] ")
            sys.stderr.flush()
            return sys.stdin.readline().strip().lower() in ("y", "yes")
        except KeyboardInterrupt:
            notes.line()
            stop.set()
            return False
        finally:
            signal.signal(signal.SIGINT, before)

    return approve


def note_waiting(note: Callable[[str], None], before: Callable[[], None]) -> Callable[[RunStatus, str | None], None]:
    """Says why a run does not begin, for who waits for it."""

    def told(status: RunStatus, reason: str | None) -> None:
        if status is RunStatus.DEFERRED:
            before()
            note(f"deferred: {reason}; it runs when that clears, Ctrl-C takes it out of the queue")

    return told


def follow(
    client: DaemonClient,
    run_id: str,
    on_step: Callable[[Step], None],
    on_status: Callable[[RunStatus, str | None], None] = lambda status, reason: None,
) -> tuple[Run, bool]:
    """Watches a run in the daemon until it ends. The second value says whether Ctrl-C ended it."""
    seen = 0

    def step(step: Step) -> None:
        nonlocal seen
        seen = step.n
        on_step(step)

    try:
        return client.follow(run_id, step, on_status=on_status), False
    except KeyboardInterrupt:
        client.cancel(run_id)
        return client.follow(run_id, step, after=seen), True
