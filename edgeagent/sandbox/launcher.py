"""The parent of a command at level `reduced` on Linux; a program of its own that imports nothing of ours.

It takes on what confines the command, watches over it, and ends whatever is left: when the command ends, when the one
who started it closes the pipe, and when that one is killed. What the command starts stays below it, since it adopts
orphans (it is a subreaper). It stands outside the rules for the command, so the command cannot signal it.

Its one argument is the number of a descriptor with the orders, as JSON.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import select
import shutil
import signal
import sys
import time
from contextlib import suppress
from typing import Any

_NO_NEW_PRIVS, _SECCOMP, _FILTER, _SUBREAPER, _NOT_DUMPABLE = 38, 22, 2, 36, 4
_RESTRICT_SELF = 446
_CAPABILITY_VERSION = 0x20080522
_PAUSE_MS = 500
"""Milliseconds between two looks for orphans that have ended."""


def main() -> int:
    with os.fdopen(int(sys.argv[1]), "rb") as file:
        orders = json.load(file)
    for name in ("control", "rules", "scope", "filter"):
        if orders[name] >= 0:
            os.set_inheritable(orders[name], False)
    _control(_NOT_DUMPABLE, 0)
    _control(_SUBREAPER, 1)
    _control(_NO_NEW_PRIVS, 1)
    _drop_capabilities()
    is_scoped = orders["scope"] >= 0
    if is_scoped:
        _check(_library().syscall(_RESTRICT_SELF, orders["scope"], 0))
        is_scoped = _cannot_signal(orders["starter"])
    child = os.fork()
    if child == 0:
        _become(orders)
    _close_streams()
    try:
        return _watch(child, orders["control"])
    finally:
        _end_all(is_scoped)
        if orders["scratch"]:
            shutil.rmtree(orders["scratch"], ignore_errors=True)


def _drop_capabilities() -> None:
    """Of root nothing is left but its files; with no_new_privs no program gets any of it back."""
    header, sets = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0), (ctypes.c_uint32 * 6)()
    _check(_library().capset(header, sets))


def _become(orders: dict[str, Any]) -> None:
    """Turns this process into the command."""
    argv = orders["argv"]
    try:
        os.setsid()
        os.chdir(orders["folder"])
        program = _program(argv[0], orders["environment"]["PATH"])
        instructions = _instructions(orders["filter"])
        for number, soft, hard in orders["limits"]:
            resource.setrlimit(number, (soft, hard))
        _check(_library().syscall(_RESTRICT_SELF, orders["rules"], 0))
        _check(_library().prctl(_SECCOMP, _FILTER, ctypes.byref(instructions), 0, 0))
        os.execve(program, argv, orders["environment"])
    except OSError as error:
        os.write(2, f"{argv[0]}: {error.strerror}\n".encode(errors="replace"))
        os._exit(127 if error.errno == errno.ENOENT else 126)


def _program(name: str, path: str) -> str:
    return name if "/" in name else shutil.which(name, path=path) or name


class _Instructions(ctypes.Structure):
    """struct sock_fprog"""

    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))


def _instructions(descriptor: int) -> _Instructions:
    code = b""
    while piece := os.read(descriptor, 65_536):
        code += piece
    return _Instructions(len(code) // 8, code)


def _watch(child: int, control: int) -> int:
    """Until the command ends or is to end; its exit code as a shell tells it."""
    ended = os.pidfd_open(child)
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    poll.register(control, select.POLLIN)
    while True:
        ready = {descriptor for descriptor, _ in poll.poll(_PAUSE_MS)}
        if ended in ready:
            _, status = os.waitpid(child, 0)
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
        if control in ready:
            return 128 + signal.SIGKILL
        _reap(besides=child)


def _reap(besides: int) -> None:
    """Waits for orphans that have ended, without waiting for the command."""
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if found is None or found.si_pid == besides:
            return
        os.waitpid(found.si_pid, 0)


def _end_all(is_scoped: bool) -> None:
    """Kills every process below this one. Within the scope of signals that is one call, which no fork escapes."""
    while True:
        if is_scoped:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(-1, signal.SIGKILL)
        else:
            for process in _below(os.getpid()):
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(process, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass
        except ChildProcessError:
            return
        time.sleep(0.001)


def _below(process: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{process}/task"):
            with open(f"/proc/{process}/task/{thread}/children", "rb") as file:
                found += map(int, file.read().split())
    return found + [lower for child in found for lower in _below(child)]


def _cannot_signal(process: int) -> bool:
    """Whether the scope holds. Without it, a signal to every process would reach those of the whole user."""
    try:
        os.kill(process, 0)
    except PermissionError:
        return True
    except ProcessLookupError:
        return False
    return False


def _close_streams() -> None:
    """The command alone holds the pipes, so that they end with it."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    os.close(null)


def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _control(option: int, value: int) -> None:
    _check(_library().prctl(option, value, 0, 0, 0))


def _check(result: int) -> None:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


if __name__ == "__main__":
    sys.exit(main())
