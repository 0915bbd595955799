"""What the reference validator of the Agent Skills specification says of a skill, where it is installed (skills-ref).

It reads frontmatters more strictly than clients should, so what it says is advice and refuses nothing by itself.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

PACKAGE = "skills_ref"


def reference_faults(folder: Path) -> tuple[str, ...] | None:
    """Its complaints, one line each; None where it is not installed."""
    if find_spec(PACKAGE) is None:
        return None
    validator = import_module(PACKAGE)
    try:
        found = validator.validate(folder.resolve())
    except (OSError, ValueError, RecursionError) as error:  # it lets files that are no UTF-8 through to here
        found = [f"{type(error).__name__}: {error}"]
    return tuple(" ".join(str(fault).split()) for fault in found)
