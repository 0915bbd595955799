"""The servers of config.toml: what each is now, whether it is trusted, and the ones that run.

One process for each agent and what it is granted: a call that may use a secret runs in another one than a call that may
not. Started on first use, ended when idle, restarted with a pause that grows, and all of them gone with this process.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgeagent.config import McpServer
from edgeagent.errors import McpError, NotFound, SandboxError, ToolError
from edgeagent.mcp.files import FileDigests
from edgeagent.mcp.listing import Listing
from edgeagent.mcp.pins import Pin, Pins
from edgeagent.mcp.places import Finder, Places
from edgeagent.sandbox import Command, Limits, Sandbox
from edgeagent.schema import Json, ToolSpec, format_time
from edgeagent.words import did_you_mean

if TYPE_CHECKING:
    from edgeagent.mcp.connection import Connection, Hub

State = Literal["new", "ready", "changed", "broken"]
_PAUSES = (0.0, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0)
"""Seconds before a start, by the failures in a row before it."""
_WAITED = 2.0
"""A pause no longer than this is waited for; a longer one is an error of the call."""
_CPU_SECONDS = 86_400.0
_NO_SYSTEM = {"GIT_CONFIG_NOSYSTEM": "1"}
"""At level reduced /etc/gitconfig is there and cannot be read, which git takes for an end."""
_LATELY_SECONDS, _LOOKED_SECONDS = 3.0, 30.0
"""The files of a server are looked at again after so long; of one that runs, whose code is in memory by then."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What one process of a server is given. Paths exist and are resolved; secrets by name."""

    agent: str
    reads: tuple[Path, ...] = ()
    writes: tuple[Path, ...] = ()
    hosts: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Server:
    """One server as it is now. `reason` says why it is not ready, `hint` what to do about it."""

    name: str
    settings: McpServer
    state: State
    places: Places | None = None
    pin: Pin | None = None
    declared: str = ""
    files: str = ""
    reason: str = ""
    hint: str = ""

    @property
    def fingerprint(self) -> str:
        """Of the command, the files and the tools as they were trusted."""
        listing = self.pin.listing.raw if self.pin else ""
        return "sha256:" + hashlib.sha256(f"{self.declared}\n{self.files}\n{listing}".encode()).hexdigest()

    def usable(self) -> Server:
        """McpError where it may not be used."""
        if self.state in ("changed", "broken"):
            raise McpError(f"MCP server {self.name} is not used: {self.reason}", self.hint)
        return self


