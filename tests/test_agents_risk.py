"""Agents that read files, take outside input and reach the network at once; and `agents explain`."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_world import World

from edgeagent.agents import Agent, parse_agent
from edgeagent.agents.risk import risk_of
from edgeagent.errors import AgentFileError
from edgeagent.tools.specs import BUILTIN_SPECS

READS = {"tools": "read_file", "grants": "read: [/data]"}
HOOK = "{trigger: webhook, path: door}"


def parse(*, tools: str, read: str = "", network: str = "", triggers: str = "", more: str = "") -> Agent:
    text = (
        f"---\nname: a\ntriggers: [{triggers}]\ntools: [{tools}]\ngrants:\n"
        f"  read: [{read}]\n  network: [{network}]\n{more}\n---\nWork.\n"
    )
    return parse_agent(Path("a.md"), text.encode(), known_tools=BUILTIN_SPECS)


def test_all_three_at_once_are_refused_with_the_reason_at_the_line_of_the_grant() -> None:
    with pytest.raises(AgentFileError) as caught:
        parse(tools="read_file, http_request", read="/data", network="'ntfy.sh:443'", triggers=HOOK)
    [problem] = caught.value.problems
    assert str(problem).startswith("a.md:7: this agent reads files (read_file), takes input from outside (webhook, ")
    assert problem.message.endswith("or say approval: always, or accept_risk: true")


@pytest.mark.parametrize("more", ["approval: always", "accept_risk: true"])
def test_who_lets_a_person_see_every_call_or_says_that_it_knows_may(more: str) -> None:
    agent = parse(tools="read_file, http_request", read="/data", network="'h:1'", triggers=HOOK, more=more)
    assert risk_of(agent).is_there


@pytest.mark.parametrize(
    "more", ["approval: never", "approval: on-write", "accept_risk: false", "approve: [read_file]"]
)
def test_less_than_that_is_not_enough(more: str) -> None:
    with pytest.raises(AgentFileError):
        parse(tools="read_file, http_request", read="/data", network="'h:1'", triggers=HOOK, more=more)


@pytest.mark.parametrize(
    ("tools", "read", "network", "triggers"),
    [
        ("read_file", "/data", "'h:1'", HOOK),
        ("http_request", "/data", "'h:1'", HOOK),
        ("read_file, http_request", "", "'h:1'", HOOK),
        ("read_file, http_request", "/data", "", HOOK),
        ("move_file, list_directory", "/data", "'h:1'", HOOK),
    ],
)
def test_two_of_the_three_are_fine(tools: str, read: str, network: str, triggers: str) -> None:
    assert not risk_of(parse(tools=tools, read=read, network=network, triggers=triggers)).is_there


def test_answers_from_the_network_are_input_from_outside() -> None:
    with pytest.raises(AgentFileError, match=r"outside \(http_request\)"):
        parse(tools="read_file, http_request", read="/data", network="'h:1'", triggers="{trigger: every, interval: 1h}")


@pytest.mark.parametrize("more", ["skills: [one]", "mcp: [one]"])
def test_a_skill_or_a_server_can_be_a_reader_and_a_sender(more: str) -> None:
    with pytest.raises(AgentFileError, match="at once"):
        parse(tools="", read="/data", network="'h:1'", triggers=HOOK, more=more)


# --- explain ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_explain_shows_what_the_grants_come_to(world: World) -> None:
    (world.user / "elsewhere").mkdir()
    (world.user / "Link").symlink_to(world.user / "elsewhere")
    world.agent(
        "busy",
        "---\ntools: [read_file, move_file, http_request, remember]\n"
        "grants:\n  read: [~/Link]\n  write: [~/Inbox]\n  network: ['NTFY.sh:443']\n"
        "  secrets: {http_request: [TOKEN]}\napprove: [read_file]\naccept_risk: true\n---\nWork.\n",
    )
    told = world.json("agents", "explain", "busy", "--json")
    assert told["paths"] == {
        "read": [str(world.user / "elsewhere"), str(world.user / "Inbox")],
        "write": [str(world.user / "Inbox")],
    }
    assert (told["hosts"], told["secrets"]) == (["ntfy.sh:443"], {"http_request": ["TOKEN"]})
    assert {tool["name"]: tool["asks"] for tool in told["tools"]} == {
        "read_file": "always",
        "move_file": "always",
        "http_request": "on change",
        "remember": "never",
    }
    assert {tool["name"]: tool["hosts"] for tool in told["tools"] if tool["hosts"]} == {"http_request": ["ntfy.sh:443"]}
    assert told["risk"]["is_there"] and told["risk"]["accepted"]
    shown = world.call("agents", "explain", "busy")
    assert shown.exit_code == 0, shown.output
    assert str(world.user / "elsewhere") in shown.stdout


def test_explain_of_an_agent_that_is_not_there_ends_with_5(world: World) -> None:
    assert world.call("agents", "explain", "nobody").exit_code == 5


def test_validate_says_why_three_at_once_are_refused(world: World) -> None:
    world.agent(
        "risky",
        f"---\ntriggers: [{HOOK}]\ntools: [read_file, http_request]\n"
        "grants: {read: [~/Inbox], network: ['h:1']}\n---\nWork.\n",
    )
    done = world.call("agents", "validate", "risky")
    assert done.exit_code == 2
    assert "risky.md:4: this agent reads files" in done.stdout
