"""Killed between any two system calls and taken up again, a call is carried out exactly once.

Each test runs the call in a process of its own that is killed with SIGKILL at its first, second, third ... system
call, then resumes the stored plan as a restarted daemon would.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from tools_world import World, finished_before_kill, without_rename_noreplace

from edgeagent.tools import atomic
from edgeagent.tools.base import Plan

MOST_CALLS = 400


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second device here")
    with tempfile.TemporaryDirectory(dir=shm) as folder:
        yield Path(folder)


def each_kill(make: Callable[[int], World], plan: Callable[[World], Plan], check: Callable[[World], None]) -> None:
    """Kills at every point; then once more with the resumption killed at the same point and resumed again."""
    for at in count(1):
        assert at < MOST_CALLS
        world = make(at)
        planned = plan(world)
        finished = finished_before_kill(at, lambda w=world, p=planned: w.apply(p))  # type: ignore[misc]
        if not finished:
            finished_before_kill(at, lambda w=world, p=planned: w.resume(p))  # type: ignore[misc]
        result = world.resume(planned)
        assert result.is_ok, (at, result.text)
        check(world)
        assert not list(world.root.rglob("*.part")), at
        assert world.own, at
        if finished:
            assert at > 5
            return


@pytest.mark.parametrize("before", [None, "old"])
def test_write_file(tmp_path: Path, before: str | None) -> None:
    def make(at: int) -> World:
        world = World(tmp_path / str(at))
        if before:
            (world.granted / "f").write_text(before)
        return world

    def check(world: World) -> None:
        assert (world.granted / "f").read_text() == "new text"

    each_kill(make, lambda world: world.plan("write_file", path=world.granted / "f", content="new text"), check)


def test_write_file_into_new_folders(tmp_path: Path) -> None:
    each_kill(
        lambda at: World(tmp_path / str(at)),
        lambda world: world.plan("write_file", path=world.granted / "a/b/f", content="new"),
        lambda world: assert_tree(world.granted, {"a/b/f": "new"}),
    )


@pytest.mark.parametrize("before", [None, "", "old\n", "old"])
def test_append_file(tmp_path: Path, before: str | None) -> None:
    def make(at: int) -> World:
        world = World(tmp_path / str(at))
        if before is not None:
            (world.granted / "f").write_text(before)
        return world

    expected = (f"{before.rstrip()}\n" if before else "") + "one\ntwo\n"
    each_kill(
        make,
        lambda world: world.plan("append_file", path=world.granted / "f", content="one\ntwo"),
        lambda world: assert_tree(world.granted, {"f": expected}),
    )


def test_create_directory(tmp_path: Path) -> None:
    each_kill(
        lambda at: World(tmp_path / str(at)),
        lambda world: world.plan("create_directory", path=world.granted / "a/b"),
        lambda world: assert_is_folder(world.granted / "a/b"),
    )


def with_a_file(path: Path) -> World:
    world = World(path)
    (world.granted / "f").write_text("text")
    return world


@pytest.mark.parametrize("noreplace", [True, False])
def test_move_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noreplace: bool) -> None:
    if not noreplace:
        monkeypatch.setattr(atomic, "_system_rename", lambda: without_rename_noreplace)
    each_kill(
        lambda at: with_a_file(tmp_path / str(at)),
        lambda world: world.plan("move_file", source=world.granted / "f", destination=world.granted / "a/g"),
        lambda world: assert_tree(world.granted, {"a/g": "text"}),
    )


@pytest.mark.parametrize("noreplace", [True, False])
def test_move_file_to_another_device(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, noreplace: bool
) -> None:
    if not noreplace:
        monkeypatch.setattr(atomic, "_system_rename", lambda: without_rename_noreplace)

    def make(at: int) -> World:
        world = with_a_file(tmp_path / str(at))
        world.more_roots = (elsewhere / str(at),)
        return world

    def check(world: World) -> None:
        assert_tree(world.granted, {})
        assert_tree(world.more_roots[0], {"f": "text"})

    each_kill(
        make,
        lambda world: world.plan("move_file", source=world.granted / "f", destination=f"{world.more_roots[0]}/"),
        check,
    )


@pytest.mark.parametrize("far", [True, False])
def test_delete_file(tmp_path: Path, elsewhere: Path, far: bool) -> None:
    def make(at: int) -> World:
        world = with_a_file(tmp_path / str(at))
        if far:
            world.trash = elsewhere / str(at)
        return world

    def check(world: World) -> None:
        assert_tree(world.granted, {})
        assert_tree(world.trash / "files", {"01JDRUN-1-f": "text"})
        assert len(list((world.trash / "info").iterdir())) == 1

    each_kill(make, lambda world: world.plan("delete_file", path=world.granted / "f"), check)


def test_a_finished_write_that_someone_edited_since_is_not_done_again(tmp_path: Path) -> None:
    world = with_a_file(tmp_path)
    plan = world.plan("write_file", path=world.granted / "f", content="ours")
    world.apply(plan)
    (world.granted / "f").write_text("edited by a person")
    assert world.resume(plan).text == f"error: changed meanwhile: {world.granted}/f"
    assert (world.granted / "f").read_text() == "edited by a person"


def test_a_finished_append_with_lines_of_others_after_it_is_not_done_again(tmp_path: Path) -> None:
    world = with_a_file(tmp_path)
    plan = world.plan("append_file", path=world.granted / "f", content="ours")
    world.apply(plan)
    with (world.granted / "f").open("a") as file:
        file.write("theirs\n")
    assert world.resume(plan).is_ok
    assert (world.granted / "f").read_text() == "text\nours\ntheirs\n"


def test_an_append_is_not_taken_for_done_because_a_longer_line_holds_it(tmp_path: Path) -> None:
    world = with_a_file(tmp_path)
    plan = world.plan("append_file", path=world.granted / "f", content="ours")
    with (world.granted / "f").open("a") as file:
        file.write("\nnot ours\nours too\n")
    assert world.resume(plan).is_ok
    assert (world.granted / "f").read_text() == "text\nnot ours\nours too\nours\n"


def assert_tree(root: Path, expected: dict[str, str]) -> None:
    found = {str(p.relative_to(root)): p.read_text() for p in root.rglob("*") if p.is_file()}
    assert found == expected


def assert_is_folder(path: Path) -> None:
    assert path.is_dir()
