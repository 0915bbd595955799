"""The threads that take runs out of the queue: woken when there is something to do, drained when the daemon stops.

What a run is and how it ends is the `Worker`; which agents may run now is the `Gate`.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from edgeagent.agents import Agent
from edgeagent.daemon.attention import Bell
from edgeagent.errors import HomeError
from edgeagent.gate import PERIOD, Gate
from edgeagent.worker import Claimed, Worker

log = logging.getLogger("edgeagent.daemon")

LONGEST_PAUSE = 30.0
"""Seconds without a look at the queue, though nothing is known to be due: the clock may have been set."""
RETRY_SECONDS = 1.0
"""Pause after the journal could not be written."""
OWN_ACCORD = 0.4
"""Part of the time for stopping in which runs may end of their own accord; then they are asked to stop."""
ASKED = 0.9
"""Part of it after which nobody waits for them any longer. They go on at the next start."""


FEWEST, MOST = 2, 4
CORES_A_RUN = 4


def suitable(setting: int, cores: int) -> int:
    """How many runs are worked at a time; `setting` 0: as many as suit the machine. docs/decisions says why."""
    return setting or min(MOST, max(FEWEST, cores // CORES_A_RUN))


@dataclass
class Workers:
    """Args:
    agents: those that can run, as they are now.
    """

    worker: Worker
    gate: Gate
    agents: Callable[[], Mapping[str, Agent]]
    bell: Bell = field(default_factory=Bell)
    _threads: list[threading.Thread] = field(default_factory=list)
    _count: int = 0
    _draining: threading.Event = field(default_factory=threading.Event)
    _abort: threading.Event = field(default_factory=threading.Event)
    _claiming: threading.Lock = field(default_factory=threading.Lock)
    _in_hand: dict[int, tuple[str, Agent]] = field(default_factory=dict)
    _is_crowded: bool = False

    def resize(self, count: int) -> None:
        """From now on so many runs are worked at a time (0: what suits). What is more ends after the run in hand."""
        count = suitable(count, os.cpu_count() or 1)
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        self._count = count
        running = {thread.name for thread in self._threads}
        for number in range(count):
            if (name := f"worker {number}") not in running:
                thread = threading.Thread(target=self._work, args=(number,), name=name, daemon=True)
                self._threads.append(thread)
                thread.start()
        self.bell.ring()

    @property
    def are_alive(self) -> bool:
        return sum(thread.is_alive() for thread in self._threads) >= self._count

    def drain(self, seconds: float) -> bool:
        """Takes no further run and waits for those in hand. False where one did not end in time."""
        self._draining.set()
        self.bell.ring()
        began = time.monotonic()
        if not self._join(began + seconds * OWN_ACCORD):
            self._abort.set()
        return self._join(began + seconds * ASKED)

    def _join(self, until: float) -> bool:
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self, number: int) -> None:
        trouble = ""
        while number < self._count and not self._draining.is_set():
            seen = self.bell.rings
            try:
                claimed = self._claimed(number)
                if claimed is None:
                    self.bell.wait(seen, self._pause())
                else:
                    self._carry_out(number, claimed)
                trouble = ""
            except HomeError as error:
                if error.message != trouble:
                    log.error("%s", error.message)
                trouble = error.message
                self._draining.wait(RETRY_SECONDS)

    def _claimed(self, number: int) -> Claimed | None:
        """The next run, where one may begin now. One worker at a time looks: what it takes is in the others' way."""
        with self._claiming:
            agents = self.agents()
            closed = self.gate.look(agents)
            in_hand = list(self._in_hand.values())
            self._is_crowded = bool(in_hand) and self.gate.is_crowded(agents, closed, in_hand)
            claimed = self.worker.claim(agents, self._abort, agents.keys() if self._is_crowded else closed)
            if claimed:
                self._in_hand[number] = (claimed.agent.name, claimed.agent)
            return claimed

    def _carry_out(self, number: int, claimed: Claimed) -> None:
        try:
            self.worker.carry_out(claimed, self._abort)
        finally:
            with self._claiming:
                del self._in_hand[number]
                is_waited_for = self._is_crowded
            if is_waited_for:
                self.bell.ring()

    def _pause(self) -> float:
        """Seconds until something may be due that nobody rings for."""
        store = self.worker.store
        if any(waiting.deferred for waiting in store.waiting()):
            return PERIOD
        now = self.worker.clock()
        due = store.next_due(now)
        return LONGEST_PAUSE if due is None else min(LONGEST_PAUSE, (due - now).total_seconds())
