"""Where the things that ship with edgeagent lie: the model, the catalog, the skills, the example agents.

In a wheel they lie inside the package; in a checkout, beside it.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent


def bundled(kind: str) -> Path:
    """The folder of `models`, `skills` or `examples`."""
    inside = _PACKAGE / "bundled" / kind
    return inside if inside.exists() else _PACKAGE.parent / kind
