"""Secrets by name: where they are looked up, and what is said when one is missing. Their values are never shown.

Owns two places that need no store: a systemd credential (a file in $CREDENTIALS_DIRECTORY), and the environment
(EDGEAGENT_SECRET_NAME). Which agent and tool may use which secret is policy, not decided here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgeagent.errors import NotFound

PREFIX = "EDGEAGENT_SECRET_"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


class Secrets(Protocol):
    """Wherever secrets are kept."""

    def secret(self, name: str) -> str:
        """The value. Raises NotFound with the next thing to do where there is none."""


@dataclass(frozen=True, slots=True)
class GivenSecrets:
    """What the process was given when it was started: systemd credentials first, then the environment."""

    environ: Mapping[str, str]

    def secret(self, name: str) -> str:
        value = self._credential(name) or self.environ.get(PREFIX + name)
        if not value:
            raise NotFound(f"the secret {name} is not set", f"start the daemon with {PREFIX}{name} in its environment")
        return value

    def _credential(self, name: str) -> str:
        folder = self.environ.get("CREDENTIALS_DIRECTORY")
        if not folder or not _NAME.fullmatch(name):
            return ""
        try:
            return Path(folder, name).read_text("utf-8").rstrip("\n")
        except (OSError, UnicodeDecodeError):
            return ""
