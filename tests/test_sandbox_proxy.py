"""The only way out: which addresses are reached, what is understood, and what is on record."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from edgeagent.sandbox import Bubblewrap, Command, Outcome, run
from edgeagent.sandbox.addresses import Address, Reachable, Refused, is_public, split

PRIVATE = """127.0.0.1 10.0.0.1 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 0.0.0.0 255.255.255.255 224.0.0.1
240.0.0.1 ::1 :: fe80::1 fc00::1 fec0::1 ff02::1 ::ffff:127.0.0.1 ::ffff:169.254.169.254 64:ff9b::7f00:1
64:ff9b::a9fe:a9fe 2002:7f00:1:: 2001:0:0:0:0:0:80ff:fffe""".split()
PUBLIC = ["1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "64:ff9b::101:101"]


@pytest.mark.parametrize("text", PRIVATE)
def test_no_way_to_write_a_private_address_makes_it_public(text: str) -> None:
    assert not is_public(ip_address(text))


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_are_public(text: str) -> None:
    assert is_public(ip_address(text))


def test_hosts_are_compared_as_names_are() -> None:
    assert split("Ntfy.SH.:443") == ("ntfy.sh", 443)
    assert split("[::1]:80") == ("::1", 80)
    for wrong in (
        "ntfy.sh",
        "ntfy.sh:0",
        "ntfy.sh:65536",
        ":80",
        "a b:80",
        "::1:80",
        "[fe80::1%lo]:80",
        "a:\uff18\uff10",
        "[x]:1",
    ):
        with pytest.raises(ValueError):
            split(wrong)


def resolver(**names: str) -> object:
    table = {name.replace("_", "."): addresses for name, addresses in names.items()}

    def resolve(host: str, port: int) -> list[Address]:
        if host not in table:
            raise OSError("unknown name")
        return [ip_address(each) for each in table[host].split()]

    return resolve


def test_a_name_that_was_not_granted_is_not_looked_up() -> None:
    def resolve(host: str, port: int) -> list[Address]:
        raise AssertionError(f"asked for {host}")

    reachable = Reachable.of(["good.example:443"])
    for host, port in (
        ("secret-data.evil.example", 443),
        ("good.example", 80),
        ("127.0.0.1", 443),
        ("x.good.example", 443),
    ):
        with pytest.raises(Refused, match="not granted"):
            reachable.addresses(host, port, resolve)


def test_only_public_addresses_of_a_name_are_reached_unless_granted_by_number() -> None:
    resolve = resolver(mixed_example="10.0.0.1 1.1.1.1 ::ffff:127.0.0.1", inside_example="192.168.1.5")
    granted = Reachable.of(["mixed.example:80", "inside.example:80"])
    assert granted.addresses("mixed.example", 80, resolve) == [ip_address("1.1.1.1")]  # type: ignore[arg-type]
    with pytest.raises(Refused, match="not public"):
        granted.addresses("inside.example", 80, resolve)  # type: ignore[arg-type]
    more = Reachable.of(["inside.example:80", "192.168.1.5:80", "192.168.1.6:81"])
    assert more.addresses("inside.example", 80, resolve) == [ip_address("192.168.1.5")]  # type: ignore[arg-type]
    assert more.addresses("::ffff:192.168.1.5", 80, resolve) == [ip_address("192.168.1.5")]  # type: ignore[arg-type]
    with pytest.raises(Refused):
        more.addresses("192.168.1.6", 80, resolve)  # type: ignore[arg-type]


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = f"{self.path} {self.headers['Host']} {self.headers.get('Proxy-Authorization')}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    """A web server on this machine's loopback."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever).start()
        yield server.server_address[1]
        server.shutdown()


def python(tmp_path: Path, program: str, hosts: list[str], **names: str) -> Outcome:
    sandbox = Bubblewrap(resolve=resolver(**names))  # type: ignore[arg-type]
    command = Command(("/usr/bin/python3", "-c", program), tmp_path, hosts=tuple(hosts))
    return run(sandbox, command)


FETCH = """
import urllib.request, urllib.error
for url in {urls!r}:
    try:
        print(urllib.request.urlopen(url, timeout=20).read().decode())
    except urllib.error.HTTPError as error:
        print(error.code, error.read().decode().strip())
"""


def test_plain_http_reaches_what_is_granted_and_is_on_record(tmp_path: Path, port: int) -> None:
    urls = [
        f"http://127.0.0.1:{port}/a?b=c",
        f"http://good.example:{port}/",
        "http://evil.example/",
        "http://127.0.0.1:1/",
    ]
    hosts = [f"127.0.0.1:{port}", f"good.example:{port}"]
    outcome = python(tmp_path, FETCH.format(urls=urls), hosts, good_example="127.0.0.1")
    assert outcome.stdout.decode().splitlines() == [
        f"/a?b=c 127.0.0.1:{port} None",
        f"/ good.example:{port} None",
        "403 edgeagent: evil.example:80: not granted",
        "403 edgeagent: 127.0.0.1:1: not granted",
    ], outcome.stderr
    told = [(each.host, each.address, each.outcome) for each in outcome.connections]
    assert sorted(told) == sorted(
        [
            (f"127.0.0.1:{port}", "127.0.0.1", "connected"),
            (f"good.example:{port}", "127.0.0.1", "connected"),
            ("evil.example:80", "", "refused"),
            ("127.0.0.1:1", "", "refused"),
        ]
    )
    assert all(each.sent > 0 and each.received > 0 for each in outcome.connections if each.outcome == "connected")


