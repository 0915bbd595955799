"""One run, watched until it ends: in this process, or in the daemon. Owns Ctrl-C.

The first Ctrl-C ends the run in order, so that it is on the record as cancelled; the second ends the command.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from edgeagent.cli.asking import Ask, nobody_there
from edgeagent.errors import Denied
from edgeagent.schema import Run, RunStatus, Step

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
    ask: Ask = nobody_there,
) -> tuple[Run, bool]:
    """Watches a run in the daemon until it ends, or waits for somebody else. Where it waits, `ask` is asked first.

    The second value says whether Ctrl-C ended it.
    """
    seen = 0

    def step(step: Step) -> None:
        nonlocal seen
        if step.status != "waiting":  # it comes again with its result
            seen = step.n
        on_step(step)

    try:
        while True:
            run = client.follow(run_id, step, after=seen, on_status=on_status)
            if run.status is not RunStatus.WAITING or not _is_answered(client, run, ask):
                return run, False
    except KeyboardInterrupt:
        client.cancel(run_id)
        return client.follow(run_id, step, after=seen), True


def _is_answered(client: DaemonClient, run: Run, ask: Ask) -> bool:
    """Whether the run goes on: somebody who is there answered, or somebody elsewhere was faster."""
    for approval in client.approvals("pending"):
        if approval.subject.run_id == run.id:
            answer = ask(approval)
            if answer is None:
                return False
            try:
                client.decide(approval.id, answer, approval.sha256)
            except Denied as error:
                if client.approval(approval.id).status.value == "pending":
                    raise error
    return True
