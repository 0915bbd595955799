"""What an agent file may name as a grant, and how a grant becomes a path.

Owns the list of places that no agent is ever granted: the root, the home folder, credentials, edgeagent's own state,
and every folder that holds one of them. It decides nothing about a tool call: that is `edgeagent.policy`.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationInfo

from edgeagent.home import Home

# Below the home folder, on Linux and macOS.
_KEYS = (".ssh", ".gnupg", ".pki", ".password-store", ".local/share/gnupg", ".config/age", ".config/sops")
_KEYRINGS = (
    ".local/share/keyrings",
    ".local/share/kwalletd",
    ".local/share/python_keyring",
    ".config/keepassxc",
    ".config/Bitwarden",
    ".config/op",
    "Library/Keychains",
)
_CLOUDS = (
    ".aws",
    ".azure",
    ".kube",
    ".docker",
    ".oci",
    ".terraform.d",
    ".config/gcloud",
    ".config/doctl",
    ".config/rclone",
)
_FORGES = (".config/gh", ".config/hub", ".config/glab-cli", ".config/git/credentials", ".git-credentials", ".netrc")
_PACKAGES = (
    ".pypirc",
    ".npmrc",
    ".cargo/credentials.toml",
    ".gem/credentials",
    ".m2/settings.xml",
    ".config/containers",
)
_DATABASES = (".pgpass", ".my.cnf", ".vault-token")
_BROWSERS = (
    ".mozilla",
    ".thunderbird",
    ".config/google-chrome",
    ".config/chromium",
    ".config/BraveSoftware",
    "snap/firefox",
    "snap/chromium",
    "Library/Cookies",
    "Library/Application Support/Firefox",
    "Library/Application Support/Google/Chrome",
)
_HISTORIES = (".bash_history", ".zsh_history")
_CREDENTIALS = _KEYS + _KEYRINGS + _CLOUDS + _FORGES + _PACKAGES + _DATABASES + _BROWSERS + _HISTORIES
_SYSTEM_SECRETS = (
    "/etc/shadow",
    "/etc/gshadow",
    "/etc/sudoers",
    "/etc/ssh",
    "/etc/ssl/private",
    "/etc/wpa_supplicant",
    "/etc/NetworkManager/system-connections",
    "/run/secrets",
    "/run/credentials",
    "/proc/self",
    "/proc/1",
    "/proc/kcore",
    "/dev/mem",
)
_NAME = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?"
_HOST_AND_PORT = re.compile(rf"(?:{_NAME}|\[[0-9A-Fa-f:.]+\]):([0-9]{{1,5}})", re.ASCII)


def resolve(written: str, home_dir: Path) -> Path:
    """The path as written in an agent file, with `~` expanded and symlinks resolved; what is missing is fine."""
    return Path(os.path.realpath(_expand(written, home_dir)))


def roots(written: Iterable[str], writable: Iterable[str], home_dir: Path) -> tuple[Path, ...]:
    """Where grants lead now, which may be elsewhere than when the file was read.

    None that leads to a protected place, or by a link in a folder that the agent may write itself to a place outside:
    otherwise whoever works for the agent there could put the link, and so grant it whatever they like.
    """
    kept = []
    for grant in written:
        path = resolve(grant, home_dir)
        try:
            _refuse_protected(grant, path, home_dir, None)
        except ValueError:
            continue
        if not led_out(grant, writable, home_dir):
            kept.append(path)
    return tuple(dict.fromkeys(kept))


def led_out(written: str, writable: Iterable[str], home_dir: Path) -> bool:
    """Whether a grant lies in a folder that may be written and leads out of it by a link there."""
    read = Path(os.path.normpath(_expand(written, home_dir)))
    for other in writable:
        folder = Path(os.path.normpath(_expand(other, home_dir)))
        if read != folder and folder in read.parents:
            real = Path(os.path.realpath(folder))
            if not resolve(written, home_dir).is_relative_to(real):
                return True
    return False


def check_grant(written: str, info: ValidationInfo) -> str:
    """A path of `grants.read` or `grants.write`. Raises ValueError where it must not be granted."""
    _check_path(written)
    if "*" in written:
        raise ValueError(f'"{written}": a grant is a folder or a file, without wildcards')
    home = _home(info)
    user = home.user if home else Path.home()
    for path in _both(written, user):
        _refuse_protected(written, path, user, home)
    return written


def check_watch(written: str, info: ValidationInfo) -> str:
    """The `path` of a file trigger. Watching edgeagent's own state would start a run for every line of the journal."""
    _check_path(written)
    home = _home(info)
    for path in _both(written, home.user if home else Path.home()):
        if path == Path("/"):
            raise ValueError(f'"{written}" is the whole file system; name the folder to watch')
        for state in home.state() if home else ():
            if info.data.get("recursive", True) or path not in state.parents:
                _refuse(written, path, state, "edgeagent's own state,")
    return written


