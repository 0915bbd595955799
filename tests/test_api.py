"""The control API: what it answers, how errors travel, and what becomes of the socket."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from api_world import STEPS, SmallBackend, served

from edgeagent.api.app import ENDPOINTS, HOOK, build_app
from edgeagent.api.client import DaemonClient, _UnixConnection
from edgeagent.api.server import ApiServer
from edgeagent.api.wire import MAX_BODY, error_from_json, error_to_json, run_from_json
from edgeagent.errors import (
    AgentFileError,
    ConfigError,
    DaemonNotRunning,
    Denied,
    EdgeagentError,
    HomeError,
    ModelError,
    NotFound,
    Problem,
    UsageError,
)
from edgeagent.schema import Outcome, Reason, RunStatus, Step

World = tuple[SmallBackend, DaemonClient]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with served(tmp_path) as made:
        yield made


def asked(path: Path, method: str, target: str, body: bytes | None = None) -> tuple[int, Any]:
    """One raw request: status and parsed body."""
    connection = _UnixConnection(path / "run" / "edgeagent.sock", 10)
    try:
        connection.request(method, target, body)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_a_submitted_event_becomes_a_queued_run(world: World) -> None:
    backend, client = world
    run_id = client.submit("inbox", {"path": "/a/b.txt"}, trigger="file", dry_run=True)
    assert backend.submitted == [("inbox", {"path": "/a/b.txt"}, "file", True)]
    run = client.run(run_id)
    assert (run.id, run.status, run.event) == (run_id, RunStatus.QUEUED, {"path": "/a/b.txt"})
    assert client.run(run_id[-6:].lower()).id == run_id


def test_a_run_comes_over_the_socket_as_it_is_in_the_journal(world: World) -> None:
    backend, client = world
    run_id = client.submit("inbox", {"path": "/a/\udcff.txt"})
    backend.work(run_id, 3)
    backend.end(run_id, Outcome(RunStatus.OK, output="Filed the bill."))
    run = client.run(run_id)
    assert run == backend.store.run(run_id)
    assert run == run_from_json(json.loads(json.dumps(run.as_json())))


def test_following_tells_each_step_once_and_ends_with_the_run(world: World) -> None:
    backend, client = world
    run_id = client.submit("inbox", {})
    backend.work(run_id, 1)
    seen: list[Step] = []

    def see(step: Step) -> None:
        seen.append(step)
        if step.n < 3:
            backend.store.record_step(run_id, STEPS[step.n])
        else:
            backend.end(run_id, Outcome(RunStatus.FAILED, Reason.EXPECTATION, "Filed.", "expected /x to exist"))

    ended = client.follow(run_id, see)
    assert seen == list(STEPS)
    assert (ended.status, ended.reason, ended.steps) == (RunStatus.FAILED, "expectation", STEPS)


def test_following_goes_on_after_what_was_seen(world: World) -> None:
    backend, client = world
    run_id = client.submit("inbox", {})
    backend.work(run_id, 3)
    backend.end(run_id, Outcome(RunStatus.OK))
    seen: list[int] = []
    client.follow(run_id, lambda step: seen.append(step.n), after=2)
    assert seen == [3]


def test_a_run_that_is_retried_while_it_is_followed_is_told_from_the_beginning(world: World) -> None:
    backend, client = world
    run_id = client.submit("inbox", {})
    backend.work(run_id, 2)
    seen: list[int] = []

    def see(step: Step) -> None:
        seen.append(step.n)
        if len(seen) == 2:
            backend.end(run_id, Outcome(RunStatus.FAILED, Reason.MODEL_ERROR))
            backend.retry(run_id)
            backend.work(run_id, 1)
            backend.end(run_id, Outcome(RunStatus.OK))

    assert client.follow(run_id, see).status is RunStatus.OK
    assert seen == [1, 2, 1]


def test_a_daemon_that_stops_ends_the_streams_that_are_open(tmp_path: Path) -> None:
    told: list[BaseException] = []
    with served(tmp_path) as (_, client):
        run_id = client.submit("inbox", {})

        def follow() -> None:
            try:
                client.follow(run_id, lambda step: None)
            except DaemonNotRunning as error:
                told.append(error)

        follower = threading.Thread(target=follow)
        follower.start()
        time.sleep(0.3)
        began = time.monotonic()
    follower.join(5)
    assert time.monotonic() - began < 3
    assert "stopped before the run ended" in str(told[0])
    assert f"runs show {run_id}" in told[0].hint  # type: ignore[attr-defined]


def test_cancel_and_retry_reach_the_queue(world: World) -> None:
    _, client = world
    run_id = client.submit("inbox", {})
    assert client.cancel(run_id) is RunStatus.CANCELLED
    client.retry(run_id)
    assert client.run(run_id).status is RunStatus.QUEUED
    with pytest.raises(UsageError, match="is queued"):
        client.retry(run_id)


def test_status_and_agents_are_what_the_backend_says(world: World) -> None:
    backend, client = world
    assert client.status() == backend.status()
    assert client.agents() == backend.agents()


def test_runs_are_listed_by_agent_status_and_time(world: World, tmp_path: Path) -> None:
    _, client = world
    ids = [client.submit("inbox", {"n": n}) for n in range(3)]
    client.cancel(ids[0])
    status, told = asked(tmp_path, "GET", "/v1/runs?status=queued&limit=1&agent=inbox&since=2020-01-01T00:00:00Z")
    assert status == 200
    assert [run["id"] for run in told["runs"]] == [ids[2]]
    assert asked(tmp_path, "GET", "/v1/runs?agent=nobody")[1] == {"runs": []}


def test_errors_of_the_daemon_come_out_of_the_client_as_they_went_in(world: World) -> None:
    _, client = world
    with pytest.raises(NotFound, match="no agent named nobody") as missing:
        client.submit("nobody", {})
    assert missing.value.hint == "edgeagent agents list"
    with pytest.raises(AgentFileError) as broken:
        client.submit("broken", {})
    assert str(broken.value) == "broken.md:3: unknown key\nbroken.md:5: empty body"
    with pytest.raises(NotFound, match="no run"):
        client.run("01ZZZZZZZZZZZZZZZZZZZZZZZZ")


@pytest.mark.parametrize("kind", [UsageError, ConfigError, DaemonNotRunning, Denied, NotFound, HomeError, ModelError])
def test_every_kind_of_error_survives_the_wire(kind: type[EdgeagentError]) -> None:
    back = error_from_json(json.loads(json.dumps(error_to_json(kind("what", "next")))))
    assert (type(back), back.message, back.hint) == (kind, "what", "next")


def test_an_error_of_a_newer_daemon_is_still_an_error() -> None:
    back = error_from_json({"error": {"code": "unheard_of", "message": "what"}})
    assert (type(back), back.message) == (EdgeagentError, "what")


def test_an_event_that_is_too_long_is_refused_before_it_is_sent(world: World) -> None:
    _, client = world
    with pytest.raises(UsageError, match="longer than"):
        client.submit("inbox", {"text": "x" * MAX_BODY})


def test_problems_of_an_agent_file_survive_the_wire() -> None:
    error = AgentFileError([Problem("a.md", 3, "x")])
    back = error_from_json(error_to_json(error))
    assert isinstance(back, AgentFileError)
    assert back.problems == error.problems


@pytest.mark.parametrize(
    ("method", "target", "body", "status", "code"),
    [
        ("POST", "/v1/runs", b"{", 400, "usage"),
        ("POST", "/v1/runs", b"[]", 400, "usage"),
        ("POST", "/v1/runs", b"[" * 100_000, 400, "usage"),
        ("POST", "/v1/runs", b'{"agent": 7}', 400, "usage"),
        ("POST", "/v1/runs", b'{"agent": "inbox", "dats": {}}', 400, "usage"),
        ("POST", "/v1/runs", b'{"agent": "inbox", "data": []}', 400, "usage"),
        ("POST", "/v1/runs", b'{"agent": "inbox", "trigger": "a b"}', 400, "usage"),
        ("POST", "/v1/runs", b" " * (MAX_BODY + 1), 413, "too_large"),
        ("POST", "/v1/runs", b'{"agent": "nobody"}', 404, "not_found"),
        ("POST", "/v1/runs", b'{"agent": "broken"}', 422, "invalid_agent"),
        ("GET", "/v1/runs?limit=0", None, 400, "usage"),
        ("GET", "/v1/runs?limit=9999999", None, 400, "usage"),
        ("GET", "/v1/runs?status=happy", None, 400, "usage"),
        ("GET", "/v1/runs?since=yesterday", None, 400, "usage"),
        ("GET", "/v1/runs/nothing", None, 404, "not_found"),
        ("GET", "/v1/runs/nothing/events", None, 404, "not_found"),
        ("POST", "/v1/runs/nothing/cancel", None, 404, "not_found"),
        ("GET", "/v1/nothing", None, 404, "not_found"),
        ("DELETE", "/v1/runs", None, 405, "method_not_allowed"),
    ],
)
def test_a_bad_request_is_told_what_is_wrong_with_it(
    world: World, tmp_path: Path, method: str, target: str, body: bytes | None, status: int, code: str
) -> None:
    try:
        found, told = asked(tmp_path, method, target, body)
    except (BrokenPipeError, ConnectionResetError):
        assert status == 413  # it was refused before it was sent
        return
    assert found == status
    assert told["error"]["code"] == code
    assert told["error"]["message"]
    assert not world[0].submitted


def test_a_fault_in_the_daemon_is_an_error_and_not_its_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with served(tmp_path) as (backend, client):
        backend.status = lambda: 1 / 0  # type: ignore[method-assign,assignment,return-value]
        with pytest.raises(EdgeagentError, match="ZeroDivisionError"):
            client.status()
        assert client.agents()


def test_the_openapi_document_describes_every_endpoint(world: World, tmp_path: Path) -> None:
    status, document = asked(tmp_path, "GET", "/openapi.json")
    assert status == 200
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert described == {(end.method, end.path) for end in (*ENDPOINTS, HOOK)}
    submission = document["paths"]["/v1/runs"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert set(submission["properties"]) == {"agent", "data", "trigger", "dry_run"}
    parameters = document["paths"]["/v1/runs"]["get"]["parameters"]
    assert "$ref" not in json.dumps(parameters)
    assert "$defs" not in json.dumps(parameters)
    names = [method["operationId"] for methods in document["paths"].values() for method in methods.values()]
    assert len(names) == len(set(names))


def test_only_the_owner_may_use_the_socket_and_it_goes_with_the_server(tmp_path: Path) -> None:
    with served(tmp_path):
        path = tmp_path / "run" / "edgeagent.sock"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()


def test_a_socket_that_nobody_answers_on_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left_behind:
        left_behind.bind(str(tmp_path / "run" / "edgeagent.sock"))
    with served(tmp_path) as (_, client):
        client.check()


def test_a_socket_that_somebody_answers_on_is_left_alone(tmp_path: Path) -> None:
    with served(tmp_path) as (backend, client):
        second = ApiServer(build_app(backend), tmp_path / "run" / "edgeagent.sock")
        with pytest.raises(HomeError, match="another daemon answers"):
            second.start()
        client.check()


def test_a_home_that_lies_deep_has_a_socket_all_the_same(tmp_path: Path) -> None:
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("only Linux has a way around the limit")
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    before = set(os.listdir("/proc/self/fd"))
    with served(deep) as (_, client):
        client.check()
        assert (deep / "run" / "edgeagent.sock").exists()
    assert len(set(os.listdir("/proc/self/fd")) - before) <= 1  # the listing itself


def test_a_folder_that_is_missing_is_told(tmp_path: Path) -> None:
    with served(tmp_path) as (backend, _):
        server = ApiServer(build_app(backend), tmp_path / "nowhere" / "edgeagent.sock")
        with pytest.raises(HomeError, match="cannot make the control socket"):
            server.start()
        server.stop()


@pytest.mark.parametrize("state", ["absent", "stale", "a file"])
def test_nobody_behind_the_socket_is_a_daemon_that_is_not_running(tmp_path: Path, state: str) -> None:
    path = tmp_path / "s"
    if state == "stale":
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left_behind:
            left_behind.bind(str(path))
    elif state == "a file":
        path.write_text("")
    with pytest.raises(DaemonNotRunning) as told:
        DaemonClient(path).check()
    assert told.value.hint == "edgeagent daemon"


def test_something_else_behind_the_socket_is_no_daemon(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(str(path))
        other.listen()

        def answer() -> None:
            connection, _ = other.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"220 hello\r\n")

        talker = threading.Thread(target=answer)
        talker.start()
        with pytest.raises(DaemonNotRunning, match="does not answer"):
            DaemonClient(path).check()
        talker.join()


def test_the_client_imports_no_server() -> None:
    code = "import sys, edgeagent.api.client; print({'starlette', 'uvicorn', 'pydantic'} & set(sys.modules))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed == "set()\n"


def test_many_watchers_do_not_keep_others_from_asking(world: World) -> None:
    backend, client = world
    run_id = client.submit("inbox", {})
    ends: list[RunStatus] = []
    watchers = [
        threading.Thread(target=lambda: ends.append(client.follow(run_id, lambda step: None).status)) for _ in range(45)
    ]
    for watcher in watchers:
        watcher.start()
    client.check()
    backend.begin(run_id)
    backend.end(run_id, Outcome(RunStatus.OK))
    for watcher in watchers:
        watcher.join(20)
    assert ends == [RunStatus.OK] * 45
