"""Several turns at a time in one model host, and where their prompts find their beginnings."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edgeagent.bundled import bundled
from edgeagent.errors import ModelCancelled, ModelError
from edgeagent.model.client import HostModel, HostOptions
from edgeagent.model.protocol import ChatRequest, ChatResult
from edgeagent.model.slots import Slot, Slots
from edgeagent.prompt import opening_messages
from edgeagent.schema import Event
from edgeagent.tools.specs import BUILTIN_SPECS

POCKET = bundled("models") / "pocket" / "pocket.gguf"
PATIENCE = 60.0


def request(name: str, instructions: str = "Letters go to ~/Letters.", **options: object) -> ChatRequest:
    event = Event("", "file", "", "", {"path": f"/home/a/in/{name}", "name": name, "preview": f"A letter, {name}."})
    messages = tuple(opening_messages(instructions, event))
    return ChatRequest(messages, (BUILTIN_SPECS["move_file"],), **options)  # type: ignore[arg-type]


def ask(model: HostModel, asked: ChatRequest, stop: threading.Event | None = None) -> ChatResult:
    return model.chat(asked, stop or threading.Event(), lambda text: None)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Callable[..., HostModel]]:
    """Makes model hosts that keep their files in one folder."""
    made: list[HostModel] = []

    def make(**options: object) -> HostModel:
        model = HostModel("pocket", POCKET, HostOptions(threads=1, cache=str(tmp_path), **options))  # type: ignore[arg-type]
        made.append(model)
        return model

    yield make
    for model in made:
        model.close()


def test_turns_at_the_same_time_say_what_each_says_alone(host: Callable[..., HostModel]) -> None:
    asked = [request(f"{number}.txt") for number in range(6)]
    alone = [ask(host(), one) for one in asked[:1]] + [ask(host(slots=1), one) for one in asked[1:]]
    model = host()
    with ThreadPoolExecutor(len(asked)) as threads:
        together = list(threads.map(lambda one: ask(model, one), asked))
    assert [result.call or result.text for result in together] == [result.call or result.text for result in alone]


def test_more_turns_than_slots_wait_for_one(host: Callable[..., HostModel]) -> None:
    model = host(slots=2)
    with ThreadPoolExecutor(7) as threads:
        results = list(threads.map(lambda number: ask(model, request(f"{number}.txt")), range(7)))
    assert all(result.output_tokens for result in results)


def test_a_turn_that_does_not_fit_beside_others_waits_and_is_not_refused(host: Callable[..., HostModel]) -> None:
    model = host(context=1024)
    long = [request(f"{number}.txt", f"Rule {number}. " * 90, max_tokens=64) for number in range(4)]
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda one: ask(model, one), long))
    assert all(result.input_tokens > 400 for result in results)


def test_a_long_prompt_does_not_stall_an_answer_in_hand(host: Callable[..., HostModel]) -> None:
    model = host()
    ask(model, request("warm.txt"))
    gaps: list[float] = []
    seen = [time.monotonic()]

    def note(text: str) -> None:
        gaps.append(time.monotonic() - seen[-1])
        seen.append(time.monotonic())

    writing = request("a.txt", "Count for ever. ", temperature=5.0, top_k=0, top_p=1.0, min_p=0.0, max_tokens=600)
    with ThreadPoolExecutor(2) as threads:
        answer = threads.submit(model.chat, writing, threading.Event(), note)
        long = threads.submit(ask, model, request("b.txt", "Other rules. " * 450, max_tokens=4))
        assert long.result().input_tokens > 1500
        answer.result()
    alone = ask(model, request("c.txt", "Quite other rules. " * 350, max_tokens=4))
    assert max(gaps) < max(1.0, alone.time_to_first_token / 2)


def test_each_turn_is_cancelled_for_itself(host: Callable[..., HostModel]) -> None:
    model = host()
    stop = threading.Event()
    endless = request("a.txt", "Count for ever. ", temperature=5.0, top_k=0, top_p=1.0, min_p=0.0, max_tokens=3000)
    with ThreadPoolExecutor(2) as threads:
        cancelled = threads.submit(model.chat, endless, stop, lambda text: stop.set())
        other = threads.submit(ask, model, request("b.txt"))
        with pytest.raises(ModelCancelled):
            cancelled.result()
        assert other.result().output_tokens
    assert ask(model, request("c.txt")).output_tokens


def test_a_cancelled_turn_stops_while_its_prompt_is_read(host: Callable[..., HostModel]) -> None:
    model = host()
    ask(model, request("a.txt"))
    process = model.process_id
    stop = threading.Event()
    threading.Timer(0.02, stop.set).start()
    began = time.monotonic()
    with pytest.raises(ModelCancelled):
        ask(model, request("b.txt", "Some rule of many. " * 400, max_tokens=400, temperature=5.0), stop)
    assert time.monotonic() - began < PATIENCE
    assert ask(model, request("c.txt")).output_tokens and model.process_id == process


def test_a_turn_that_is_refused_leaves_the_others_alone(host: Callable[..., HostModel]) -> None:
    model = host()
    refused = request("a.txt", output_schema={"type": "no such type"})
    with ThreadPoolExecutor(2) as threads:
        other = threads.submit(ask, model, request("b.txt"))
        with pytest.raises(ModelError, match="grammar"):
            ask(model, refused)
        assert other.result().output_tokens


def test_the_prefix_of_an_agent_is_read_once_and_then_comes_from_memory(host: Callable[..., HostModel]) -> None:
    model = host()
    first = ask(model, request("a.txt"))
    second = ask(model, request("other.txt"))
    assert first.cached_tokens == 0
    assert 30 < second.cached_tokens < second.input_tokens and second.disk_tokens == 0


def test_after_a_restart_the_prefix_comes_from_disk(host: Callable[..., HostModel]) -> None:
    model = host()
    before = ask(model, request("a.txt"))
    ask(model, request("b.txt"))
    model.close()
    after = ask(model, request("a.txt"))
    assert 30 < after.disk_tokens == after.cached_tokens < after.input_tokens
    assert (after.call, after.text) == (before.call, before.text)


def test_two_turns_with_one_beginning_read_it_once(host: Callable[..., HostModel]) -> None:
    model = host()
    rules = "Some rule of many. " * 100
    with ThreadPoolExecutor(3) as threads:
        results = list(threads.map(lambda number: ask(model, request(f"{number}.txt", rules)), range(3)))
    assert sum(result.cached_tokens == 0 for result in results) == 1


class Ledger:
    """Stands for the memory of a context: says what was asked of it."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []

    def cut(self, sequence: int, length: int) -> bool:
        self.asked.append(("cut", sequence, length))
        return True

    def clear(self, sequence: int) -> None:
        self.asked.append(("clear", sequence))

    def copy(self, source: int, target: int, length: int) -> None:
        self.asked.append(("copy", source, target, length))


