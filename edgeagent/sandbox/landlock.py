"""Landlock: what a process may open, connect to and signal, from then on and for all its children.

Owns the numbers of the kernel's interface and which of them each version has. A ruleset does nothing until a process
takes it on, so it is made here, where paths are opened safely, and handed to the launcher as a descriptor.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Iterable
from functools import cache

from edgeagent.errors import SandboxError

_CREATE, _ADD = 444, 445
_RULE_BENEATH = 1
_ASK_VERSION = 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_REMOVE, _MAKE_DIR, _MAKE_REG, _MAKE_SYM = 0x30, 0x80, 0x100, 0x1000
_REFER, _TRUNCATE, _IOCTL = 0x2000, 0x4000, 0x8000
_FIRST_RIGHTS = 0x1FFF
_NET = 3  # binding and connecting of TCP
_SCOPES = 3  # abstract unix sockets, signals
_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL

READ = _EXECUTE | _READ_FILE | _READ_DIR
WRITE = READ | _WRITE_FILE | _REMOVE | _MAKE_DIR | _MAKE_REG | _MAKE_SYM | _REFER | _TRUNCATE
"""Files, folders and links are made; sockets, FIFOs and devices are not."""

READ_ONLY = _READ_FILE
USE = _READ_FILE | _WRITE_FILE

SIGNAL_ABI = 6


@cache
def version() -> int:
    """The version of Landlock in this kernel; 0 where there is none."""
    return max(_call(_CREATE, None, 0, _ASK_VERSION), 0)


def ruleset(abi: int, places: Iterable[tuple[int, int]]) -> int:
    """A descriptor of rules that forbid all that this version knows, but for `places`: descriptor and rights."""
    handled = _FIRST_RIGHTS
    handled |= _REFER if abi >= 2 else 0
    handled |= _TRUNCATE if abi >= 3 else 0
    handled |= _IOCTL if abi >= 5 else 0
    rules = _create(handled, _NET if abi >= 4 else 0, _SCOPES if abi >= SIGNAL_ABI else 0)
    for place, rights in places:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            rights &= _ON_FILES
        _allow(rules, place, rights & handled)
    return rules


def signal_scope() -> int:
    """A descriptor of rules that forbid one thing: signals to processes that have not taken them on."""
    return _create(0, 0, 2)


def _create(files: int, net: int, scopes: int) -> int:
    attributes = struct.pack("=QQQ", files, net, scopes)
    size = 24 if scopes else 16 if net else 8  # an older kernel refuses what it does not know
    descriptor = _call(_CREATE, attributes, size, 0)
    if descriptor < 0:
        raise SandboxError(f"Landlock: {os.strerror(-descriptor)}", "edgeagent doctor")
    return descriptor


def _allow(rules: int, place: int, rights: int) -> None:
    result = _call(_ADD, rules, _RULE_BENEATH, struct.pack("=Qi", rights, place), 0)
    if result < 0:
        os.close(rules)
        raise SandboxError(f"Landlock: {os.strerror(-result)}", "edgeagent doctor")


def _call(number: int, *arguments: int | bytes | None) -> int:
    """The result, or the negated error."""
    library = ctypes.CDLL(None, use_errno=True)
    values = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    result = int(library.syscall(ctypes.c_long(number), *values))
    return result if result >= 0 else -(ctypes.get_errno() or errno.EINVAL)
