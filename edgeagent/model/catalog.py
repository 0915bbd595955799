"""From the name of a model to its file: the bundled catalog, the models folder, or a path."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from edgeagent.bundled import bundled
from edgeagent.errors import NotFound, UsageError

_GGUF = ".gguf"


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """One model that has a name. `origin` says where it comes from: bundled or added."""

    name: str
    path: Path
    description: str
    licence: str
    origin: str

    @property
    def size(self) -> int | None:
        """Bytes on disk; None where the file is not there."""
        return self.path.stat().st_size if self.path.is_file() else None


class Catalog:
    """The models that can be named here: bundled ones, and `*.gguf` in the models folder by their stem."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def entries(self) -> list[CatalogEntry]:
        found = {entry.name: entry for entry in [*self._bundled(), *self._added()]}
        return [found[name] for name in sorted(found)]

    def names(self) -> list[str]:
        return [entry.name for entry in self.entries()]

    def find(self, name: str, base: Path | None = None) -> CatalogEntry:
        """The model that `name` means: a name of the catalog, or a path (relative to `base`).

        Raises:
            NotFound: no such name. UsageError: a form of name that this version does not fetch.
        """
        for entry in self.entries():
            if entry.name == name:
                return entry
        if name.startswith("hf:"):
            raise UsageError(f"{name} is not on this device", "download the file, then name its path as the model")
        if "/" in name or name.endswith(_GGUF):
            path = Path(name).expanduser()
            path = path if path.is_absolute() or base is None else base / path
            return CatalogEntry(path.stem, path, "a file", "", "path")
        raise NotFound(f"no model named {name}", "edgeagent models list")

    def _bundled(self) -> list[CatalogEntry]:
        folder = bundled("models")
        with (folder / "catalog.toml").open("rb") as file:
            catalog = tomllib.load(file)
        return [
            CatalogEntry(name, folder / entry["file"], entry["description"], entry["licence"], "bundled")
            for name, entry in catalog.items()
        ]

    def _added(self) -> list[CatalogEntry]:
        if not self._folder.is_dir():
            return []
        return [CatalogEntry(path.stem, path, "", "", "added") for path in sorted(self._folder.glob(f"*{_GGUF}"))]
