"""Reading tools: what they show, how much, and what they refuse."""

from __future__ import annotations

import os
import resource
import socket
from pathlib import Path

import pytest
from tools_world import World

from edgeagent.tools import reading


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def read(world: World, content: bytes | None = None, **arguments: object) -> str:
    path = world.granted / "f.txt"
    if content is not None:
        path.write_bytes(content)
    return world.call("read_file", path=path, **arguments).text


def test_a_text_is_read_as_it_is(world: World) -> None:
    assert read(world, "Grüße\nzwei\n".encode()) == "Grüße\nzwei\n"


def test_the_home_sign_is_understood(world: World) -> None:
    (world.granted / "f.txt").write_text("x")
    assert world.call("read_file", path="~/granted/f.txt").text == "x"


def test_an_empty_file_says_so(world: World) -> None:
    assert read(world, b"") == "(empty)"
    assert read(world, b"", tail=3) == "(empty)"


def test_broken_utf8_is_replaced_and_a_byte_order_mark_dropped(world: World) -> None:
    assert read(world, b"\xef\xbb\xbfa\xff") == "a\ufffd"


def test_a_binary_file_is_called_binary(world: World) -> None:
    assert read(world, b"\x7fELF\0\0").startswith("error: not text but binary: ")


def test_head_and_tail_give_whole_lines(world: World) -> None:
    assert read(world, b"1\n2\n3\n4\n", head=2) == "1\n2\n"
    assert read(world, tail=2) == "3\n4\n"
    assert read(world, head=9) == read(world, tail=9) == "1\n2\n3\n4\n"


def test_a_long_text_is_cut_and_says_how_much_is_missing(world: World) -> None:
    world.limit = 10
    assert read(world, b"x" * 25) == "xxxxxxxxxx\n[cut: 15 more characters]"
    assert read(world, "é".encode() * 1000) == "é" * 10 + "\n[cut: 1980 more bytes]"
    assert read(world, b"a\n" * 100, tail=50) == "[cut: the beginning of these lines]\n" + "a\n" * 5


def test_a_character_that_the_limit_cuts_in_two_is_not_shown_broken(world: World) -> None:
    world.limit = 3
    assert "\ufffd" not in read(world, "a€€€€€€€€€€€€€€€".encode())


def test_two_gigabytes_are_not_loaded(world: World) -> None:
    path = world.granted / "big.log"
    with path.open("wb") as file:
        file.write(b"first\n")
        file.truncate(2 << 30)
        file.seek(0, os.SEEK_END)
        file.write(b"\nlast\n")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert world.call("read_file", path=path).status == "error"  # a hole is zeros
    world.limit = 6
    assert world.call("read_file", path=path, tail=1).status == "error"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def test_a_file_that_reports_no_size_is_read(world: World) -> None:
    world.readable = Path("/proc/loadavg")
    assert len(world.call("read_file", path="/proc/loadavg").text.split()) == 5
    assert len(world.call("read_file", path="/proc/loadavg", tail=1).text.split()) == 5
    assert len(world.call("read_file", path="/proc/loadavg", head=1).text.split()) == 5


@pytest.mark.parametrize("kind", ["folder", "pipe", "socket"])
def test_what_is_no_file_is_refused_without_waiting(world: World, kind: str) -> None:
    path = world.granted / "odd"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    assert world.call("read_file", path=path).status == "error"
    assert world.call("write_file", path=path, content="x").text == f"error: not a file but a {kind}: {path}"
    assert world.call("append_file", path=path, content="x").text == f"error: not a file but a {kind}: {path}"


def test_a_device_is_refused(world: World) -> None:
    world.readable = Path("/dev/zero")
    assert world.call("read_file", path="/dev/zero").text == "error: not a file but a device: /dev/zero"


def test_what_is_missing_or_below_a_file_is_said(world: World) -> None:
    (world.granted / "f").write_text("x")
    assert world.call("read_file", path=world.granted / "no").text == f"error: not found: {world.granted}/no"
    assert world.call("read_file", path=world.granted / "f/x").text == f"error: not a folder: {world.granted}/f"
    assert world.call("list_directory", path=world.granted / "f").text == f"error: not a folder: {world.granted}/f"


