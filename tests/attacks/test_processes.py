"""Attacks on other processes, on the daemon, and on what holds the sandbox together."""

from __future__ import annotations

import os

import pytest

from attacks.arena import Arena, Attack, Seen


def killed(seen: Seen) -> bool:
    return bool(seen["killed"])


def survived(seen: Seen) -> bool:
    return bool(seen["survivors"])


def survived_later(seen: Seen) -> bool:
    """It has no mark before it has forked for a while."""
    return bool(seen["survivors_later"])


ATTACKS = [
    Attack("end another process", 'os.kill(int(E["VICTIM"]), 15)', killed),
    Attack("end a process by its thread", 'call(234, 131, int(E["VICTIM"]), int(E["VICTIM"]), 15)', killed),
    Attack(
        "end a process by a descriptor of it",
        'signal.pidfd_send_signal(os.pidfd_open(int(E["VICTIM"])), 15)',
        killed,
    ),
    Attack(
        "end a process by a queued signal",
        'call(129, 138, int(E["VICTIM"]), 15, struct.pack("iii", 15, 0, -1) + bytes(116))',
        killed,
    ),
    Attack(
        "end a process by the owner of a descriptor",
        """
one, other = socket.socketpair()
fcntl.fcntl(one, fcntl.F_SETOWN, int(E["VICTIM"]))
fcntl.fcntl(one, 10, 15)  # F_SETSIG
fcntl.fcntl(one, fcntl.F_SETFL, fcntl.fcntl(one, fcntl.F_GETFL) | os.O_ASYNC)
other.send(b"x")
""",
        killed,
    ),
    Attack("read the daemon's environment", "read(f\"/proc/{E['VICTIM']}/environ\")"),
    Attack(
        "read other processes' arguments",
        """
for name in filter(str.isdigit, os.listdir("/proc")):
    try: text = open(f"/proc/{name}/cmdline").read()
    except OSError: continue
    if "tok" "en-" in text: escaped(text)
""",
    ),
    Attack(
        "list other processes",
        'names = set(os.listdir("/proc"))\nif {E["DAEMON"], E["VICTIM"]} <= names: escaped(names)',
    ),
    Attack(
        "read the daemon's memory from its file",
        """
with open(f"/proc/{E['DAEMON']}/mem", "rb", 0) as file:
    file.seek(int(E["ADDRESS"]))
    escaped(file.read(30))
""",
    ),
    Attack(
        "read the daemon's memory by the call",
        """
text = ctypes.create_string_buffer(30)
here, there = struct.pack("QQ", ctypes.addressof(text), 30), struct.pack("QQ", int(E["ADDRESS"]), 30)
call(310, 270, int(E["DAEMON"]), here, 1, there, 1, 0)
escaped(text.value)
""",
    ),
    Attack("trace another process", 'call(101, 117, 16, int(E["VICTIM"]), 0, 0); escaped()'),
    Attack(
        "take a descriptor from the daemon",
        'escaped(os.pread(call(438, 438, os.pidfd_open(int(E["DAEMON"])), int(E["DESCRIPTOR"]), 0), 99, 0))',
    ),
    Attack("lower the limits of another process", 'resource.prlimit(int(E["VICTIM"]), 7, (9, 9)); escaped()'),
    Attack("slow another process down", 'os.setpriority(os.PRIO_PROCESS, int(E["VICTIM"]), 19); escaped()'),
    Attack("move another process to one processor", 'os.sched_setaffinity(int(E["VICTIM"]), {0}); escaped()'),
    Attack("compare the kernel's objects", 'call(312, 272, int(E["DAEMON"]), int(E["VICTIM"]), 1, 0, 0); escaped()'),
    Attack(
        "find a secret among the arguments and environments",
        """
for name in filter(str.isdigit, os.listdir("/proc")):
    for file in ("environ", "cmdline"):
        try: text = open(f"/proc/{name}/{file}").read()
        except OSError: continue
        if "tok" "en-" in text: escaped(name, file)
""",
    ),
    Attack(
        "leave a process behind",
        """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0: os.execv("/bin/sleep", ["sleep", E["MARK"]])
    os._exit(0)
time.sleep(0.3)
""",
        survived,
    ),
    Attack(
        "leave a process behind that heeds no signal and holds no pipe",
        """
if os.fork() == 0:
    os.setsid()
    for number in range(1, 32):
        try: signal.signal(number, signal.SIG_IGN)
        except OSError: pass
    os.closerange(0, 100)
    if os.fork() == 0: os.execv("/bin/sleep", ["sleep", E["MARK"]])
    os._exit(0)
time.sleep(0.3)
""",
        survived,
    ),
    Attack(
        "leave a process behind that keeps forking",
        """
if os.fork() == 0:
    os.setsid()
    end = time.monotonic() + 3
    while time.monotonic() < end:
        if os.fork(): os._exit(0)
        time.sleep(0.001)
    os.execv("/bin/sleep", ["sleep", E["MARK"]])
time.sleep(0.3)
""",
        survived_later,
        order={"later": 4.0},
    ),
    Attack(
        "outlive by ending its parent",
        """
if os.fork() == 0:
    os.setsid()
    time.sleep(0.2)
    try: os.kill(os.getppid(), 9)
    except OSError: pass
    os.execv("/bin/sleep", ["sleep", E["MARK"]])
os.execv("/bin/sleep", ["sleep", "600"])
""",
        survived,
        order={"limits": {"wall_seconds": 1.5}, "seconds": 1.5},
    ),
    Attack("make a user namespace", "call(272, 97, 0x10000000); escaped()"),
    Attack(
        "make a user namespace with a process",
        "pid = call(56, 220, 0x10000011, 0, 0, 0, 0)\nif pid == 0: os._exit(0)\nescaped()",
    ),
    Attack(
        "make a user namespace with a process by the newer call",
        """
arguments = struct.pack("QQQQQQQQ", 0x10000000, 0, 0, 0, 17, 0, 0, 0)
pid = call(435, 435, arguments, len(arguments))
if pid == 0: os._exit(0)
escaped()
""",
    ),
    Attack("make a mount namespace", "call(272, 97, 0x20000); escaped()", as_root=True),
    Attack(
        "enter the namespaces of the daemon",
        "call(308, 268, os.open(f\"/proc/{E['DAEMON']}/ns/net\", os.O_RDONLY), 0); escaped()",
        as_root=True,
    ),
    Attack("gain rights from a program", 'if C.prctl(39, 0, 0, 0, 0) == 0: escaped("no_new_privs is not set")'),
    Attack(
        "hold rights of root",
        """
sets = (ctypes.c_uint32 * 6)()
if C.capget((ctypes.c_uint32 * 2)(0x20080522, 0), sets) == 0 and any(sets): escaped(list(sets))
""",
        as_root=True,
    ),
    Attack(
        "push characters into the terminal that it has",
        """
master, slave = os.openpty()
if os.fork():
    if os.wait()[1] == 0: escaped()
    raise OSError("it could not")
os.setsid()
try:
    fcntl.ioctl(slave, 0x540E, 0)  # TIOCSCTTY
    fcntl.ioctl(slave, 0x5412, b"x")  # TIOCSTI
except OSError: os._exit(1)
os._exit(0)
""",
        as_root=True,
    ),
    Attack(
        "write to a terminal of somebody else",
        'os.open("/dev/tty1" if os.path.exists("/dev/tty1") else "/dev/console", os.O_WRONLY | os.O_NOCTTY); escaped()',
        as_root=True,
    ),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_processes(arena: Arena, level: str, attack: Attack) -> None:
    arena.check(level, attack)


CALLS = {
    "io_uring": (425, 425, (1, 0)),
    "kernel keys": (250, 219, (9999, 0, 0)),
    "request a key": (249, 218, (0, 0, 0, 0)),
    "add a key": (248, 217, (0, 0, 0, 0, 0)),
    "performance counters": (298, 241, (0, 0, -1, -1, 9999)),
    "page faults in user space": (323, 282, (9999,)),
    "bpf": (321, 280, (9999, 0, 0)),
    "another personality": (135, 92, (0x0400000,)),
    "a new mount by the newer calls": (430, 430, (0, 9999)),
    "pick a file system": (433, 433, (-1, 0, 9999)),
    "clone a tree of mounts": (428, 428, (-1, 0, 0x7FFFFFFF)),
    "accounting": (163, 89, (1,)),
    "quotas": (443, 443, (-1, 9999, 0, 0)),
    "swap": (167, 224, (0, -1)),
    "move pages": (279, 239, (0, 1, 0, 0, 0, 9999)),
    "advise about the memory of others": (440, 440, (-1, 0, 0, 0, 1)),
    "files in memory": (319, 279, (b"x", 0)),
    "secret memory": (447, 447, (9999,)),
}
"""Calls with arguments that the kernel refuses in its own way: what is told apart is who refuses."""


@pytest.mark.parametrize("name", CALLS)
def test_calls_that_the_filter_refuses(arena: Arena, level: str, name: str) -> None:
    x86, arm, arguments = CALLS[name]
    program = f"""
arguments = [ctypes.c_long(each) if isinstance(each, int) else each for each in {arguments!r}]
status = C.syscall({x86} if X86 else {arm}, *arguments)
print("answer", status if status < 0 else 0, ctypes.get_errno(), flush=True)
if status >= 0 or ctypes.get_errno() not in (errno.EPERM, errno.ENOSYS): escaped()
"""
    arena.check(level, Attack(name, program, as_root=True))


FOREIGN = """
if not X86: escaped("an x86 matter")
code = bytes.fromhex("{code}")
place = C.mmap(None, 4096, 7, 0x22, -1, 0)
ctypes.memmove(place, code, len(code))
act = ctypes.CFUNCTYPE(ctypes.c_long)(place)
if os.fork() == 0: os._exit(0 if act() > 0 else 1)
if os.wait()[1] == 0: escaped()
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the foreign ABIs are those of x86")
@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("i386", "b814000000cd80c3"),  # getpid there: mov eax, 20; int 0x80; ret
        ("x32", "b8270000400f05c3"),  # getpid there: mov eax, 0x40000027; syscall; ret
    ],
)
def test_programs_of_a_foreign_abi(arena: Arena, level: str, name: str, code: str) -> None:
    """A kernel without that ABI refuses it itself; then there is nothing to control."""
    attack = Attack(f"calls of {name}", FOREIGN.replace("{code}", code))
    if attack.worked(arena.control(attack)):
        arena.check(level, attack)
    else:
        assert not attack.worked(arena.order(level, attack))
