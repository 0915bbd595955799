"""The model host: a child process that owns llama.cpp and answers over a pipe.

    python -m edgeagent.model.host MODEL.gguf '{"context": 4096, "threads": 0, ...}'

One JSON object a line. In: `{"id", "op": "chat", "request"}`, `{"id", "op": "cancel"}`. Out: `{"op": "ready", "facts"}`
once, then for each chat `{"id", "op": "text", "text"}` while it goes and one `{"id", "op": "done", "result"}` or
`{"id", "op": "error", "code", "message", "hint"}`. Several chats may go on at a time. The host ends when its input
does, so it never outlives the daemon.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import sys
import threading
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

from edgeagent.errors import EdgeagentError
from edgeagent.model.confine import confine
from edgeagent.model.protocol import ChatResult
from edgeagent.model.wire import HostOptions, request_from_json, result_to_json
from edgeagent.schema import Json

if TYPE_CHECKING:
    from edgeagent.model.engine import Engine


class _Pipe:
    """The daemon's end of the conversation. Sending is safe from any thread."""

    def __init__(self, source: IO[str], sink: IO[str]) -> None:
        self._source, self._sink = source, sink
        self._sending = threading.Lock()

    def send(self, message: Json) -> None:
        line = json.dumps(message) + "\n"
        with self._sending:
            self._sink.write(line)
            self._sink.flush()

    def fail(self, number: int, error: EdgeagentError) -> None:
        self.send({"id": number, "op": "error", "code": error.code, "message": error.message, "hint": error.hint})

    def _text(self, number: int, text: str) -> None:
        self.send({"id": number, "op": "text", "text": text})

    def end(self, number: int, end: ChatResult | EdgeagentError) -> None:
        if isinstance(end, EdgeagentError):
            self.fail(number, end)
        else:
            self.send({"id": number, "op": "done", "result": result_to_json(end)})

    def read(self, engine: Engine) -> None:
        """Hands on what comes in. Requests are made ready in a thread of their own, so that a cancel never waits."""
        requests: queue.SimpleQueue[Json] = queue.SimpleQueue()
        threading.Thread(target=self._submit, args=(engine, requests), daemon=True).start()
        for line in self._source:
            message = json.loads(line)
            if message["op"] == "cancel":
                engine.cancel(message["id"])
            else:
                requests.put(message)
        os._exit(0)  # the daemon is gone; nothing here is worth an orderly end

    def _submit(self, engine: Engine, requests: queue.SimpleQueue[Json]) -> None:
        while True:
            message = requests.get()
            number = message["id"]
            try:
                engine.submit(
                    number,
                    request_from_json(message["request"]),
                    partial(self._text, number),
                    partial(self.end, number),
                )
            except EdgeagentError as error:
                self.fail(number, error)


def _cache(options: HostOptions) -> Path | None:
    """The only folder that the host may write to; made now, since it cannot be made later."""
    if not options.cache:
        return None
    folder = Path(options.cache)
    with contextlib.suppress(OSError):  # then nothing is kept
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def main() -> None:
    # llama.cpp may print to descriptor 1; the pipe moves to one of its own.
    sink = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    pipe = _Pipe(sys.stdin, sink)
    options = HostOptions.from_json(sys.argv[2])
    confined = confine(_cache(options))
    from edgeagent.model.loading import load  # heavy: llama.cpp; numpy, which may start threads

    try:
        engine = load(Path(sys.argv[1]), options)
    except EdgeagentError as error:
        pipe.fail(0, error)
        os._exit(1)  # llama.cpp's own clean-up may crash after a failed load
    pipe.send({"op": "ready", "facts": engine.facts() | {"taken_from_it": confined}})
    threading.Thread(target=pipe.read, args=(engine,), daemon=True).start()
    engine.serve()


if __name__ == "__main__":
    main()
