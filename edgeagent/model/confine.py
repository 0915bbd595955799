"""Takes from the model host what it does not need, since a GGUF is data that nobody has looked at.

Covered, on Linux: it cannot write, make, rename or remove anything outside its cache folder (Landlock); it cannot open
a socket of any kind, start a program, trace or read another process (seccomp). Not covered: reading files, signals to
processes of the same user, and processor time and memory, which the daemon watches. Where the kernel lacks one of the
two, the other still holds, and `confine` says so; elsewhere than on Linux nothing is taken.

A thread is confined with the threads that it starts: call it before there are others.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

_NO_NEW_PRIVILEGES, _SECCOMP, _FILTER = 38, 22, 2  # PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG, _PATH_BENEATH = 1, 1
# linux/landlock.h: write, remove (2), make (7); rename elsewhere since version 2, truncate since 3.
_WRITES = sum(1 << bit for bit in (1, 4, 5, 6, 7, 8, 9, 10, 11, 12))
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_ON_FILES = 1 << 1 | _TRUNCATE
_CONNECT = 0b11  # LANDLOCK_ACCESS_NET_BIND_TCP and CONNECT_TCP, since version 4

# socket, execve, execveat, ptrace, process_vm_readv, process_vm_writev, io_uring_setup, bpf, unshare, setns, mount
_REFUSED = {
    "x86_64": (0xC000003E, (41, 59, 322, 101, 310, 311, 425, 321, 272, 308, 165)),
    "aarch64": (0xC00000B7, (198, 221, 281, 117, 270, 271, 425, 280, 97, 268, 40)),
}
_X32 = 0x4000_0000
_NUMBER, _ARCHITECTURE, _ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _REFUSE = 0x7FFF_0000, 0x0005_0000 | errno.EACCES
# arch_prctl(ARCH_REQ_XCOMP_PERM): asked by llama.cpp before it uses AMX. Its AMX code as gcc compiles it ends the
# process with SIGSEGV (docs/decisions/0007-no-amx.md); when refused, it takes the AVX-512 code.
_NO_AMX = ((_EQUAL, 0, 2, 158), (_LOAD, 0, 0, _ARGUMENT), (_EQUAL, 1, 0, 0x1023))


def confine(writable: Path | None) -> str:
    """Confines this process for good; what was taken from it, in words. Without Landlock, writing is not."""
    if sys.platform != "linux":
        return "nothing: this platform has no Landlock and no seccomp"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        return "nothing: the kernel refuses"
    writes = _no_writes(libc, [path for path in (writable, Path(os.devnull)) if path])
    calls = _no_calls(libc)
    taken = [
        "no writing outside the cache folder" if writes else "writing (no Landlock in this kernel)",
        "no network, no programs" if calls else "network and programs (no seccomp in this kernel)",
    ]
    return ", ".join(taken)


def _no_writes(libc: ctypes.CDLL, writable: Iterable[Path]) -> bool:
    """Landlock: writes only beneath these paths, and no TCP where the kernel can tell."""
    version = libc.syscall(_CREATE_RULESET, None, 0, _VERSION_FLAG)
    if version < 1:
        return False
    handled = _WRITES | (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)
    rules = struct.pack("=QQ", handled, _CONNECT)[: 16 if version >= 4 else 8]
    ruleset = libc.syscall(_CREATE_RULESET, rules, len(rules), 0)
    if ruleset < 0:
        return False
    try:
        for path in writable:
            with contextlib.suppress(FileNotFoundError):
                _allow(libc, ruleset, path, handled if path.is_dir() else handled & _ON_FILES)
        return bool(libc.syscall(_RESTRICT_SELF, ruleset, 0) == 0)
    finally:
        os.close(ruleset)


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path, rights: int) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", rights, descriptor), 0)
    finally:
        os.close(descriptor)


def _no_calls(libc: ctypes.CDLL) -> bool:
    """seccomp: the calls of `_REFUSED` fail with EACCES, and those of a foreign ABI too."""
    if platform.machine() not in _REFUSED:
        return False
    machine, refused = _REFUSED[platform.machine()]
    amx = _NO_AMX if platform.machine() == "x86_64" else ()
    last = 4 + len(refused) + len(amx) + 1  # the line that refuses
    program = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 0, last - 2, machine),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, last - 4, 0, _X32),
        *((_EQUAL, last - 5 - place, 0, number) for place, number in enumerate(refused)),
        *amx,
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in program))
    head = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(code)))
    return bool(libc.prctl(_SECCOMP, _FILTER, head, 0, 0) == 0)
