"""Servers that are not there, hang, lie, or send rubbish: one line each, soon, and never more than a little memory."""

from __future__ import annotations

import contextlib
import itertools
import json
import resource
import socket
import ssl
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from endpoint_world import completion, free_port, http, puppet, stream
from test_tools_web import certificate

from edgeagent.errors import ModelCancelled, ModelError
from edgeagent.model.endpoint import Address, EndpointModel, Server
from edgeagent.model.endpoint.exchange import Head
from edgeagent.model.endpoint.refusal import read_refusal
from edgeagent.model.protocol import ChatRequest, ChatResult
from edgeagent.schema import Message

ASKED = ChatRequest((Message("user", "event: manual"),))
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"


def ask(model: EndpointModel) -> ChatResult:
    return model.chat(ASKED, threading.Event(), lambda text: None)


def refused(model: EndpointModel) -> ModelError:
    """How it fails: in one line, with something to do, and soon."""
    began = time.monotonic()
    with pytest.raises(ModelError) as caught:
        ask(model)
    assert time.monotonic() - began < 30
    assert "\n" not in caught.value.message and len(caught.value.message) < 600 and caught.value.hint
    return caught.value


def hangs(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.recv(1)  # until the other end hangs up


def endless(begin: bytes, piece: bytes, pause: float = 0.0) -> Callable[[socket.socket], None]:
    """Sends for ever, until the other end hangs up."""

    def send(connection: socket.socket) -> None:
        connection.sendall(begin)
        for _ in itertools.count():
            connection.sendall(piece)
            time.sleep(pause)

    return send


# --- nobody there -------------------------------------------------------------------------------------------------


def test_nobody_there_is_told() -> None:
    error = refused(EndpointModel(Server(Address.parse(f"http://127.0.0.1:{free_port()}/v1")), "big"))
    assert error.message.endswith("cannot be reached: Connection refused")


def test_a_name_that_nobody_knows_is_told() -> None:
    error = refused(EndpointModel(Server(Address.parse("http://nobody.invalid:8080/v1")), "big"))
    assert "no address is known for nobody.invalid" in error.message and "online" in error.hint


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    file = certificate(tmp_path)
    tls.load_cert_chain(file)
    with puppet(completion("hi"), tls=tls) as server:
        error = refused(server.model())
        assert "cannot be trusted" in error.message and "SSL_CERT_FILE" in error.hint
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        assert ask(server.model()).text == "hi"


def test_a_server_without_tls_is_told() -> None:
    with puppet(completion()) as server:
        address = Address.parse(server.url.replace("http:", "https:"))
        error = refused(EndpointModel(Server(address), "big"))
    assert "does not speak TLS" in error.message and "http://" in error.hint


# --- servers that say no ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "message", "hint"),
    [
        ("401 Unauthorized", '{"error": {"message": "Incorrect API key"}}', "refuses the key (401): Incorrect", "KEY"),
        ("403 Forbidden", "", "refuses the key (403)", "edgeagent secrets set KEY"),
        ("302 Found", "", "sends elsewhere (302)", "name that address"),
        ("400 Bad Request", '{"detail": [{"msg": "a"}, {"msg": "b"}]}', "failed (400): a; b", "log"),
        (
            "404 Not Found",
            '{"error": {"message": "model \'big\' not found"}}',
            "has no model big (404)",
            "which models",
        ),
        ("405 Method Not Allowed", "<html>no</html>", "is no OpenAI-compatible server (405)", "/v1"),
        ("501 Not Implemented", '{"error": "no chat"}', "failed (501): no chat", "log"),
    ],
)
def test_a_server_that_says_no_is_told_in_one_line(status: str, body: str, message: str, hint: str) -> None:
    with puppet(http(body, "text/html" if "<" in body else "application/json", status)) as server:
        server.key_name = "KEY"
        error = refused(server.model())
    assert message in error.message and hint in error.hint


def test_a_model_that_is_not_there_is_told_with_those_that_are() -> None:
    with puppet(http("{}", status="404 Not Found"), http('{"data": [{"id": "qwen3:8b"}]}')) as server:
        error = refused(server.model())
    assert "has no model big" in error.message and error.hint == "it has: qwen3:8b"


def test_an_address_without_such_a_server_is_told() -> None:
    with puppet(http("<html>", "text/html", "404 Not Found")) as server:
        assert "is no OpenAI-compatible server (404)" in refused(server.model()).message


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable", "500 Internal Server Error"])
def test_what_may_pass_is_tried_again(status: str) -> None:
    with puppet(http("{}", status=status), http("{}", status=status), completion("at last")) as server:
        assert ask(server.model()).text == "at last"
    with puppet(http('{"error": {"message": "busy"}}', status=status)) as server:
        assert "busy" in refused(server.model()).message
    assert len(server.asked) == 3  # there are two pauses


def test_a_server_is_left_alone_for_as_long_as_it_says() -> None:
    with puppet(http("{}", status="429 Too Many Requests", Retry_After="1"), completion()) as server:
        began = time.monotonic()
        ask(server.model())
        assert time.monotonic() - began >= 1
    with puppet(http("{}", status="429 Too Many Requests", Retry_After="3600")) as server:
        refused(server.model())
    assert len(server.asked) == 1, "nobody waits for an hour in the middle of a run"


def test_how_long_to_leave_a_server_alone_is_read_as_seconds_or_a_date() -> None:
    now = datetime(2026, 11, 24, 7, tzinfo=UTC)
    dates = {
        "7": 7,
        format_datetime(now + timedelta(seconds=9), usegmt=True): 9,
        "soon": 0,
        "-5": 0,
        "": 0,
        "9" * 30: 0,
    }
    for text, seconds in dates.items():
        assert read_refusal(Head(429, {"retry-after": text}), b"", now).after == seconds


