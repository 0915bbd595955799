"""A small hub on loopback: the addresses and headers of the Hugging Face hub for one file, with faults on request."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "c" * 40
PIECE = 65_536


@dataclass
class Hub:
    """What is served, and how. `ranges` keeps the Range header of every download ("" where none was sent).

    Args:
        sha256, size: what the hub claims. `break_after`: bytes after which a connection is cut, as often as `breaks`
        says. `pause`: seconds before each piece. `no_ranges`: the whole file comes, whatever was asked for.
    """

    content: bytes
    repository: str = "org/repo"
    file: str = "model.gguf"
    sha256: str | None = None
    size: int | None = None
    error: tuple[int, str] | None = None
    break_after: int | None = None
    breaks: int = 1
    pause: float = 0.0
    no_ranges: bool = False
    token: str = ""
    url: str = ""
    ranges: list[str] = field(default_factory=list)

    @property
    def path(self) -> str:
        return f"/{self.repository}/resolve"

    def headers(self) -> dict[str, str]:
        digest = self.sha256 or hashlib.sha256(self.content).hexdigest()
        return {
            "X-Repo-Commit": COMMIT,
            "X-Linked-Size": str(len(self.content) if self.size is None else self.size),
            "X-Linked-Etag": f'"{digest}"',
        }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def do_HEAD(self) -> None:
        self._resolve()

    def do_GET(self) -> None:
        if self.path == "/cdn/blob":
            self._blob()
        else:
            self._resolve()

    def _resolve(self) -> None:
        hub = self.hub
        if hub.error or not self.path.startswith(f"{hub.path}/"):
            self._refuse(*(hub.error or (404, "RepoNotFound")))
        elif self.path not in (f"{hub.path}/main/{hub.file}", f"{hub.path}/{COMMIT}/{hub.file}"):
            self._refuse(404, "EntryNotFound")
        elif hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
            self._refuse(401, "RepoNotFound")
        else:
            storage = hub.url.replace("127.0.0.1", "localhost")  # another host, as for the hub's large files
            self._answer(302, {**hub.headers(), "Location": f"{storage}/cdn/blob"})

    def _refuse(self, status: int, code: str) -> None:
        self._answer(status, {"X-Error-Code": code, "X-Error-Message": "no"})

    def _blob(self) -> None:
        hub = self.hub
        asked = self.headers.get("Range", "")
        hub.ranges.append(asked)
        begin = int(asked.removeprefix("bytes=").rstrip("-")) if asked and not hub.no_ranges else 0
        rest = hub.content[begin:]
        given = {"Content-Range": f"bytes {begin}-{len(hub.content) - 1}/{len(hub.content)}"} if begin else {}
        self._answer(206 if begin else 200, given, len(rest))
        cut = None
        if hub.break_after is not None and hub.breaks > 0:
            cut, hub.breaks = hub.break_after, hub.breaks - 1
        for at in range(0, len(rest), PIECE):
            if cut is not None and at >= cut:
                self.close_connection = True
                return
            time.sleep(hub.pause)
            self.wfile.write(rest[at : at + PIECE])

    def _answer(self, status: int, headers: dict[str, str], length: int = 0) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(length)}.items():
            self.send_header(name, value)
        self.end_headers()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """A client that was killed is part of the test."""


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
