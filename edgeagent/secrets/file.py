"""Secrets in an encrypted file, for machines without a keyring; used only where the settings say so.

It protects a copy of the file that gets away without its key: in a backup, on a stick, in a repository. It does not
protect against whoever can read your files or run programs as you: where the key lies in a file beside it, they have
both. With the key as an encrypted systemd credential (`edgeagent-secrets-key`) a stolen disk tells nothing.
ChaCha20-Poly1305 under a key that scrypt makes of the key's text.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import secrets as randomness
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeagent.errors import SecretError
from edgeagent.secrets.given import GivenSecrets
from edgeagent.secrets.keyring import write_private

CREDENTIAL = "edgeagent-secrets-key"
_HEADER = b"edgeagent secrets 1"
_SCRYPT = {"n": 2**14, "r": 8, "p": 1, "maxmem": 64 * 2**20, "dklen": 32}


@dataclass(frozen=True, slots=True)
class EncryptedFile:
    """One file and the file of its key; the key may come as a systemd credential instead."""

    path: Path
    key_file: Path
    given: GivenSecrets

    name = "file"

    def get(self, name: str) -> str | None:
        return self._read().get(name)

    def set(self, name: str, value: str) -> None:
        with self._alone():
            self._write(self._read() | {name: value})

    def remove(self, name: str) -> bool:
        with self._alone():
            kept = self._read()
            if name not in kept:
                return False
            self._write({other: value for other, value in kept.items() if other != name})
            return True

    def names(self) -> list[str]:
        return sorted(self._read())

    def about(self) -> str:
        self._read()
        told = f"encrypted file {self.path}"
        if self.given.credential(CREDENTIAL):
            return f"{told}, key from systemd"
        return f"{told}, key in {self.key_file}: no protection against whoever can read both"

    def _read(self) -> dict[str, str]:
        try:
            stored: dict[str, Any] = json.loads(self.path.read_bytes())
            salt, nonce, data = (base64.b64decode(stored[part]) for part in ("salt", "nonce", "data"))
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise SecretError(f"cannot read {self.path}: {error.strerror}", f"ls -l '{self.path}'") from error
        except (ValueError, KeyError, TypeError) as error:
            raise self._damaged() from error
        cipher = _cipher(self._key(), salt)
        from cryptography.exceptions import InvalidTag

        try:
            opened: dict[str, str] = json.loads(cipher.decrypt(nonce, data, _HEADER))
        except (InvalidTag, ValueError) as error:
            raise self._damaged() from error
        return opened

    def _write(self, kept: dict[str, str]) -> None:
        salt, nonce = randomness.token_bytes(16), randomness.token_bytes(12)
        data = _cipher(self._key(), salt).encrypt(nonce, json.dumps(kept).encode(), _HEADER)
        parts = {"salt": salt, "nonce": nonce, "data": data}
        stored = {name: base64.b64encode(part).decode() for name, part in parts.items()}
        write_private(self.path, json.dumps(stored).encode())

    def _key(self) -> bytes:
        """The text of the key; made where neither a key nor anything locked with one is there yet."""
        given = self.given.credential(CREDENTIAL)
        if given:
            return given.encode()
        try:
            key = self.key_file.read_bytes().strip()
        except FileNotFoundError:
            key = b""
        except OSError as error:
            raise SecretError(f"cannot read {self.key_file}: {error.strerror}", f"ls -l '{self.key_file}'") from error
        if key:
            return key
        if self.path.exists():
            raise SecretError(f"the key {self.key_file} is gone", f"put it back, or start anew: rm '{self.path}'")
        key = randomness.token_urlsafe(32).encode()
        write_private(self.key_file, key + b"\n")
        return key

    def _damaged(self) -> SecretError:
        return SecretError(
            f"{self.path} cannot be opened with its key: one of the two was changed",
            f"put both back from a backup, or start anew: rm '{self.path}'",
        )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One writer at a time: two commands must not undo each other's change."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise SecretError(f"cannot write {self.path}: {error.strerror}", f"ls -ld '{self.path.parent}'") from error
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)


def _cipher(key: bytes, salt: bytes) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
    except ImportError as error:
        raise SecretError(
            "the encrypted file needs the package cryptography", "pip install 'edgeagent[secrets-file]'"
        ) from error
    return ChaCha20Poly1305(hashlib.scrypt(key, salt=salt, **_SCRYPT))
