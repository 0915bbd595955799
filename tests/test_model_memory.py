"""Model files that are damaged, what a model needs before it is loaded, and several models in one memory."""

from __future__ import annotations

import struct
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
from tiny_models import ARCHITECTURES, POCKET, make_model

from edgeagent.agents import Agent
from edgeagent.agents.agent import ModelTable
from edgeagent.config import Config
from edgeagent.errors import ModelCancelled, ModelError, NotEnoughMemory
from edgeagent.home import home_from_environment
from edgeagent.model import memory
from edgeagent.model.catalog import Catalog
from edgeagent.model.client import HostModel, HostOptions
from edgeagent.model.header import read_header
from edgeagent.model.memory import Need, check_fits, need_of
from edgeagent.model.protocol import ChatRequest
from edgeagent.models import Models
from edgeagent.schema import Message

FILE = POCKET / "pocket.gguf"
QUESTION = ChatRequest((Message("user", "event: manual"),), max_tokens=4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_head_of_a_model_is_read_without_llama_cpp(tmp_path: Path, architecture: str) -> None:
    header = read_header(make_model(tmp_path / "tiny.gguf", architecture, name="some name"))
    assert (header.architecture, header.metadata["general.name"]) == (architecture, "some name")
    assert header.of_architecture("block_count") == 2 and header.metadata["tokenizer.ggml.tokens"] > 3000
    assert 1_000_000 < header.tensor_bytes < (tmp_path / "tiny.gguf").stat().st_size


def damaged(tmp_path: Path, change: bytes, at: int) -> Path:
    data = bytearray(FILE.read_bytes()[:200_000])
    data[at : at + len(change)] = change
    path = tmp_path / "broken.gguf"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("change", "at", "message"),
    [
        (b"ZIPP", 0, "is not a GGUF"),
        (struct.pack("<I", 99), 4, "version 99"),
        (struct.pack("<Q", 1 << 60), 8, "claims to have"),
        (struct.pack("<Q", 1 << 60), 16, "claims to have"),
        (struct.pack("<Q", 1 << 60), 24, "longer than the rest"),
        (struct.pack("<Q", 3), 24, "damaged|cut short"),
        (b"", 0, "cut short"),
    ],
)
def test_a_damaged_file_is_named_with_what_is_wrong(tmp_path: Path, change: bytes, at: int, message: str) -> None:
    path = damaged(tmp_path, change, at)
    with pytest.raises(ModelError, match=message) as caught:
        HostModel("broken", path, HostOptions()).facts()
    assert str(path) in caught.value.message and "\n" not in caught.value.message


@pytest.mark.parametrize("share", [0.0005, 0.01, 0.5, 0.999])
def test_a_file_that_is_cut_short_is_named_wherever_it_ends(tmp_path: Path, share: float) -> None:
    path = tmp_path / "half.gguf"
    whole = FILE.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ModelError, match=r"half\.gguf is cut short"):
        read_header(path)


def test_bytes_at_random_are_an_error_and_nothing_worse(tmp_path: Path) -> None:
    import random

    source = random.Random(5)
    head = FILE.read_bytes()[:120_000]
    path = tmp_path / "noise.gguf"
    for _ in range(150):
        data = bytearray(head)
        for _ in range(source.randint(1, 8)):
            data[source.randrange(4, 600)] = source.randrange(256)
        path.write_bytes(data)
        with pytest.raises(ModelError):
            read_header(path)


def test_the_need_counts_weights_state_and_work() -> None:
    header = read_header(FILE)
    need = need_of(header, HostOptions(context=4096))
    half = need_of(header, HostOptions(context=2048))
    assert need.weights == header.tensor_bytes
    assert need.state == 2 * half.state > 0
    assert need_of(header, HostOptions(context=4096, kv_type="q8_0")).state < 0.6 * need.state


def test_a_loaded_model_takes_about_what_it_was_said_to_need() -> None:
    model = HostModel("pocket", FILE, HostOptions(threads=1))
    try:
        model.chat(QUESTION, threading.Event(), lambda text: None)
        taken = psutil.Process(model.process_id).memory_info().rss
        assert 0.4 * taken < model.need().total < 2.5 * taken
    finally:
        model.close()


def test_a_model_that_does_not_fit_is_refused_with_both_numbers() -> None:
    with pytest.raises(NotEnoughMemory, match=r"big\.gguf needs 800 MB .* 500 MB are available: 400 MB are missing"):
        check_fits("big.gguf", Need(600_000_000, 150_000_000, 50_000_000), 100_000_000, 500_000_000)


# --- several models in one memory -------------------------------------------------------------------------------


