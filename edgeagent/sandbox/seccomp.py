"""The filter of system calls, built here as a BPF program for x86_64 and aarch64.

Owns which calls a confined process may not make, and the few lines of BPF that say so. Programs of another ABI (i386,
x32) are killed or answered as unknown, and so is every call that is newer than this list. A filter sees registers and
no memory: whatever hides its flags in a struct (clone3, openat2) is answered as unknown, and the C library goes on with
the older call.

Both levels refuse: namespaces, mounts, tracing and reading other processes, kernel keys, io_uring, bpf, perf,
userfaultfd, modules, clocks, setuid and setgid bits, characters pushed into a terminal, memory that no limit counts
(memfd, SysV and POSIX IPC), and every socket but those named. `reduced` has no namespaces, so it also refuses sockets
altogether, and calls that change a path's metadata, watch a folder or reach other processes.
"""

from __future__ import annotations

import errno
import platform
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from edgeagent.errors import SandboxError
from edgeagent.sandbox.syscalls import AUDIT_ARCH, NEWEST, NUMBERS, X32_BIT, Machine

_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06  # BPF_LD|W|ABS, BPF_ALU|AND|K, BPF_RET|K
_EQUAL, _ABOVE, _ATLEAST = 0x15, 0x25, 0x35  # BPF_JMP with JEQ, JGT, JGE
_ALLOW, _ERRNO, _KILL = 0x7FFF_0000, 0x0005_0000, 0x8000_0000
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data

_NEW_NAMESPACES = 0x7E02_0000  # CLONE_NEWNS, CGROUP, UTS, IPC, USER, PID, NET
_SETID = 0o6000
_CREATES = 0o20000100  # O_CREAT and __O_TMPFILE
_TRUNCATES, _ACCESS = 0o1000, 0o3
_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK = 1, 2, 10, 16
_SOCK_TYPE, _STREAM = 0xF, 1
_TERMINAL = (0x5412, 0x541C, 0x5423)  # TIOCSTI, TIOCLINUX, TIOCSETD
_SELF = 0
_ANY = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class Test:
    """Of the low half of an argument: the kernel reads no more of those that are looked at here."""

    argument: int
    mask: int
    value: int
    equal: bool


@dataclass(frozen=True, slots=True)
class Rule:
    """One call, answered with `error` where every test holds; an error of 0 makes it look as if it had been done."""

    call: str
    error: int
    tests: tuple[Test, ...] = ()


def _has(argument: int, mask: int) -> Test:
    return Test(argument, mask, 0, equal=False)


def _is(argument: int, value: int, mask: int = _ANY) -> Test:
    return Test(argument, mask, value, equal=True)


def _is_not(argument: int, value: int, mask: int = _ANY) -> Test:
    return Test(argument, mask, value, equal=False)


def _all(error: int, calls: str, *tests: Test) -> tuple[Rule, ...]:
    return tuple(Rule(call, error, tests) for call in calls.split())


_BOTH = (
    *_all(errno.ENOSYS, "clone3 openat2 io_uring_setup io_uring_enter io_uring_register"),
    *_all(errno.ENOSYS, "memfd_create memfd_secret mq_open mq_unlink"),
    *_all(errno.ENOSYS, "shmget shmat shmctl semget semop semtimedop semctl msgget msgsnd msgrcv msgctl"),
    *_all(errno.EPERM, "unshare setns mount umount2 pivot_root chroot open_tree open_tree_attr move_mount"),
    *_all(errno.EPERM, "fsopen fsconfig fsmount fspick mount_setattr"),
    *_all(errno.EPERM, "clone", _has(0, _NEW_NAMESPACES)),
    *_all(errno.EPERM, "ptrace process_vm_readv process_vm_writev process_madvise process_mrelease kcmp pidfd_getfd"),
    *_all(errno.EPERM, "add_key request_key keyctl bpf perf_event_open userfaultfd lsm_set_self_attr fanotify_init"),
    *_all(errno.EPERM, "name_to_handle_at open_by_handle_at lookup_dcookie migrate_pages move_pages"),
    *_all(errno.EPERM, "create_module init_module finit_module delete_module query_module get_kernel_syms"),
    *_all(errno.EPERM, "kexec_load kexec_file_load reboot swapon swapoff acct quotactl quotactl_fd syslog vhangup"),
    *_all(errno.EPERM, "settimeofday clock_settime clock_adjtime adjtimex sethostname setdomainname"),
    *_all(errno.EPERM, "iopl ioperm modify_ldt uselib ustat _sysctl nfsservctl"),
    *_all(errno.EPERM, "personality", _is_not(0, 0), _is_not(0, _ANY)),
    *_all(errno.EPERM, "prlimit64", _is_not(0, _SELF)),
    *(Rule("ioctl", errno.EPERM, (_is(1, request),)) for request in _TERMINAL),
    *_all(errno.EPERM, "chmod fchmod creat mknod", _has(1, _SETID)),
    *_all(errno.EPERM, "fchmodat fchmodat2 mknodat", _has(2, _SETID)),
    *_all(errno.EPERM, "open", _has(1, _CREATES), _has(2, _SETID)),
    *_all(errno.EPERM, "openat", _has(2, _CREATES), _has(3, _SETID)),
    # A datagram socket of a pair can still send to any path; a stream stays a pair.
    *_all(errno.EPERM, "socketpair", _is_not(1, _STREAM, _SOCK_TYPE)),
    *_all(errno.EPERM, "socketpair", _is_not(0, _AF_UNIX)),
)

