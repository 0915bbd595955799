"""Stored states of prompt beginnings: found again, and never trusted when they are damaged or belong elsewhere."""

from __future__ import annotations

import os
import resource
import threading
from pathlib import Path

import numpy
import pytest
from tiny_models import POCKET

from edgeagent.model.client import HostModel, HostOptions
from edgeagent.model.prefix import SUFFIX, Maker, Prefixes
from edgeagent.model.protocol import ChatRequest, ChatResult
from edgeagent.prompt import opening_messages
from edgeagent.schema import Event
from edgeagent.tools.specs import BUILTIN_SPECS

MAKER = Maker("digest of a model", "f16 auto", "llama.cpp 1")
TOKENS = list(range(40))
STATE = numpy.arange(5000, dtype=numpy.uint32).view(numpy.uint8)
OTHER = STATE[::-1].copy()


def stored(folder: Path, maker: Maker = MAKER, memory: int = 1_000_000, disk: int = 1_000_000) -> Prefixes:
    return Prefixes(maker, folder, memory=memory, disk=disk)


def put(prefixes: Prefixes, tokens: list[int] = TOKENS, state: numpy.typing.NDArray[numpy.uint8] = STATE) -> None:
    prefixes.put(tokens, state)
    prefixes.finish()


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def test_a_state_comes_from_memory_and_after_a_restart_from_disk(tmp_path: Path) -> None:
    prefixes = stored(tmp_path)
    assert prefixes.find(TOKENS) is None and not prefixes.has(TOKENS)
    put(prefixes)
    here, again = prefixes.find(TOKENS), stored(tmp_path).find(TOKENS)
    assert here and again and (here.origin, again.origin) == ("memory", "disk")
    assert (here.state == STATE).all() and (again.state == STATE).all()
    assert [path.stat().st_mode & 0o777 for path in files(tmp_path)] == [0o600]