def check_host(written: str) -> str:
    """One entry of `grants.network`: an exact host and port."""
    found = _HOST_AND_PORT.fullmatch(written)
    if not found or not 1 <= int(found[1]) <= 65535:
        raise ValueError(f'"{written}" is not a host and port; write one such as ntfy.sh:443')
    return written


def _home(info: ValidationInfo) -> Home | None:
    context: Any = info.context
    return context.home if context is not None else None


def _check_path(written: str) -> None:
    if not written.strip():
        raise ValueError("must not be empty")
    if written.startswith("~") and not (written == "~" or written.startswith("~/")):
        raise ValueError(f'"{written}": only your own home folder can be written with ~')
    if "{{" in written or "$" in written:
        raise ValueError(f'"{written}": variables are not known here; give the full path, such as ~/Documents')
    if not written.startswith(("/", "~")):
        raise ValueError(f'"{written}" is a relative path; give the full path, such as ~/Documents')


def _expand(written: str, home_dir: Path) -> Path:
    if written == "~":
        return home_dir
    return home_dir / written[2:].lstrip("/") if written.startswith("~/") else Path(written)


def _both(written: str, home_dir: Path) -> tuple[Path, ...]:
    """The path as it reads and as it resolves: neither may name a protected place."""
    expanded = _expand(written, home_dir)
    try:
        # normpath keeps two leading slashes, which POSIX leaves to the system and Linux takes for one.
        return Path("/" + os.path.normpath(expanded).lstrip("/")), expanded.resolve(strict=False)
    except (OSError, RuntimeError) as error:  # RuntimeError is how Python before 3.13 reports a loop of symlinks
        raise ValueError(f'"{written}" cannot be resolved: {error}') from error


def _folded(path: Path) -> Path:
    """The path as a file system reads it that takes no heed of case, forms of letters or letters that are not seen, as
    those of macOS and of memory sticks: what names a protected place on any of them is refused on all."""
    seen = "".join(letter for letter in str(path) if unicodedata.category(letter) != "Cf")
    return Path(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", seen).casefold()))


def _refuse_protected(written: str, path: Path, user: Path, home: Home | None) -> None:
    if path == Path("/"):
        raise ValueError(f'"{written}" is the whole file system; grant the folder that is needed')
    folded = _folded(path)
    for folder in (user, user.resolve()):
        if folded == _folded(folder):
            raise ValueError(f'"{written}" is your whole home folder; grant a folder in it')
        if folded in _folded(folder).parents:
            raise ValueError(f'"{written}" holds your home folder {folder}; grant the folder that is needed')
    for secret in (user / name for name in _CREDENTIALS):
        _refuse(written, path, secret, "the credentials in")
    for name in _SYSTEM_SECRETS:
        _refuse(written, path, Path(name), "the secrets of the system in")
    for state in home.state() if home else ():
        _refuse(written, path, state, "edgeagent's own state,")


def _refuse(written: str, path: Path, protected: Path, what: str) -> None:
    """Raises ValueError where the path is the protected one, lies in it or holds it, as written or as resolved."""
    path = _folded(path)
    for place in {_folded(protected), _folded(Path(os.path.realpath(protected)))}:
        if path == place or place in path.parents:
            raise ValueError(f'"{written}" belongs to {what} {protected}')
        if path in place.parents:
            raise ValueError(f'"{written}" holds {what} {protected}')
