"""Several runs at a time: how many, whose, and what happens where their models have no room beside each other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import FakeClock
from loop_world import World

from edgeagent.agents import Agent
from edgeagent.config import PowerSettings
from edgeagent.daemon.workers import Workers, suitable
from edgeagent.gate import Gate
from edgeagent.model.protocol import ChatRequest, ChatResult
from edgeagent.model.scripted import ScriptedModel
from edgeagent.power import Readings
from edgeagent.schema import Event, RunStatus
from edgeagent.store import Store

PATIENCE = 30.0


@pytest.mark.parametrize(
    ("setting", "cores", "runs"), [(0, 1, 2), (0, 4, 2), (0, 12, 3), (0, 64, 4), (1, 8, 1), (9, 1, 9)]
)
def test_how_many_runs_are_worked_at_a_time(setting: int, cores: int, runs: int) -> None:
    assert suitable(setting, cores) == runs


class Slow(ScriptedModel):
    """Answers when it is let, and notes who is being answered with whom."""

    def __init__(self, name: str, going: list[str], seen: list[tuple[str, ...]], go: threading.Event) -> None:
        super().__init__(iter(lambda: "done", None))
        self.name = name
        self._going, self._seen, self._go = going, seen, go

    def chat(self, request: ChatRequest, stop: threading.Event, on_text: Callable[[str], None]) -> ChatResult:
        self._going.append(self.name)
        self._seen.append(tuple(sorted(self._going)))
        try:
            assert self._go.wait(PATIENCE)
            return super().chat(request, stop, on_text)
        finally:
            self._going.remove(self.name)


class Daemon:
    """Two agents, `a` and `b`, each with a model of its own, and workers."""

    def __init__(self, root: Path, store: Store, clock: FakeClock, *, fits: bool) -> None:
        world = World(root, store, clock)
        self.store, self.clock = store, clock
        self.agents = {name: world.agent().model_copy(update={"name": name, "model": f"{name}.gguf"}) for name in "ab"}
        self.seen: list[tuple[str, ...]] = []
        self.go = threading.Event()
        going: list[str] = []
        models = {name: Slow(name, going, self.seen, self.go) for name in "ab"}
        worker = world.worker(ScriptedModel([]))
        worker.models = lambda agent: models[agent.name]
        gate = Gate(store, PowerSettings, lambda agent: None, lambda agent, others: fits or self._same(agent, others))
        gate.readings = Readings
        self.workers = Workers(worker, gate, lambda: self.agents)
        store.tell(self.workers.bell.ring)

    def _same(self, agent: Agent, others: object) -> bool:
        assert isinstance(others, list)
        return all(other.model == agent.model for other in others)

    def put(self, name: str, key: str) -> None:
        assert self.store.enqueue(Event(name, "file", "f", key), now=self.clock())

    def ended(self) -> int:
        return self.store.counts().get(RunStatus.OK, 0)

    @contextmanager
    def working(self, count: int) -> Iterator[None]:
        self.workers.resize(count)
        try:
            yield
        finally:
            self.go.set()
            assert self.workers.drain(PATIENCE)


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_two_agents_are_worked_at_a_time(tmp_path: Path, store: Store, clock: FakeClock) -> None:
    daemon = Daemon(tmp_path, store, clock, fits=True)
    daemon.put("a", "1")
    daemon.put("b", "2")
    with daemon.working(2):
        wait_for(lambda: ("a", "b") in daemon.seen)
        daemon.go.set()
        wait_for(lambda: daemon.ended() == 2)


def test_models_without_room_beside_each_other_take_turns_and_nobody_waits_for_ever(
    tmp_path: Path, store: Store, clock: FakeClock
) -> None:
    daemon = Daemon(tmp_path, store, clock, fits=False)
    for number in range(6):
        daemon.put("a", f"a{number}")
    for number in range(3):
        daemon.put("b", f"b{number}")
    with daemon.working(3):
        wait_for(lambda: len(daemon.seen) == 1)
        daemon.go.set()
        wait_for(lambda: daemon.ended() == 9)
    assert {len(together) for together in daemon.seen} == {1}, "never both at a time"
    order = [together[0] for together in daemon.seen]
    assert "b" in order[:2] and order.index("a") < 2 and max(n for n, name in enumerate(order) if name == "b") < 7
