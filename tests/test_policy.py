"""Policy: deny before ask before allow, on resolved paths."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.policy import AgentPolicy, decide, is_within
from edgeagent.tools.specs import BUILTIN_SPECS

INBOX, NOTES = Path("/home/ada/Inbox"), Path("/home/ada/Notes")


def policy(approval: str = "never", approve: frozenset[str] = frozenset()) -> AgentPolicy:
    return AgentPolicy((NOTES,), (INBOX,), approval, approve)  # type: ignore[arg-type]


def test_nothing_is_granted_by_default() -> None:
    assert decide(BUILTIN_SPECS["read_file"], (INBOX / "a",), (), AgentPolicy()).verdict == "deny"


def test_a_write_outside_the_grants_is_denied_and_the_path_is_named() -> None:
    decision = decide(BUILTIN_SPECS["write_file"], (), (NOTES / "a.txt",), policy())
    assert decision.verdict == "deny"
    assert "/home/ada/Notes/a.txt" in decision.reason


def test_every_path_of_a_call_must_be_granted() -> None:
    assert decide(BUILTIN_SPECS["move_file"], (), (INBOX / "a", Path("/etc/a")), policy()).verdict == "deny"


def test_what_may_be_written_may_be_read() -> None:
    assert decide(BUILTIN_SPECS["read_file"], (INBOX / "a",), (), policy()).verdict == "allow"


def test_a_sibling_whose_name_begins_alike_is_outside() -> None:
    assert not is_within(Path("/home/ada/Inbox2/a"), (INBOX,))


def test_the_root_itself_is_within() -> None:
    assert is_within(INBOX, (INBOX,))


def test_on_write_asks_for_writes_only() -> None:
    assert decide(BUILTIN_SPECS["write_file"], (), (INBOX / "a",), policy("on-write")).verdict == "ask"
    assert decide(BUILTIN_SPECS["read_file"], (INBOX / "a",), (), policy("on-write")).verdict == "allow"
    assert decide(BUILTIN_SPECS["remember"], (), (), policy("on-write")).verdict == "allow"


def test_always_asks_for_reads_too() -> None:
    assert decide(BUILTIN_SPECS["recall"], (), (), policy("always")).verdict == "ask"


def test_a_tool_named_in_approve_asks_even_where_approval_is_never() -> None:
    assert decide(BUILTIN_SPECS["delete_file"], (), (INBOX / "a",), policy("never", frozenset({"delete_file"}))) == (
        decide(BUILTIN_SPECS["delete_file"], (), (INBOX / "a",), policy("always", frozenset({"delete_file"})))
    )
    decision = decide(BUILTIN_SPECS["delete_file"], (), (INBOX / "a",), policy("never", frozenset({"delete_file"})))
    assert decision.verdict == "ask"


@pytest.mark.parametrize("approval", ["never", "on-write", "always"])
def test_a_denial_wins_over_asking(approval: str) -> None:
    denied = decide(BUILTIN_SPECS["delete_file"], (), (NOTES,), policy(approval, frozenset({"delete_file"})))
    assert denied.verdict == "deny"


def test_a_reason_stays_on_one_line_whatever_the_path_holds() -> None:
    decision = decide(BUILTIN_SPECS["read_file"], (Path("/x\ny\udcff"),), (), policy())
    assert decision.reason == "may not read /x\\ny\\udcff"
