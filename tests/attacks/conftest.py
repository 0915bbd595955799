"""One daemon to attack for each user, for all attacks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.terminal import TerminalReporter
from conftest import FakeClock

from attacks.arena import LEVELS, Arena, users
from attacks.fort import Fort
from edgeagent.store import Store

HERE = "tests/attacks/"


@pytest.fixture(scope="session", params=users(), ids=lambda user: "root" if user == 0 else "user")
def arena(request: pytest.FixtureRequest) -> Iterator[Arena]:
    opened = Arena(request.param)
    yield opened
    opened.close()


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def fort(tmp_path: Path, store: Store, clock: FakeClock) -> Fort:
    return Fort(tmp_path, store, clock)


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """How many attacks were made and how many did nothing. Those in the arena have their control within."""
    ended = [
        (report.nodeid.partition("::")[2], report.outcome)
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        if report.nodeid.startswith(HERE) and report.when == "call"
    ]
    controls = [outcome for name, outcome in ended if name.startswith("test_control_")]
    attacks = [outcome for name, outcome in ended if not name.startswith("test_control_")]
    if attacks:
        terminalreporter.write_line(
            f"attacks: {len(attacks)} made, {attacks.count('passed')} blocked; "
            f"controls of their own: {len(controls)}, of which {controls.count('passed')} held"
        )
