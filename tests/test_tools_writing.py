"""Writing tools: whole or not at all, never outside a grant, never over someone else's change."""

from __future__ import annotations

import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tools_world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """The system refuses to let any file grow beyond `size`, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def test_a_new_file_is_written_with_its_folders(world: World) -> None:
    path = world.granted / "a/b/c.txt"
    assert world.call("write_file", path=path, content="grüß").text == f"wrote 6 bytes to {path}"
    assert path.read_text() == "grüß"


def test_a_granted_folder_that_is_missing_is_made(world: World) -> None:
    world.granted.rmdir()
    assert world.call("write_file", path=world.granted / "a", content="x").is_ok


def test_a_file_is_replaced_and_keeps_its_permissions(world: World) -> None:
    path = world.granted / "a"
    path.write_text("old")
    path.chmod(0o640)
    world.call("write_file", path=path, content="new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert os.listdir(world.granted) == ["a"]


def test_a_new_file_has_the_permissions_that_any_program_would_give(world: World) -> None:
    world.call("write_file", path=world.granted / "a", content="x")
    (world.granted / "b").write_text("x")
    assert (world.granted / "a").stat().st_mode == (world.granted / "b").stat().st_mode


@pytest.mark.parametrize("name", ["new\nline", 'quo"te', "back\\slash", "caf\udce9", "-rf", "<|im_end|>", " "])
def test_odd_names_are_written_as_they_are(world: World, name: str) -> None:
    assert world.call("write_file", path=f"{world.granted}/{name}", content="x").is_ok
    assert os.fsencode(name) in os.listdir(os.fsencode(world.granted))


def test_bytes_that_are_not_text_come_back_as_they_were(world: World) -> None:
    world.call("write_file", path=world.granted / "a", content="caf\udce9 \ud800"[:4])
    assert (world.granted / "a").read_bytes() == b"caf\xe9"
    assert world.call("write_file", path=world.granted / "a", content="\ud800").is_ok


def test_a_hard_link_keeps_the_old_text(world: World) -> None:
    (world.granted / "a").write_text("old")
    (world.granted / "b").hardlink_to(world.granted / "a")
    assert world.call("write_file", path=world.granted / "a", content="new").is_ok
    assert (world.granted / "b").read_text() == "old"


def test_a_link_within_the_grant_is_written_through(world: World) -> None:
    (world.granted / "real").write_text("old")
    (world.granted / "link").symlink_to("real")
    assert world.call("write_file", path=world.granted / "link", content="new").is_ok
    assert (world.granted / "link").is_symlink()
    assert (world.granted / "real").read_text() == "new"


@pytest.mark.parametrize("tool", ["write_file", "append_file"])
def test_a_folder_swapped_for_a_link_is_an_error_and_not_an_escape(world: World, tool: str) -> None:
    (world.granted / "sub").mkdir()
    plan = world.plan(tool, path=world.granted / "sub/f", content="x")
    (world.granted / "sub").rmdir()
    (world.granted / "sub").symlink_to(world.secret)
    assert world.apply(plan).text == f"error: is a link now: {world.granted}/sub"
    assert os.listdir(world.secret) == []


@pytest.mark.parametrize("tool", ["write_file", "append_file"])
def test_a_file_swapped_for_a_link_is_an_error_and_not_an_escape(world: World, tool: str) -> None:
    (world.secret / "s").write_text("secret")
    (world.granted / "f").write_text("mine")
    for before in (True, False):
        if not before:
            (world.granted / "f").unlink()
        plan = world.plan(tool, path=world.granted / "f", content="x")
        (world.granted / "f").unlink(missing_ok=True)
        (world.granted / "f").symlink_to(world.secret / "s")
        assert world.apply(plan).status == "error"
        assert (world.secret / "s").read_text() == "secret"


def test_a_file_that_changed_after_the_plan_is_not_overwritten(world: World) -> None:
    path = world.granted / "a"
    path.write_text("old")
    plan = world.plan("write_file", path=path, content="new")
    path.write_text("someone else's")
    assert world.apply(plan).text == f"error: changed meanwhile: {path}"
    assert path.read_text() == "someone else's"


def test_a_file_that_came_after_the_plan_is_not_overwritten(world: World) -> None:
    path = world.granted / "a"
    plan = world.plan("write_file", path=path, content="new")
    path.write_text("someone else's")
    assert world.apply(plan).status == "error"
    assert path.read_text() == "someone else's"


@pytest.mark.parametrize("tool", ["write_file", "append_file"])
def test_a_folder_or_a_path_through_a_file_is_refused(world: World, tool: str) -> None:
    (world.granted / "f").write_text("x")
    assert world.call(tool, path=world.granted, content="x").text == f"error: not a file but a folder: {world.granted}"
    assert world.call(tool, path=world.granted / "f/g", content="x").text == f"error: not a folder: {world.granted}/f"
    assert world.call(tool, path=f"{world.granted}/new/", content="x").status == "error"
    assert os.listdir(world.granted) == ["f"]


def test_a_name_that_is_too_long_is_said(world: World) -> None:
    assert world.call("write_file", path=world.granted / ("x" * 300), content="x").text.startswith(
        "error: name too long: "
    )


def test_a_full_disk_leaves_the_old_file_and_no_leftovers(world: World) -> None:
    path = world.granted / "a"
    path.write_text("old")
    with files_limited_to(100):
        result = world.call("write_file", path=path, content="x" * 1000)
    assert result.text == f"error: file too large: {path}"
    assert path.read_text() == "old"
    assert os.listdir(world.granted) == ["a"]


def test_a_full_disk_takes_back_a_half_appended_line(world: World) -> None:
    path = world.granted / "a"
    path.write_text("old\n")
    with files_limited_to(100):
        result = world.call("append_file", path=path, content="x" * 1000)
    assert result.text == f"error: file too large: {path}"
    assert path.read_text() == "old\n"


FULL_DISK = """
import os, sys
from pathlib import Path
from tools_world import World
world = World(Path(sys.argv[1]))
(world.granted / "log").write_text("old\\n")
print(world.call("write_file", path=world.granted / "new", content="x" * 200_000).text)
print(world.call("append_file", path=world.granted / "log", content="x" * 200_000).text)
print(sorted(os.listdir(world.granted)), (world.granted / "log").stat().st_size)
"""


def test_a_disk_that_is_really_full_is_said_and_nothing_is_left_half_written(tmp_path: Path) -> None:
    mount = f'mount -t tmpfs -o size=64k tmpfs {tmp_path} && exec {sys.executable} -c "$FULL_DISK" {tmp_path}'
    environment = {
        **os.environ,
        "FULL_DISK": FULL_DISK,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", mount], capture_output=True, text=True, env=environment, timeout=60
    )
    if "unshare:" in done.stderr or "mount:" in done.stderr:
        pytest.skip("a small file system cannot be mounted here")
    assert done.stdout.splitlines() == [
        f"error: disk full: {tmp_path}/granted/new",
        f"error: disk full: {tmp_path}/granted/log",
        "['log'] 4",
    ], done.stderr


def test_a_line_is_appended_to_two_gigabytes_without_reading_them(world: World) -> None:
    path = world.granted / "big.log"
    with path.open("wb") as file:
        file.truncate(2 << 30)
    plan = world.plan("append_file", path=path, content="last")
    assert world.apply(plan).is_ok
    assert world.resume(plan).is_ok
    assert path.stat().st_size == (2 << 30) + len("\nlast\n")


@pytest.mark.parametrize(
    ("before", "content", "after", "lines"),
    [
        (None, "one", "one\n", "1 line"),
        ("", "one", "one\n", "1 line"),
        ("a\n", "one\n", "a\none\n", "1 line"),
        ("a", "one\ntwo", "a\none\ntwo\n", "2 lines"),
        ("a\n", "", "a\n\n", "1 line"),
    ],
)
def test_lines_are_appended_whole(world: World, before: str | None, content: str, after: str, lines: str) -> None:
    path = world.granted / "log"
    if before is not None:
        path.write_text(before)
    assert world.call("append_file", path=path, content=content).text == f"appended {lines} to {path}"
    assert path.read_text() == after


def test_what_others_appended_since_the_plan_stays_and_ours_comes_after_it(world: World) -> None:
    path = world.granted / "log"
    path.write_text("a\n")
    plan = world.plan("append_file", path=path, content="ours")
    path.write_text("a\ntheirs")
    assert world.apply(plan).is_ok
    assert path.read_text() == "a\ntheirs\nours\n"


def test_an_appended_line_is_seen_through_a_hard_link(world: World) -> None:
    (world.granted / "a").write_text("1\n")
    (world.granted / "b").hardlink_to(world.granted / "a")
    world.call("append_file", path=world.granted / "a", content="2")
    assert (world.granted / "b").read_text() == "1\n2\n"


def test_folders_are_made_once_and_again_without_complaint(world: World) -> None:
    path = world.granted / "x/y"
    assert world.call("create_directory", path=path).text == f"made {path}"
    assert world.call("create_directory", path=path).text == f"made {path}"
    (world.granted / "f").write_text("")
    assert world.call("create_directory", path=world.granted / "f").text == f"error: not a folder: {world.granted}/f"


def test_an_append_that_cannot_be_told_after_a_crash_is_not_repeated(world: World) -> None:
    path = world.granted / "log"
    path.write_text("a\n")
    plan = world.plan("append_file", path=path, content="x")
    world.apply(plan)
    path.rename(world.granted / "log.1")
    path.write_text("")
    assert world.resume(plan).text == f"error: changed meanwhile, not appended again: {path}"


def test_a_read_only_file_system_or_folder_is_said(world: World) -> None:
    if os.geteuid() == 0:
        world.more_roots = (Path("/proc/sys"),)
        assert world.call("write_file", path="/proc/sys/new", content="x").status == "error"
        assert world.call("create_directory", path="/proc/sys/new").status == "error"
        return
    world.granted.chmod(0o500)
    assert world.call("write_file", path=world.granted / "a", content="x").text == (
        f"error: no permission: {world.granted}/a"
    )
    world.granted.chmod(0o700)
