"""Starts a program without AMX: python no_amx.py PROGRAM ARGUMENT...

llama.cpp as gcc compiles it ends with SIGSEGV where it uses AMX (docs/decisions/0007-no-amx.md), so our model host is
refused it by the kernel. Peers are refused it in the same way, for they would not run, or not run alike.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

_NO_NEW_PRIVILEGES, _SECCOMP, _FILTER = 38, 22, 2
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_PROGRAM = (
    (_LOAD, 0, 0, 4),  # the architecture
    (_EQUAL, 0, 5, 0xC000003E),  # x86_64
    (_LOAD, 0, 0, 0),  # the number of the call
    (_EQUAL, 0, 3, 158),  # arch_prctl
    (_LOAD, 0, 0, 16),  # its first argument
    (_EQUAL, 0, 1, 0x1023),  # ARCH_REQ_XCOMP_PERM
    (_RETURN, 0, 0, 0x0005_0000 | errno.EACCES),
    (_RETURN, 0, 0, 0x7FFF_0000),
)


class _Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("program", ctypes.c_void_p))


def refuse() -> None:
    """From here on this process, and what it starts, gets no AMX. Does nothing where there is none to get."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    data = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in _PROGRAM))
    program = _Filter(len(_PROGRAM), ctypes.addressof(data))
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) or libc.prctl(_SECCOMP, _FILTER, ctypes.byref(program), 0, 0):
        raise OSError(ctypes.get_errno(), "the kernel takes no filter of system calls")


if __name__ == "__main__":
    refuse()
    os.execv(sys.argv[1], sys.argv[1:])
