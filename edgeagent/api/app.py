"""The routes of the control API over a `Backend`, and its errors. Owns no socket and no thread.

Every endpoint is declared once, in `ENDPOINTS`; the routes and /openapi.json both come from there. What an endpoint
does is a plain function in a thread of its own, since the journal blocks.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

import anyio
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from edgeagent import __version__
from edgeagent.api.backend import Backend
from edgeagent.api.documents import Described, openapi
from edgeagent.api.hooks import METHODS, answer
from edgeagent.api.wire import MAX_BODY, error_to_json, step_to_json
from edgeagent.approval import ApprovalStatus
from edgeagent.errors import (
    AgentFileError,
    ConfigError,
    Denied,
    EdgeagentError,
    HomeError,
    NotFound,
    Unauthorized,
    UsageError,
)
from edgeagent.schema import Json, Run, RunStatus

MOST_RUNS = 1000
WATCH_SECONDS = 0.1
"""Pause between two looks at a run that somebody watches."""

_HTTP_STATUS: dict[type[EdgeagentError], int] = {
    AgentFileError: 422,
    UsageError: 400,
    ConfigError: 400,
    Denied: 403,
    Unauthorized: 401,
    NotFound: 404,
    HomeError: 503,
}


class Submission(BaseModel):
    """The body of POST /v1/runs."""

    model_config = ConfigDict(extra="forbid", strict=True)

    agent: str = Field(min_length=1, description="The name of an agent, or the full path of its file.")
    data: dict[str, Any] = Field(default_factory=dict, description="The event, as templates and the model see it.")
    trigger: str = Field(default="manual", pattern="^[a-z]{1,32}$", description="The kind of trigger it stands for.")
    dry_run: bool = Field(default=False, description="End before the first call that would change something.")


class Listing(BaseModel):
    """The query of GET /v1/runs."""

    model_config = ConfigDict(extra="forbid")

    agent: str | None = Field(default=None, description="Only runs of this agent.")
    status: RunStatus | None = Field(default=None, description="Only runs that stand so.")
    since: AwareDatetime | None = Field(default=None, description="Only runs made since this time (RFC 3339).")
    limit: int = Field(default=50, ge=1, le=MOST_RUNS, description="At most so many, the newest.")


class Asking(BaseModel):
    """The query of GET /v1/approvals."""

    model_config = ConfigDict(extra="forbid")

    status: ApprovalStatus | Literal["all"] = Field(default=ApprovalStatus.PENDING, description="Only those so.")


class Answer(BaseModel):
    """The body of POST /v1/approvals/{id}."""

    model_config = ConfigDict(extra="forbid", strict=True)

    decision: Literal["approve", "deny"] = Field(description="Yes or no to this very call, once.")
    sha256: str | None = Field(default=None, description="Of the call as it was shown; refused where it is another.")


class Watching(BaseModel):
    """The query of GET /v1/runs/{id}/events."""

    model_config = ConfigDict(extra="forbid")

    after: int = Field(default=0, ge=0, description="Steps up to this number have been seen already.")


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that has passed its checks. `given` is the body or the query."""

    given: Any = None
    id: str = ""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path. `answer` gives what is sent, as JSON or as text; without it the endpoint is a stream."""

    method: str
    path: str
    summary: str
    answer: Callable[[Backend, Asked], Any] | None
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    status: int = 200
    media: str = "application/json"

    def described(self) -> Described:
        media = self.media if self.answer else "text/event-stream"
        return Described(self.method, self.path, self.summary, self.body, self.query, self.status, media)


def _health(backend: Backend, asked: Asked) -> Json:
    return {"status": "ok", "version": __version__}


def _status(backend: Backend, asked: Asked) -> Json:
    return backend.status()


def _agents(backend: Backend, asked: Asked) -> Json:
    return {"agents": backend.agents()}


def _runs(backend: Backend, asked: Asked) -> Json:
    wanted: Listing = asked.given
    found = backend.store.runs(wanted.agent, wanted.status, wanted.since, wanted.limit)
    return {"runs": [run.as_json() for run in found]}


def _run(backend: Backend, asked: Asked) -> Json:
    return backend.store.find_run(asked.id).as_json()


def _submit(backend: Backend, asked: Asked) -> Json:
    wanted: Submission = asked.given
    return {"id": backend.submit(wanted.agent, wanted.data, trigger=wanted.trigger, dry_run=wanted.dry_run)}


def _enable(backend: Backend, asked: Asked) -> Json:
    backend.enable(asked.id, True)
    return {"name": asked.id, "enabled": True}


def _disable(backend: Backend, asked: Asked) -> Json:
    backend.enable(asked.id, False)
    return {"name": asked.id, "enabled": False}


def _approvals(backend: Backend, asked: Asked) -> Json:
    wanted: Asking = asked.given
    found = backend.store.approvals(None if wanted.status == "all" else wanted.status)
    return {"approvals": [approval.as_json() for approval in found]}


def _approval(backend: Backend, asked: Asked) -> Json:
    return backend.store.find_approval(asked.id).as_json()


def _decide(backend: Backend, asked: Asked) -> Json:
    answer: Answer = asked.given
    found = backend.store.find_approval(asked.id)
    return backend.decide(found.id, answer.decision == "approve", answer.sha256).as_json()


def _cancel(backend: Backend, asked: Asked) -> Json:
    run_id = backend.store.find_run(asked.id).id
    return {"id": run_id, "status": backend.cancel(run_id).value}


def _retry(backend: Backend, asked: Asked) -> Json:
    run_id = backend.store.find_run(asked.id).id
    backend.retry(run_id)
    return {"id": run_id, "status": RunStatus.QUEUED.value}


def _metrics(backend: Backend, asked: Asked) -> str:
    return backend.metrics()


ENDPOINTS = (
    Endpoint("GET", "/v1/health", "Whether the daemon answers.", _health),
    Endpoint("GET", "/v1/status", "The daemon, its triggers, the queue and the model.", _status),
    Endpoint("GET", "/v1/agents", "The agents that the daemon knows.", _agents),
    Endpoint("POST", "/v1/agents/{id}/enable", "Let an agent run by its triggers again.", _enable),
    Endpoint("POST", "/v1/agents/{id}/disable", "Switch an agent off, for good.", _disable),
    Endpoint("GET", "/v1/runs", "Runs without their steps, newest first.", _runs, query=Listing),
    Endpoint("POST", "/v1/runs", "Queue an event for an agent.", _submit, body=Submission, status=202),
    Endpoint("GET", "/v1/runs/{id}", "One run with its steps. A part of the id will do.", _run),
    Endpoint("GET", "/v1/runs/{id}/events", "Its steps as they end, then the run itself.", None, query=Watching),
    Endpoint("GET", "/v1/approvals", "Calls that wait for a person, newest first.", _approvals, query=Asking),
    Endpoint("GET", "/v1/approvals/{id}", "One of them, with everything that it would do.", _approval),
    Endpoint("POST", "/v1/approvals/{id}", "Say yes or no to one call.", _decide, body=Answer),
    Endpoint("POST", "/v1/runs/{id}/cancel", "End a run, or take it out of the queue.", _cancel),
    Endpoint("POST", "/v1/runs/{id}/retry", "Queue a run that did not end well once more.", _retry),
    Endpoint("GET", "/metrics", "Numbers for Prometheus.", _metrics, media="text/plain; version=0.0.4"),
)
HOOK = Described("POST", "/hooks/{path}", "What a webhook trigger listens to; other methods will do.", status=202)


def build_app(backend: Backend) -> Starlette:
    """The ASGI application. Streams that are open end when `app.state.is_stopping()` says so."""

    async def document(request: Request) -> Response:
        return _json(openapi([*(endpoint.described() for endpoint in ENDPOINTS), HOOK], __version__))

    async def hook(request: Request) -> Response:
        return _json(await answer(request, backend.hooks), 202)

    routes = [Route(end.path, _handler(end, backend), methods=[end.method]) for end in ENDPOINTS]
    routes.append(Route("/hooks/{path:path}", hook, methods=[*METHODS]))
    handlers: dict[Any, Any] = {EdgeagentError: _on_error, HTTPException: _on_http_error, Exception: _on_fault}
    app = Starlette(routes=[*routes, Route("/openapi.json", document)], exception_handlers=handlers)
    app.state.is_stopping = lambda: False
    return app


def _handler(endpoint: Endpoint, backend: Backend) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        asked = Asked(await _given(endpoint, request), request.path_params.get("id", ""))
        if endpoint.answer is None:
            run = await run_in_threadpool(backend.store.find_run, asked.id)
            events = _events(backend, run, asked.given.after, request.app.state.is_stopping)
            return StreamingResponse(events, media_type="text/event-stream", headers={"Cache-Control": "no-store"})
        answer = await run_in_threadpool(endpoint.answer, backend, asked)
        if isinstance(answer, str):
            return PlainTextResponse(answer, endpoint.status, media_type=endpoint.media)
        return _json(answer, endpoint.status)

    return handle


async def _given(endpoint: Endpoint, request: Request) -> BaseModel | None:
    """The body or query, checked. Raises UsageError."""
    try:
        if endpoint.body:
            return endpoint.body.model_validate(_parsed(await _read(request)))
        return endpoint.query.model_validate(dict(request.query_params)) if endpoint.query else None
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise UsageError(f"{where}: {fault['msg']}", "see /openapi.json") from error


async def _read(request: Request) -> bytes:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY:
            raise HTTPException(413, f"the request is longer than {MAX_BODY} bytes")
    return body


def _parsed(body: bytes) -> Json:
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the body is not JSON: {error}", "see /openapi.json") from error
    if not isinstance(parsed, dict):
        raise UsageError("the body is not a JSON object", "see /openapi.json")
    return parsed


async def _events(backend: Backend, run: Run, after: int, is_stopping: Callable[[], bool]) -> AsyncIterator[bytes]:
    """Server-sent events: `step` for each step that ends, `status` when the run stands otherwise, `run` at the end."""
    started, seen, status = run.started_at, after, None
    while not is_stopping():
        changes = await run_in_threadpool(backend.store.changes_since, run.id, seen)
        if changes.run.started_at != started and started is not None:
            started, seen = changes.run.started_at, 0  # it was retried from the beginning
            continue
        started = changes.run.started_at
        for step in changes.steps:
            seen = step.n
            yield _sent("step", step_to_json(step))
        if changes.run.status is not status and not changes.run.status.is_terminal:
            status = changes.run.status
            yield _sent("status", {"status": status.value, "reason": changes.run.reason})
        if changes.run.status.is_terminal or changes.run.status is RunStatus.WAITING:
            yield _sent("run", (await run_in_threadpool(backend.store.run, run.id)).as_json())
            return
        await anyio.sleep(WATCH_SECONDS)


def _sent(kind: str, data: Json) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n".encode()


class _Json(JSONResponse):
    def render(self, content: Any) -> bytes:
        """ASCII, since names of files may hold lone surrogates, which UTF-8 cannot carry."""
        return json.dumps(content).encode()


def _json(content: Any, status: int = 200) -> Response:
    return _Json(content, status_code=status)


async def _on_error(request: Request, error: EdgeagentError) -> Response:
    status = next((_HTTP_STATUS[kind] for kind in type(error).__mro__ if kind in _HTTP_STATUS), 500)
    return _json(error_to_json(error), status)


async def _on_http_error(request: Request, error: HTTPException) -> Response:
    """What starlette finds by itself: no such path, or not this method."""
    codes = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}
    told = {"code": codes.get(error.status_code, "error"), "message": error.detail, "hint": "see /openapi.json"}
    return _Json({"error": told}, status_code=error.status_code, headers=error.headers)


async def _on_fault(request: Request, error: Exception) -> Response:
    """A fault of ours. The server logs it with its traceback."""
    return _json({"error": {"code": "error", "message": f"{type(error).__name__}: {error}", "hint": ""}}, 500)
