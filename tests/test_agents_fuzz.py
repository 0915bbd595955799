"""Whatever the bytes of an agent file are, the answer is an agent or a list of faults, never another exception."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import pytest

from edgeagent.agents import parse_agent
from edgeagent.errors import AgentFileError
from edgeagent.home import home_from_environment

FULL = (Path(__file__).parent / "data" / "agents" / "full.md").read_bytes()
HOME = home_from_environment({"HOME": "/home/ann", "EDGEAGENT_HOME": "/home/ann/edgeagent"})
ODD = (b"\0 ' \" { } [ ] : - , & * ! | > % @ ` ~ # \n \t \xff \xe2\x80\xa8 {{ }} null true 1e999 99999999999 ").split(
    b" "
)


def check(raw: bytes) -> None:
    with contextlib.suppress(AgentFileError):
        parse_agent(Path("a.md"), raw, known_tools=("read_file",), known_models=("pocket",), home=HOME)


@pytest.mark.parametrize("seed", range(30))
def test_a_damaged_file_is_an_agent_or_has_faults(seed: int) -> None:
    chance = random.Random(seed)
    raw = bytearray(FULL)
    for _ in range(chance.randint(1, 4)):
        start = chance.randrange(len(raw))
        raw[start : start + chance.randint(0, 6)] = chance.choice(ODD)
    check(bytes(raw))


@pytest.mark.parametrize("odd", ["1.5", "true", "null", "[[]]", "{a: b}"])
def test_a_value_of_any_kind_at_any_key_is_an_agent_or_has_faults(odd: str) -> None:
    lines = FULL.decode().splitlines()
    for number, line in enumerate(lines):
        key, colon, _ = line.partition(":")
        if colon:
            check("\n".join([*lines[:number], f"{key}: {odd}", *lines[number + 1 :]]).encode())
