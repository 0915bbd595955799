"""http_request against real servers on loopback: what may be reached, what is sent, and what comes back."""

from __future__ import annotations

import http.server
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from tools_world import World as ToolsWorld

from edgeagent.policy import AgentPolicy, decide
from edgeagent.schema import ToolCall, ToolResult
from edgeagent.tools.base import Plan
from edgeagent.tools.fetching import _is_public, parse_url
from edgeagent.tools.specs import HTTP_METHODS
from edgeagent.tools.toolbox import Toolbox
from edgeagent.tools.web import HttpRequest


@dataclass
class Seen:
    method: str
    path: str
    headers: Mapping[str, str]
    body: str


@dataclass
class Site:
    """A server that keeps what it was asked, and answers by path."""

    port: int = 0
    seen: list[Seen] = field(default_factory=list)
    answers: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    delay: float = 0.0

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def url(self, path: str = "/") -> str:
        return f"http://{self.host}{path}"


@contextmanager
def site(tls: ssl.SSLContext | None = None) -> Iterator[Site]:
    made = Site()

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length).decode()
            headers = {name.lower(): value for name, value in self.headers.items()}
            made.seen.append(Seen(self.command, self.path, headers, body))
            time.sleep(made.delay)
            default = (200, {"Content-Type": "text/plain; charset=utf-8"}, "hello ü".encode())
            status, given, content = made.answers.get(self.path, default)
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(content))} | given).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def log_message(self, *arguments: Any) -> None:
            """Quiet."""

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:
                self.close_connection = True

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that hangs up is what some tests are about."""

    for method in HTTP_METHODS:
        setattr(Handler, f"do_{method}", Handler.answer)
    server = Server(("127.0.0.1", 0), Handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    made.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class World:
    """A toolbox with http_request, and grants."""

    def __init__(self, root: Path) -> None:
        self.tools = ToolsWorld(root)
        self.network: set[str] = set()
        self.secrets: dict[str, str] = {}
        self.seconds = 20.0
        self.recorded: list[Plan] = []

    def call(self, url: str, **arguments: Any) -> ToolResult:
        policy = AgentPolicy(
            approval="never",
            network=frozenset(self.network),
            secrets={"http_request": frozenset(self.secrets)},
        )
        context = replace(
            self.tools.context,
            network=frozenset(self.network),
            secret=lambda tool, name: self.secrets[name],
            redact=self._hidden,
        )
        return Toolbox([HttpRequest(self.seconds)]).call(
            ToolCall("http_request", {"url": url, **arguments}),
            context,
            decide=lambda spec, plan: decide(spec, plan.reads, plan.writes, policy, plan.hosts, plan.secrets),
            record_started=self.recorded.append,
        )

    def _hidden(self, text: str) -> str:
        for name, value in self.secrets.items():
            text = text.replace(value, f"[secret {name}]")
        return text


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def server(world: World) -> Iterator[Site]:
    with site() as made:
        world.network.add(made.host)
        yield made


def test_a_page_is_fetched_with_its_status_and_kind(world: World, server: Site) -> None:
    assert world.call(server.url("/a b?c=ü")) == ToolResult("ok", "HTTP 200 OK, text/plain\n\nhello ü")
    (seen,) = server.seen
    assert (seen.method, seen.path) == ("GET", "/a%20b?c=%C3%BC")
    assert seen.headers["host"] == server.host
    assert "idempotency-key" not in seen.headers


def test_what_changes_something_carries_the_key_of_the_call(world: World, server: Site) -> None:
    result = world.call(server.url("/notes"), method="POST", headers={"Content-Type": "text/plain"}, body="grüße")
    assert result.is_ok
    (seen,) = server.seen
    assert (seen.method, seen.body, seen.headers["content-type"]) == ("POST", "grüße", "text/plain")
    assert seen.headers["idempotency-key"] == world.tools.context.key


@pytest.mark.parametrize(("method", "reads"), [("GET", True), ("HEAD", True), ("POST", False), ("DELETE", False)])
def test_only_what_reads_is_declared_to_be_repeatable(method: str, reads: bool) -> None:
    spec = HttpRequest().spec_of({"url": "http://x/", "method": method})
    assert (spec.read_only, spec.idempotent) == (reads, reads)


def test_after_a_crash_a_request_that_reads_is_repeated_and_no_other(world: World, server: Site) -> None:
    box = Toolbox([HttpRequest()])
    context = replace(world.tools.context, network=frozenset(world.network))

    def resumed(method: str) -> ToolResult | None:
        plan = HttpRequest().plan({"url": server.url(), "method": method}, context)
        policy = AgentPolicy(approval="never", network=frozenset(world.network))
        return box.resume(
            plan, context, decide=lambda spec, plan: decide(spec, (), (), policy, plan.hosts, plan.secrets)
        )

    assert resumed("POST") is None and server.seen == []
    result = resumed("GET")
    assert result and result.is_ok and len(server.seen) == 1


def test_a_host_that_is_not_granted_is_denied_and_not_asked(world: World, server: Site) -> None:
    world.network.clear()
    result = world.call(server.url())
    assert (result.status, result.text) == ("denied", f"denied: may not reach {server.host}")
    assert server.seen == [] and world.recorded == []


def test_a_grant_is_for_one_port(world: World, server: Site) -> None:
    assert world.call(f"http://127.0.0.1:{server.port + 1}/").status == "denied"


def test_a_name_that_leads_into_a_private_network_must_be_granted_by_number(world: World, server: Site) -> None:
    world.network.add(f"localhost:{server.port}")
    result = world.call(f"http://localhost:{server.port}/")
    assert result.status == "error"
    assert "leads to the private address" in result.text and f":{server.port}" in result.text
    assert server.seen == []


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f.0.0.1", "0177.0.0.1"])
def test_an_address_in_disguise_is_no_public_one(world: World, server: Site, host: str) -> None:
    world.network.add(f"{host}:{server.port}")
    assert world.call(f"http://{host}:{server.port}/").status == "error"
    assert server.seen == []


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("10.0.0.1", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::a00:1", False),
        ("2002:a00:1::", False),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert _is_public(address) is public


@pytest.mark.parametrize(
    "url",
    [
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "127.0.0.1",
        "http://",
        "http://user:pw@127.0.0.1/",
        "http://127.0.0.1:99999/",
        "http://[::1/",
        "http://a b/",
        "http://{{ secrets.HOST }}/",
        "javascript:alert(1)",
    ],
)
def test_what_is_no_plain_address_is_refused(world: World, url: str) -> None:
    result = world.call(url)
    assert result.status in ("error", "denied")
    assert world.recorded == []


def test_urls_name_their_grant_exactly() -> None:
    assert parse_url("HTTPS://Example.COM/x").grant == "example.com:443"
    assert parse_url("http://[0:0::1]:8080/").grant == "[::1]:8080"
    assert parse_url("http://bücher.example").grant == "xn--bcher-kva.example:80"


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        ({"Host": "evil"}, "Host"),
        ({"Content-Length": "1"}, "Content-Length"),
        ({"Proxy-Authorization": "x"}, "Proxy-Authorization"),
        ({"Idempotency-Key": "mine"}, "Idempotency-Key"),
        ({"X": "a\r\nEvil: 1"}, "X"),
        ({"a b": "x"}, "a b"),
    ],
)
def test_headers_that_are_not_the_callers_are_refused(
    world: World, server: Site, headers: dict[str, str], named: str
) -> None:
    result = world.call(server.url(), headers=headers)
    assert result.status == "error" and named in result.text
    assert server.seen == []


def test_a_body_belongs_to_a_request_that_sends_something(world: World, server: Site) -> None:
    assert "takes no body" in world.call(server.url(), body="x").text


def test_an_answer_that_says_no_is_an_error_with_its_words(world: World, server: Site) -> None:
    server.answers["/"] = (403, {"Content-Type": "application/json"}, b'{"why": "no"}')
    result = world.call(server.url())
    assert (result.status, result.text) == ("error", 'error: HTTP 403 Forbidden, application/json\n\n{"why": "no"}')


def test_a_redirect_is_followed_to_a_granted_host_without_what_is_for_one_host(world: World, server: Site) -> None:
    with site() as other:
        world.network.add(other.host)
        server.answers["/"] = (302, {"Location": other.url("/there")}, b"")
        result = world.call(server.url(), headers={"Authorization": "Bearer x", "X-Kept": "y"})
    assert result.is_ok
    (seen,) = other.seen
    assert (seen.path, seen.headers.get("authorization"), seen.headers["x-kept"]) == ("/there", None, "y")


def test_a_redirect_to_a_host_that_is_not_granted_is_not_followed(world: World, server: Site) -> None:
    with site() as other:
        server.answers["/"] = (302, {"Location": other.url()}, b"")
        result = world.call(server.url())
    assert result.status == "error" and f"redirects to {other.host}, which is not granted" in result.text
    assert other.seen == []


@pytest.mark.parametrize(
    ("status", "method", "expected"),
    [(301, "POST", "GET"), (303, "PUT", "GET"), (303, "HEAD", "HEAD"), (307, "POST", "POST"), (308, "PUT", "PUT")],
)
def test_a_redirect_keeps_or_changes_the_method_as_http_says(
    world: World, server: Site, status: int, method: str, expected: str
) -> None:
    server.answers["/"] = (status, {"Location": "/there"}, b"")
    body = None if method == "HEAD" else "x"
    world.call(server.url(), method=method, **({"body": body} if body else {}))
    assert [(seen.method, seen.body) for seen in server.seen] == [
        (method, body or ""),
        (expected, "x" if expected == method and body else ""),
    ]


def test_redirects_without_an_end_end(world: World, server: Site) -> None:
    server.answers["/"] = (302, {"Location": "/"}, b"")
    assert "more than 5 redirects" in world.call(server.url()).text
    assert len(server.seen) == 6


def test_a_large_answer_is_read_and_shown_in_part(world: World, server: Site) -> None:
    server.answers["/"] = (200, {"Content-Type": "text/plain"}, b"x" * 3_000_000)
    result = world.call(server.url())
    assert result.is_ok and "[cut: " in result.text and len(result.text) < 3000


def test_what_is_no_text_is_told_by_its_size(world: World, server: Site) -> None:
    server.answers["/"] = (200, {"Content-Type": "image/png"}, b"\x89PNG\0\1")
    assert world.call(server.url()).text == "HTTP 200 OK, image/png\n\n[6 bytes that are no text]"


def test_a_server_that_does_not_answer_has_its_time(world: World, server: Site) -> None:
    server.delay, world.seconds = 2.0, 0.5
    result = world.call(server.url())
    assert result.status == "error" and "did not answer within" in result.text


def test_a_server_that_drips_has_no_more_time_than_any_other(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        world.network.add(f"127.0.0.1:{listener.getsockname()[1]}")
        world.seconds = 1.0
        over = threading.Event()

        def drip() -> None:
            connection, _ = listener.accept()
            with connection:
                try:
                    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                    while not over.wait(0.1):
                        connection.sendall(b"x")
                except OSError:
                    return

        dripper = threading.Thread(target=drip)
        dripper.start()
        began = time.monotonic()
        result = world.call(f"http://127.0.0.1:{listener.getsockname()[1]}/")
        over.set()
        dripper.join()
    assert time.monotonic() - began < 15
    assert result.status == "error" and "did not answer within 1 seconds" in result.text


def test_nobody_there_is_told(world: World) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{unused.getsockname()[1]}"
        world.network.add(host)
        assert f"cannot reach {host}: Connection refused" in world.call(f"http://{host}/").text


def test_what_is_no_http_is_told(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host = f"127.0.0.1:{listener.getsockname()[1]}"
        world.network.add(host)

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"220 mail.example ESMTP\r\n")

        talker = threading.Thread(target=answer)
        talker.start()
        result = world.call(f"http://{host}/")
        talker.join()
    assert result.status == "error" and host in result.text


def test_a_secret_is_sent_and_neither_recorded_nor_shown(world: World, server: Site) -> None:
    world.secrets["NTFY_TOKEN"] = "s3cret-value"
    server.answers["/x/s3cret-value"] = (200, {"Content-Type": "text/plain"}, b"you sent s3cret-value")
    result = world.call(
        server.url("/x/{{ secrets.NTFY_TOKEN }}"),
        method="POST",
        headers={"Authorization": "Bearer {{ secrets.NTFY_TOKEN }}"},
        body='{"token": "{{secrets.NTFY_TOKEN}}"}',
    )
    (seen,) = server.seen
    assert seen.headers["authorization"] == "Bearer s3cret-value"
    assert json.loads(seen.body) == {"token": "s3cret-value"}
    assert result.text == "HTTP 200 OK, text/plain\n\nyou sent [secret NTFY_TOKEN]"
    assert "s3cret-value" not in json.dumps(world.recorded[0].as_json())
    assert world.recorded[0].secrets == ("NTFY_TOKEN",)


def test_a_secret_that_is_not_bound_is_denied(world: World, server: Site) -> None:
    result = world.call(server.url(), headers={"X": "{{ secrets.OTHER }}"})
    assert (result.status, result.text) == ("denied", "denied: may not use the secret OTHER")
    assert server.seen == []


def test_a_secret_does_not_follow_a_redirect_to_another_host(world: World, server: Site) -> None:
    world.secrets["KEY"] = "s3cret-value"
    with site() as other:
        world.network.add(other.host)
        server.answers["/"] = (307, {"Location": other.url()}, b"")
        world.call(server.url(), headers={"X-Key": "{{ secrets.KEY }}"})
    assert "x-key" not in other.seen[0].headers


def certificate(folder: Path) -> Path:
    """Key and certificate for 127.0.0.1, signed by itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


def test_a_certificate_is_checked(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = certificate(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(path)
    with site(tls) as made:
        world.network.add(made.host)
        refused = world.call(f"https://{made.host}/")
        assert refused.status == "error" and "self" in refused.text and made.seen == []
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
        assert world.call(f"https://{made.host}/").text == "HTTP 200 OK, text/plain\n\nhello ü"
        world.seconds, made.delay = 1.0, 3.0
        assert "did not answer within" in world.call(f"https://{made.host}/").text