def filled(slots: Slots, tokens: list[int], needed: int = 0) -> Slot:
    slot = slots.take(tokens, needed or len(tokens))
    assert slot
    slots.grow(slot, tokens[len(slot.tokens) :], is_prompt=True)
    return slot


def test_a_conversation_goes_on_where_it_stood() -> None:
    slots = Slots(Ledger(), 2, 100, can_roll_back=True)
    first = filled(slots, [1, 2, 3])
    slots.release(first)
    assert slots.take([1, 2, 3, 4, 5], 10) is first


def test_another_conversation_with_the_same_beginning_leaves_the_first_its_end() -> None:
    memory = Ledger()
    slots = Slots(memory, 2, 100, can_roll_back=True)
    first = filled(slots, [1, 2])
    slots.grow(first, [3, 4], is_prompt=False)
    slots.release(first)
    second = slots.take([1, 2, 9, 9], 4)
    assert second and second is not first
    assert second.tokens == [1, 2] and first.tokens == [1, 2, 3, 4]
    assert memory.asked[-1] == ("copy", first.number, second.number, 2)


def test_a_prompt_is_taken_up_only_where_a_batch_of_one_ended() -> None:
    slots = Slots(Ledger(), 2, 100, can_roll_back=True)
    first = filled(slots, [1, 2, 3])
    slots.grow(first, [4, 5, 6], is_prompt=True)
    assert slots.known([1, 2, 3, 4, 9]) == 3
    assert slots.known([1, 2, 9]) == 0


def test_the_very_same_prompt_is_not_decoded_at_all() -> None:
    slots = Slots(Ledger(), 2, 100, can_roll_back=True)
    first = filled(slots, [1, 2, 3])
    first.end, first.logits = 3, "what came out"
    slots.grow(first, [7, 8], is_prompt=False)
    slots.release(first)
    again = slots.take([1, 2, 3], 5)
    assert again and again.tokens == [1, 2, 3] and again.logits == "what came out"


def test_what_two_conversations_share_takes_room_once() -> None:
    slots = Slots(Ledger(), 2, 10, can_roll_back=True)
    first = filled(slots, [1, 2, 3, 4, 5])
    slots.grow(first, [6], is_prompt=False)
    assert first.is_busy
    assert slots.take([1, 2, 3, 4, 5, 7], 9) is not None


def test_a_turn_without_room_waits_and_takes_nothing_from_those_that_run() -> None:
    slots = Slots(Ledger(), 3, 10, can_roll_back=True)
    busy = filled(slots, [1, 2, 3], needed=8)
    idle = filled(slots, [7])
    slots.release(idle)
    assert slots.take([4, 5, 6], 3) is None
    assert busy.tokens == [1, 2, 3] and idle.tokens == [7]
    slots.release(busy)
    assert slots.take([4, 5, 6], 3) is not None


def test_a_model_that_cannot_roll_back_goes_on_only_from_a_whole_sequence() -> None:
    slots = Slots(Ledger(), 2, 100, can_roll_back=False)
    first = filled(slots, [1, 2])
    slots.grow(first, [3], is_prompt=False)
    slots.release(first)
    assert slots.known([1, 2, 9]) == 0
    assert slots.take([1, 2, 3, 4], 4) is first
