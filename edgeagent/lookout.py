"""One thread that keeps an eye on all runs in hand: does the daemon stop, does someone cancel, is somebody's time up.

Runs are often shorter than a thread takes to start, so there is one for all of them. It looks a few times a second
while there is something to look after, and sleeps otherwise.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from edgeagent.errors import HomeError

LOOK_SECONDS = 0.2
_ROUNDS = 25
"""So many looks at nothing before it sleeps until it is woken."""


@dataclass(frozen=True, slots=True)
class _Watched:
    stop: threading.Event
    run_stop: threading.Event


@dataclass
class Lookout:
    """Args:
    cancelled: the ids of runs that someone wants to end. May raise HomeError.
    """

    cancelled: Callable[[], Collection[str]]
    _runs: dict[str, _Watched] = field(default_factory=dict)
    _alarms: dict[int, tuple[float, Callable[[], None]]] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _thread: threading.Thread | None = None
    _sleeps: bool = False

    @contextmanager
    def watching(self, run_id: str, stop: threading.Event, run_stop: threading.Event) -> Iterator[None]:
        """Sets `run_stop` when `stop` is set, or someone cancels the run."""
        with self._changed:
            self._runs[run_id] = _Watched(stop, run_stop)
            self._wake()
        try:
            yield
        finally:
            with self._changed:
                del self._runs[run_id]

    def alarm(self, seconds: float, ring: Callable[[], None]) -> Callable[[], None]:
        """Calls `ring` after so many seconds, give or take a look; gives what takes that back."""
        number = next(self._numbers)
        with self._changed:
            self._alarms[number] = (time.monotonic() + seconds, ring)
            self._wake()

        def take_back() -> None:
            with self._changed:
                self._alarms.pop(number, None)

        return take_back

    def _wake(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._look_after, name="lookout", daemon=True)
            self._thread.start()
        elif self._sleeps:
            self._changed.notify()

    def _look_after(self) -> None:
        rounds = 0
        while True:
            with self._changed:
                rounds = 0 if self._runs or self._alarms else rounds + 1
                self._sleeps = rounds > _ROUNDS
                self._changed.wait(None if self._sleeps else LOOK_SECONDS)
                self._sleeps = False
                runs = dict(self._runs)
                due = [number for number, (at, _) in self._alarms.items() if at <= time.monotonic()]
                rings = [self._alarms.pop(number)[1] for number in due]
            for ring in rings:
                ring()
            if runs:
                self._pass_on(runs)

    def _pass_on(self, runs: dict[str, _Watched]) -> None:
        cancelled: Collection[str] = ()
        with contextlib.suppress(HomeError):  # asked again in a moment
            cancelled = self.cancelled()
        for run_id, watched in runs.items():
            if watched.stop.is_set() or run_id in cancelled:
                watched.run_stop.set()


def timer(seconds: float, ring: Callable[[], None]) -> Callable[[], None]:
    """The same as `Lookout.alarm`, with a thread of its own."""
    made = threading.Timer(seconds, ring)
    made.daemon = True
    made.start()
    return made.cancel
