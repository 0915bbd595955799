"""POST /hooks/{path}: what a webhook trigger listens to. Reads the request and hands it on; lets nobody in itself.

A request is trusted that came by the control socket, or that showed the token of the API: `guard` says which, and lets
requests to /hooks/ pass without it, since a hook with a secret has a check of its own.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Scope

from edgeagent.api.wire import MAX_BODY
from edgeagent.errors import NotFound, UsageError
from edgeagent.schema import Json

if TYPE_CHECKING:
    from edgeagent.api.backend import Hooks

METHODS = ("POST", "PUT", "PATCH", "DELETE", "GET")

_DRAINED = 64_000_000
"""Bytes that are read and thrown away, so that who sends too much gets to read the answer."""


async def answer(request: Request, hooks: Hooks) -> Json:
    """`{"id"}` of the run, and all of them as `ids` where several agents listen. Raises what `Hooks.deliver` does."""
    path = request.path_params["path"]
    try:
        body = await _body(request)
    except UsageError as error:
        with contextlib.suppress(NotFound):
            hooks.refuse(path, error)
        raise HTTPException(413, error.message) from error

    def deliver() -> list[str]:
        return hooks.deliver(
            path,
            method=request.method,
            headers=_headers(request),
            query=_query(request),
            body=body,
            is_trusted=is_trusted(request.scope),
        )

    ids = await run_in_threadpool(deliver)
    return {"id": ids[0]} if len(ids) == 1 else {"id": ids[0], "ids": ids}


def is_trusted(scope: Scope) -> bool:
    """Over TCP the server has an address and a port; on a socket in the file system uvicorn gives neither."""
    server = scope.get("server")
    return server is None or server[1] is None or scope.get("state", {}).get("is_trusted") is True


async def _body(request: Request) -> bytes:
    """Raises UsageError where it is too long."""
    body, length = b"", 0
    async for piece in request.stream():
        length += len(piece)
        if length <= MAX_BODY:
            body += piece
        elif length > _DRAINED:
            break
    if length > MAX_BODY:
        raise UsageError(f"the request is longer than {MAX_BODY} bytes")
    return body


def _headers(request: Request) -> dict[str, str]:
    """By name in small letters; what is given twice is joined, as HTTP says."""
    names = dict.fromkeys(request.headers.keys())
    return {name: ", ".join(request.headers.getlist(name)) for name in names}


def _query(request: Request) -> dict[str, str | list[str]]:
    found: dict[str, str | list[str]] = {}
    for name in request.query_params:
        values = request.query_params.getlist(name)
        found[name] = values[0] if len(values) == 1 else values
    return found
