"""Races for a path: a thread swaps a folder for a link, and back, while a tool uses it.

Every folder on the way is entered by descriptor and without following a link, so there is no moment at which the swap
helps; openat2 would refuse the same in one call. The control opens the path by its name, as most programs do.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from tools_world import World

TRIES = 150
SECRET = "the-secret-of-another"
LIBRARY = ctypes.CDLL(None, use_errno=True)
AT_FDCWD, RENAME_EXCHANGE = -100, 2


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    (world.granted / "sub").mkdir()
    (world.granted / "sub/a.txt").write_text("own\n")
    (world.secret / "a.txt").write_text(SECRET)
    return world


@contextmanager
def swapping(world: World) -> Iterator[None]:
    """granted/sub is now a folder, now a link to the secret one, and never nothing."""
    place, other = world.granted / "sub", world.granted / "other"
    other.symlink_to(world.secret)
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            exchange(place, other)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def exchange(one: Path, other: Path) -> None:
    """Each has the other's name, in one step."""
    assert LIBRARY.renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0


def strays(world: World) -> list[str]:
    return sorted(path.name for path in world.secret.iterdir() if path.name != "a.txt")


def stolen(world: World) -> list[str]:
    """What was moved out of the secret folder, or changed in it."""
    place = world.secret / "a.txt"
    return [] if place.exists() and place.read_text() == SECRET else ["a.txt"]


def wrote(world: World, n: int) -> str:
    return world.call("write_file", path=world.granted / f"sub/{n}.txt", content="x").text


def appended(world: World, n: int) -> str:
    return world.call("append_file", path=world.granted / "sub/a.txt", content="x").text


def read(world: World, n: int) -> str:
    return world.call("read_file", path=world.granted / "sub/a.txt").text


def made(world: World, n: int) -> str:
    return world.call("create_directory", path=world.granted / f"sub/{n}").text


def moved(world: World, n: int) -> str:
    return world.call("move_file", source=world.granted / "sub/a.txt", destination=world.granted / f"m{n}").text


def put(world: World, n: int) -> str:
    (world.granted / f"p{n}").write_text("x")
    return world.call("move_file", source=world.granted / f"p{n}", destination=world.granted / f"sub/p{n}").text


def deleted(world: World, n: int) -> str:
    return world.call("delete_file", path=world.granted / "sub/a.txt").text


@pytest.mark.parametrize("attack", [wrote, appended, read, made, moved, put, deleted])
def test_no_swap_leads_a_tool_out_of_its_grant(world: World, attack: Callable[[World, int], str]) -> None:
    with swapping(world):
        said = [attack(world, n) for n in range(TRIES)]
    assert not strays(world) and not stolen(world)
    assert not any(SECRET in text for text in said)


def by_name_write(world: World, n: int) -> str:
    (world.granted / f"sub/{n}.txt").write_text("x")
    return ""


def by_name_read(world: World, n: int) -> str:
    return (world.granted / "sub/a.txt").read_text()


def checked_and_then_opened(world: World, n: int) -> str:
    """Looks where the path leads, and then opens it: the mistake that this is about."""
    path = world.granted / "sub/a.txt"
    return path.read_text() if os.path.realpath(path).startswith(str(world.granted)) else ""


@pytest.mark.parametrize("way", [by_name_write, by_name_read, checked_and_then_opened])
def test_control_a_program_that_goes_by_the_name_is_led_out(world: World, way: Callable[[World, int], str]) -> None:
    until = time.monotonic() + 120
    with swapping(world):
        for n in itertools.count():
            text = ""
            with suppress(OSError):
                text = way(world, n)
            if SECRET in text or strays(world):
                return
            assert time.monotonic() < until, "it was never led astray"