class Room:
    """A memory that holds so many models at a time, whatever else the machine does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, holds: int) -> None:
        home = home_from_environment({"EDGEAGENT_HOME": str(tmp_path), "HOME": str(tmp_path)})
        home.create()
        self.models = Models(Catalog(home.models), Config(), home.cache)
        for name in ("one", "two", "three"):
            make_model(home.models / f"{name}.gguf", name=name)
        self._reserve = Config().model.memory_reserve
        self._holds = holds
        monkeypatch.setattr("edgeagent.models.available", self.available)

    def available(self) -> int:
        return self._reserve + int((self._holds + 0.5 - len(self.models.loaded())) * self.model("one").need().total)

    def model(self, name: str) -> HostModel:
        return self.models.of_entry(self.models.catalog.find(name))

    def ask(self, name: str) -> None:
        assert self.model(name).chat(QUESTION, threading.Event(), lambda text: None).output_tokens

    def loaded(self) -> list[str]:
        return sorted(model.name for model in self.models.loaded())


def test_the_model_used_longest_ago_goes_when_another_needs_its_room(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    room = Room(monkeypatch, tmp_path, holds=2)
    try:
        for name in ("one", "two", "one", "three"):
            room.ask(name)
        assert room.loaded() == ["one", "three"]
    finally:
        room.models.close()


def test_a_model_with_a_turn_in_hand_is_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    room = Room(monkeypatch, tmp_path, holds=1)
    begun = threading.Event()
    long = {"type": "object", "properties": {"a": {"type": "string", "minLength": 50_000}}, "required": ["a"]}
    endless = ChatRequest(QUESTION.messages, max_tokens=4000, output_schema=long, max_thinking_tokens=0)
    stop = threading.Event()
    results: list[object] = []

    def work() -> None:
        try:
            results.append(room.model("one").chat(endless, stop, lambda text: begun.set()))
        except ModelCancelled as error:
            results.append(error)

    busy = threading.Thread(target=work)
    busy.start()
    try:
        assert begun.wait(30)
        impatient = threading.Event()
        threading.Timer(0.3, impatient.set).start()
        with pytest.raises(ModelCancelled):
            room.model("two").chat(QUESTION, impatient, lambda text: None)
        assert room.loaded() == ["one"]
        threading.Timer(0.3, stop.set).start()
        room.ask("two")
        assert room.loaded() == ["two"] and len(results) == 1
    finally:
        stop.set()
        busy.join(30)
        room.models.close()


def test_a_shortage_is_one_only_when_unloading_others_would_not_help(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    room = Room(monkeypatch, tmp_path, holds=1)
    agent = Agent(name="a", model="two", body="Do it.")
    try:
        room.ask("one")
        assert room.models.shortage(agent) is None
        monkeypatch.setattr("edgeagent.models.available", lambda: 0)
        room.models.close()
        assert "MB are missing" in (room.models.shortage(agent) or "")
    finally:
        room.models.close()


def test_models_fit_beside_each_other_or_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    room = Room(monkeypatch, tmp_path, holds=2)
    agents = {name: Agent(name=name, model=name, body="Do it.") for name in ("one", "two", "three")}
    far = Agent(name="far", model=ModelTable(endpoint="http://127.0.0.1:9/v1"), body="Do it.")

    def fits(name: str, *others: str) -> bool:
        return room.models.fits_beside(agents[name], [agents[other] for other in others])

    try:
        assert fits("one", "one", "one") and fits("one", "two") and not fits("one", "two", "three")
        for name in ("one", "two"):
            room.ask(name)
        assert fits("one", "two") and not fits("three", "one", "two")
        assert fits("three", "one"), "two can go"
        assert room.models.fits_beside(far, list(agents.values())) and fits("one") and fits("one", "two")
        assert room.models.fits_beside(agents["three"], [far, agents["one"]]), "what is elsewhere takes no room"
    finally:
        room.models.close()


def test_the_limit_of_a_control_group_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "_GROUP", tmp_path)
    for name, content in {"max": "1000000", "current": "300000", "stat": "anon 5\ninactive_file 100000\n"}.items():
        (tmp_path / f"memory.{name}").write_text(content)
    assert memory.available() == 800_000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available() > 1_000_000


def test_the_host_loads_the_functions_of_llama_cpp_and_no_more() -> None:
    unwanted = "{'llama_cpp.llama', 'sqlite3', 'diskcache'}"
    code = f"import sys, edgeagent.model.loading; print(sorted({unwanted} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    later = "import edgeagent.model.native, llama_cpp; print(llama_cpp.Llama.__name__)"
    done = subprocess.run([sys.executable, "-c", later], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "Llama"