@dataclass(slots=True)
class _Line:
    """The processes of one reach, one after the other."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    connection: Connection | None = None
    fingerprint: str = ""
    failures: int = 0
    failed_at: float = 0.0
    trouble: str = ""


class Servers:
    """Args:
    settings: the servers of config.toml as they are now.
    finder: finds a server's own files.
    pins: where it is kept what was trusted.
    sandbox: the sandbox of this machine; SandboxError where there is none.
    kept: where digests of files are kept, to spare reading them again.
    secret: looks up the value of a secret, for a server that is started to list its tools.
    """

    def __init__(
        self,
        settings: Callable[[], Mapping[str, McpServer]],
        finder: Finder,
        pins: Pins,
        sandbox: Callable[[], Sandbox],
        clock: Callable[[], datetime],
        kept: Path,
        secret: Callable[[str], str],
    ) -> None:
        self._settings, self._finder, self._sandbox, self._clock = settings, finder, sandbox, clock
        self.pins = pins
        self._secret = secret
        self._digests = FileDigests(kept)
        self._lock = threading.Lock()
        self._lines: dict[tuple[str, Reach], _Line] = {}
        self._hub: Hub | None = None

    def names(self) -> list[str]:
        return sorted(self._settings())

    def find(self, name: str) -> Server:
        """The server of that name, in whatever state; starts nothing. NotFound where none is declared.

        Its files are looked at again now and then; before each start they are looked at in any case.
        """
        return self._find(name, _LOOKED_SECONDS if self.running(name) else _LATELY_SECONDS)

    def _find(self, name: str, seconds: float) -> Server:
        settings = self._settings().get(name)
        if settings is None:
            near = did_you_mean(name, self._settings())
            raise NotFound(
                f"no MCP server named {name}{near}", f"declare it in config.toml: [mcp.{name}] command = [...]"
            )
        try:
            places = self._finder.places(settings.command, settings.folder)
            pin, files = self.pins.read(name), self._digests.lately(places.own, seconds)
        except (SandboxError, McpError) as error:
            return Server(name, settings, "broken", reason=error.message, hint=error.hint)
        declared = _declared(settings, places)
        found = Server(name, settings, "ready", places, pin, declared, files)
        if pin is None or pin.declared != declared:
            return Server(name, settings, "new", places, None, declared, files)
        told = "its files have changed since it was trusted" if pin.files != files else ""
        if pin.found is not None:
            told = "; ".join(pin.listing.changes(pin.found)[:5]) or "its tools are described otherwise"
        if told:
            hint = f"edgeagent mcp trust {name}"
            return Server(name, settings, "changed", places, pin, declared, files, told, hint)
        return found

    def known_specs(self) -> list[ToolSpec]:
        """The tools of all servers that are trusted; starts none."""
        found = [self.find(name) for name in self.names()]
        pins = [(one.name, one.pin) for one in found if one.state == "ready" and one.pin]
        return [tool.spec(name) for name, pin in pins for tool in pin.listing.tools.values()]

    def listed(self, name: str, reach: Reach) -> Server:
        """The server with its tools: from what is known of it, or by starting it where it never was.

        McpError where it cannot be started, or is trusted no more.
        """
        server = self.find(name).usable()
        if server.state == "new":
            line = self._line(name, reach)
            with line.lock:
                self._running(server, reach, line, self._values(reach))
            server = self.find(name).usable()
        return server

    def call(
        self,
        server: Server,
        reach: Reach,
        secrets: Mapping[str, str],
        tool: str,
        arguments: Json,
        stopped: Callable[[], bool],
    ) -> Json:
        """The result of one call as MCP has it. ToolError or McpError where there is none."""
        from edgeagent.mcp.connection import NotCalled

        line = self._line(server.name, reach)
        with line.lock:
            connection = self._running(server, reach, line, secrets, stopped)
        try:
            result = connection.call(tool, arguments, server.settings.timeout, stopped)
            line.failures = 0
            return result
        except NotCalled:
            return self.call(server, reach, secrets, tool, arguments, stopped)
        except ToolError as error:
            if not connection.is_alive:
                raise ToolError(f"MCP server {server.name}: {connection.fault or error.message}") from error
            raise

    def look(self, name: str, reach: Reach) -> Listing:
        """What a server lists now, without trusting it. McpError where it cannot be started."""
        server = self.find(name)
        if server.places is None:
            raise McpError(f"MCP server {name} is not used: {server.reason}", server.hint)
        connection = self._started(server, server.places, reach, self._values(reach), lambda now: None)
        try:
            return connection.listed
        finally:
            connection.close()

    def trust(self, name: str, listing: Listing) -> Server:
        """Pins a server to its command and files as they are now, and to these tools."""
        server = self.find(name)
        self.pins.write(name, Pin(server.declared, server.files, listing, format_time(self._clock())))
        return self.find(name)

    def running(self, name: str) -> int:
        """How many processes of a server there are."""
        with self._lock:
            lines = [line for (server, _), line in self._lines.items() if server == name]
        return sum(line.connection is not None and line.connection.is_alive for line in lines)

    def close(self) -> None:
        """Ends them all."""
        with self._lock:
            lines, hub = list(self._lines.values()), self._hub
            self._lines, self._hub = {}, None
        self._digests.forget()
        for line in lines:
            if line.connection is not None:
                line.connection.close()
        if hub is not None:
            hub.close()

    # --- starting -----------------------------------------------------------------------------------------------

    def _values(self, reach: Reach) -> dict[str, str]:
        return {name: self._secret(name) for name in reach.secrets}

    def _line(self, name: str, reach: Reach) -> _Line:
        with self._lock:
            return self._lines.setdefault((name, reach), _Line())

    def _running(
        self,
        server: Server,
        reach: Reach,
        line: _Line,
        secrets: Mapping[str, str],
        stopped: Callable[[], bool] = lambda: False,
    ) -> Connection:
        """A process of this server as it is now; the caller holds the line."""
        known = line.connection
        if known is not None and known.is_alive and line.fingerprint == server.fingerprint:
            return known
        if known is not None:
            known.close()
            line.connection = None
            if known.fault:
                self._failed(line, known.fault)
        assert server.places is not None, "a broken server is not used"
        self._pause(server, line)
        if self._find(server.name, 0.0).usable().fingerprint != server.fingerprint:
            raise McpError(f"MCP server {server.name} has changed a moment ago", f"edgeagent mcp show {server.name}")
        try:
            connection = self._started(
                server, server.places, reach, secrets, lambda now: self.pins.note(server.name, now), stopped
            )
        except McpError as error:
            self._failed(line, error.message)
            raise
        if server.pin is None:
            server = self.trust(server.name, connection.listed)
        elif connection.listed.raw != server.pin.listing.raw:
            connection.close()
            self.pins.note(server.name, connection.listed)
            self.find(server.name).usable()
        line.connection, line.fingerprint = connection, server.fingerprint
        return connection

    def _failed(self, line: _Line, trouble: str) -> None:
        line.failures, line.failed_at, line.trouble = line.failures + 1, time.monotonic(), trouble

    def _pause(self, server: Server, line: _Line) -> None:
        """Before another start of what failed."""
        pause = _PAUSES[min(line.failures, len(_PAUSES) - 1)]
        left = line.failed_at + pause - time.monotonic()
        if left > _WAITED:
            raise McpError(
                f"MCP server {server.name} has failed {line.failures} times and is started again in {left:.0f} s; "
                f"{line.trouble}"
            )
        if line.failures and left > 0:
            time.sleep(left)

    def _started(
        self,
        server: Server,
        places: Places,
        reach: Reach,
        secrets: Mapping[str, str],
        on_change: Callable[[Listing], object],
        stopped: Callable[[], bool] = lambda: False,
    ) -> Connection:
        try:
            from edgeagent.mcp.connection import Connection, Hub, Manner
        except ImportError as error:
            raise McpError("MCP servers need the package mcp", "pip install 'edgeagent[mcp]'") from error
        with self._lock:
            self._hub = self._hub or Hub()
        settings = server.settings
        roots = tuple(dict.fromkeys((*reach.writes, *reach.reads)))
        try:
            confined = self._sandbox().launch(_command(settings, places, reach, secrets))
            expected = server.pin.listing.raw if server.pin else ""
            manner = Manner(settings.start_timeout, settings.idle, roots, expected)
            connection = Connection(self._hub, confined, manner, on_change)
            connection.open(stopped)
        except (SandboxError, McpError) as error:
            hint = error.hint or f"edgeagent mcp show {server.name}"
            raise McpError(f"MCP server {server.name} does not start: {error.message}", hint) from error
        return connection


def _command(settings: McpServer, places: Places, reach: Reach, secrets: Mapping[str, str]) -> Command:
    places.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Command(
        argv=places.argv,
        folder=places.folder,
        reads=tuple(dict.fromkeys((*places.own, *places.borrowed, *reach.reads))),
        writes=reach.writes,
        hosts=reach.hosts,
        environment={"PATH": ":".join(places.path), **_NO_SYSTEM, **settings.env},
        secret_environment=secrets,
        limits=Limits(memory=settings.memory, cpu_seconds=_CPU_SECONDS, wall_seconds=_CPU_SECONDS, processes=128),
    )


def _declared(settings: McpServer, places: Places) -> str:
    """The digest of what config.toml says of a server, as far as it is the server."""
    told = [settings.command, settings.folder, settings.env, settings.secrets, list(map(str, places.own))]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
