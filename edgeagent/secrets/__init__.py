"""Secrets by name: where they are kept, looked up and hidden again. Values are never shown.

    given    what the process was started with: systemd credentials, the environment
    keyring  the keyring of the desktop, asked in a child (`child`) that can be killed
    file     an encrypted file, for machines without a keyring
    chain    the order of the places, and one door to them

Which agent and tool may use which secret is policy, not decided here.
"""

from edgeagent.secrets.chain import NO_BACKEND, Place, SecretChain, Stored, check_secret_name
from edgeagent.secrets.file import EncryptedFile
from edgeagent.secrets.given import PREFIX, GivenSecrets, Secrets
from edgeagent.secrets.keyring import Keyring

__all__ = [
    "NO_BACKEND",
    "PREFIX",
    "EncryptedFile",
    "GivenSecrets",
    "Keyring",
    "Place",
    "SecretChain",
    "Secrets",
    "Stored",
    "check_secret_name",
]
