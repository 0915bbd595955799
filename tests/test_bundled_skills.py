"""The bundled skills beyond the tests that they declare themselves: hostile input, and what they must leave alone."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import shutil
import stat
import struct
import subprocess
import zipfile
import zlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import skills_ref

from edgeagent.bundled import bundled
from edgeagent.sandbox import Bubblewrap, Command, run
from edgeagent.skills import read_skill

SKILLS = bundled("skills")


def call(
    skill: str, script: str, *arguments: object, reads: tuple[Path, ...] = (), writes: tuple[Path, ...] = ()
) -> Any:
    """What a script prints in the sandbox, or its complaint as a text."""
    command = Command(
        ("python3", f"scripts/{script}.py", *map(str, arguments)),
        (SKILLS / skill).resolve(),
        reads=reads,
        writes=writes,
    )
    outcome = run(Bubblewrap(), command)
    if not outcome.ok:
        said = outcome.stderr.decode().strip()
        assert said and "\n" not in said, said
        return said
    return json.loads(outcome.stdout)


def module(skill: str, script: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{script}_of_a_skill", SKILLS / skill / "scripts" / f"{script}.py")
    assert spec and spec.loader
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def paths_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


# --- zip ------------------------------------------------------------------------------------------------------------


def entry(name: str, mode: int = stat.S_IFREG | 0o644) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


HOSTILE: dict[str, list[tuple[zipfile.ZipInfo, bytes]]] = {
    "leads elsewhere": [(entry("../escaped"), b"x")],
    "absolute": [(entry("/tmp/escaped"), b"x")],
    "in the middle": [(entry("a/../../escaped"), b"x")],
    "backslash": [(entry("..\\escaped"), b"x")],
    "drive": [(entry("C:escaped"), b"x")],
    "control characters": [(entry("a\x1b[2Jb"), b"x")],
    "turned around": [(entry("a\u202egpj.exe"), b"x")],
    "link": [(entry("l", stat.S_IFLNK | 0o777), b"/etc"), (entry("l/passwd"), b"x")],
    "device": [(entry("d", stat.S_IFCHR | 0o666), b"")],
    "twice": [(entry("a"), b"1"), (entry("a"), b"2")],
    "but for its case": [(entry("a/B"), b"1"), (entry("a/b"), b"2")],
    "file and folder": [(entry("a"), b"1"), (entry("a/b"), b"2")],
    "nothing but dots": [(entry("./"), b"")],
    "name too long": [(entry("n" * 300), b"x")],
    "bomb": [(entry("zeros"), b"\0" * 101_000_000)],
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_hostile_zip_is_refused_whole_in_one_line(tmp_path: Path, kind: str) -> None:
    with zipfile.ZipFile(tmp_path / "evil.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(entry("good.txt"), b"good")
        for info, content in HOSTILE[kind]:
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    (tmp_path / "out").mkdir()
    said = call(
        "zip-archives", "unzip", "--archive", tmp_path / "evil.zip", "--folder", tmp_path / "out",
        reads=(tmp_path / "evil.zip",), writes=(tmp_path / "out",),
    )  # fmt: skip
    assert isinstance(said, str) and "is not unpacked" in said and said.isprintable()
    assert paths_below(tmp_path) == ["evil.zip", "out"]


def test_a_zip_that_says_it_is_small_is_counted_as_it_is_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "liar.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", b"\0" * 101_000_000)
    raw = bytearray((tmp_path / "liar.zip").read_bytes())
    for place in (raw.find(b"PK\3\4") + 22, raw.find(b"PK\1\2") + 24):
        raw[place : place + 4] = struct.pack("<I", 10)
    (tmp_path / "liar.zip").write_bytes(raw)
    (tmp_path / "out").mkdir()
    said = call(
        "zip-archives", "unzip", "--archive", tmp_path / "liar.zip", "--folder", tmp_path / "out",
        reads=(tmp_path / "liar.zip",), writes=(tmp_path / "out",),
    )  # fmt: skip
    assert "is not unpacked" in said and paths_below(tmp_path / "out") == []


def test_a_zip_with_a_million_entries_is_refused_before_they_are_read(tmp_path: Path) -> None:
    one = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    directory = one * 1_000_000
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 16960, 16960, len(directory), 0, 0)
    (tmp_path / "many.zip").write_bytes(directory + end)
    said = call("zip-archives", "list_zip", "--archive", tmp_path / "many.zip", reads=(tmp_path / "many.zip",))
    assert "more than 10,000 entries" in said


def test_a_zip_of_a_folder_leaves_links_out_and_comes_back_the_same(tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "a.txt").write_text("a")
    (source / "secret").symlink_to("/etc/passwd")
    (source / "folder").symlink_to("/etc")
    os.mkfifo(source / "pipe")
    out.mkdir()
    packed = call(
        "zip-archives", "make_zip", "--source", source, "--archive", out / "a.zip", reads=(source,), writes=(out,)
    )
    assert (packed["files"], packed["left_out"]) == (1, 3)
    call("zip-archives", "unzip", "--archive", out / "a.zip", "--folder", out / "b", writes=(out,))
    assert paths_below(out / "b") == ["source", "source/deep", "source/deep/a.txt"]


def test_an_unpacked_file_is_no_program(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(entry("tool", stat.S_IFREG | 0o6777), b"#!/bin/sh\n")
    call("zip-archives", "unzip", "--archive", tmp_path / "a.zip", "--folder", tmp_path, writes=(tmp_path,))
    assert (tmp_path / "tool").stat().st_mode & 0o7111 == 0


# --- tables, headings, duplicates -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ("näme;x\nä;1,5\n".encode("cp1252"), {"encoding": "cp1252", "separator": ";", "rows": 1}),
        ("a,b\n1,2\n".encode("utf-16"), {"encoding": "utf-16", "rows": 1}),
        (b"\xef\xbb\xbfa\tb\r\n1\t2\r\n\r\n", {"encoding": "utf-8", "separator": "\t", "rows": 1, "ragged": 0}),
        (b"a,b\n007,1\n08,2\n", {"rows": 2}),
    ],
)
def test_a_table_is_read_in_the_encoding_that_it_is_in(tmp_path: Path, raw: bytes, told: dict[str, Any]) -> None:
    (tmp_path / "a.csv").write_bytes(raw)
    found = call("csv-summary", "csv_summary", "--file", tmp_path / "a.csv", reads=(tmp_path / "a.csv",))
    assert told.items() <= found.items()


def test_numbers_that_begin_with_nought_are_texts_and_a_mixed_column_is_one(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("code,mixed\n007,1\n008,2024-01-01\n009,x\n")
    found = call("csv-summary", "csv_summary", "--file", tmp_path / "a.csv", reads=(tmp_path / "a.csv",))
    assert [column["kind"] for column in found["columns"]] == ["text", "text"]


@pytest.mark.parametrize("raw", [b"\x7fELF\0\0", b'a,b\n"' + b"x" * 2_000_000])
def test_what_is_no_table_is_one_line(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "a.csv").write_bytes(raw)
    assert "a.csv" in call("csv-summary", "csv_summary", "--file", tmp_path / "a.csv", reads=(tmp_path / "a.csv",))


def test_a_table_of_contents_is_written_once_and_kept_up_to_date(tmp_path: Path) -> None:
    file = tmp_path / "a.md"
    file.write_bytes(b"# Title\r\n\r\nText.\r\n\r\n## One\r\n")
    insert = ("markdown-toc", "markdown_toc", "--insert", "--file", file)
    assert call(*insert, writes=(file,)) == {"headings": 1, "changed": True}
    once = file.read_bytes()
    assert once == (
        b"# Title\r\n\r\n<!-- toc -->\r\n\r\n- [One](#one)\r\n\r\n<!-- tocstop -->\r\n\r\nText.\r\n\r\n## One\r\n"
    )
    assert call(*insert, writes=(file,)) == {"headings": 1, "changed": False}
    file.write_bytes(once + b"## Two\r\n")
    assert call(*insert, writes=(file,)) == {"headings": 2, "changed": True}
    assert b"- [One](#one)\r\n- [Two](#two)\r\n\r\n<!-- tocstop -->" in file.read_bytes()


def test_two_names_of_one_file_and_links_are_no_duplicates(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("same")
    os.link(tmp_path / "a", tmp_path / "b")
    (tmp_path / "c").symlink_to("a")
    found = call("duplicate-finder", "find_duplicates", "--folder", tmp_path, reads=(tmp_path,))
    assert (found["files"], found["groups"]) == (1, [])


def test_files_that_differ_behind_their_beginning_are_told_apart(tmp_path: Path) -> None:
    for name, last in (("a", b"1"), ("b", b"2"), (b"odd\xff".decode("utf-8", "surrogateescape"), b"2")):
        (tmp_path / name).write_bytes(b"\0" * 200_000 + last)
    found = call("duplicate-finder", "find_duplicates", "--folder", tmp_path, reads=(tmp_path,))
    assert [group["names"] for group in found["groups"]] == [["b", "odd\\xff"]]


# --- pictures, PDF --------------------------------------------------------------------------------------------------


def photo(path: Path) -> None:
    """A photo with its place, made by the Pillow of the system."""
    made = (
        "import sys; from PIL import Image; e = Image.Exif(); e[0x112] = 6; e[0x110] = 'Camera';"
        "e[0x8825] = {1: 'N'}; Image.new('RGB', (800, 400), 'red').save(sys.argv[1], 'JPEG', exif=e)"
    )
    subprocess.run(["/usr/bin/python3", "-c", made, str(path)], check=True)


def test_a_thumbnail_is_upright_and_says_nothing_of_place_or_camera(tmp_path: Path) -> None:
    photo(tmp_path / "photo.jpg")
    about = call("image-info", "image_info", "--file", tmp_path / "photo.jpg", reads=(tmp_path,))
    assert about["has_place"] and (about["camera"], about["turned"]) == ("Camera", 90)
    for ending in ("jpg", "png", "webp"):
        small = tmp_path / f"small.{ending}"
        made = call(
            "image-thumbnail", "make_thumbnail", "--file", tmp_path / "photo.jpg", "--output", small, "--size", 100,
            writes=(tmp_path,),
        )  # fmt: skip
        assert (made["width"], made["height"]) == (50, 100)
        assert b"Exif" not in small.read_bytes() and b"Camera" not in small.read_bytes()


def test_a_picture_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    head = struct.pack(">4sIIBBBBB", b"IHDR", 60_000, 60_000, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    (tmp_path / "bomb.png").write_bytes(png + struct.pack(">I4s", 0, b"IDAT") + struct.pack(">I", zlib.crc32(b"IDAT")))
    said = call(
        "image-thumbnail", "make_thumbnail", "--file", tmp_path / "bomb.png", "--output", tmp_path / "a.png",
        writes=(tmp_path,),
    )  # fmt: skip
    assert "more than 50 million pixels" in said and not (tmp_path / "a.png").exists()


@pytest.mark.parametrize("length", [2, 3, 10, 20, 24, 60, 150, 400])
def test_a_damaged_picture_is_one_line(tmp_path: Path, length: int) -> None:
    photo(tmp_path / "photo.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "photo.jpg").read_bytes()[:length])
    found = call("image-info", "image_info", "--file", tmp_path / "cut.jpg", reads=(tmp_path,))
    assert isinstance(found, dict) or "cut.jpg" in found


def test_a_page_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_text(
        "%PDF-1.4\n1 0 obj <</Type /Catalog /Pages 2 0 R>> endobj\n"
        "2 0 obj <</Type /Pages /Kids [3 0 R] /Count 1>> endobj\n"
        "3 0 obj <</Type /Page /Parent 2 0 R>> endobj\ntrailer <</Root 1 0 R>>\n"
    )
    said = call("pdf-text", "pdf_text", "--file", tmp_path / "a.pdf", "--page", 9, reads=(tmp_path,))
    assert "there is no page 9" in said


# --- the machine ----------------------------------------------------------------------------------------------------


def test_health_shows_sensors_only_where_their_folders_are_granted() -> None:
    granted = tuple(path for path in (Path("/sys/class"), Path("/sys/devices")) if path.is_dir())
    found = call("system-health", "system_health", reads=granted)
    assert found["memory_total_mb"] >= found["memory_available_mb"] > 0 and found["cores"] >= 1
    zones = list(Path("/sys/class/thermal").glob("thermal_zone*/temp"))
    assert ("temperature_c" in found) == bool(zones)
    assert "temperature_c" not in call("system-health", "system_health")


def test_what_linux_and_macos_print_is_understood() -> None:
    health = module("system-health", "system_health")
    assert health.memory_of("MemTotal:  2000 kB\nMemAvailable:  1000 kB\n") == {"MemTotal": 2048, "MemAvailable": 1024}
    assert health.busy_percent("cpu  10 0 10 100 0 0 0 0\n", "cpu  20 0 20 180 0 0 0 0\n") == 20.0
    vm_stat = (
        "Mach Virtual Memory Statistics: (page size of 16384 bytes)\nPages free:    10.\nPages active:   7.\n"
        "Pages inactive:   5.\nPages speculative:   1.\nPages purgeable:   0.\n"
    )
    assert health.pages_of(vm_stat) == 16 * 16384


# --- all of them ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", sorted(SKILLS.glob("*/SKILL.md")), ids=lambda path: path.parent.name)
def test_they_pass_the_reference_validator(folder: Path) -> None:
    assert skills_ref.validate(folder.parent) == []


def test_scripts_run_with_the_python_of_older_systems() -> None:
    scripts = list(SKILLS.glob("*/scripts/*.py"))
    assert scripts
    for script in scripts:
        ast.parse(script.read_text(), feature_version=(3, 9))
        assert "file_digest" not in script.read_text(), "new in 3.11"


def test_a_skill_that_lacks_its_program_or_module_says_so(tmp_path: Path) -> None:
    pdf = read_skill(SKILLS / "pdf-text").requirements
    assert pdf.missing(which=lambda name: None) == ("the program pdftotext",)
    assert pdf.missing(which=shutil.which) == ()
    pictures = read_skill(SKILLS / "image-thumbnail").requirements
    assert pictures.missing(has_module=lambda name: False) == ("the Python module PIL",)
