"""notify: shown where there is a desktop, recorded where there is none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tools_world import World

from edgeagent.tools.base import Plan
from edgeagent.tools.notify import Notify

PROGRAM = """#!/bin/sh
printf '%s\\n' "$@" > "$0.seen"
env > "$0.env"
"""


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def program(folder: Path, name: str, text: str = PROGRAM) -> Path:
    path = folder / name
    path.write_text(text)
    path.chmod(0o755)
    return path


def told(world: World, tool: Notify, message: str = "Bin day", title: str | None = None) -> str:
    arguments = {"message": message} | ({} if title is None else {"title": title})
    return tool.apply(Plan.from_json(tool.plan(arguments, world.context).as_json()), world.context)


def environ(folder: Path) -> dict[str, str]:
    return {"PATH": f"{folder}:{os.environ['PATH']}", "DISPLAY": ":0", "SECRET": "x"}


def test_a_desktop_shows_it(world: World, tmp_path: Path) -> None:
    path = program(tmp_path, "notify-send")
    assert told(world, Notify(environ(tmp_path), "linux"), "--help", "-t") == "shown on the desktop"
    assert Path(f"{path}.seen").read_text().splitlines() == ["--app-name=edgeagent", "--", "-t", "--help"]
    given = Path(f"{path}.env").read_text()
    assert f"EDGEAGENT_IDEMPOTENCY_KEY={world.context.key}\n" in given and "SECRET" not in given


def test_a_mac_shows_it_without_making_it_a_program(world: World, tmp_path: Path) -> None:
    path = program(tmp_path, "osascript")
    assert told(world, Notify(environ(tmp_path), "darwin"), 'a" & (do shell script "x")') == "shown on the desktop"
    assert Path(f"{path}.seen").read_text().splitlines()[-2:] == ["edgeagent", 'a" & (do shell script "x")']


def test_without_a_desktop_it_is_recorded_and_the_result_says_so(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    expected = "recorded only, nobody was shown it: there is no desktop here"
    assert told(world, Notify({"PATH": str(tmp_path)}, "linux")) == expected
    program(tmp_path, "notify-send")
    assert told(world, Notify({"PATH": str(tmp_path)}, "linux")) == expected
    assert "edgeagent: Bin day" in caplog.text


@pytest.mark.parametrize(
    ("text", "why"), [("#!/bin/sh\necho no bus >&2; exit 1\n", "no bus"), ("#!/bin/sh\nexit 3\n", "exit code 3")]
)
def test_a_desktop_that_cannot_show_it_is_told(world: World, tmp_path: Path, text: str, why: str) -> None:
    program(tmp_path, "notify-send", text)
    assert told(world, Notify(environ(tmp_path), "linux")) == f"recorded only, nobody was shown it: {why}"


def test_an_empty_message_is_refused(world: World) -> None:
    assert "the message is empty" in world.call("notify", message="  ").text


def test_what_may_have_been_shown_is_not_shown_again(world: World) -> None:
    tool = Notify({}, "linux")
    plan = tool.plan({"message": "x"}, world.context)
    assert tool.was_applied(plan, world.context) is None
    assert not (tool.spec.read_only or tool.spec.idempotent)
