"""The model host: a child process that owns llama.cpp and answers over a pipe.

    python -m edgeagent.model.host MODEL.gguf '{"context": 4096, "threads": 0}'

One JSON object a line. In: `{"id", "op": "chat", "request"}`, `{"op": "cancel"}`. Out: `{"op": "ready", "facts"}` once,
then for each chat `{"id", "op": "text", "text"}` while it goes and one `{"id", "op": "done", "result"}` or
`{"id", "op": "error", "code", "message", "hint"}`. The host ends when its input does, so it never outlives the daemon.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from pathlib import Path
from typing import IO

from edgeagent.errors import EdgeagentError
from edgeagent.model.wire import request_from_json, result_to_json
from edgeagent.schema import Json


class _Pipe:
    """Reads requests in a thread of its own, so that a cancel is seen while the engine works."""

    def __init__(self, source: IO[str], sink: IO[str]) -> None:
        self._source, self._sink = source, sink
        self.stop = threading.Event()
        self.requests: queue.Queue[Json] = queue.Queue()

    def read(self) -> None:
        for line in self._source:
            message = json.loads(line)
            if message["op"] == "cancel":
                self.stop.set()
            else:
                self.stop.clear()
                self.requests.put(message)
        os._exit(0)  # the daemon is gone; nothing here is worth an orderly end

    def send(self, message: Json) -> None:
        self._sink.write(json.dumps(message) + "\n")
        self._sink.flush()


def _answer(engine: object, pipe: _Pipe, message: Json) -> None:
    from edgeagent.model.engine import Engine

    assert isinstance(engine, Engine)
    number = message["id"]
    try:
        result = engine.chat(
            request_from_json(message["request"]),
            pipe.stop,
            lambda text: pipe.send({"id": number, "op": "text", "text": text}),
        )
    except EdgeagentError as error:
        pipe.send({"id": number, "op": "error", "code": error.code, "message": error.message, "hint": error.hint})
    else:
        pipe.send({"id": number, "op": "done", "result": result_to_json(result)})


def main() -> None:
    # llama.cpp may print to descriptor 1; the pipe moves to one of its own.
    sink = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    pipe = _Pipe(sys.stdin, sink)
    threading.Thread(target=pipe.read, daemon=True).start()
    from edgeagent.model.engine import Engine, EngineOptions  # heavy: llama.cpp

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        engine = Engine(Path(sys.argv[1]), EngineOptions(**json.loads(sys.argv[2])), cores)
    except EdgeagentError as error:
        pipe.send({"id": 0, "op": "error", "code": error.code, "message": error.message, "hint": error.hint})
        os._exit(1)  # llama.cpp's own clean-up may crash after a failed load
    pipe.send({"op": "ready", "facts": engine.facts()})
    while True:
        _answer(engine, pipe, pipe.requests.get())


if __name__ == "__main__":
    main()
