"""Power, heat and memory: what the machine says, and what becomes of the runs that wait for it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pytest
from conftest import FakeClock

from edgeagent.agents import Agent, parse_agent
from edgeagent.config import PowerSettings
from edgeagent.gate import PERIOD, Gate
from edgeagent.power import Readings, obstacle, read
from edgeagent.schema import Event, RunStatus
from edgeagent.store import Store

MAINS = Readings()
BATTERY = Readings(on_battery=True, charge=15.0)
HOT = Readings(temperature=85.0)


@pytest.mark.parametrize(
    ("readings", "rule", "told"),
    [
        (MAINS, {}, None),
        (BATTERY, {"on": "mains"}, "on battery power, and power.on is mains"),
        (MAINS, {"on": "battery"}, "on mains power, and power.on is battery"),
        (BATTERY, {"battery_above": 20}, "the battery is at 15 %, not above 20 %"),
        (BATTERY, {"battery_above": 10}, None),
        (MAINS, {"battery_above": 20}, None),
        (HOT, {"temperature_below": 80.0}, "it is 85 °C warm, not below 80 °C"),
        (MAINS, {"temperature_below": 80.0}, None),
    ],
)
def test_a_rule_holds_or_says_why_not(readings: Readings, rule: dict[str, object], told: str | None) -> None:
    assert obstacle(readings, PowerSettings(), PowerSettings(**rule)) == told  # type: ignore[arg-type]


def test_this_machine_can_be_read() -> None:
    readings = read()
    assert readings.charge is None or 0 <= readings.charge <= 100
    assert readings.temperature is None or -50 < readings.temperature < 150


class World:
    def __init__(self, store: Store, clock: FakeClock) -> None:
        self.store, self.clock = store, clock
        self.readings, self.rule = MAINS, PowerSettings()
        self.missing: str | None = None
        self.time = 0.0
        self.reads = 0
        self.gate = Gate(
            store, lambda: self.rule, lambda agent: self.missing, self._fits, self._read, lambda: self.time
        )
        self.agents = {"inbox": self.agent("power: {on: mains}")}

    def _fits(self, agent: Agent, others: Collection[Agent]) -> bool:
        """Two models with different names have no room together."""
        return all(other.model == agent.model for other in others)

    def _read(self) -> Readings:
        self.reads += 1
        return self.readings

    def agent(self, settings: str = "") -> Agent:
        return parse_agent(Path("inbox.md"), f"---\nname: inbox\n{settings}\n---\nGo.\n".encode(), known_tools=())

    def put(self, key: str, agent: str = "inbox") -> str:
        run_id = self.store.enqueue(Event(agent, "file", "f", key), now=self.clock())
        assert run_id
        return run_id

    def look(self, after: float = PERIOD) -> frozenset[str]:
        self.time += after
        return self.gate.look(self.agents)


@pytest.fixture
def world(store: Store, clock: FakeClock) -> World:
    return World(store, clock)


def test_what_waits_for_mains_is_deferred_and_taken_up_when_it_comes(world: World) -> None:
    run_id = world.put("1")
    world.readings = BATTERY
    assert world.look() == {"inbox"}
    run = world.store.run(run_id)
    assert (run.status, run.reason) == (RunStatus.DEFERRED, "on battery power, and power.on is mains")
    late = world.put("2")
    world.look(0)
    assert world.store.run(late).status is RunStatus.DEFERRED
    world.readings = MAINS
    assert world.look() == frozenset()
    assert world.store.counts() == {RunStatus.QUEUED: 2}


def test_memory_that_is_missing_defers_too(world: World) -> None:
    run_id = world.put("1")
    world.missing = "pocket.gguf needs 12 MB"
    assert world.look() == {"inbox"}
    assert world.store.run(run_id).reason == "pocket.gguf needs 12 MB"


def test_the_rule_of_the_settings_is_for_all_agents(world: World) -> None:
    world.agents = {"inbox": world.agent()}
    world.put("1")
    world.rule, world.readings = PowerSettings(temperature_below=80.0), HOT
    assert world.look() == {"inbox"}


def test_a_change_of_the_settings_counts_at_once(world: World) -> None:
    world.put("1")
    assert world.look() == frozenset()
    world.rule = PowerSettings(on="battery")
    assert world.look(0) == frozenset()
    world.gate.look_again()
    assert world.look(0) == {"inbox"}


def test_the_sensors_are_read_once_in_a_while(world: World) -> None:
    world.put("1")
    for _ in range(20):
        world.look(0)
    assert world.reads == 1
    world.look()
    assert world.reads == 2


def test_without_anything_to_do_nothing_is_read(world: World) -> None:
    world.look()
    assert world.reads == 0


def test_what_is_put_aside_again_and_again_does_not_go_in_circles(world: World) -> None:
    run_id = world.put("1")
    tries = 0
    for _ in range(30):
        world.look(PERIOD / 10)
        if world.store.claim("daemon:1", world.clock()):
            tries += 1
            world.store.put_aside(run_id, "no memory after all")
    assert 3 <= tries <= 5
    assert world.store.run(run_id).status is RunStatus.DEFERRED


def test_a_run_whose_model_has_no_room_beside_those_in_hand_is_waited_for(store: Store, clock: FakeClock) -> None:
    world = World(store, clock)
    other = parse_agent(Path("other.md"), b"---\nname: other\nmodel: other.gguf\n---\nGo.\n", known_tools=())
    world.agents["other"] = other
    inbox = world.agents["inbox"]
    world.put("1")
    in_hand = [("inbox", inbox)]
    assert not world.gate.is_crowded(world.agents, (), in_hand), "the same model"
    world.put("2", "other")
    assert world.gate.is_crowded(world.agents, (), in_hand)
    assert not world.gate.is_crowded(world.agents, {"other"}, in_hand), "it may not run for another reason"
    assert world.gate.is_crowded(world.agents, (), [("other", other)]), "and the other way round"