_FULL = (
    # Interfaces and addresses are listed over netlink; the namespace has only a loopback.
    *_all(errno.EPERM, "socket", _is(0, _AF_NETLINK), _is_not(2, 0)),
    *_all(errno.EAFNOSUPPORT, "socket", *(_is_not(0, family) for family in (_AF_INET, _AF_INET6, _AF_NETLINK))),
)

_REDUCED = (
    *_all(errno.EPERM, "socket inotify_init inotify_init1 inotify_add_watch"),
    # Landlock does not cover these; programs that copy files call them as a matter of course.
    *_all(0, "chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat utime utimes utimensat futimesat"),
    *_all(errno.ENOTSUP, "setxattr lsetxattr fsetxattr setxattrat removexattr lremovexattr fremovexattr removexattrat"),
    *_all(errno.EPERM, "file_setattr"),
    *_all(errno.EPERM, "sched_setaffinity sched_setattr sched_setparam sched_setscheduler", _is_not(0, _SELF)),
    *_all(errno.EPERM, "setpriority ioprio_set", _is_not(1, _SELF)),
)

_SIGNALS = _all(errno.EPERM, "kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_send_signal", _is_not(0, _SELF))
_TRUNCATION = (
    *_all(errno.EPERM, "truncate"),
    *_all(errno.EPERM, "open", _has(1, _TRUNCATES), _is(1, 0, _ACCESS)),
    *_all(errno.EPERM, "openat", _has(2, _TRUNCATES), _is(2, 0, _ACCESS)),
)
_TRUNCATE_ABI, _SIGNAL_ABI = 3, 6


def full_filter(machine: Machine) -> bytes:
    """The program of level `full`, as the kernel takes it."""
    return assemble(machine, (*_FULL, *_BOTH))


def reduced_filter(machine: Machine, landlock: int) -> bytes:
    """The program of level `reduced`, which also covers what this version of Landlock does not."""
    rules = [*_REDUCED, *_BOTH]
    if landlock < _TRUNCATE_ABI:
        rules += _TRUNCATION
    if landlock < _SIGNAL_ABI:
        rules += _SIGNALS
    return assemble(machine, rules)


def this_machine() -> Machine:
    """SandboxError on a machine whose calls are not in the tables."""
    name = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
    for machine in AUDIT_ARCH:
        if machine == name and struct.calcsize("P") == 8:
            return machine
    raise SandboxError(f"no filter of system calls for {name}", "use a 64-bit x86 or ARM system")


def assemble(machine: Machine, rules: Iterable[Rule]) -> bytes:
    """The first rule that fits a call decides; a call that none fits is allowed."""
    column = 0 if machine == "x86_64" else 1
    code = [
        _step(_LOAD, _ARCH),
        _step(_EQUAL, AUDIT_ARCH[machine], 1, 0),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER),
    ]
    if machine == "x86_64":
        code += [_step(_ATLEAST, X32_BIT, 0, 1), _refusal(errno.ENOSYS)]
    code += [_step(_ABOVE, NEWEST, 0, 1), _refusal(errno.ENOSYS)]
    for rule in rules:
        number = NUMBERS[rule.call][column]
        if number is not None:
            code += _block(number, rule)
    return b"".join((*code, _step(_RETURN, _ALLOW)))


def _block(number: int, rule: Rule) -> list[bytes]:
    if not rule.tests:
        return [_step(_EQUAL, number, 0, 1), _refusal(rule.error)]
    body: list[bytes] = []
    for index, test in enumerate(rule.tests):
        past = 3 * (len(rule.tests) - index - 1) + 1  # over the tests that are left and the refusal
        onward, out = (0, past) if test.equal else (past, 0)
        low = _ARGUMENTS + 8 * test.argument
        body += [_step(_LOAD, low), _step(_AND, test.mask), _step(_EQUAL, test.value, onward, out)]
    return [_step(_EQUAL, number, 0, len(body) + 2), *body, _refusal(rule.error), _step(_LOAD, _NUMBER)]


def _refusal(error: int) -> bytes:
    return _step(_RETURN, _ERRNO | error)


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
