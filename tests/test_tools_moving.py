"""move_file and delete_file: to where it was said, never over anything, and back out of the trash."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
from tools_world import World, without_rename_noreplace

from edgeagent.tools import atomic


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    (world.granted / "a").write_text("text")
    return world


@pytest.fixture
def elsewhere(world: World) -> Iterator[Path]:
    """A granted folder on another device."""
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == world.root.stat().st_dev:
        pytest.skip("there is no second device here")
    with tempfile.TemporaryDirectory(dir=shm) as folder:
        world.more_roots = (Path(folder),)
        yield Path(folder)


def move(world: World, source: object, destination: object) -> str:
    return world.call("move_file", source=source, destination=destination).text


def test_a_file_is_moved_and_its_new_folder_made(world: World) -> None:
    assert move(world, world.granted / "a", world.granted / "x/b") == f"moved to {world.granted}/x/b"
    assert (world.granted / "x/b").read_text() == "text"
    assert not (world.granted / "a").exists()


def test_an_existing_folder_or_a_slash_means_into_it(world: World) -> None:
    (world.granted / "box").mkdir()
    assert move(world, world.granted / "a", world.granted / "box") == f"moved to {world.granted}/box/a"
    assert move(world, world.granted / "box/a", f"{world.granted}/new/") == f"moved to {world.granted}/new/a"


def test_an_existing_destination_is_never_overwritten(world: World) -> None:
    (world.granted / "b").write_text("other")
    assert move(world, world.granted / "a", world.granted / "b") == f"error: destination exists: {world.granted}/b"
    assert (world.granted / "b").read_text() == "other"
    assert (world.granted / "a").exists()


def test_a_dangling_link_at_the_destination_counts_as_existing(world: World) -> None:
    (world.granted / "b").symlink_to(world.granted / "nowhere")
    assert move(world, world.granted / "a", world.granted / "b") == f"error: destination exists: {world.granted}/b"


def test_a_file_is_not_moved_onto_itself(world: World) -> None:
    assert move(world, world.granted / "a", world.granted / "a") == f"error: destination exists: {world.granted}/a"
    assert move(world, world.granted / "a", world.granted) == f"error: destination exists: {world.granted}/a"


@pytest.mark.parametrize("noreplace", [True, False])
def test_a_destination_that_came_after_the_plan_is_not_overwritten(
    world: World, monkeypatch: pytest.MonkeyPatch, noreplace: bool
) -> None:
    if not noreplace:
        monkeypatch.setattr(atomic, "_system_rename", lambda: without_rename_noreplace)
    plan = world.plan("move_file", source=world.granted / "a", destination=world.granted / "b")
    (world.granted / "b").write_text("other")
    assert world.apply(plan).text == f"error: destination exists: {world.granted}/b"
    assert (world.granted / "b").read_text() == "other"


def test_a_file_system_without_noreplace_moves_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic, "_system_rename", lambda: without_rename_noreplace)
    (world.granted / "box").mkdir()
    assert move(world, world.granted / "a", world.granted / "b") == f"moved to {world.granted}/b"
    assert move(world, world.granted / "box", world.granted / "chest") == f"moved to {world.granted}/chest"
    assert sorted(os.listdir(world.granted)) == ["b", "chest"]


def test_a_missing_source_is_said(world: World) -> None:
    assert move(world, world.granted / "no", world.granted / "b") == f"error: not found: {world.granted}/no"


def test_a_source_that_vanished_or_was_replaced_after_the_plan_is_said(world: World) -> None:
    plan = world.plan("move_file", source=world.granted / "a", destination=world.granted / "b")
    (world.granted / "new").write_text("new")
    (world.granted / "new").replace(world.granted / "a")
    assert world.apply(plan).text == f"error: changed meanwhile: {world.granted}/a"
    (world.granted / "a").unlink()
    assert world.apply(plan).text == f"error: not found: {world.granted}/a"
    assert os.listdir(world.granted) == []


def test_a_path_through_a_file_is_refused(world: World) -> None:
    (world.granted / "f").write_text("")
    assert move(world, world.granted / "a", world.granted / "f/b") == f"error: not a folder: {world.granted}/f"


def test_nothing_moves_out_of_the_grants_or_into_them(world: World) -> None:
    (world.secret / "s").write_text("s")
    (world.readable / "r").write_text("r")
    for source, destination in (
        (world.granted / "a", world.secret),
        (world.granted / "a", world.readable / "a"),
        (world.secret / "s", world.granted / "s"),
        (world.readable / "r", world.granted / "r"),
        (f"{world.granted}/../secret/s", world.granted),
    ):
        assert move(world, source, destination).startswith("denied: may not write ")
    assert os.listdir(world.granted) == ["a"]


def test_a_folder_linked_to_the_outside_is_no_destination(world: World) -> None:
    (world.granted / "box").symlink_to(world.secret)
    assert move(world, world.granted / "a", world.granted / "box").startswith("denied: ")
    assert move(world, world.granted / "a", world.granted / "box/b").startswith("denied: ")


def test_a_destination_folder_swapped_for_a_link_is_not_followed(world: World) -> None:
    (world.granted / "box").mkdir()
    plan = world.plan("move_file", source=world.granted / "a", destination=world.granted / "box")
    (world.granted / "box").rmdir()
    (world.granted / "box").symlink_to(world.secret)
    assert world.apply(plan).text == f"error: is a link now: {world.granted}/box"
    assert os.listdir(world.secret) == []


def test_a_link_is_moved_as_a_link_and_what_it_names_stays(world: World) -> None:
    (world.secret / "s").write_text("s")
    (world.granted / "link").symlink_to(world.secret / "s")
    assert move(world, world.granted / "link", world.granted / "other").startswith("moved to ")
    assert (world.granted / "other").is_symlink()
    assert (world.secret / "s").read_text() == "s"


def test_a_folder_moves_but_not_into_itself_and_the_granted_one_stays(world: World) -> None:
    (world.granted / "box").mkdir()
    assert move(world, world.granted / "box", world.granted / "box/in").startswith("error: cannot move a folder into")
    assert move(world, world.granted, world.granted / "box").startswith("error: the granted folder itself must stay")
    assert move(world, world.granted / "box", world.granted / "chest") == f"moved to {world.granted}/chest"


@pytest.mark.parametrize("name", ["new\nline", 'quo"te', "caf\udce9", "-x", "ü"])
def test_odd_names_move_and_are_deleted(world: World, name: str) -> None:
    source = f"{world.granted}/{name}"
    (world.granted / name).write_text("")
    assert world.call("move_file", source=source, destination=f"{world.granted}/box/").is_ok
    assert world.call("delete_file", path=f"{world.granted}/box/{name}").is_ok


def test_a_file_moves_to_another_device_with_its_time_and_permissions(world: World, elsewhere: Path) -> None:
    (world.granted / "a").chmod(0o640)
    os.utime(world.granted / "a", ns=(1, 1_700_000_000_123_456_789))
    assert move(world, world.granted / "a", elsewhere) == f"moved to {elsewhere}/a"
    found = (elsewhere / "a").stat()
    assert (found.st_mode & 0o777, found.st_mtime_ns) == (0o640, 1_700_000_000_123_456_789)
    assert (elsewhere / "a").read_text() == "text"
    assert os.listdir(elsewhere) == ["a"]
    assert os.listdir(world.granted) == []


def test_a_sparse_file_moves_to_another_device_and_stays_sparse(world: World, elsewhere: Path) -> None:
    with (world.granted / "big").open("wb") as file:
        file.write(b"head")
        file.truncate(256 << 20)
    assert move(world, world.granted / "big", elsewhere) == f"moved to {elsewhere}/big"
    found = (elsewhere / "big").stat()
    assert found.st_size == 256 << 20
    assert found.st_blocks * 512 < 4 << 20


def test_a_link_moves_to_another_device_as_a_link_and_a_folder_is_refused(world: World, elsewhere: Path) -> None:
    (world.granted / "link").symlink_to("a")
    (world.granted / "box").mkdir()
    assert move(world, world.granted / "link", elsewhere) == f"moved to {elsewhere}/link"
    assert (elsewhere / "link").readlink() == Path("a")
    assert move(world, world.granted / "box", elsewhere) == "error: a folder cannot move to another device"


def test_an_existing_file_on_another_device_is_never_overwritten(world: World, elsewhere: Path) -> None:
    plan = world.plan("move_file", source=world.granted / "a", destination=elsewhere / "a")
    (elsewhere / "a").write_text("other")
    assert world.apply(plan).text == f"error: destination exists: {elsewhere}/a"
    assert os.listdir(elsewhere) == ["a"]
    assert (world.granted / "a").read_text() == "text"


def test_a_deleted_file_is_in_the_trash_and_says_where_it_came_from(world: World) -> None:
    path = world.granted / "a b%\n\udcff"
    path.write_text("keep me")
    assert world.call("delete_file", path=path).text == f"put in the trash: {world.granted}/a b%\\n\\udcff"
    assert not path.exists()
    (kept,) = (world.trash / "files").iterdir()
    assert kept.read_text() == "keep me"
    info = (world.trash / "info" / f"{kept.name}.trashinfo").read_text()
    assert info.splitlines()[0] == "[Trash Info]"
    assert unquote_to_bytes(info.splitlines()[1].removeprefix("Path=")) == os.fsencode(path)
    assert info.splitlines()[2] == "DeletionDate=2026-11-24T07:00:00.000Z"


def test_two_files_of_one_name_both_fit_in_the_trash(world: World) -> None:
    for text in ("one", "two"):
        (world.granted / "a").write_text(text)
        assert world.call("delete_file", path=world.granted / "a").is_ok
    assert sorted(path.read_text() for path in (world.trash / "files").iterdir()) == ["one", "two"]


def test_a_very_long_name_fits_in_the_trash(world: World) -> None:
    path = world.granted / ("é" * 127)
    path.write_text("")
    assert world.call("delete_file", path=path).is_ok


def test_folders_missing_files_and_the_granted_folder_are_not_deleted(world: World) -> None:
    (world.granted / "box").mkdir()
    assert world.call("delete_file", path=world.granted / "box").text == f"error: is a folder: {world.granted}/box"
    assert world.call("delete_file", path=world.granted / "no").text == f"error: not found: {world.granted}/no"
    assert world.call("delete_file", path=world.granted).status == "error"


def test_deleting_a_link_leaves_what_it_names(world: World) -> None:
    (world.secret / "s").write_text("s")
    (world.granted / "link").symlink_to(world.secret / "s")
    assert world.call("delete_file", path=world.granted / "link").is_ok
    assert (world.secret / "s").exists()
    assert not (world.granted / "link").is_symlink()


def test_a_file_is_deleted_from_another_device(world: World, elsewhere: Path) -> None:
    (elsewhere / "x").write_text("far")
    assert world.call("delete_file", path=elsewhere / "x").is_ok
    (kept,) = (world.trash / "files").iterdir()
    assert kept.read_text() == "far"
    assert os.listdir(elsewhere) == []


def test_a_new_file_at_the_old_place_is_left_alone_when_a_moved_call_is_resumed(world: World) -> None:
    plan = world.plan("move_file", source=world.granted / "a", destination=world.granted / "b")
    world.apply(plan)
    (world.granted / "a").write_text("dropped again")
    assert world.resume(plan).text == f"moved to {world.granted}/b"
    assert (world.granted / "a").read_text() == "dropped again"
    assert (world.granted / "b").read_text() == "text"
