"""The pipes of a confined server as the SDK's streams, with limits on what comes out of them.

Owns what a server may print: messages on standard output, of a size; a little else; and how much in all since the last
call. What it says on standard error is kept at its end, for the words of an error.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import anyio
import mcp_types
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage

from edgeagent.mcp.texts import visible
from edgeagent.sandbox import Confined

MOST_MESSAGE = 8_000_000
"""Bytes of one message."""
MOST_PRINTED = 32_000_000
"""Bytes on standard output, and a quarter of it on standard error, between two calls."""
MOST_RUBBISH = 100
"""Lines on standard output that are no messages, between two calls."""
_PIECE = 65_536
_KEPT = 2_000


class WireFault(Exception):
    """What is wrong with what a server prints, in words."""


@dataclass(slots=True)
class Wire:
    """Serves one server; `incoming` and `outgoing` are for the session."""

    confined: Confined
    said: bytearray = field(default_factory=bytearray)
    """The end of standard error."""
    rubbish: str = ""
    """The first line on standard output that was no message."""
    _printed: int = 0
    _rubbish_lines: int = 0
    _errors: int = 0
    incoming: MemoryObjectReceiveStream[SessionMessage | Exception] = field(init=False)
    outgoing: MemoryObjectSendStream[SessionMessage] = field(init=False)
    _arrived: MemoryObjectSendStream[SessionMessage | Exception] = field(init=False)
    _to_send: MemoryObjectReceiveStream[SessionMessage] = field(init=False)

    def __post_init__(self) -> None:
        self._arrived, self.incoming = anyio.create_memory_object_stream[Any](0)
        self.outgoing, self._to_send = anyio.create_memory_object_stream[Any](0)
        for pipe in self._pipes():
            os.set_blocking(pipe, False)

    def renew(self) -> None:
        """Begins to count anew: a call begins."""
        self._printed = self._rubbish_lines = self._errors = 0

    def close(self) -> None:
        for stream in (self.incoming, self.outgoing, self._arrived, self._to_send):
            stream.close()

    def close_input(self) -> None:
        """How a server is asked to end."""
        if self.confined.process.stdin is not None:
            self.confined.process.stdin.close()

    def last_words(self) -> str:
        """The last line that was said on standard error."""
        with suppress(OSError, ValueError):
            while piece := os.read(self._pipes()[2], _PIECE):
                self._keep(piece)
        lines = [line for line in self.said.decode("utf-8", "replace").splitlines() if line.strip()]
        return visible(lines[-1], 300) if lines else ""

    async def read(self) -> None:
        """Takes messages until the server closes its output. Raises WireFault."""
        pipe, line = self._pipes()[1], bytearray()
        async with self._arrived:
            while piece := await _read(pipe):
                self._printed += len(piece)
                if self._printed > MOST_PRINTED:
                    raise WireFault(f"it printed more than {MOST_PRINTED // 1_000_000} MB")
                *ended, rest = piece.split(b"\n")
                for part in ended:
                    await self._take(bytes(line + part))
                    line.clear()
                line += rest
                if len(line) > MOST_MESSAGE:
                    raise WireFault(f"it printed a message of more than {MOST_MESSAGE // 1_000_000} MB")

    async def read_errors(self) -> None:
        pipe = self._pipes()[2]
        while piece := await _read(pipe):
            self._errors += len(piece)
            self._keep(piece)
            if self._errors > MOST_PRINTED // 4:
                raise WireFault(f"it printed more than {MOST_PRINTED // 4_000_000} MB on standard error")

    async def write(self) -> None:
        """Hands in messages until the session ends, or the server takes no more."""
        pipe = self._pipes()[0]
        async with self._to_send:
            async for message in self._to_send:
                text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                if not await _write(pipe, text.encode("utf-8", "replace") + b"\n"):
                    return

    async def _take(self, line: bytes) -> None:
        if not line.strip():
            return
        try:
            message = mcp_types.jsonrpc_message_adapter.validate_json(line, by_name=False)
        except ValueError:
            self._rubbish_lines += 1
            self.rubbish = self.rubbish or visible(line[:400].decode("utf-8", "replace"), 100)
            if self._rubbish_lines > MOST_RUBBISH:
                raise WireFault(f"it prints what is no MCP message: {self.rubbish}") from None
            return
        with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
            await self._arrived.send(SessionMessage(message))

    def _keep(self, piece: bytes) -> None:
        self.said += piece
        del self.said[:-_KEPT]

    def _pipes(self) -> tuple[int, int, int]:
        process = self.confined.process
        assert process.stdin and process.stdout and process.stderr
        return process.stdin.fileno(), process.stdout.fileno(), process.stderr.fileno()


async def _read(pipe: int) -> bytes:
    """Empty at its end."""
    while True:
        try:
            return os.read(pipe, _PIECE)
        except BlockingIOError:
            await anyio.wait_readable(pipe)


async def _write(pipe: int, data: bytes) -> bool:
    """False where nobody reads any more."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(pipe, rest[:_PIECE]) :]
        except BlockingIOError:
            await anyio.wait_writable(pipe)
        except BrokenPipeError:
            return False
    return True
