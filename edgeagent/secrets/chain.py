"""The order of the places: systemd credentials, the environment, then the one place that the settings name.

Never a silent fallback: where that place cannot be used, this is an error that names the others. Whatever is looked up
is made known to the redactor before anybody gets it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from edgeagent.errors import NotFound, SecretError, UsageError
from edgeagent.redaction import Redactor
from edgeagent.secrets.given import NAME, GivenSecrets, not_set

SHORTEST = 6
"""Characters of a value that can be kept. A shorter one could not be told from ordinary text in a log."""
LONGEST = 32768
NO_BACKEND = "none"


class Place(Protocol):
    """Somewhere secrets can be kept. All methods raise SecretError where it cannot be used."""

    @property
    def name(self) -> str: ...

    def get(self, name: str) -> str | None: ...

    def set(self, name: str, value: str) -> None: ...

    def remove(self, name: str) -> bool: ...

    def names(self) -> list[str]: ...

    def about(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Stored:
    """A secret that is there, and where it is taken from."""

    name: str
    place: str


@dataclass(frozen=True, slots=True)
class SecretChain:
    """One door to all of them. `place` None: `[secrets] backend = "none"`."""

    given: GivenSecrets
    place: Place | None
    redactor: Redactor

    def secret(self, name: str) -> str:
        """The value, at this moment. Raises NotFound where it is not set, SecretError where that cannot be told."""
        check_secret_name(name)
        value = self.given.find(name)
        if value is None and self.place is not None:
            value = self.place.get(name)
        if not value:
            raise not_set(name)
        self.redactor.add(name, value)
        return value

    def stored(self) -> list[Stored]:
        """Every secret by name, with the place that it would be taken from. No value is looked at."""
        kept = dict.fromkeys(self.place.names(), self.place.name) if self.place else {}
        return [Stored(name, place) for name, place in sorted((kept | self.given.names()).items())]

    def set(self, name: str, value: str) -> str:
        """Keeps a value; gives the name of the place."""
        check_secret_name(name)
        if not SHORTEST <= len(value) <= LONGEST or "\0" in value:
            told = f"a secret has {SHORTEST} to {LONGEST} characters, and no NUL among them"
            raise UsageError(f"the value of {name} cannot be kept: {told}", f"edgeagent secrets set {name}")
        place = self._place()
        place.set(name, value)
        return place.name

    def remove(self, name: str) -> None:
        check_secret_name(name)
        if self._place().remove(name):
            return
        where = self.given.names().get(name)
        if where:
            raise UsageError(f"{name} is given by the {where}, and not kept here", "remove it where it is given")
        raise NotFound(f"the secret {name} is not set", "edgeagent secrets list")

    def about(self) -> str:
        """The place in words, for `doctor`. Raises SecretError where it cannot be used."""
        return self.place.about() if self.place else "none: only systemd credentials and the environment are looked at"

    def _place(self) -> Place:
        if self.place is None:
            raise SecretError(
                'no place to keep secrets: the settings say [secrets] backend = "none"',
                'name one in config.toml: [secrets] backend = "keyring" or "file"',
            )
        return self.place


def check_secret_name(name: str) -> str:
    if not NAME.fullmatch(name):
        raise UsageError(f'"{name}" is not the name of a secret', "write one such as NTFY_TOKEN")
    return name
