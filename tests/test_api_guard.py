"""Who may talk to the daemon: other users over the socket, callers over TCP with and without the token, web pages."""

from __future__ import annotations

import http.client
import json
import os
import socket
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from api_world import SmallBackend, served

from edgeagent.api.app import build_app
from edgeagent.api.guard import read_token
from edgeagent.api.server import TcpServer
from edgeagent.errors import HomeError
from edgeagent.store import open_store

TOKEN = "a-token-that-is-long-enough"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def on_tcp(folder: Path, host: str = "127.0.0.1") -> Iterator[tuple[str, int]]:
    port = free_port()
    with open_store(folder / "edgeagent.db") as store:
        server = TcpServer(build_app(SmallBackend(store)), f"{host}:{port}", TOKEN)
        server.start()
        try:
            yield host.strip("[]"), port
        finally:
            server.stop()


def asked(
    where: tuple[str, int], path: str = "/v1/status", method: str = "GET", body: bytes | None = None, **headers: str
) -> tuple[int, Any, dict[str, str]]:
    connection = http.client.HTTPConnection(*where, timeout=30)
    try:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, given)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read()), dict(answer.getheaders())
    finally:
        connection.close()


BEARER = f"Bearer {TOKEN}"


def test_with_the_token_everything_is_as_on_the_socket(tmp_path: Path) -> None:
    with on_tcp(tmp_path) as where:
        assert asked(where, Authorization=BEARER)[0] == 200
        status, told, _ = asked(where, "/v1/runs", "POST", b'{"agent": "inbox"}', Authorization=BEARER)
        assert status == 202 and told["id"]


@pytest.mark.parametrize("given", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}])
@pytest.mark.parametrize("path", ["/v1/status", "/v1/health", "/metrics", "/openapi.json", "/v1/nothing"])
def test_without_the_token_nothing_is_told(tmp_path: Path, path: str, given: dict[str, str]) -> None:
    with on_tcp(tmp_path) as where:
        status, told, headers = asked(where, path, "GET", None, **given)
    assert (status, told["error"]["code"], headers["www-authenticate"]) == (401, "unauthorized", "Bearer")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "localhost.evil:{port}"]
)
def test_a_host_that_was_not_listened_on_is_refused_even_with_the_token(tmp_path: Path, host: str) -> None:
    with on_tcp(tmp_path) as where:
        status, told, _ = asked(where, Authorization=BEARER, Host=host.format(port=where[1]))
    assert (status, told["error"]["code"]) == (403, "denied")


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("http://evil.example", 403),
        ("null", 403),
        ("https://127.0.0.1:{port}", 403),
        ("http://127.0.0.1:{port}", 200),
        ("http://localhost:{port}", 200),
    ],
)
def test_a_page_of_another_site_is_refused(tmp_path: Path, origin: str, expected: int) -> None:
    with on_tcp(tmp_path) as where:
        assert asked(where, Authorization=BEARER, Origin=origin.format(port=where[1]))[0] == expected


def test_a_body_over_tcp_has_a_limit_too(tmp_path: Path) -> None:
    with on_tcp(tmp_path) as where:
        try:
            status, told, _ = asked(where, "/v1/runs", "POST", b" " * 2_000_000, Authorization=BEARER)
        except (BrokenPipeError, ConnectionResetError):
            return  # it was refused before it was sent
    assert (status, told["error"]["code"]) == (413, "too_large")


def test_an_address_that_is_taken_is_told(tmp_path: Path) -> None:
    with on_tcp(tmp_path) as (host, port), open_store(tmp_path / "other.db") as store:
        second = TcpServer(build_app(SmallBackend(store)), f"{host}:{port}", TOKEN)
        with pytest.raises(HomeError, match=f"cannot listen on {host}:{port}"):
            second.start()


def test_the_address_of_the_new_internet_protocol_works(tmp_path: Path) -> None:
    if not socket.has_ipv6 or not Path("/proc/net/if_inet6").exists():
        pytest.skip("no IPv6 here")
    with on_tcp(tmp_path, "[::1]") as where:
        assert asked(where, Authorization=BEARER)[0] == 200


def test_the_token_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "api-token"
    token = read_token(path)
    assert len(token) >= 40
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    assert read_token(path) == token
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 40])
def test_a_broken_token_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "api-token"
    path.write_bytes(content)
    with pytest.raises(HomeError, match="api-token") as told:
        read_token(path)
    assert "rm" in told.value.hint


ASK_AS_ANOTHER = textwrap.dedent("""
    import os, socket, sys
    os.setgid(65534), os.setuid(65534)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(sys.argv[1])
        connection.sendall(b"GET /v1/status HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n")
        while piece := connection.recv(65536):
            sys.stdout.buffer.write(piece)
""")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_another_user_is_refused_though_the_socket_lies_open() -> None:
    # Not below tmp_path: pytest closes its folders to others, and every session does so anew.
    with TemporaryDirectory() as folder, served(Path(folder)) as (_, client):
        path = Path(folder) / "run" / "edgeagent.sock"
        for opened in (path.parent, path.parent.parent):
            opened.chmod(0o755)
        path.chmod(0o666)
        command = [sys.executable, "-c", ASK_AS_ANOTHER, str(path)]
        asker = subprocess.run(command, capture_output=True, text=True)
        client.check()
    answer = asker.stdout
    assert asker.returncode == 0, asker.stderr
    assert answer.startswith("HTTP/1.1 403 ") and "another user" in answer
