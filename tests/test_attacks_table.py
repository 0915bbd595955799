"""The table of attacks in docs/security.md is what tests/attacks/ holds."""

from __future__ import annotations

import runpy
from pathlib import Path

COUNT = runpy.run_path(str(Path(__file__).parent.parent / "docs" / "security.py"))


def test_the_table_of_attacks_is_counted_and_not_typed() -> None:
    assert COUNT["PAGE"].read_text(encoding="utf-8") == COUNT["page"](COUNT["collected"]()), "write it again: make fix"


def test_an_attack_at_two_levels_is_one_attack() -> None:
    tests = [f"tests/attacks/test_files.py::test_files[{way}read it]" for way in ("root-full-", "user-reduced-")]
    tests += ["tests/attacks/test_secrets.py::test_a[its own-full]", "tests/attacks/test_secrets.py::test_control_b"]
    assert "| 1 | 2 |" in COUNT["table"](tests) and "| all | 2 | 3 |" in COUNT["table"](tests)
