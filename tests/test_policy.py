"""Policy: deny before ask before allow, on resolved paths."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.policy import AgentPolicy, acts, decide, is_within
from edgeagent.schema import Decision, ToolSpec
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


# --- hosts, secrets, tools of others ---------------------------------------------------------------------------------


def test_a_host_that_is_not_granted_is_denied() -> None:
    spec = BUILTIN_SPECS["http_request"]
    granted = replace(policy("never"), network=frozenset({"ntfy.sh:443"}))
    assert decide(spec, (), (), granted, ("ntfy.sh:443",)).verdict == "allow"
    for host in ("ntfy.sh:80", "sub.ntfy.sh:443", "evil.example:443"):
        assert decide(spec, (), (), granted, (host,)) == Decision("deny", f"may not reach {host}")


def test_a_secret_is_bound_to_a_tool_by_name() -> None:
    granted = replace(policy("never"), secrets={"http_request": frozenset({"TOKEN"})})
    assert decide(BUILTIN_SPECS["http_request"], (), (), granted, (), ("TOKEN",)).verdict == "allow"
    assert decide(BUILTIN_SPECS["http_request"], (), (), granted, (), ("OTHER",)).verdict == "deny"
    assert decide(BUILTIN_SPECS["write_file"], (), (), granted, (), ("TOKEN",)).verdict == "deny"


@pytest.mark.parametrize("says_read_only", [True, False])
def test_what_a_skill_says_of_its_tool_does_not_decide_whether_it_asks(says_read_only: bool) -> None:
    spec = ToolSpec("resize", "Resize.", {}, read_only=says_read_only, origin="skill images")
    granted = replace(policy("on-write"), network=frozenset({"h:1"}))
    assert decide(spec, (), (INBOX / "a",), granted).verdict == "ask"
    assert decide(spec, (), (), granted, ("h:1",)).verdict == "ask"
    assert decide(spec, (INBOX / "a",), (), granted).verdict == "allow"
    assert acts(spec, (INBOX / "a",), ()) and not acts(spec, (), ())


def test_scripts_that_nobody_described_ask_unless_the_file_names_their_tool() -> None:
    spec = ToolSpec("run_skill_script", "Run.", {}, origin="skill old")
    assert decide(spec, (), (), policy("never")).verdict == "ask"
    assert decide(spec, (), (), replace(policy("never"), named=frozenset({"run_skill_script"}))).verdict == "allow"


@given(
    spec=st.sampled_from([*BUILTIN_SPECS.values(), ToolSpec("own", "", {}, read_only=True, origin="skill x")]),
    reads=st.lists(st.sampled_from([INBOX / "a", NOTES / "b", Path("/etc/passwd")])),
    writes=st.lists(st.sampled_from([INBOX / "a", NOTES / "b", Path("/etc/passwd")])),
    hosts=st.lists(st.sampled_from(["h:1", "evil:1"])),
    secrets=st.lists(st.sampled_from(["TOKEN", "OTHER"])),
    approval=st.sampled_from(["never", "on-write", "always"]),
    asks=st.booleans(),
)
def test_whatever_the_call_nothing_outside_the_grants_is_ever_allowed_or_asked_about(
    spec: ToolSpec,
    reads: list[Path],
    writes: list[Path],
    hosts: list[str],
    secrets: list[str],
    approval: str,
    asks: bool,
) -> None:
    granted = replace(
        policy(approval, frozenset({spec.name} if asks else ())),
        network=frozenset({"h:1"}),
        secrets={spec.name: frozenset({"TOKEN"})},
    )
    verdict = decide(spec, reads, writes, granted, hosts, secrets).verdict
    outside = (
        Path("/etc/passwd") in (*reads, *writes) or NOTES / "b" in writes or "evil:1" in hosts or "OTHER" in secrets
    )
    assert (verdict == "deny") is outside
    if not outside and (asks or approval == "always"):
        assert verdict == "ask"