def test_a_link_swapped_in_after_the_plan_is_not_followed(world: World) -> None:
    (world.secret / "f").write_text("secret")
    (world.granted / "sub").mkdir()
    (world.granted / "sub/f").write_text("open")
    file_plan = world.plan("read_file", path=world.granted / "sub/f")
    list_plan = world.plan("list_directory", path=world.granted / "sub")
    (world.granted / "sub").rename(world.granted / "old")
    (world.granted / "sub").symlink_to(world.secret)
    assert world.apply(file_plan).text == f"error: is a link now: {world.granted}/sub"
    assert world.apply(list_plan).text == f"error: is a link now: {world.granted}/sub"
    (world.granted / "sub").unlink()
    (world.granted / "sub").mkdir()
    (world.granted / "sub/f").symlink_to(world.secret / "f")
    assert world.apply(file_plan).text == f"error: is a link now: {world.granted}/sub/f"


def test_a_loop_of_links_is_an_error(world: World) -> None:
    (world.granted / "loop").symlink_to(world.granted / "loop")
    assert world.call("read_file", path=world.granted / "loop").status == "error"


def test_a_folder_is_listed_in_order_with_odd_names_escaped(world: World) -> None:
    (world.granted / "sub").mkdir()
    for name in ("b.txt", "a\n[DIR] fake", "caf\udce9", 'q"uote'):
        (world.granted / name).write_text("")
    (world.granted / "link").symlink_to(world.secret)
    assert world.call("list_directory", path=world.granted).text.split("\n") == [
        "[FILE] a\\n[DIR] fake",
        "[FILE] b.txt",
        "[FILE] caf\\udce9",
        "[FILE] link",
        '[FILE] q"uote',
        "[DIR] sub",
    ]


def test_an_empty_folder_says_so(world: World) -> None:
    assert world.call("list_directory", path=world.granted).text == "(empty)"


def test_a_long_list_is_cut_at_whole_lines_and_counted(world: World) -> None:
    world.limit = 30
    for number in range(10):
        (world.granted / f"{number}.txt").write_text("")
    text = world.call("list_directory", path=world.granted).text
    assert text == "[FILE] 0.txt\n[FILE] 1.txt\n[cut: 8 more]"


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.pdf", ["a.pdf", "x/b.PDF"]),
        ("*.md", ["x/y/c.md"]),
        ("**/*.md", ["x/y/c.md"]),
        ("x/*", ["x/b.PDF", "x/y/c.md"]),
        ("B.p", ["x/b.PDF"]),
        ("nothing", []),
    ],
)
def test_files_are_found_by_pattern(world: World, pattern: str, names: list[str]) -> None:
    (world.granted / "x/y").mkdir(parents=True)
    for name in ("a.pdf", "x/b.PDF", "x/y/c.md"):
        (world.granted / name).write_text("")
    expected = "\n".join(str(world.granted / name) for name in names) or "no files found"
    assert world.call("search_files", path=world.granted, pattern=pattern).text == expected


def test_a_search_does_not_follow_links_and_reaches_very_deep_folders(world: World) -> None:
    (world.secret / "s.txt").write_text("")
    (world.granted / "out").symlink_to(world.secret)
    deepest = world.granted.joinpath(*(["d"] * 300))
    deepest.mkdir(parents=True)
    (deepest / "s.txt").write_text("")
    assert world.call("search_files", path=world.granted, pattern="s.txt").text == str(deepest / "s.txt")


def test_a_search_gives_up_at_its_limit_and_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_VISITED", 3)
    for number in range(5):
        (world.granted / f"{number}.txt").write_text("")
    assert world.call("search_files", path=world.granted, pattern="*").text.endswith("[stopped after 3 entries]")


def test_file_information_says_kind_size_and_times(world: World) -> None:
    path = world.granted / "f"
    path.write_text("x")
    os.utime(path, (0, 1_800_000_000))
    assert world.call("get_file_info", path=path).text == (
        "kind: file\nsize: 1 byte\nmodified: 2027-01-15T08:00:00Z\naccessed: 1970-01-01T00:00:00Z"
    )
    assert world.call("get_file_info", path=world.granted).text.startswith("kind: folder")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_no_permission(world: World) -> None:
    (world.granted / "f").write_text("x")
    (world.granted / "f").chmod(0)
    assert world.call("read_file", path=world.granted / "f").text == f"error: no permission: {world.granted}/f"
