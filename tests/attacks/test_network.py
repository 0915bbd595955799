"""Attacks on the network and on the ways in which processes talk: there is no way out but the proxy."""

from __future__ import annotations

import pytest

from attacks.arena import Arena, Attack, Seen

PORT = 38_641


def arrived(seen: Seen) -> bool:
    """A datagram came to the daemon."""
    return bool(seen["datagrams"])


def reached(seen: Seen) -> bool:
    """Somebody outside could connect to the program."""
    return bool(seen["reached"])


ATTACKS = [
    Attack(
        "reach a port of this machine", 'escaped(socket.create_connection(("127.0.0.1", int(E["TCP"])), 3).recv(99))'
    ),
    Attack(
        "reach a port by an address that is mapped",
        's = socket.socket(socket.AF_INET6)\ns.connect(("::ffff:127.0.0.1", int(E["TCP"])))\nescaped(s.recv(99))',
    ),
    Attack(
        "reach a port by the address of nobody",
        'escaped(socket.create_connection(("0.0.0.0", int(E["TCP"])), 3).recv(99))',
    ),
    Attack(
        "reach a port by another protocol over the same",
        's = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)\ns.connect(("127.0.0.1", int(E["TCP"])))\nescaped(s.recv(99))',
    ),
    Attack(
        "reach a port while opening the connection",
        's = socket.socket()\ns.sendto(b"x", 0x20000000, ("127.0.0.1", int(E["TCP"])))\nescaped(s.recv(99))',
    ),
    Attack(
        "send a datagram",
        'socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", int(E["UDP"])))',
        arrived,
    ),
    Attack(
        "send a datagram by an address that is mapped",
        'socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).sendto(b"x", ("::ffff:127.0.0.1", int(E["UDP"])))',
        arrived,
    ),
    Attack(
        "wait for others to connect",
        f's = socket.socket(); s.setsockopt(1, 2, 1); s.bind(("0.0.0.0", {PORT})); s.listen(); time.sleep(1)',
        reached,
        order={"call": PORT},
    ),
    Attack("reach a unix socket", 's = socket.socket(socket.AF_UNIX)\ns.connect(E["RUN"] + "/s")\nescaped(s.recv(99))'),
    Attack(
        "reach an abstract unix socket",
        's = socket.socket(socket.AF_UNIX)\ns.connect("\\0" + E["ABSTRACT"])\nescaped(s.recv(99))',
    ),
    Attack(
        "send to a unix socket",
        'socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"x", E["RUN"] + "/d")',
        arrived,
    ),
    Attack(
        "send to a unix socket from one of a pair",
        'socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].sendto(b"x", E["RUN"] + "/d")',
        arrived,
    ),
    Attack(
        "connect one of a pair to another",
        's = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0]\ns.connect(E["RUN"] + "/d")\ns.send(b"x")',
        arrived,
    ),
    Attack("listen to the kernel's events", "s = socket.socket(16, socket.SOCK_DGRAM, 15)\ns.bind((0, 1))\nescaped()"),
    Attack("speak raw", "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1); escaped()", as_root=True),
    Attack("listen to all packets", "socket.socket(17, socket.SOCK_RAW, 0x0300); escaped()", as_root=True),
    Attack(
        "read shared memory by its number",
        """
place = C.shmat(int(E["SEGMENT"]), None, 0o10000)
if place not in (None, 2**64 - 1): escaped(ctypes.string_at(place, 30))
""",
    ),
    Attack(
        "take a message from a queue",
        'text = ctypes.create_string_buffer(99)\nif C.msgrcv(int(E["QUEUE"]), text, 90, 0, 0o4000) > 0: escaped(text.raw)',
    ),
    Attack("read shared memory by its name", 'read("/dev/shm/" + E["POSIX"])'),
    Attack(
        "meet others in shared memory",
        """
number = C.shmget(int(E["MARK"][4:]), 4096, 0o1600)
C.shmctl(number, 0, None)
if number >= 0: escaped()
""",
    ),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_network(arena: Arena, level: str, attack: Attack) -> None:
    arena.check(level, attack)


BYPASSES = [
    Attack(
        "reach a granted port past the proxy",
        'escaped(socket.create_connection(("127.0.0.1", int(E["TCP"])), 3).recv(99))',
    ),
    Attack(
        "reach a port that is not granted through the proxy",
        """
if "http_proxy" in E:
    s = socket.create_connection(("127.0.0.1", int(E["http_proxy"].rpartition(":")[2])), 3)
    s.sendall(f"CONNECT 127.0.0.1:{E['TCP']} HTTP/1.1\\r\\n\\r\\n".encode())
else:
    s = socket.create_connection(("127.0.0.1", int(E["TCP"])), 3)
data = b""
while piece := s.recv(99): data += piece
if b"token-" in data: escaped(data)
""",
    ),
    Attack(
        "send a name to a resolver",
        'socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", int(E["UDP"])))',
        arrived,
    ),
]


@pytest.mark.parametrize("attack", BYPASSES, ids=lambda attack: attack.name)
def test_a_grant_of_one_host_opens_no_other_way(arena: Arena, attack: Attack) -> None:
    order = {**attack.order, "hosts": ["127.0.0.1:9", "ntfy.sh:443"]}
    arena.check("full", Attack(attack.name, attack.program, attack.worked, order=order))