@pytest.mark.parametrize(
    "other",
    [
        Maker("another model", "f16 auto", "llama.cpp 1"),
        Maker("digest of a model", "q8_0 auto", "llama.cpp 1"),
        Maker("digest of a model", "f16 auto", "llama.cpp 2"),
    ],
)
def test_a_state_of_another_model_precision_or_build_is_not_found(tmp_path: Path, other: Maker) -> None:
    put(stored(tmp_path))
    assert stored(tmp_path, other).find(TOKENS) is None
    assert stored(tmp_path).find(TOKENS[:-1]) is None and stored(tmp_path).find([*TOKENS[:-1], 7]) is None
    assert stored(tmp_path).find(TOKENS), "it is there for whom it was made"


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "cut":
        data = data[: len(data) // 2]
    elif how == "empty":
        data = bytearray()
    elif how == "one bit":
        data[-100] ^= 1
    elif how == "longer":
        data += b"more"
    elif how == "head":
        data[3] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("how", ["cut", "empty", "one bit", "longer", "head"])
def test_a_damaged_state_is_removed_and_made_anew(tmp_path: Path, how: str) -> None:
    put(stored(tmp_path))
    damage(files(tmp_path)[0], how)
    prefixes = stored(tmp_path)
    assert prefixes.find(TOKENS) is None and files(tmp_path) == []
    put(prefixes)
    assert stored(tmp_path).find(TOKENS)


def test_states_that_were_swapped_are_not_used(tmp_path: Path) -> None:
    prefixes = stored(tmp_path)
    put(prefixes)
    put(prefixes, TOKENS[:-1], OTHER)
    first, second = files(tmp_path)
    aside = tmp_path / "aside"
    first.rename(aside)
    second.rename(first)
    aside.rename(second)
    fresh = stored(tmp_path)
    assert fresh.find(TOKENS) is None and fresh.find(TOKENS[:-1]) is None


def test_the_files_used_longest_ago_go_when_there_are_too_many(tmp_path: Path) -> None:
    prefixes = stored(tmp_path, disk=3 * len(STATE) + 1000)
    for number in range(3):
        put(prefixes, [*TOKENS, number])
        os.utime(tmp_path / f"{MAKER.name([*TOKENS, number])}{SUFFIX}", (number, number))
    assert stored(tmp_path).find([*TOKENS, 0]), "which makes it the one used last"
    put(prefixes, [*TOKENS, 3])
    assert [number for number in range(4) if stored(tmp_path).has([*TOKENS, number])] == [0, 2, 3]


def test_states_in_memory_share_one_budget(tmp_path: Path) -> None:
    prefixes = Prefixes(MAKER, None, memory=2 * len(STATE), disk=0)
    for number in range(3):
        put(prefixes, [*TOKENS, number])
        assert prefixes.find([*TOKENS, number])
    assert [number for number in range(3) if prefixes.has([*TOKENS, number])] == [1, 2]


def test_a_state_in_a_file_takes_nothing_of_that_budget(tmp_path: Path) -> None:
    prefixes = stored(tmp_path, memory=len(STATE))
    for number, state in enumerate((STATE, OTHER, STATE)):
        put(prefixes, [*TOKENS, number], state)
    for number, state in enumerate((STATE, OTHER, STATE)):
        found = prefixes.find([*TOKENS, number])
        assert found and found.origin == "memory" and (found.state == state).all()


def test_a_file_that_was_replaced_meanwhile_is_checked_again(tmp_path: Path) -> None:
    prefixes = stored(tmp_path)
    put(prefixes)
    found = prefixes.find(TOKENS)
    path = files(tmp_path)[0]
    other = tmp_path / "other"
    other.write_bytes(path.read_bytes()[:-1] + b"?")
    other.replace(path)
    assert prefixes.find(TOKENS) is None and not path.exists()
    assert found and (found.state == STATE).all(), "what was found before stays whole"


def test_a_budget_of_nothing_stores_nothing(tmp_path: Path) -> None:
    prefixes = stored(tmp_path / "states", memory=0, disk=0)
    put(prefixes)
    assert prefixes.find(TOKENS) is None and not (tmp_path / "states").exists()


def test_a_disk_that_is_full_leaves_the_state_in_memory_and_no_file(tmp_path: Path) -> None:
    prefixes = stored(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        put(prefixes)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert prefixes.find(TOKENS) and files(tmp_path) == []


def test_a_folder_that_is_none_is_as_good_as_no_folder(tmp_path: Path) -> None:
    (tmp_path / "states").write_text("a file")
    prefixes = stored(tmp_path / "states")
    put(prefixes)
    assert prefixes.find(TOKENS) and stored(tmp_path / "states").find(TOKENS) is None


# --- with a model -----------------------------------------------------------------------------------------------


def ask(cache: Path, **options: object) -> ChatResult:
    """The first turn of a host that was just started."""
    model = HostModel("pocket", POCKET / "pocket.gguf", HostOptions(threads=1, cache=str(cache), **options))  # type: ignore[arg-type]
    event = Event("", "file", "", "", {"name": "a.txt", "preview": "Dear Ann,\nthank you.\nBo"})
    messages = tuple(opening_messages("Letters go to ~/Letters.", event))
    try:
        return model.chat(ChatRequest(messages, (BUILTIN_SPECS["move_file"],)), threading.Event(), lambda text: None)
    finally:
        model.close()


def wait_for_a_state(cache: Path) -> Path:
    found = list((cache / "states").glob(f"*{SUFFIX}"))
    assert len(found) == 1
    return found[0]


def test_a_damaged_file_costs_only_the_time_to_read_the_prompt_again(tmp_path: Path) -> None:
    first = ask(tmp_path)
    assert first.cached_tokens == 0
    damage(wait_for_a_state(tmp_path), "one bit")
    second = ask(tmp_path)
    third = ask(tmp_path)
    assert (second.cached_tokens, second.disk_tokens) == (0, 0)
    assert third.disk_tokens == third.cached_tokens > 30
    assert first.text == second.text == third.text and first.call == second.call == third.call


@pytest.mark.parametrize("seed", range(4))
def test_a_turn_is_the_same_whether_its_beginning_was_read_or_restored(tmp_path: Path, seed: int) -> None:
    event = Event("", "file", "", "", {"name": f"{seed}.txt", "preview": "Dear Ann,\nthank you.\nBo"})
    messages = tuple(opening_messages("Letters go to ~/Letters. " * 60, event))
    asked = ChatRequest(messages, tuple(BUILTIN_SPECS.values()), temperature=1.0, seed=seed, max_tokens=60)
    turns = []
    for _ in range(2):
        model = HostModel("pocket", POCKET / "pocket.gguf", HostOptions(threads=1, cache=str(tmp_path)))
        turns.append(model.chat(asked, threading.Event(), lambda text: None))
        model.close()
    read, restored = turns
    assert read.cached_tokens == 0 and restored.disk_tokens > 512, "longer than one batch"
    assert (read.text, read.reasoning, read.call) == (restored.text, restored.reasoning, restored.call)


def test_another_precision_has_a_state_of_its_own(tmp_path: Path) -> None:
    ask(tmp_path)
    assert ask(tmp_path, kv_type="q8_0").cached_tokens == 0
    assert ask(tmp_path, kv_type="q8_0").disk_tokens > 30


def test_measurements_that_are_damaged_are_made_anew(tmp_path: Path) -> None:
    ask(tmp_path)
    (tmp_path / "models.json").write_text("{ no json")
    assert ask(tmp_path).disk_tokens > 30
    assert "sha256" in (tmp_path / "models.json").read_text()
