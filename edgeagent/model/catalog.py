"""The models that have a name here: bundled ones, those in the models folder, and those that can be pulled.

Beside a model that was pulled or added lies `NAME.json`, which says where it came from. Reads both; downloads nothing
(`model.fetch`) and looks into no model (`model.gguf`).
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path

from edgeagent.bundled import bundled
from edgeagent.errors import NotFound, UsageError
from edgeagent.schema import Json

SUFFIX = ".gguf"
_HUB = "hf:"
_SOURCE = re.compile(r"hf:(?P<repository>[\w.-]+/[\w.-]+)/(?P<file>[\w./+ -]+\.gguf)", re.ASCII)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Source:
    """A file on the hub."""

    repository: str
    file: str

    def __str__(self) -> str:
        return f"{_HUB}{self.repository}/{self.file}"


@dataclass(frozen=True, slots=True)
class Record:
    """Where a model in the models folder came from: its source (`hf:...` or a path) and its digest."""

    source: str
    sha256: str
    size: int
    licence: str = ""
    description: str = ""
    at: str = ""


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """One model that has a name. `origin`: bundled, pulled, added, path, catalog (can be pulled), or endpoint: then
    `source` is the address of a server, and there is no file.

    `about` is what the catalog says of it: parameters, size, memory, context, tool_calls.
    """

    name: str
    path: Path
    description: str
    licence: str
    origin: str
    source: str = ""
    about: Json = field(default_factory=dict)

    @property
    def is_here(self) -> bool:
        return self.path.is_file()

    @property
    def size(self) -> int | None:
        """Bytes on disk; None where the file is not there."""
        return self.path.stat().st_size if self.is_here else None


def elsewhere(address: object, name: str) -> CatalogEntry:
    """A model that a server has."""
    return CatalogEntry(name, Path(), f"behind {address}", "", "endpoint", str(address))


def parse_source(name: str) -> Source:
    """`hf:ORG/REPO/FILE.gguf`. Raises UsageError."""
    found = _SOURCE.fullmatch(name)
    if not found or ".." in found["file"].split("/"):
        raise UsageError(f"{name} names no file on the hub", "write hf:ORG/REPO/FILE.gguf")
    if re.search(r"-\d{5}-of-\d{5}\.gguf$", found["file"]):
        raise UsageError(f"{name} is one part of a model in several files", "choose a quantization that is one file")
    return Source(found["repository"], found["file"])


@lru_cache(maxsize=4)
def _parsed(file: Path, written_at: int) -> Json:
    """The shipped catalog. Every run asks for its model, and parsing takes milliseconds."""
    return tomllib.loads(file.read_text("utf-8"))


class Catalog:
    """The models that can be named. A file in the models folder goes before an entry of the same name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def entries(self) -> list[CatalogEntry]:
        found = {entry.name: entry for entry in [*self._shipped(), *self._in_folder()]}
        return [found[name] for name in sorted(found)]

    def names(self) -> list[str]:
        return [entry.name for entry in self.entries()]

    def find(self, name: str, base: Path | None = None) -> CatalogEntry:
        """The model that `name` means: a name, `hf:ORG/REPO/FILE.gguf`, or a path (relative to `base`).

        Raises:
            NotFound: no such name, or a model that is not on this device. UsageError: not a form of name.
        """
        entry = self.lookup(name, base)
        if entry.origin != "path" and not entry.is_here:
            raise NotFound(f"model {name} is not on this device", f"edgeagent models pull {name}")
        return entry

    def lookup(self, name: str, base: Path | None = None) -> CatalogEntry:
        """The same, on this device or not."""
        entries = self.entries()
        for entry in entries:
            if entry.name == name or (entry.source == name and name.startswith(_HUB)):
                return entry
        if name.startswith(_HUB):
            return self._unknown(parse_source(name))
        if "/" in name or name.endswith(SUFFIX):
            path = Path(name).expanduser()
            path = path if path.is_absolute() or base is None else base / path
            return CatalogEntry(path.stem, path, "a file", "", "path")
        raise NotFound(f"no model named {name}", "edgeagent models list")

    def path_of(self, name: str) -> Path:
        """Where a model of that name lies. Raises UsageError for what cannot be a name."""
        if not NAME.fullmatch(name):
            raise UsageError(f'"{name}" is no name for a model', "use letters, digits, dots, - and _")
        return self.folder / f"{name}{SUFFIX}"

    def record(self, name: str) -> Record | None:
        """What is known of a model in the models folder; None where nothing (readable) is."""
        try:
            read = json.loads(self._record_path(name).read_text(encoding="utf-8"))
            return Record(**read)
        except (OSError, ValueError, TypeError):
            return None

    def write_record(self, name: str, record: Record) -> None:
        path = self._record_path(name)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        temporary.write_text(json.dumps(asdict(record), indent=1) + "\n", encoding="utf-8")
        os.replace(temporary, path)

    def remove(self, entry: CatalogEntry) -> None:
        """Deletes a model of the models folder, and what is known of it."""
        entry.path.unlink()
        self._record_path(entry.name).unlink(missing_ok=True)

    def _record_path(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def _unknown(self, source: Source) -> CatalogEntry:
        name = Path(source.file).stem
        return CatalogEntry(name, self.path_of(name), "", "", "catalog", str(source))

    def _shipped(self) -> list[CatalogEntry]:
        folder = bundled("models")
        file = folder / "catalog.toml"
        catalog = _parsed(file, file.stat().st_mtime_ns)
        return [self._from_catalog(folder, name, dict(table)) for name, table in catalog.items()]

    def _from_catalog(self, folder: Path, name: str, table: Json) -> CatalogEntry:
        description, licence = table.pop("description"), table.pop("licence")
        file = table.pop("file")
        if "repository" not in table:
            return CatalogEntry(name, folder / file, description, licence, "bundled", "", table)
        source = str(Source(table.pop("repository"), file))
        return CatalogEntry(name, self.path_of(name), description, licence, "catalog", source, table)

    def _in_folder(self) -> list[CatalogEntry]:
        if not self.folder.is_dir():
            return []
        shipped = {entry.name: entry for entry in self._shipped()}
        return [
            self._local(path, shipped.get(path.stem))
            for path in sorted(self.folder.glob(f"*{SUFFIX}"))
            if not path.name.startswith(".")
        ]

    def _local(self, path: Path, shipped: CatalogEntry | None) -> CatalogEntry:
        record = self.record(path.stem)
        if record is None:
            return CatalogEntry(path.stem, path, "", "", "added")
        if not record.source.startswith(_HUB):
            return CatalogEntry(path.stem, path, record.description, record.licence, "added", record.source)
        known = shipped if shipped and shipped.source == record.source else None
        return CatalogEntry(
            path.stem,
            path,
            known.description if known else record.description,
            known.licence if known else record.licence,
            "pulled",
            record.source,
            known.about if known else {},
        )
