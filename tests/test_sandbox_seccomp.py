"""The filter of system calls for both machines, run by a small interpreter of BPF; attacks try the kernel's own."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable

import pytest

from edgeagent.sandbox.seccomp import full_filter, reduced_filter
from edgeagent.sandbox.syscalls import AUDIT_ARCH, NUMBERS, Machine

ALLOWED = 0x7FFF_0000
KILLED = 0x8000_0000
MACHINES: tuple[Machine, ...] = ("x86_64", "aarch64")


def answer(program: bytes, arch: int, number: int, *arguments: int) -> int:
    """What the program returns for a call."""
    data = struct.pack("=iIQ6Q", number, arch, 0, *(*arguments, 0, 0, 0, 0, 0, 0)[:6])
    steps = list(struct.iter_unpack("=HBBI", program))
    at = accumulator = 0
    while True:
        code, if_true, if_false, value = steps[at]
        at += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("=I", data, value)
        elif code == 0x54:
            accumulator &= value
        elif code == 0x06:
            return int(value)
        else:
            holds = {0x15: accumulator == value, 0x25: accumulator > value, 0x35: accumulator >= value}[code]
            at += if_true if holds else if_false


def ask(program: bytes, machine: Machine, call: str, *arguments: int) -> int | str:
    """`allowed`, or the error."""
    number = NUMBERS[call][MACHINES.index(machine)]
    if number is None:
        return "none"
    told = answer(program, AUDIT_ARCH[machine], number, *arguments)
    return "allowed" if told == ALLOWED else told & 0xFFFF


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("program", [full_filter, lambda machine: reduced_filter(machine, 1)], ids=["full", "reduced"])
def test_dangerous_calls_are_refused_on_both_machines(machine: Machine, program: Callable[[Machine], bytes]) -> None:
    code = program(machine)
    assert len(code) // 8 < 4096, "the kernel takes no longer one"
    for call in (
        "ptrace",
        "mount",
        "setns",
        "unshare",
        "keyctl",
        "bpf",
        "userfaultfd",
        "process_vm_readv",
        "perf_event_open",
    ):
        assert ask(code, machine, call) == errno.EPERM, call
    for call in ("clone3", "openat2", "io_uring_setup", "memfd_create", "shmget", "shmat", "msgrcv"):
        assert ask(code, machine, call) == errno.ENOSYS, call
    assert ask(code, machine, "clone", 0x1000_0011) == errno.EPERM
    assert ask(code, machine, "clone", 0x0120_0011) == "allowed"
    assert ask(code, machine, "ioctl", 1, 0x5412) == errno.EPERM
    assert ask(code, machine, "ioctl", 1, 0x1_0000_5412) == errno.EPERM, "the kernel reads the low half only"
    assert ask(code, machine, "ioctl", 1, 0x5413) == "allowed"
    assert ask(code, machine, "openat", 3, 0, 0o101, 0o4755) == errno.EPERM
    assert ask(code, machine, "openat", 3, 0, 0o101, 0o755) == "allowed"
    assert ask(code, machine, "prlimit64", 7) == errno.EPERM and ask(code, machine, "prlimit64", 0) == "allowed"
    assert ask(code, machine, "socketpair", 1, 0o2000001) == "allowed"
    assert ask(code, machine, "socketpair", 1, 2) == ask(code, machine, "socketpair", 2, 1) == errno.EPERM


@pytest.mark.parametrize("machine", MACHINES)
def test_a_filter_lets_ordinary_calls_through_and_no_foreign_ones(machine: Machine) -> None:
    code, arch = full_filter(machine), AUDIT_ARCH[machine]
    read, write = ((0, 1), (63, 64))[MACHINES.index(machine)]
    assert answer(code, arch, read) == answer(code, arch, write) == ALLOWED
    assert answer(code, 0x4000_0003, read) == KILLED, "i386"
    assert answer(code, AUDIT_ARCH[MACHINES[machine == "x86_64"]], read) == KILLED
    assert answer(code, arch, 470) & 0xFFFF == errno.ENOSYS, "newer than the list"
    assert answer(code, arch, 0x4000_0001) & 0xFFFF == errno.ENOSYS, "x32"


@pytest.mark.parametrize("machine", MACHINES)
def test_sockets(machine: Machine) -> None:
    code = full_filter(machine)
    assert ask(code, machine, "socket", 2, 1, 0) == ask(code, machine, "socket", 10, 2, 0) == "allowed"
    assert ask(code, machine, "socket", 16, 3, 0) == "allowed"
    assert ask(code, machine, "socket", 16, 3, 15) == errno.EPERM
    for family in (1, 17, 31, 38, 40):  # unix, packet, bluetooth, kernel cryptography, virtual machines
        assert ask(code, machine, "socket", family, 1, 0) == errno.EAFNOSUPPORT
    assert ask(reduced_filter(machine, 7), machine, "socket", 2, 1, 0) == errno.EPERM


@pytest.mark.parametrize("machine", MACHINES)
def test_an_older_landlock_is_made_up_for(machine: Machine) -> None:
    old, new = reduced_filter(machine, 1), reduced_filter(machine, 7)
    assert ask(old, machine, "kill", 5) == errno.EPERM and ask(new, machine, "kill", 5) == "allowed"
    assert ask(old, machine, "truncate") == errno.EPERM and ask(new, machine, "truncate") == "allowed"
    assert ask(old, machine, "openat", 3, 0, 0o1000) == errno.EPERM
    assert ask(old, machine, "openat", 3, 0, 0o1001) == "allowed", "Landlock sees that it is opened to write"
