"""One running server: a task that opens the session, keeps watch, and ends it; and calls from other threads.

The one file that imports the SDK, with wire.py; both are imported when the first server starts. One thread runs the
event loop for all servers. What a server asks for on its own (sampling, elicitation) is refused; it is told the granted
folders as its roots.
"""

from __future__ import annotations

import asyncio
import logging
import select
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, wait
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import anyio
import mcp_types as types
from mcp.client.session import ClientRequestContext, ClientSession, IncomingMessage
from mcp.shared.exceptions import MCPError
from pydantic import FileUrl, ValidationError

import edgeagent
from edgeagent.errors import McpError, ToolError
from edgeagent.mcp.listing import ListFault, Listing, listing
from edgeagent.mcp.texts import visible
from edgeagent.mcp.wire import Wire, WireFault
from edgeagent.sandbox import Confined
from edgeagent.sandbox.usage import MOST_FILES, too_much
from edgeagent.schema import Json

T = TypeVar("T")
_TICK = 0.25
_IDLE_TICK = 1.0
_GRACE = 1.0
"""Seconds that a server has to end by itself when its input is closed."""
_LAST_WORD = 0.05
"""Seconds in which the word that a call is cancelled goes out."""
_MOST_PAGES = 200
_FIRST_SETTLE, _SETTLE = 0.5, 3.0
"""Seconds in which a server may still add tools: at its first start; at a later one, where it has not those it had."""
_POLL = 0.1


class NotCalled(Exception):
    """The server was ended for want of calls a moment before this one."""


