"""Attacks on a person's yes: it holds for the very call that was shown, once, and for nothing that it has become since."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from attacks.fort import SECRET, Fort, call, link, write
from edgeagent.agents import Agent
from edgeagent.approval import ApprovalStatus
from edgeagent.errors import NotFound
from edgeagent.schema import Run, ToolCall


@dataclass(frozen=True)
class Swap:
    """Something that changes between a question and the use of its answer. `landed` says whether it had its effect."""

    ask: Callable[[Fort], ToolCall]
    swap: Callable[[Fort], object]
    landed: Callable[[Fort], bool]


def _folders(fort: Fort) -> Path:
    (fort.granted / "shown").mkdir()
    return link(fort.granted / "l", fort.granted / "shown")


def _relink(fort: Fort, target: Path) -> None:
    _become(fort.granted / "l", target)


def _made_folder(place: Path) -> Path:
    place.mkdir()
    return place


def _become(place: Path, target: Path) -> None:
    place.unlink()
    link(place, target)


def _swap_folder(fort: Fort) -> None:
    (fort.granted / "shown").rmdir()
    link(fort.granted / "shown", fort.private)


SWAPS = {
    "a link to another granted folder": Swap(
        lambda fort: call("write_file", path=_folders(fort) / "n.txt", content="x"),
        lambda fort: _relink(fort, _made_folder(fort.granted / "other")),
        lambda fort: (fort.granted / "other/n.txt").exists(),
    ),
    "a link to a private folder": Swap(
        lambda fort: call("write_file", path=_folders(fort) / "n.txt", content="x"),
        lambda fort: _relink(fort, fort.private),
        lambda fort: (fort.private / "n.txt").exists(),
    ),
    "a folder that becomes a link": Swap(
        lambda fort: call("write_file", path=_folders(fort) / "n.txt", content="x"),
        _swap_folder,
        lambda fort: (fort.private / "n.txt").exists(),
    ),
    "a file that becomes a link": Swap(
        lambda fort: call("append_file", path=fort.granted / "own.txt", content="x"),
        lambda fort: _become(fort.granted / "own.txt", fort.private / "secret.txt"),
        lambda fort: (fort.private / "secret.txt").read_text() != SECRET,
    ),
}


@pytest.mark.parametrize("attack", SWAPS)
def test_a_yes_does_not_hold_for_what_a_path_has_become(fort: Fort, attack: str) -> None:
    swap = SWAPS[attack]
    agent = fort.agent(approval="on-write")
    run = fort.run(agent, swap.ask(fort))
    assert run.status == "waiting"
    fort.yes(run)
    swap.swap(fort)
    fort.go_on(agent, run, "Done.")
    assert not swap.landed(fort)


@pytest.mark.parametrize("attack", SWAPS)
def test_control_a_program_that_uses_the_path_again_is_led_astray(fort: Fort, attack: str) -> None:
    swap = SWAPS[attack]
    asked = swap.ask(fort)
    swap.swap(fort)
    with open(asked.arguments["path"], "a") as file:
        file.write("x")
    assert swap.landed(fort)


def test_control_a_yes_lets_the_very_call_through_once(fort: Fort) -> None:
    """The control of the attacks below."""
    agent = fort.agent(approval="on-write")
    run = fort.run(agent, write(fort))
    fort.yes(run)
    assert fort.go_on(agent, run, "Done.").status == "ok"
    assert (fort.granted / "x.txt").exists()


def replayed(fort: Fort, agent: Agent) -> Run:
    run = fort.run(agent, write(fort))
    fort.yes(run)
    (fort.granted / "x.txt").unlink(missing_ok=True)
    return fort.go_on(agent, run, write(fort, content="again"), "Done.")


def other_arguments(fort: Fort, agent: Agent) -> Run:
    run = fort.run(agent, write(fort))
    fort.yes(run)
    return fort.go_on(agent, run, write(fort, "y.txt"), "Done.")


def another_run(fort: Fort, agent: Agent) -> Run:
    run = fort.run(agent, write(fort))
    fort.yes(run)
    fort.go_on(agent, run, "Done.")
    (fort.granted / "x.txt").unlink()
    return fort.run(agent, write(fort))


def another_agent(fort: Fort, agent: Agent) -> Run:
    run = fort.run(agent, write(fort))
    fort.yes(run)
    return fort.run(fort.agent(approval="on-write", name="other"), write(fort))


def a_retry(fort: Fort, agent: Agent) -> Run:
    run = fort.run(agent, write(fort))
    fort.yes(run)
    fort.store.cancel(run.id, fort.clock())
    fort.store.retry(run.id)
    return fort.go_on(agent, run, write(fort), "Done.")


@pytest.mark.parametrize("attack", [replayed, other_arguments, another_run, another_agent, a_retry])
def test_a_yes_is_good_for_nothing_else(fort: Fort, attack: Callable[[Fort, Agent], Run]) -> None:
    run = attack(fort, fort.agent(approval="on-write"))
    assert run.status == "waiting", run
    assert fort.store.approvals(ApprovalStatus.PENDING)


def test_nothing_names_no_approval(fort: Fort) -> None:
    """`edgeagent approvals approve "$ID"` with an empty variable is a yes to nothing."""
    fort.run(fort.agent(approval="on-write"), write(fort))
    assert fort.store.find_approval("01")
    with pytest.raises(NotFound, match="no approval"):
        fort.store.find_approval("")


@pytest.mark.parametrize("approve", [True, False])
def test_what_is_denied_is_never_asked_about(fort: Fort, approve: bool) -> None:
    """Nobody can be tired into a yes to what the file does not grant."""
    agent = fort.agent(approval="always", more="approve: [write_file]" if approve else "")
    run = fort.run(agent, call("write_file", path=fort.private / "x", content="x"))
    assert run.steps[1].status == "denied"
    assert not fort.store.approvals()
