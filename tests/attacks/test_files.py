"""Attacks on files: what was not granted is neither read, found, changed nor replaced."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

from attacks.arena import Arena, Attack, Seen
from edgeagent.errors import SandboxError
from edgeagent.sandbox import Bubblewrap, Command, Landlocked, Sandbox, run


def changed_secret(seen: Seen) -> bool:
    """Another's file is not what it was: its text, its mode or its time."""
    text, mode, time_ns = seen["secret"]
    return bool(text != f"{seen['token']}\n" or mode != stat.S_IFREG | 0o600 or time_ns < 10**18)


def left_something(seen: Seen) -> bool:
    return "new" in seen["base"]


def changed_granted(seen: Seen) -> bool:
    return bool(seen["granted"] != f"{seen['token']}\n")


ATTACKS = [
    Attack("read another file", 'read(E["PRIVATE"] + "/secret.txt")'),
    Attack("read another skill's file", 'read(E["OTHER"] + "/notes.txt")'),
    Attack("read the journal", 'read(E["DATABASE"])'),
    Attack("read by dots", 'read(E["IN"] + "/../private/secret.txt")'),
    Attack(
        "list the folder above",
        'found = os.listdir(E["BASE"])\nif "private" in found: escaped(found)',
    ),
    Attack(
        "read by a link in a writable folder",
        'os.symlink(E["PRIVATE"], E["OUT"] + "/l"); read(E["OUT"] + "/l/secret.txt")',
    ),
    Attack("read through the root of the daemon", "read(f\"/proc/{E['DAEMON']}/root{E['PRIVATE']}/secret.txt\")"),
    Attack("read through a descriptor of the daemon", "read(f\"/proc/{E['DAEMON']}/fd/{E['DESCRIPTOR']}\")"),
    Attack(
        "read from inherited descriptors",
        """
for number in range(3, 1024):
    try: data = os.pread(number, 1000, 0)
    except OSError: continue
    if b"token-" in data: escaped(data)
""",
    ),
    Attack("write beside its folders", 'open(E["BASE"] + "/new", "w").write("x")', left_something),
    Attack("make a folder beside its folders", 'os.mkdir(E["PRIVATE"] + "/new"); escaped()'),
    Attack("overwrite another file", 'open(E["PRIVATE"] + "/secret.txt", "w").write("x")', changed_secret),
    Attack("truncate another file by path", 'os.truncate(E["PRIVATE"] + "/secret.txt", 0)', changed_secret),
    Attack("change the mode of another file", 'os.chmod(E["PRIVATE"] + "/secret.txt", 0o666)', changed_secret),
    Attack("change the times of another file", 'os.utime(E["PRIVATE"] + "/secret.txt", (1, 1))', changed_secret),
    Attack("change a file that may be read", 'open(E["IN"] + "/in.txt", "a").write("x")', changed_granted),
    Attack(
        "truncate a file that may be read while opening it to read",
        'os.close(os.open(E["IN"] + "/in.txt", os.O_RDONLY | os.O_TRUNC))',
        changed_granted,
    ),
    Attack("remove a file that may be read", 'os.unlink(E["IN"] + "/in.txt")', changed_granted),
    Attack(
        "move a file that may be read to where it may be written",
        'os.rename(E["IN"] + "/in.txt", E["OUT"] + "/moved")',
        changed_granted,
    ),
    Attack(
        "write to a file that may be read by a second name",
        'os.link(E["IN"] + "/in.txt", E["OUT"] + "/second"); open(E["OUT"] + "/second", "a").write("x")',
        changed_granted,
    ),
    Attack(
        "write to a file that may be read through /proc",
        'd = os.open(E["IN"] + "/in.txt", os.O_RDONLY); open(f"/proc/self/fd/{d}", "a").write("x")',
        changed_granted,
    ),
    Attack(
        "write to a shared mapping of a file that may be read",
        'd = os.open(E["IN"] + "/in.txt", os.O_RDWR); m = mmap.mmap(d, 5); m[:5] = b"xxxxx"; m.close()',
        changed_granted,
    ),
    Attack(
        "mark a file that may be read with an attribute",
        'os.setxattr(E["IN"] + "/in.txt", "user.x", b"x"); escaped()',
    ),
    Attack("change its own program", 'open("own.txt", "w").write("x"); escaped()'),
    Attack("add to its own folder", 'open("sitecustomize.py", "w").write("x"); escaped()'),
    Attack(
        "leave a setuid program",
        """
path = E["OUT"] + "/suid"
open(path, "w").close()
for make in (lambda: os.chmod(path, 0o4755), lambda: os.chmod(path, 0o2755)):
    try: make()
    except OSError: pass
    if os.stat(path).st_mode & 0o6000: escaped()
""",
    ),
    Attack(
        "leave a setuid program by opening it so",
        'd = os.open(E["OUT"] + "/suid", os.O_CREAT | os.O_WRONLY, 0o6755)\nif os.fstat(d).st_mode & 0o6000: escaped()',
    ),
    Attack(
        "leave a setuid program by openat2",
        """
how = struct.pack("QQQ", os.O_CREAT | os.O_WRONLY, 0o6755, 0)
d = call(437, 437, -100, (E["OUT"] + "/suid").encode(), how, 24)
if os.fstat(d).st_mode & 0o6000: escaped()
""",
    ),
    Attack(
        "leave a setuid program by a descriptor",
        """
d = os.open(E["OUT"] + "/suid", os.O_CREAT | os.O_WRONLY)
os.fchmod(d, 0o4755)
if os.fstat(d).st_mode & 0o6000: escaped()
""",
    ),
    Attack(
        "leave a device to be read as output",
        'os.mknod(E["OUT"] + "/device", stat.S_IFCHR | 0o666, os.makedev(1, 3)); escaped()',
        as_root=True,
    ),
    Attack(
        "open a file by its handle",
        """
handle = ctypes.create_string_buffer(struct.pack("Ii", 128, 0) + bytes(128))
call(303, 264, -100, (E["PRIVATE"] + "/secret.txt").encode(), handle, ctypes.byref(ctypes.c_int()), 0)
d = call(304, 265, os.open(E["PRIVATE"], os.O_RDONLY), handle, os.O_RDONLY)
escaped(os.read(d, 1000))
""",
        as_root=True,
    ),
    Attack(
        "read the kernel's log",
        'escaped(os.read(os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK), 5000))',
        as_root=True,
    ),
    Attack(
        "change where the kernel sends core dumps",
        """
path = "/proc/sys/kernel/core_pattern"
text = open(path).read()
open(path, "w").write(text)
escaped()
""",
        as_root=True,
    ),
    Attack(
        "read the kernel's log by its call",
        "text = ctypes.create_string_buffer(9999)\nif C.klogctl(3, text, 9999) > 0: escaped()",
        as_root=True,
    ),
    Attack("read what only root may read of the kernel", 'read("/proc/slabinfo")', as_root=True),
    Attack(
        "mount over a folder",
        """
if C.mount(b"none", E["OUT"].encode(), b"tmpfs", 0, None) == 0:
    C.umount2(E["OUT"].encode(), 2)
    escaped()
""",
        as_root=True,
    ),
    Attack(
        "watch another folder",
        'd = C.inotify_init()\nif C.inotify_add_watch(d, E["PRIVATE"].encode(), 0xFFF) >= 0: escaped()',
    ),
    Attack(
        "leave the root by chroot",
        'os.chroot(E["BASE"]); escaped(os.listdir("/"))',
        as_root=True,
    ),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_files(arena: Arena, level: str, attack: Attack) -> None:
    arena.check(level, attack)


def test_a_folder_that_is_swapped_for_a_link_gives_nothing_away(level: str, tmp_path: Path) -> None:
    """The path is checked, then swapped while commands start one after the other."""
    tmp_path.chmod(0o755)
    (tmp_path / "private").mkdir()
    (tmp_path / "private/secret.txt").write_text("secret")
    (tmp_path / "good").mkdir()
    place, stop = tmp_path / "place", threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for target in ("good", "private"):
                (tmp_path / "next").symlink_to(tmp_path / target)
                (tmp_path / "next").rename(place)

    (tmp_path / "next").symlink_to(tmp_path / "good")
    (tmp_path / "next").rename(place)
    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        control = any(_read(place / "secret.txt") == "secret" for _ in range(2000))
        sandbox: Sandbox = Bubblewrap() if level == "full" else Landlocked(tmp_path)
        told = []
        for _ in range(10):
            command = Command(("/bin/cat", str(place / "secret.txt")), tmp_path / "good", reads=(place,))
            try:
                told.append(run(sandbox, command).stdout)
            except SandboxError as error:
                told.append(error.message.encode())
    finally:
        stop.set()
        swapper.join()
    assert control
    assert b"secret" not in told and len(told) == 10


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
