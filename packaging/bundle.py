"""Puts what ships with edgeagent inside the wheel, as edgeagent/bundled/: the model, the catalog, skills and examples.

Not the recipe of the model: its generator and training programs stay in the source distribution. An editable install
takes nothing, since `edgeagent.bundled` finds these folders beside the package.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

MODELS = ("catalog.toml", "README.md", "pocket/pocket.gguf", "pocket/chat_template.jinja", "pocket/README.md")


def shipped(root: Path) -> list[Path]:
    """Every bundled file, relative to the top of the repository. The model and the catalog must be there."""
    found = [root / "models" / name for name in MODELS if (root / "models" / name).exists()]
    for folder in ("skills", "examples"):
        found += sorted(
            path for path in (root / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts
        )
    relative = [path.relative_to(root) for path in found]
    for needed in ("models/catalog.toml", "models/pocket/pocket.gguf"):
        if Path(needed) not in relative:
            raise FileNotFoundError(f"{needed} is missing, and a wheel without it cannot run the demo; see make pocket")
    return relative


class BundleHook(BuildHookInterface[Any]):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        root = Path(self.root)
        build_data["force_include"] |= {str(root / path): f"edgeagent/bundled/{path}" for path in shipped(root)}