class Hub:
    """The thread with the event loop."""

    def __init__(self) -> None:
        for name in ("mcp", "client"):  # what the SDK logs are words of servers
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="mcp", daemon=True)
        self._thread.start()

    def begin(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def call(self, action: Callable[[], object]) -> None:
        self._loop.call_soon_threadsafe(action)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()


@dataclass(frozen=True, slots=True)
class Manner:
    """How long a server may take, in seconds, and the folders that it is told as its roots."""

    start: float
    idle: float
    roots: tuple[Path, ...] = ()
    expected: str = ""
    """The digest of the list of tools that it is known by; empty where it was never started."""


@dataclass
class Connection:
    """One server from its start to its end. Args: on_change: told of another list of tools than the first."""

    hub: Hub
    confined: Confined
    manner: Manner
    on_change: Callable[[Listing], object] = lambda now: None
    listed: Listing = field(init=False)
    fault: str = ""
    """Why it ended; empty where it was told to, or had nothing to do."""
    _calls: int = 0
    _used: float = field(default_factory=time.monotonic)
    _is_over: bool = False
    _is_hard: bool = False
    _group: anyio.abc.TaskGroup | None = None
    _is_closed: bool = False
    _has_changed: bool = False

    def open(self, stopped: Callable[[], bool] = lambda: False) -> Listing:
        """Starts the session and gives the tools. McpError where it comes to none, or is `stopped`."""
        self._wake = asyncio.Event()
        self._ready: Future[Listing] = Future()
        self._owner = self.hub.begin(self._own())
        while True:
            try:
                self.listed = self._ready.result(_POLL)
                return self.listed
            except FutureTimeout:
                if stopped():
                    self.hub.call(self._abort)
                    wait([self._owner])
                    raise McpError("the run was stopped") from None

    @property
    def is_alive(self) -> bool:
        return not (self._is_over or self._is_closed or self._owner.done() or _has_ended(self.confined))

    def close(self) -> None:
        """Ends it; returns once everything that it started is gone."""
        self._end_soon()
        wait([self._owner])

    def call(self, tool: str, arguments: Json, seconds: float, stopped: Callable[[], bool]) -> Json:
        """The result as MCP has it. ToolError where there is none; a server that takes too long is ended.

        Raises NotCalled where it had come to its end before.
        """
        asked = self.hub.begin(self._call(tool, arguments, seconds))
        while True:
            try:
                return asked.result(_POLL)
            except FutureTimeout:
                if asked.done():
                    return asked.result()
            if stopped():
                asked.cancel()
                self._end_soon()
                raise ToolError("the run was stopped")

    # --- the task that owns it ----------------------------------------------------------------------------------

    async def _own(self) -> None:
        wire = self._wire = Wire(self.confined)
        try:
            async with anyio.create_task_group() as group:
                self._group = group
                for serve in (self._read, wire.read_errors, wire.write):
                    group.start_soon(self._served, serve, group)
                await self._session(wire)
                if not self._is_hard:
                    await anyio.sleep(_LAST_WORD)
                group.cancel_scope.cancel()
        finally:
            self._is_over = True
            with anyio.CancelScope(shield=True):
                await self._end(wire)
            if not self._ready.done():
                self._ready.set_exception(McpError(self.fault or "it ended", "edgeagent doctor"))

    async def _served(self, serve: Callable[[], Coroutine[Any, Any, None]], group: anyio.abc.TaskGroup) -> None:
        try:
            await serve()
        except WireFault as error:
            self._fail(str(error))
            group.cancel_scope.cancel()
        except OSError as error:
            self._fail((error.strerror or str(error)).lower())
            group.cancel_scope.cancel()

    def _abort(self) -> None:
        self._fail("it was stopped")
        if self._group is not None:
            self._group.cancel_scope.cancel()

    def _fail(self, fault: str) -> None:
        """It is ended at once."""
        self.fault, self._is_hard = self.fault or fault, True

    async def _read(self) -> None:
        await self._wire.read()
        self._is_closed = True
        self._wake.set()

    async def _session(self, wire: Wire) -> None:
        async with ClientSession(
            wire.incoming,
            wire.outgoing,
            list_roots_callback=self._roots,
            message_handler=self._told,
            client_info=types.Implementation(name="edgeagent", version=edgeagent.__version__),
        ) as session:
            await self._served_by(session)

    async def _served_by(self, session: ClientSession) -> None:
        """Nothing is raised: within a group of tasks it would come out as another exception."""
        self._session_of = session
        try:
            with anyio.fail_after(self.manner.start):
                await session.initialize()
                self.listed = await self._first_list(session)
            self._used = time.monotonic()
            self._ready.set_result(self.listed)
            await self._keep_watch(session)
            self._is_over = True
        except TimeoutError:
            self.fault = self.fault or f"it did not start within {self.manner.start:g} s"
        except (MCPError, ListFault, RuntimeError, ValueError) as error:
            self.fault = self.fault or await self._why(error)

    async def _keep_watch(self, session: ClientSession) -> None:
        """Until it is told to end, has nothing to do, breaks a limit, changes its tools, or is gone."""
        while not self._is_over:
            busy = self._calls > 0
            with anyio.move_on_after(_TICK if busy else _IDLE_TICK):
                await self._wake.wait()
            self._wake.clear()
            if self._has_changed:
                self._has_changed = False
                with anyio.fail_after(self.manner.start):
                    now = await self._list(session)
                if now.raw != self.listed.raw:
                    self.fault = "its tools have changed"
                    self.on_change(now)
                    return
            if limit := self._limit():
                self._fail(f"it used more {limit} than a server may")
                return
            if self._is_closed or _has_ended(self.confined):
                self.fault = self.fault or await self._why(None)
                return
            if not self._calls and time.monotonic() - self._used > self.manner.idle:
                return

    def _limit(self) -> str | None:
        limits = self.confined.command.limits
        stored = self.confined.stored()
        if stored.size > limits.scratch_size or stored.files > MOST_FILES:
            return "scratch space"
        return too_much(self.confined.process.pid, limits)

    async def _end(self, wire: Wire) -> None:
        wire.close_input()
        deadline = time.monotonic() + _GRACE
        while not self._is_hard and not _has_ended(self.confined) and time.monotonic() < deadline:
            await anyio.sleep(0.01)
        await asyncio.to_thread(self.confined.close)
        wire.close()

    async def _why(self, error: Exception | None) -> str:
        """In words, why there is no session: what the server said at its end, or what the protocol says."""
        for _ in range(20):  # its end is seen a moment after that of its output
            if _has_ended(self.confined):
                break
            await anyio.sleep(0.05)
        if _has_ended(self.confined):
            code = await asyncio.to_thread(self.confined.end)
            told = self._wire.last_words() or self._wire.rubbish
            return f"it ended with exit code {code}{f': {told}' if told else ''}"
        if isinstance(error, ValidationError):
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            return visible(f"what it says is no MCP: {place}: {first['msg']}", 300)
        return visible(str(error), 300) if error else "it closed its output"

    # --- the protocol -------------------------------------------------------------------------------------------

    async def _first_list(self, session: ClientSession) -> Listing:
        """Some servers add tools a moment after their start, and say so: that is no change of what they are."""
        found = await self._list(session)
        settle = _SETTLE if self.manner.expected else _FIRST_SETTLE
        until = time.monotonic() + settle
        while found.raw != self.manner.expected and (left := until - time.monotonic()) > 0:
            with anyio.move_on_after(left):
                await self._wake.wait()
            self._wake.clear()
            if self._is_closed or self._is_over:
                break
            if self._has_changed:
                self._has_changed = False
                found = await self._list(session)
        return found

    async def _list(self, session: ClientSession) -> Listing:
        tools: list[Json] = []
        cursor: str | None = None
        for _ in range(_MOST_PAGES):
            page = await session.list_tools(params=types.PaginatedRequestParams(cursor=cursor) if cursor else None)
            tools += [tool.model_dump(by_alias=True, mode="json", exclude_none=True) for tool in page.tools]
            cursor = page.next_cursor
            if cursor is None:
                return listing(tools)
        raise ListFault(f"its list of tools has more than {_MOST_PAGES} pages")

    async def _call(self, tool: str, arguments: Json, seconds: float) -> Json:
        if self._is_over:
            raise NotCalled
        heard_last: list[str] = []
        self._calls += 1
        self._wire.renew()

        async def heard(progress: float, total: float | None, message: str | None) -> None:
            heard_last[:] = [f"{progress:g}{f' of {total:g}' if total else ''} {visible(message or '', 100)}".strip()]

        request = types.CallToolRequest(params=types.CallToolRequestParams(name=tool, arguments=arguments))
        try:
            with anyio.fail_after(seconds):
                result = await self._session_of.send_request(request, types.CallToolResult, progress_callback=heard)
            return result.model_dump(by_alias=True, mode="json", exclude_none=True)
        except TimeoutError:
            told = f"; it was at {heard_last[-1]}" if heard_last else ""
            self.fault = self.fault or f"it took longer than {seconds:g} s{told}"
            self._end_soon()
            raise ToolError(self.fault) from None
        except MCPError as error:
            if self._is_over or _has_ended(self.confined) or self.fault:
                raise ToolError(self.fault or await self._why(error)) from error
            raise ToolError(visible(error.error.message, 400) or "it refused the call") from error
        except (ValueError, RuntimeError, anyio.ClosedResourceError, anyio.BrokenResourceError) as error:
            told = self.fault or await self._why(error)
            raise ToolError(f"no answer that can be read: {told}") from error
        finally:
            self._calls -= 1
            self._used = time.monotonic()

    def _end_soon(self) -> None:
        self._is_over = True
        self.hub.call(self._wake.set)

    async def _roots(self, context: ClientRequestContext) -> types.ListRootsResult:
        roots = [types.Root(uri=FileUrl(path.as_uri()), name=path.name) for path in self.manner.roots]
        return types.ListRootsResult(roots=roots)

    async def _told(self, message: IncomingMessage) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            self._has_changed = True
            self._wake.set()


def _has_ended(confined: Confined) -> bool:
    poll = select.poll()
    poll.register(confined.ended, select.POLLIN)
    return bool(poll.poll(0))
