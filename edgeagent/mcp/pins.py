"""What each server was when it was trusted: its command, its files, and every word on its tools.

One JSON file a server, written whole or not at all. The first start of what config.toml declares is trusted, as the
person who wrote it there trusts it; what changes of its own accord afterwards (files, tools, descriptions) is not.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeagent.errors import McpError
from edgeagent.mcp.listing import Listing
from edgeagent.schema import Json


@dataclass(frozen=True, slots=True)
class Pin:
    """`declared` and `files` are digests. `found`: another list of tools that it came with since, not trusted yet."""

    declared: str
    files: str
    listing: Listing
    trusted_at: str
    found: Listing | None = None


@dataclass(frozen=True, slots=True)
class Pins:
    """The pins in a folder. Reads a file whenever it is asked, since another process may have written it."""

    folder: Path

    def read(self, server: str) -> Pin | None:
        """None where it was never started. McpError where the file is not what edgeagent wrote."""
        path = self._path(server)
        try:
            data: Any = json.loads(path.read_text("utf-8"))
            return Pin(
                data["declared"],
                data["files"],
                Listing.from_json(data["listing"]),
                data["trusted_at"],
                Listing.from_json(data["found"]) if data["found"] else None,
            )
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            raise McpError(
                f"{path} cannot be read: {type(error).__name__}",
                f"look at the server anew: edgeagent mcp trust {server}",
            ) from error

    def write(self, server: str, pin: Pin) -> None:
        data: Json = {
            "version": 1,
            "declared": pin.declared,
            "files": pin.files,
            "listing": pin.listing.as_json(),
            "trusted_at": pin.trusted_at,
            "found": pin.found.as_json() if pin.found else None,
        }
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self.folder / f".{server}.{os.getpid()}"
        with fresh.open("w", encoding="utf-8") as file:
            json.dump(data, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, self._path(server))

    def note(self, server: str, found: Listing) -> None:
        """Remembers that a server came with another list; it is not trusted until a person says so."""
        pin = self.read(server)
        if pin is not None:
            self.write(server, replace(pin, found=found if found.raw != pin.listing.raw else None))

    def forget(self, server: str) -> None:
        self._path(server).unlink(missing_ok=True)

    def _path(self, server: str) -> Path:
        return self.folder / f"{server}.json"
