"""Secrets that the process was given when it was started: systemd credentials first, then the environment.

A credential is a file in $CREDENTIALS_DIRECTORY, which systemd makes for one service alone (`LoadCredential=`,
`SetCredentialEncrypted=`); a variable is EDGEAGENT_SECRET_NAME.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgeagent.errors import NotFound

PREFIX = "EDGEAGENT_SECRET_"
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)
_MOST_BYTES = 65536


class Secrets(Protocol):
    """Wherever secrets are kept."""

    def secret(self, name: str) -> str:
        """The value. Raises NotFound with the next thing to do where there is none."""


@dataclass(frozen=True, slots=True)
class GivenSecrets:
    environ: Mapping[str, str]

    def secret(self, name: str) -> str:
        value = self.find(name)
        if value is None:
            raise not_set(name)
        return value

    def find(self, name: str) -> str | None:
        return self.credential(name) or self.environ.get(PREFIX + name) or None

    def credential(self, name: str) -> str | None:
        """The content of a credential without the line end at its end; None where systemd gave none of that name."""
        folder = self.environ.get("CREDENTIALS_DIRECTORY")
        if not folder or "/" in name or name in ("", ".", ".."):
            return None
        try:
            with Path(folder, name).open("rb") as file:
                return file.read(_MOST_BYTES).decode().rstrip("\n") or None
        except (OSError, UnicodeDecodeError):
            return None

    def names(self) -> dict[str, str]:
        """The names that are there, each with its place: `credentials` or `environment`."""
        found = {
            variable.removeprefix(PREFIX): "environment"
            for variable, value in self.environ.items()
            if variable.startswith(PREFIX) and value and NAME.fullmatch(variable.removeprefix(PREFIX))
        }
        folder = self.environ.get("CREDENTIALS_DIRECTORY")
        try:
            files = sorted(path.name for path in Path(folder).iterdir()) if folder else []
        except OSError:
            files = []
        return found | {name: "credentials" for name in files if NAME.fullmatch(name)}


def not_set(name: str) -> NotFound:
    return NotFound(f"the secret {name} is not set", f"edgeagent secrets set {name}")