TUNNEL = """
import socket
s = socket.create_connection(("127.0.0.1", 3128), 20)
s.sendall({opening!r})
data = b""
while piece := s.recv(1000): data += piece
print(data.decode())
"""


def test_connect_opens_a_tunnel(tmp_path: Path, port: int) -> None:
    opening = f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\n\r\nGET /deep HTTP/1.0\r\nHost: me\r\n\r\n".encode()
    outcome = python(tmp_path, TUNNEL.format(opening=opening), [f"127.0.0.1:{port}"])
    assert b"200 Connection established" in outcome.stdout and b"/deep me None" in outcome.stdout, outcome.stderr


def test_a_plain_request_names_the_host_that_it_goes_to(tmp_path: Path, port: int) -> None:
    head = f"GET http://127.0.0.1:{port}/x HTTP/1.1\r\nHost: other.example\r\nProxy-Authorization: me\r\n\r\n".encode()
    outcome = python(tmp_path, TUNNEL.format(opening=head), [f"127.0.0.1:{port}"])
    assert f"/x 127.0.0.1:{port} None" in outcome.stdout.decode()


@pytest.mark.parametrize(
    "opening",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET ftp://127.0.0.1/ HTTP/1.1\r\n\r\n",
        b"GET http://a@127.0.0.1:1/ HTTP/1.1\r\n\r\n",
        b"CONNECT 127.0.0.1 HTTP/1.1\r\n\r\n",
        b"CONNECT 127.0.0.1:80\x00.evil:80 HTTP/1.1\r\n\r\n",
        b"GET http://127.0.0.1:1/ HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET http://127.0.0.1:1/ HTTP/1.1\nHost: x\r\n\r\n",
        b"\x16\x03\x01\r\n\r\n",
        b"GET http://[::1/ HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_not_understood_is_refused(tmp_path: Path, opening: bytes) -> None:
    outcome = python(tmp_path, TUNNEL.format(opening=opening), ["127.0.0.1:1"])
    assert b"400 Bad Request" in outcome.stdout, outcome
    assert outcome.connections == ()


def test_a_host_that_does_not_answer_is_on_record(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = server.getsockname()[1]
    outcome = python(tmp_path, FETCH.format(urls=[f"http://127.0.0.1:{closed}/"]), [f"127.0.0.1:{closed}"])
    assert "502" in outcome.stdout.decode()
    assert [(each.outcome, each.reason) for each in outcome.connections] == [("failed", "connection refused")]


def test_a_name_whose_meaning_changes_is_reached_where_it_was_checked(tmp_path: Path, port: int) -> None:
    answers = iter([["127.0.0.1"], ["127.0.0.1"]])
    asked = []

    def resolve(host: str, port: int) -> list[Address]:
        asked.append(host)
        return [ip_address(each) for each in next(answers)]

    urls = [f"http://rebind.example:{port}/"]
    command = Command(("/usr/bin/python3", "-c", FETCH.format(urls=urls)), tmp_path, hosts=(f"rebind.example:{port}",))
    outcome = run(Bubblewrap(resolve=resolve), command)
    assert "403" in outcome.stdout.decode() and asked == ["rebind.example"]
    assert [each.outcome for each in outcome.connections] == ["refused"]


def test_without_hosts_there_is_no_proxy_and_no_other_network(tmp_path: Path, port: int) -> None:
    program = """
import socket, sys
for port in (3128, int(sys.argv[1])):
    print(socket.socket().connect_ex(("127.0.0.1", port)))
"""
    command = Command(("/usr/bin/python3", "-c", program, str(port)), tmp_path)
    assert run(Bubblewrap(), command).stdout.split() == [b"111", b"111"]


def test_a_tunnel_ends_with_its_command(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        program = f"""
import os, socket
s = socket.create_connection(("127.0.0.1", 3128), 20)
s.sendall(b"CONNECT 127.0.0.1:{port} HTTP/1.1\\r\\n\\r\\n")
print(s.recv(100)); os.fork() or os._exit(0)
"""
        before = threading.active_count()
        outcome = run(
            Bubblewrap(), Command(("/usr/bin/python3", "-c", program), tmp_path, hosts=(f"127.0.0.1:{port}",))
        )
        assert b"200" in outcome.stdout
        assert threading.active_count() <= before + 1, "the spawner alone stays"
        accepted, _ = server.accept()
        with accepted:
            accepted.settimeout(30)
            assert accepted.recv(10) == b""
