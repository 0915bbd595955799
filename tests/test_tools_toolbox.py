"""The toolbox: check, then policy, then record, then apply; whatever a model can cause is a result."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tools_world import World, roundtrip

from edgeagent.errors import HomeError
from edgeagent.schema import Decision, ToolCall
from edgeagent.tools.base import Plan, cut, shown
from edgeagent.tools.specs import BUILTIN_SPECS


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_every_builtin_spec_has_its_tool_and_the_same_order(world: World) -> None:
    assert world.toolbox.specs() == tuple(BUILTIN_SPECS.values())


def test_specs_come_in_the_order_they_are_asked_for(world: World) -> None:
    assert [spec.name for spec in world.toolbox.specs(["recall", "read_file"])] == ["recall", "read_file"]


def test_a_tool_that_does_not_exist_is_an_error_that_names_those_that_do(world: World) -> None:
    box = world.toolbox.limited_to(["read_file"])
    call = ToolCall("write_file", {"path": "/x", "content": ""})
    result = box.call(call, world.context, decide=world.decide, record_started=world.plans.append)
    assert (result.status, result.text) == ("error", "error: no tool named write_file; there is read_file")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "error: path is missing"),
        ({"path": 3}, "error: path must be text"),
        ({"path": "/x", "heads": 3}, "error: no argument named heads"),
        ({"path": "/x", "head": "3"}, "error: head must be a whole number"),
        ({"path": "/x", "head": 0}, "error: head: input should be greater than or equal to 1"),
        ({"path": "/x", "head": 1, "tail": 1}, "error: give head or tail, not both"),
        ({"path": ""}, "error: the path is empty"),
        ({"path": "notes.txt"}, "error: give the full path, not notes.txt"),
        ({"path": "~bob/x"}, "error: give the full path, not ~bob/x"),
        ({"path": "/a\0b"}, "error: not a path: /a\\u0000b"),
        ({"path": "/a\ud800"}, "error: not a path: /a\\ud800"),
        ({"path": "/" + "a" * 5000}, "error: path too long: 5001 bytes"),
        ([], "error: arguments: input should be a valid dictionary or instance of readarguments"),
    ],
)
def test_bad_arguments_are_one_short_line(world: World, arguments: object, message: str) -> None:
    call = ToolCall("read_file", arguments)  # type: ignore[arg-type]
    result = world.toolbox.call(call, world.context, decide=world.decide, record_started=world.plans.append)
    assert (result.status, result.text) == ("error", message)
    assert not world.plans


def test_a_denied_call_is_neither_recorded_nor_applied(world: World) -> None:
    result = world.call("write_file", path=world.readable / "x", content="no")
    assert result.status == "denied"
    assert str(world.readable / "x") in result.text
    assert not world.plans
    assert not (world.readable / "x").exists()


def test_a_call_that_asks_waits_and_changes_nothing(world: World) -> None:
    call = ToolCall("write_file", {"path": str(world.granted / "x"), "content": "y"})
    result = world.toolbox.call(
        call, world.context, decide=lambda spec, plan: Decision("ask", "why"), record_started=world.plans.append
    )
    assert (result.status, result.text) == ("waiting", "waiting for approval: why")
    assert not world.plans
    assert not (world.granted / "x").exists()


def test_the_plan_is_recorded_before_anything_changes(world: World) -> None:
    path = world.granted / "x"
    seen: list[bool] = []
    world.toolbox.call(
        ToolCall("write_file", {"path": str(path), "content": "y"}),
        world.context,
        decide=world.decide,
        record_started=lambda plan: seen.append(path.exists()),
    )
    assert seen == [False]
    assert path.read_text() == "y"


def test_a_journal_that_fails_is_not_hidden_in_a_result(world: World) -> None:
    def fail(plan: Plan) -> None:
        raise HomeError("disk full")

    call = ToolCall("write_file", {"path": str(world.granted / "x"), "content": "y"})
    with pytest.raises(HomeError):
        world.toolbox.call(call, world.context, decide=world.decide, record_started=fail)
    assert not (world.granted / "x").exists()


def test_a_tool_that_breaks_gives_a_result_and_not_an_exception(world: World) -> None:
    def broken(query: str, limit: int = 5) -> list[str]:
        raise RuntimeError("boom")

    world.notes.recall = broken  # type: ignore[method-assign]
    result = world.call("recall", query="x")
    assert (result.status, result.text) == ("error", "error: the tool failed: RuntimeError: boom")


@pytest.mark.parametrize("name", ["read_file", "list_directory", "get_file_info", "write_file", "delete_file"])
def test_what_is_outside_the_grants_is_denied_alike_whether_it_exists_or_not(world: World, name: str) -> None:
    (world.secret / "there").write_text("s")
    extra = {"content": "x"} if name == "write_file" else {}
    there = world.call(name, path=world.secret / "there", **extra)
    absent = world.call(name, path=world.secret / "absent", **extra)
    assert there.status == absent.status == "denied"
    assert there.text.replace("there", "absent") == absent.text


def test_dots_and_links_do_not_lead_out_of_a_grant(world: World) -> None:
    (world.secret / "key").write_text("s")
    (world.granted / "link").symlink_to(world.secret / "key")
    (world.granted / "folder").symlink_to(world.secret)
    for path in ("../secret/key", "link", "folder/key", "./a/../../secret/key"):
        assert world.call("read_file", path=f"{world.granted}/{path}").status == "denied"
        assert world.call("write_file", path=f"{world.granted}/{path}", content="x").status == "denied"
    assert (world.secret / "key").read_text() == "s"


def test_what_a_call_wrote_is_reported_as_the_agents_own(world: World) -> None:
    world.call("write_file", path=world.granted / "a", content="x")
    world.call("move_file", source=world.granted / "a", destination=world.granted / "b")
    assert world.own == [world.granted / "a", world.granted / "a", world.granted / "b"]


def test_a_failed_call_is_not_reported_as_a_write(world: World) -> None:
    world.call("move_file", source=world.granted / "a", destination=world.granted / "b")
    assert world.own == []


def test_a_plan_survives_being_stored_whatever_is_in_its_names(world: World) -> None:
    plan = world.plan("write_file", path=f'{world.granted}/a\n"\udcff', content="x\udce9")
    assert Plan.from_json(roundtrip(plan.as_json())) == plan


def test_a_resumed_plan_that_is_no_longer_granted_is_denied(world: World) -> None:
    plan = world.plan("write_file", path=world.granted / "x", content="y")
    denied = world.toolbox.resume(plan, world.context, decide=lambda spec, plan: Decision("deny", "not now"))
    assert denied and (denied.status, denied.text) == ("denied", "denied: not now")
    assert not (world.granted / "x").exists()


def test_shown_text_can_be_copied_into_json_and_names_the_same_file() -> None:
    for name in (
        "plain ü",
        "a\nb",
        "back\\slash",
        "caf\udce9",
        "emoji \U0001f469\u200d\U0001f4bb",
        "tab\t\x7f",
        "\U000e0001",
    ):
        assert "\n" not in shown(name)
        assert json.loads(f'"{shown(name)}"') == name


def test_a_cut_says_how_much_is_missing() -> None:
    assert cut("abcdef", 4) == "abcd\n[cut: 2 more characters]"
    assert cut("abcd", 4) == "abcd"


def test_notes_are_kept_and_found_again(world: World) -> None:
    assert world.call("remember", text="the key is under the mat").text == "kept"
    assert world.call("recall", query="key").text == "- the key is under the mat"
    assert world.call("recall", query="boat").text == "nothing found"
    assert world.call("remember", text="  ").text == "error: the text is empty"


def test_a_note_kept_before_a_crash_is_not_kept_twice(world: World) -> None:
    plan = world.plan("remember", text="once \ud800")
    world.apply(plan)
    assert world.resume(plan).text == "kept"
    assert world.notes.kept == ["once ?"]
