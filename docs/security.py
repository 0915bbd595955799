"""Counts the attacks of tests/attacks/ into docs/security.md, between the lines that say so."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "security.md"
BEGIN, END = "<!-- attacks: written by docs/security.py -->\n", "<!-- end of attacks -->\n"
CLASSES = {
    "files": "files: other users' and skills' files, the journal, links, devices",
    "processes": "processes: memory, descriptors, signals, namespaces, survivors, system calls",
    "network": "network and IPC: hosts, ports, sockets, shared memory",
    "resources": "resources: memory, processes, time, disk, output",
    "install": "install and parsing: archives, git, YAML, names",
    "text": "terminal and text: control sequences, direction, invisible letters, look-alikes, control tokens",
    "policy": "policy: grants, links, the hour's actions, three things at once",
    "approval": "approval: swaps between question and answer, replays, other arguments, runs and agents",
    "claims": "what a skill says of itself: names, needs, annotations, schemas",
    "injection": "injected orders, obeyed to the letter, tool by tool",
    "secrets": "secrets: on the way, at rest, told by a tool, logged",
    "races": "races: a path that changes while it is used",
}
_ID = re.compile(r"tests/attacks/test_(\w+)\.py::(\w+)(?:\[(.*)\])?$")
_WAYS = re.compile(r"^(?:root|user)-|(?:^|-)(?:full|reduced)(?=-|$)")
"""Who makes an attack, and at which level: the same attack in another way."""


def is_control(function: str) -> bool:
    return function.startswith("test_control_")


def collected() -> list[str]:
    """The tests of tests/attacks/ by pytest's own count."""
    asked = [sys.executable, "-m", "pytest", "--collect-only", "-q", "tests/attacks"]
    done = subprocess.run(asked, capture_output=True, text=True, cwd=ROOT, check=True)
    return done.stdout.splitlines()


def table(tests: Iterable[str]) -> str:
    attacks: dict[str, set[tuple[str, str]]] = defaultdict(set)
    made: dict[str, int] = defaultdict(int)
    for found in filter(None, map(_ID.match, tests)):
        kind, function, parameters = found[1], found[2], found[3] or ""
        if not is_control(function):
            attacks[kind].add((function, _WAYS.sub("", _WAYS.sub("", parameters))))
            made[kind] += 1
    rows = [f"| {CLASSES[kind]} | {len(attacks[kind])} | {made[kind]} |\n" for kind in CLASSES if kind in attacks]
    total = f"| all | {sum(map(len, attacks.values()))} | {sum(made.values())} |\n"
    assert attacks.keys() <= CLASSES.keys(), f"name the new class: {attacks.keys() - CLASSES.keys()}"
    return "| attacks on | how many | made here, with levels and users |\n|---|---|---|\n" + "".join(rows) + total


def page(tests: Iterable[str]) -> str:
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    return before + BEGIN + "\n" + table(tests) + "\n" + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(page(collected()), encoding="utf-8")
