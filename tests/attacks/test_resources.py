"""Attacks on what the machine has: memory, processes, time, disk. Each would use far more than its limit."""

from __future__ import annotations

import pytest

from attacks.arena import Arena, Attack

MB = 1_000_000


MEMORY = {"limits": {"memory": 100 * MB}}
FEW = {"limits": {"processes": 20}}
SCRATCH = {"limits": {"scratch_size": 20 * MB, "file_size": 500 * MB}}

ATTACKS = [
    Attack("one process with much memory", "x = bytearray(300_000_000); escaped()", order=MEMORY),
    Attack(
        "many processes with little memory each",
        """
for _ in range(8):
    if os.fork() == 0:
        x = bytearray(os.urandom(1000)) * 50_000
        time.sleep(3)
        os._exit(0)
time.sleep(2)
escaped()
""",
        order=MEMORY,
    ),
    Attack(
        "memory that is shared and belongs to no file",
        """
m = mmap.mmap(-1, 300_000_000)
for at in range(0, 300_000_000, 4096): m[at] = 1
time.sleep(1)
escaped()
""",
        order=MEMORY,
    ),
    Attack(
        "memory in a file that has no name",
        """
d = os.memfd_create("x")
for _ in range(300): os.write(d, bytes(1_000_000))
escaped()
""",
        order=MEMORY,
    ),
    Attack(
        "memory in segments that outlive their maker",
        """
made = [C.shmget(0, 10_000_000, 0o1600) for _ in range(3)]
for number in made: C.shmctl(number, 0, None)
if min(made) >= 0: escaped()
""",
        order=MEMORY,
    ),
    Attack(
        "memory in the place for shared memory",
        """
with open("/dev/shm/edgeagent-attack", "wb") as file:
    os.unlink(file.name)
    for _ in range(100): file.write(bytes(1_000_000))
    escaped()
""",
        order=SCRATCH,
    ),
    Attack("locked memory", "if C.mlock(ctypes.create_string_buffer(1_000_000), 1_000_000) == 0: escaped()"),
    Attack(
        "fill the scratch folder",
        """
for number in range(100):
    with open(f"{E['TMPDIR']}/{number}", "wb") as file: file.write(bytes(1_000_000))
    time.sleep(0.01)
time.sleep(1)
escaped()
""",
        order=SCRATCH,
    ),
    Attack(
        "fill the scratch folder with empty files",
        """
for number in range(110_000): os.mknod(f"{E['TMPDIR']}/{number}")
time.sleep(3)
escaped()
""",
    ),
    Attack(
        "one large file",
        """
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with open(E["OUT"] + "/large", "wb") as file:
    file.seek(200_000_000)
    file.write(b"x")
escaped()
""",
        order={"limits": {"file_size": 10 * MB}},
    ),
    Attack(
        "reserve one large file",
        'signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nos.posix_fallocate(os.open(E["OUT"] + "/l", 66), 0, 30_000_000); escaped()',
        order={"limits": {"file_size": 10 * MB}},
    ),
    Attack(
        "many processes",
        """
for _ in range(100):
    if os.fork() == 0:
        time.sleep(3)
        os._exit(0)
time.sleep(1)
escaped()
""",
        order=FEW,
    ),
    Attack(
        "many threads",
        """
for _ in range(100): threading.Thread(target=time.sleep, args=(3,), daemon=True).start()
time.sleep(1)
escaped()
""",
        order=FEW,
    ),
    Attack(
        "processes that fork for ever",
        """
end = time.monotonic() + 2
if os.fork() == 0:
    for _ in range(7):
        try: os.fork()
        except OSError: pass
    open(f"{E['OUT']}/{os.getpid()}", "w").close()
    time.sleep(max(0, end - time.monotonic()))
    os._exit(0)
time.sleep(1.5)
if len(os.listdir(E["OUT"])) > 60: escaped()
""",
        order=FEW,
    ),
    Attack(
        "much time of the processor",
        "end = time.process_time() + 4\nwhile time.process_time() < end: pass\nescaped()",
        order={"limits": {"cpu_seconds": 1.0}},
    ),
    Attack(
        "much time of the processor, heeding no signal",
        "signal.signal(signal.SIGXCPU, signal.SIG_IGN)\nend = time.process_time() + 4\nwhile time.process_time() < end: pass\nescaped()",
        order={"limits": {"cpu_seconds": 1.0}},
    ),
    Attack(
        "much time of the processor in small parts",
        """
for _ in range(8):
    if os.fork() == 0:
        end = time.process_time() + 0.6
        while time.process_time() < end: pass
        os._exit(0)
    os.wait()
time.sleep(1)
escaped()
""",
        order={"limits": {"cpu_seconds": 1.0}},
    ),
    Attack("much time", "time.sleep(4); escaped()", order={"limits": {"wall_seconds": 1.0}}),
    Attack(
        "much time, heeding no signal",
        "for n in range(1, 32):\n    if n not in (9, 19): signal.signal(n, signal.SIG_IGN)\ntime.sleep(4); escaped()",
        order={"limits": {"wall_seconds": 1.0}},
    ),
    Attack(
        "much output",
        'for _ in range(50): os.write(1, b"x" * 60_000)\nescaped()',
        order={"limits": {"output_bytes": 9000}},
    ),
    Attack(
        "many errors",
        'for _ in range(50): os.write(2, b"x" * 60_000)\nescaped()',
        order={"limits": {"output_bytes": 9000}},
    ),
    Attack("many open files", "resource.setrlimit(7, (3000, 3000)); x = [os.dup(1) for _ in range(2000)]; escaped()"),
    Attack(
        "raise its own limits",
        "resource.setrlimit(resource.RLIMIT_CPU, (999_999, 999_999)); escaped()",
    ),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_resources(arena: Arena, level: str, attack: Attack) -> None:
    arena.check(level, attack)
