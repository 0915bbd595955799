"""Which module may import which: the floors of ARCHITECTURE.md, read from the sources without running them."""

from __future__ import annotations

import ast
import re
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "edgeagent"

FLOORS = {
    0: {"errors", "schema", "units", "words", "fields", "home", "bundled", "logs", "redaction", "approval", "visible"},
    1: {"config", "agents", "secrets"},
    2: {"store", "model", "policy", "power", "sandbox", "skills"},
    3: {"tools"},
    4: {"loop", "lookout", "prompt", "earlier", "recording", "triggers", "mcp"},
    5: {"worker", "approver", "gate", "telemetry"},
    6: {"api"},
    7: {"models", "runtime"},
    8: {"daemon", "service", "evaluation"},
    9: {"cli"},
}
"""Floor by floor: the modules at the top of the package, and its folders."""

FLOOR_OF = {unit: floor for floor, units in FLOORS.items() for unit in units}

FORBIDDEN = {
    "loop": {"store", "triggers"},
    "triggers": {"loop", "model", "tools"},
    "api": {"loop", "model", "tools", "triggers", "worker"},
}
"""What a floor below would allow and the design does not: the loop knows neither triggers nor SQL, and so on."""


def module_of(path: Path) -> str:
    """edgeagent/tools/paths.py is `tools.paths`, edgeagent/tools/__init__.py is `tools`."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"}


def unit_of(module: str) -> str:
    return module.partition(".")[0]


@cache
def imported_names(path: Path) -> frozenset[str]:
    """Every module that a file imports, at the top or inside a function, in full: `from a import b` gives a and a.b."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            names |= {node.module or "", *(f"{node.module}.{name.name}" for name in node.names)}
    return frozenset(names)


def imports_of(module: str) -> set[str]:
    """The modules of ours that a module imports. A folder counts where a name comes from its __init__."""
    inside = (
        name.removeprefix("edgeagent.") for name in imported_names(MODULES[module]) if name.startswith("edgeagent.")
    )
    return {name for name in inside if name in MODULES and name != module}


def third_party_of(module: str) -> set[str]:
    return {name.partition(".")[0] for name in imported_names(MODULES[module])}


def test_every_module_has_a_floor_and_every_floor_its_modules() -> None:
    assert {unit_of(module) for module in MODULES} == set(FLOOR_OF)


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down_or_stay_in_one_folder(module: str) -> None:
    for imported in imports_of(module):
        own, other = unit_of(module), unit_of(imported)
        beside = own == other or (own in MODULES_AT_TOP and other in MODULES_AT_TOP)
        assert FLOOR_OF[other] < FLOOR_OF[own] or (FLOOR_OF[other] == FLOOR_OF[own] and beside), (
            f"{module} (floor {FLOOR_OF[own]}) imports {imported} (floor {FLOOR_OF[other]})"
        )


MODULES_AT_TOP = {unit for unit in FLOOR_OF if (PACKAGE / f"{unit}.py").exists()}


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {module: {name for name in imports_of(module) if not module.startswith(f"{name}.")} for module in MODULES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(error.args[1]))


@pytest.mark.parametrize(("unit", "hidden"), list(FORBIDDEN.items()))
def test_some_floors_do_not_see_each_other_at_all(unit: str, hidden: set[str]) -> None:
    for module in MODULES:
        if unit_of(module) == unit:
            seen = {unit_of(name) for name in imports_of(module)}
            assert not seen & hidden, f"{module} imports {seen & hidden}"


def test_sql_is_written_in_the_store_and_in_the_tool_that_offers_it() -> None:
    users = {module for module in MODULES if third_party_of(module) & {"sqlite3", "sqlite_utils"}}
    elsewhere = {
        "tools.database",
        *("triggers.foreign", "triggers.outbox"),  # databases of others
        "cli.checks",  # only asks for SQLite's version
    }
    assert {unit_of(module) for module in users - elsewhere} == {"store"}


def test_llama_cpp_is_loaded_by_its_bindings_alone() -> None:
    assert not {module for module in MODULES if "llama_cpp" in third_party_of(module)}, "model.native finds it by name"
    assert {module for module in MODULES if "model.native" in imports_of(module)} == {"model.llama", "model.sampling"}


def test_architecture_shows_these_very_floors() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    rows = re.findall(r"^\| (\d) \| ([^|]+) \|", text, flags=re.MULTILINE)
    shown = {int(floor): {name.rstrip("/") for name in re.findall(r"`([a-z_]+/?)`", units)} for floor, units in rows}
    assert shown == FLOORS
