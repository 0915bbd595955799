"""What a service starts: this very interpreter and installation, on this very home."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import edgeagent
from edgeagent.home import Home

_KEPT = ("EDGEAGENT_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME")
"""What decides where the home is. A service does not have the variables of the shell that installed it."""


@dataclass(frozen=True, slots=True)
class Program:
    """`needs` are the folders that it reads its code from."""

    argv: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    home: str
    needs: tuple[str, ...] = ()
    stop_seconds: float = 10.0


def program_of(environ: Mapping[str, str], home: Home, stop_seconds: float) -> Program:
    """The daemon of this home. -P: what lies in the working folder is not code of ours."""
    kept = tuple((name, os.path.abspath(os.path.expanduser(environ[name]))) for name in _KEPT if environ.get(name))
    code = Path(edgeagent.__file__).resolve().parent.parent
    return Program(
        (sys.executable, "-P", "-m", "edgeagent.cli", "daemon"),
        kept,
        str(home.database.parent),
        tuple(dict.fromkeys((sys.prefix, sys.base_prefix, str(code)))),
        stop_seconds,
    )


def left_behind(environ: Mapping[str, str]) -> list[str]:
    """The variables of edgeagent that hold here and not in the service."""
    return sorted(name for name in environ if name.startswith("EDGEAGENT_") and name not in _KEPT)
