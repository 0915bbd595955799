"""The process that talks to the keyring: one question on stdin, one answer on stdout, both a line of JSON.

Only keyrings that keep what they are given are taken: those that fail, forget, or write plain text are refused.
"""

from __future__ import annotations

import json
import sys
from typing import Any

_SERVICES = (
    "keyring.backends.SecretService",
    "keyring.backends.libsecret",
    "keyring.backends.kwallet",
    "keyring.backends.macOS",
)


def main() -> None:
    try:
        import keyring
        import keyring.errors
    except ImportError as error:
        _say({})
        sys.stdin.readline()
        _say({"error": f"the package keyring cannot be loaded ({error}); install it again: pip install keyring"})
        return
    _say({})
    asked = json.loads(sys.stdin.readline())
    try:
        _say({"value": _answer(_backend(keyring.get_keyring()), **asked)})
    except keyring.errors.KeyringError as error:
        _say({"error": str(error) or type(error).__name__})
    except RuntimeError as error:
        _say({"error": str(error)})


def _answer(backend: Any, action: str, service: str, name: str, value: str) -> object:
    match action:
        case "about":
            return _name_of(backend)
        case "get":
            return backend.get_password(service, name)
        case "set":
            return backend.set_password(service, name, value)
    is_there = backend.get_password(service, name) is not None
    if is_there:
        backend.delete_password(service, name)
    return is_there


def _backend(chosen: Any) -> Any:
    """The keyring that the user's settings lead to; of a chain the first one that is any good."""
    found = getattr(chosen, "backends", None) or [chosen]
    for backend in found:
        if type(backend).__module__ in _SERVICES:
            return backend
    raise RuntimeError(f"there is only {', '.join(map(_name_of, found))}, which does not keep secrets safely")


def _name_of(backend: Any) -> str:
    return f"{type(backend).__module__}.{type(backend).__name__}"


def _say(answer: dict[str, object]) -> None:
    print(json.dumps(answer), flush=True)  # noqa: T201  # a pipe to the parent


if __name__ == "__main__":
    main()
