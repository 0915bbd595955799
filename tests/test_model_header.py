"""Reading what a GGUF says of itself, from whole files, broken ones and hostile ones."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.bundled import bundled
from edgeagent.errors import InvalidModel, NotFound
from edgeagent.model.adding import check_model
from edgeagent.model.header import read_header

POCKET = bundled("models") / "pocket" / "pocket.gguf"
HEAD = POCKET.read_bytes()[:200_000]


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def entry(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


ARCHITECTURE = entry("general.architecture", 8, text("llama"))


def gguf(*entries: bytes, tensors: bytes = b"", count: int = 0, version: int = 3, keys: int | None = None) -> bytes:
    head = struct.pack("<IQQ", version, count, len(entries) if keys is None else keys)
    return b"GGUF" + head + b"".join(entries) + tensors


def tensor(name: str = "a", sizes: tuple[int, ...] = (32,), kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, kind, offset)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "m.gguf"


def test_the_bundled_model_is_read_as_llama_cpp_reads_it() -> None:
    model = read_header(POCKET)
    assert (model.architecture, model.quantization, model.trained_context) == ("qwen3", "F16", 4096)
    assert model.parameters > 4_000_000 and model.vocabulary == 3072
    assert "tool_call" in model.template
    assert check_model(POCKET) == model


def test_small_lists_are_kept_and_long_ones_counted(file: Path) -> None:
    layers = struct.pack("<IQ3i", 5, 3, 8, 0, 8)
    pieces = struct.pack("<IQ", 8, 2) + text("a") + text("b")
    scores = struct.pack("<IQ", 6, 5000) + bytes(20_000)
    file.write_bytes(
        gguf(
            ARCHITECTURE,
            entry("llama.attention.head_count_kv", 9, layers),
            entry("tokenizer.ggml.tokens", 9, pieces),
            entry("tokenizer.ggml.scores", 9, scores),
        )
    )
    model = read_header(file)
    assert model.of_architecture("attention.head_count_kv") == [8, 0, 8]
    assert model.vocabulary == 2
    assert model.metadata["tokenizer.ggml.scores"] == 5000


BROKEN = {
    "empty": (b"", "is not a GGUF file"),
    "other": (b"PK\x03\x04" + bytes(100), "is not a GGUF file"),
    "text": (b"<html>not found</html>", "is not a GGUF file"),
    "old": (gguf(ARCHITECTURE, version=1), "version 1 of the format"),
    "swapped": (gguf(ARCHITECTURE, version=0x03000000), "version 50331648"),
    "many keys": (gguf(ARCHITECTURE, keys=2**40), "1099511627776 keys"),
    "many tensors": (gguf(ARCHITECTURE, count=2**40), "1099511627776 tensors"),
    "long text": (gguf(entry("a", 8, struct.pack("<Q", 2**60))), "longer than the rest of the file"),
    "huge text": (gguf(entry("a", 8, struct.pack("<Q", 2**24) + bytes(2**24))), "a text has 16777216 bytes"),
    "long list": (gguf(entry("a", 9, struct.pack("<IQ", 4, 2**61))), "longer than the rest of the file"),
    "long texts": (gguf(entry("a", 9, struct.pack("<IQ", 8, 2**61))), "longer than the rest of the file"),
    "lying texts": (gguf(entry("a", 9, struct.pack("<IQQ", 8, 1, 2**61))), "list of texts is longer"),
    "nested list": (gguf(entry("a", 9, struct.pack("<IQ", 9, 1) * 2000)), "values of the type 9"),
    "no such type": (gguf(entry("a", 99, b"")), "type 99"),
    "anonymous": (gguf(), "names no architecture"),
    "number as name": (gguf(entry("general.architecture", 4, struct.pack("<I", 1))), "names no architecture"),
    "flat tensor": (gguf(ARCHITECTURE, tensors=tensor(sizes=(1,) * 9), count=1), "9 dimensions"),
    "far tensor": (gguf(ARCHITECTURE, tensors=tensor(offset=2**62), count=1), "cut short"),
    "huge tensor": (gguf(ARCHITECTURE, tensors=tensor(sizes=(2**63, 2**63)), count=1), "cut short"),
    "alignment": (gguf(ARCHITECTURE, entry("general.alignment", 4, bytes(4))), "its alignment is 0"),
}


@pytest.mark.parametrize(("content", "said"), BROKEN.values(), ids=BROKEN)
def test_what_is_no_model_is_refused_in_one_line_that_names_the_file(file: Path, content: bytes, said: str) -> None:
    file.write_bytes(content)
    with pytest.raises(InvalidModel) as caught:
        read_header(file)
    assert said in caught.value.message and str(file) in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("length", [3, 4, 8, 100, 5000, 150_000, POCKET.stat().st_size - 1])
def test_a_download_that_was_cut_off_is_noticed_wherever_it_ends(file: Path, length: int) -> None:
    file.write_bytes(POCKET.read_bytes()[:length])
    with pytest.raises(InvalidModel, match=r"cut short|damaged|not a GGUF"):
        read_header(file)


@given(at=st.integers(0, len(HEAD) - 1), value=st.integers(0, 255), length=st.integers(0, len(HEAD)))
def test_no_damage_makes_anything_but_a_model_or_one_error(
    tmp_path_factory: pytest.TempPathFactory, at: int, value: int, length: int
) -> None:
    damaged = bytearray(HEAD[:length])
    if at < length:
        damaged[at] = value
    path = tmp_path_factory.getbasetemp() / "damaged.gguf"
    path.write_bytes(damaged)
    with pytest.raises(InvalidModel):
        check_model(path)


def test_a_folder_and_a_missing_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match="is a folder"):
        read_header(tmp_path)
    with pytest.raises(NotFound):
        read_header(tmp_path / "none.gguf")


def test_a_part_a_vocabulary_and_a_picture_model_are_no_models_to_run(file: Path) -> None:
    split = entry("split.count", 2, struct.pack("<H", 3))
    cases = {
        "one part": gguf(ARCHITECTURE, split, tensors=tensor(), count=1),
        "no weights": gguf(ARCHITECTURE),
        "no language model": gguf(ARCHITECTURE, tensors=tensor(), count=1),
    }
    for said, content in cases.items():
        file.write_bytes(content + bytes(1024))
        with pytest.raises(InvalidModel, match=said):
            check_model(file)