# --- servers that hang, lie and flood -----------------------------------------------------------------------------


def test_a_server_that_is_silent_is_given_up() -> None:
    def says_half(connection: socket.socket) -> None:
        connection.sendall(HEAD + b"\r\n{")
        hangs(connection)

    for answer in (hangs, says_half):
        with puppet(answer) as server:
            assert "was silent for 0.5 seconds" in refused(server.model(silence=0.5)).message


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (EVENTS + b"\r\n", b": still here\n\n"),
        (EVENTS + b"\r\n", b'data: {"choices": [{"delta": {"content": "a"}}]}\n\n'),
        (HEAD + b"\r\n", b" "),
    ],
)
def test_a_server_that_drips_is_given_up(begin: bytes, piece: bytes) -> None:
    with puppet(endless(begin, piece, 0.05)) as server:
        assert "was not done after 1 seconds" in refused(server.model(total=1.0)).message


@pytest.mark.parametrize("begin", [EVENTS + b"\r\ndata: ", HEAD + b"Content-Length: 1000000000\r\n\r\n"])
def test_a_server_that_sends_a_gigabyte_is_hung_up_on(begin: bytes) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with puppet(endless(begin, b"x" * 65536)) as server:
        assert refused(server.model()).message.endswith("sent more than 2 MB")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "kilobytes"


RUBBISH = {
    "more than was sent": HEAD + b"Content-Length: 9999\r\n\r\n{}",
    "less than was sent": HEAD + b"Content-Length: 5\r\n\r\n" + completion().partition(b"\r\n\r\n")[2],
    "a negative length": HEAD + b"Content-Length: -5\r\n\r\nx",
    "no HTTP": b"\x00\xff\x00 hello",
    "nothing": b"",
    "a header without an end": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000,
    "headers without an end": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
    "a chunk that is none": HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
    "a chunk that is cut": HEAD + b"Transfer-Encoding: chunked\r\n\r\nff\r\n{}",
    "no JSON": http("hello"),
    "a page": http("<html>sign in</html>", "text/html"),
    "another object": http('{"models": []}'),
    "a list": http("[1]"),
    "no choices": http('{"choices": "none"}'),
    "choices of nothing": http('{"choices": [null]}'),
    "bytes": http(bytes(range(256))),
    "deep": http("[" * 200_000),
    "a number that is none": http('{"choices": [], "usage": {"prompt_tokens": NaN}}'),
    "usage that is none": http('{"choices": [{"message": {"content": "a"}}], "usage": {"prompt_tokens": -1}}'),
    "compressed": http(b"\x1f\x8b\x08\x00rubbish", Content_Encoding="gzip"),
    "an error in place of an answer": http('{"error": {"message": "out of memory"}}'),
    "events without data": stream("hello\n\n", finish=""),
    "events of no JSON": stream("data: {broken\n\n", finish=""),
    "events that break off": stream({"content": "It is"}, finish="", end=b""),
    "events that break off in a character": stream(
        {"content": "x"}, finish="", end=b'data: {"choices": [{"delta": {"con\xc3'
    ),
    "an error in the middle": stream({"content": "a"}, 'data: {"error": {"message": "crashed"}}\n\n', finish=""),
    "the other kind of error": stream({"content": "a"}, 'error: {"code": 500, "message": "crashed"}\n\n', finish=""),
}


@pytest.mark.parametrize("answer", RUBBISH.values(), ids=RUBBISH)
def test_rubbish_is_one_error(answer: bytes) -> None:
    with puppet(answer) as server:
        refused(server.model())


def test_what_goes_wrong_at_the_server_is_told_in_its_words() -> None:
    for name in ("an error in the middle", "the other kind of error"):
        with puppet(RUBBISH[name]) as server:
            assert "failed: crashed" in refused(server.model()).message


def test_words_of_a_server_are_shown_on_one_short_line() -> None:
    said = json.dumps({"error": {"message": "line\n\x1b[31mred " + "x" * 5000}})
    with puppet(http(said, status="400 Bad Request")) as server:
        message = refused(server.model()).message
    assert "\x1b" not in message and "line [31mred" in message


# --- being stopped ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["silent", "writing"])
def test_a_turn_that_is_stopped_ends_at_once_and_hangs_up(when: str) -> None:
    gone = threading.Event()

    def waits(connection: socket.socket) -> None:
        if when == "writing":
            connection.sendall(EVENTS + b'\r\ndata: {"choices": [{"delta": {"content": "a"}}]}\n\n')
        hangs(connection)
        gone.set()

    stop = threading.Event()
    with puppet(waits) as server:
        threading.Timer(0.3, stop.set).start()
        began = time.monotonic()
        with pytest.raises(ModelCancelled):
            server.model().chat(ASKED, stop, lambda text: None)
        assert time.monotonic() - began < 30
        assert gone.wait(30), "the connection was left open"


def test_no_thread_is_left_of_a_turn() -> None:
    def threads() -> int:
        return sum(thread.name == "endpoint" for thread in threading.enumerate())

    before = threads()
    for answer in (completion(), b"", http("{}", status="400 Bad Request"), endless(HEAD + b"\r\n", b" " * 65536)):
        with puppet(answer) as server, contextlib.suppress(ModelError):
            ask(server.model(silence=1.0))
    assert threads() == before
