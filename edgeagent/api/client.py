"""The daemon as commands see it: the control API over its unix socket, on the standard library, which imports fast."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from edgeagent.api.address import short_address
from edgeagent.api.wire import MAX_BODY, error_from_json, run_from_json, step_from_json
from edgeagent.approval import Approval
from edgeagent.errors import DaemonNotRunning, EdgeagentError, UsageError
from edgeagent.schema import Json, Run, RunStatus, Step

TIMEOUT = 15.0
"""Seconds for an answer. A stream may be silent for longer: a model may think for minutes."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            with short_address(self._path) as address:
                self.sock.connect(address)
        except OSError:
            self.close()
            raise


class DaemonClient:
    """Asks the daemon behind `socket_path`.

    Every method raises DaemonNotRunning when nobody answers, and otherwise what the daemon raised (`errors.py`).
    """

    def __init__(self, socket_path: Path) -> None:
        self._path = socket_path

    def check(self) -> None:
        """Raises DaemonNotRunning where nobody listens."""
        with self._asked("GET", "/v1/health"):
            pass

    def status(self) -> Json:
        return self._answer("GET", "/v1/status")

    def metrics(self) -> str:
        with self._asked("GET", "/metrics") as answer:
            return answer.read().decode()

    def agents(self) -> list[Json]:
        agents: list[Json] = self._answer("GET", "/v1/agents")["agents"]
        return agents

    def submit(self, agent: str, data: Json, *, trigger: str = "manual", dry_run: bool = False) -> str:
        """Queues an event and gives the id of its run. `agent` is a name, or the full path of a file."""
        body = {"agent": agent, "data": data, "trigger": trigger, "dry_run": dry_run}
        run_id: str = self._answer("POST", "/v1/runs", body)["id"]
        return run_id

    def enable(self, agent: str, is_enabled: bool) -> None:
        self._answer("POST", f"/v1/agents/{quote(agent, safe='')}/{'enable' if is_enabled else 'disable'}")

    def run(self, run_id: str) -> Run:
        return run_from_json(self._answer("GET", f"/v1/runs/{quote(run_id, safe='')}"))

    def approvals(self, status: str = "pending") -> list[Approval]:
        """Those that stand so, or `all`."""
        found = self._answer("GET", f"/v1/approvals?status={quote(status, safe='')}")["approvals"]
        return [Approval.from_json(one) for one in found]

    def approval(self, approval_id: str) -> Approval:
        return Approval.from_json(self._answer("GET", f"/v1/approvals/{quote(approval_id, safe='')}"))

    def decide(self, approval_id: str, approves: bool, sha256: str) -> Approval:
        """Answers, for the call whose fingerprint was shown."""
        body = {"decision": "approve" if approves else "deny", "sha256": sha256}
        return Approval.from_json(self._answer("POST", f"/v1/approvals/{quote(approval_id, safe='')}", body))

    def cancel(self, run_id: str) -> RunStatus:
        return RunStatus(self._answer("POST", f"/v1/runs/{quote(run_id, safe='')}/cancel")["status"])

    def retry(self, run_id: str) -> None:
        self._answer("POST", f"/v1/runs/{quote(run_id, safe='')}/retry")

    def follow(
        self,
        run_id: str,
        on_step: Callable[[Step], None],
        *,
        after: int = 0,
        on_status: Callable[[RunStatus, str | None], None] = lambda status, reason: None,
    ) -> Run:
        """Tells of each step after step `after` when it ends, and gives the run when it has ended.

        `on_status` is told where the run stands until then, and why.
        """
        path = f"/v1/runs/{quote(run_id, safe='')}/events?after={after}"
        with self._asked("GET", path, timeout=None) as answer:
            for kind, data in _events(answer):
                if kind == "run":
                    return run_from_json(data)
                if kind == "step":
                    on_step(step_from_json(data))
                if kind == "status":
                    on_status(RunStatus(data["status"]), data["reason"])
        raise DaemonNotRunning(
            "the daemon stopped before the run ended", f"edgeagent daemon; then edgeagent runs show {run_id}"
        )

    def _answer(self, method: str, path: str, body: Json | None = None) -> Json:
        with self._asked(method, path, body) as answer:
            parsed: Json = json.loads(answer.read())
            return parsed

    @contextmanager
    def _asked(
        self, method: str, path: str, body: Json | None = None, timeout: float | None = TIMEOUT
    ) -> Iterator[http.client.HTTPResponse]:
        connection = _UnixConnection(self._path, timeout)
        content = None if body is None else json.dumps(body).encode()
        if content and len(content) > MAX_BODY:
            raise UsageError(f"the event is longer than {MAX_BODY} bytes", "name a file by its path instead")
        try:
            connection.request(method, path, content, {"Content-Type": "application/json"} if body else {})
            answer = connection.getresponse()
            if answer.status >= 400:
                raise _error(answer)
            yield answer
        except (TimeoutError, http.client.HTTPException) as error:
            raise DaemonNotRunning(f"the daemon does not answer: {error}", "edgeagent status") from error
        except (FileNotFoundError, ConnectionError) as error:
            raise DaemonNotRunning("the daemon is not running", "edgeagent daemon") from error
        finally:
            connection.close()


def _error(answer: http.client.HTTPResponse) -> EdgeagentError:
    try:
        return error_from_json(json.loads(answer.read()))
    except (ValueError, KeyError, TypeError):
        return EdgeagentError(f"the daemon answered {answer.status} {answer.reason}", "edgeagent doctor")


def _events(answer: http.client.HTTPResponse) -> Iterator[tuple[str, Any]]:
    """Server-sent events as the daemon writes them: an `event:` line, a `data:` line, an empty one."""
    kind = ""
    for line in answer:
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            yield kind, json.loads(value)
