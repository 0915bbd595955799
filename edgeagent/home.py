"""Where edgeagent keeps things: the folders of SPEC section 2. Makes and checks them; reads nothing in them."""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from edgeagent.errors import HomeError

_NAME = "edgeagent"
_HINT = "make it writable for you, or set EDGEAGENT_HOME to a folder of your own"
_BESIDE_DATABASE = ("-wal", "-shm", "-journal", ".lock")


@dataclass(frozen=True, slots=True)
class Home:
    """The files and folders of one installation. `user` is the home folder of the person it runs for."""

    config_file: Path
    agents: Path
    skills: Path
    models: Path
    database: Path
    cache: Path
    run: Path
    socket: Path
    trash: Path
    user: Path

    @property
    def daemon_lock(self) -> Path:
        """Beside the database, since that is what only one daemon may work on."""
        return self.database.with_name("daemon.lock")

    @property
    def api_token(self) -> Path:
        """What a caller over TCP must show (mode 0600)."""
        return self.database.with_name("api-token")

    @property
    def log(self) -> Path:
        """The latest lines of the daemon's log, as JSON."""
        return self.cache / "edgeagent.log"

    def damaged_databases(self) -> tuple[Path, ...]:
        """The databases, and their logs, that were put aside as damaged (see store/damage.py)."""
        return tuple(sorted(self.database.parent.glob(f"{self.database.name}.damaged-*")))

    @property
    def mcp(self) -> Path:
        """What MCP servers were when they were trusted, a file for each."""
        return self.database.with_name("mcp")

    @property
    def secrets_file(self) -> Path:
        """The encrypted file, where the settings want one."""
        return self.database.with_name("secrets.enc")

    @property
    def secrets_key(self) -> Path:
        return self.database.with_name("secrets.key")

    @property
    def secret_names(self) -> Path:
        """The names of what the keyring holds."""
        return self.database.with_name("secrets.names")

    def create(self) -> None:
        """Makes the folders that are missing, for this user only. HomeError names the one that cannot be used."""
        parents = (self.config_file.parent, self.database.parent)
        for folder in dict.fromkeys((*parents, self.agents, self.skills, self.models, self.cache, self.trash)):
            _make(folder)
        _make(self.run)
        _make_private(self.run)

    def state(self) -> tuple[Path, ...]:
        """Everything here that an agent must never be granted."""
        beside = tuple(self.database.with_name(self.database.name + suffix) for suffix in _BESIDE_DATABASE)
        beside += self.damaged_databases()
        folders = (self.agents, self.skills, self.models, self.cache, self.run, self.trash, self.mcp)
        secrets = (self.api_token, self.secrets_file, self.secrets_key, self.secret_names)
        return (self.config_file, self.database, *beside, self.daemon_lock, *secrets, *folders)


def home_from_environment(environ: Mapping[str, str]) -> Home:
    """The home that `EDGEAGENT_HOME` names, else the platform's own folders (platformdirs: XDG, Library)."""
    user = Path(environ.get("HOME") or Path.home())
    root = environ.get("EDGEAGENT_HOME", "")
    if not root:
        return _home(
            user=user,
            config=platformdirs.user_config_path(_NAME),
            data=platformdirs.user_data_path(_NAME),
            cache=platformdirs.user_cache_path(_NAME),
            run=_runtime_folder(),
        )
    if root == "~" or root.startswith("~/"):
        root = f"{user}{root[1:]}"
    folder = Path(os.path.abspath(root))
    return _home(user=user, config=folder, data=folder, cache=folder / "cache", run=folder / "run")


def _runtime_folder() -> Path:
    """Without XDG_RUNTIME_DIR (over ssh as root, in cron) platformdirs picks another safe place and warns.

    The warning is for programmers; `doctor` shows people the folder that was picked.
    """
    try:
        with warnings.catch_warnings(action="ignore"):
            return platformdirs.user_runtime_path(_NAME)
    except OSError as error:
        raise HomeError(f"no folder for the control socket: {error}", _HINT) from error


def _home(*, user: Path, config: Path, data: Path, cache: Path, run: Path) -> Home:
    return Home(
        config_file=config / "config.toml",
        agents=config / "agents",
        skills=data / "skills",
        models=data / "models",
        database=data / "edgeagent.db",
        cache=cache,
        run=run,
        socket=run / "edgeagent.sock",
        trash=data / "trash",
        user=user,
    )


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise HomeError(f"cannot make the folder {folder}: {error.strerror}", _HINT) from error
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise HomeError(f"cannot write to the folder {folder}", _HINT)


def _make_private(folder: Path) -> None:
    """The control socket lies here, so nobody else may enter, nor have put a folder of theirs in its place."""
    found = folder.lstat()
    if stat.S_ISLNK(found.st_mode) or found.st_uid != os.getuid():
        raise HomeError(f"the folder {folder} is not yours", "remove it, or set EDGEAGENT_HOME to a folder of your own")
    if found.st_mode & 0o077:
        folder.chmod(0o700)
