"""Ledgers of what runs did outside of the daemon, and the settling of accounts with what their runs say.

A ledger is a file with a line for each effect. An agent's own lines are appended by a tool that can tell after a crash
whether it did so. The lines of `Outside` are written, and synced, by another process for each request that it gets:
nobody can tell afterwards whether one arrived, so a run that died over one may not make it again.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from edgeagent.schema import Run, RunStatus
from torture.tally import Tally


@dataclass(frozen=True)
class Outside:
    """A server that puts each request on record."""

    port: int
    ledger: Path


@contextmanager
def outside(ledger: Path) -> Iterator[Outside]:
    """Serves on loopback while entered. It answers when the line of the request is on the disk."""
    writing = threading.Lock()

    class Recorder(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size = int(self.headers["Content-Length"])
            body = self.rfile.read(size)
            if len(body) < size:
                return  # the one who asked was killed in the middle: that is no request
            with writing, ledger.open("ab", buffering=0) as file:
                file.write(body + b"\n")
                os.fsync(file.fileno())
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Says nothing."""

        def handle(self) -> None:
            try:
                super().handle()
            except ConnectionError:
                return  # the one who asked was killed

    with ThreadingHTTPServer(("127.0.0.1", 0), Recorder) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield Outside(server.server_address[1], ledger)
        finally:
            server.shutdown()


def check_ledger(tally: Tally, ledger: Path, runs: list[Run]) -> None:
    """Exactly one line for a run that says `ok`, at most one for any other, and none that no run knows of."""
    lines = Counter(ledger.read_text().splitlines() if ledger.exists() else [])
    for run in runs:
        count = lines.pop(str(run.event.get("name")), 0)
        if run.status is RunStatus.OK:
            tally.check(count == 1, f"the effect of {run.event.get('name')} is there {count} times")
        else:
            tally.check(count <= 1, f"the effect of {run.event.get('name')}, {run.status}, is there {count} times")
    tally.check(not lines, f"effects without a run: {list(lines)[:5]}")
