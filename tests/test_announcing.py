"""Who is told of a call that waits: an address, and the desktop; and that nothing waits for them."""

from __future__ import annotations

import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

from daemon_world import MOVE, Place, wait_for
from test_api_guard import free_port


class Phone(BaseHTTPRequestHandler):
    """A server that is told, and that answers the first time that it cannot."""

    def do_POST(self) -> None:
        told = self.rfile.read(int(self.headers["Content-Length"]))
        server = cast(PhoneServer, self.server)
        server.heard.append((self.path, self.headers["Content-Type"], json.loads(told)))
        self.send_response(503 if len(server.heard) == 1 else 200)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Nothing: the test looks at what was heard."""


class PhoneServer(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Phone)
        self.heard: list[tuple[str, str, dict[str, Any]]] = []


def test_an_address_is_told_of_what_waits_and_its_refusal_is_logged(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.agent(settings="approve: [move_file]")
    with PhoneServer() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        place.config(f'[approvals]\non_approval = "http://127.0.0.1:{server.server_port}/me?topic=a"\n')
        with place.daemon():
            place.drop("a.txt")
            wait_for(lambda: server.heard)
            wait_for(lambda: "could not be announced: HTTP Error 503" in place.stderr.read_text())
            place.drop("b.txt")
            wait_for(lambda: len(server.heard) == 2)
            asked = place.json("approvals", "list")
        server.shutdown()
    heard = {(path, kind, told["tool"], told["status"]) for path, kind, told in server.heard}
    assert heard == {("/me?topic=a", "application/json", MOVE["name"], "pending")}
    assert {told["id"] for _, _, told in server.heard} == {one["id"] for one in asked}


def test_an_address_that_nobody_answers_on_keeps_nothing_waiting(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.agent(settings="approve: [move_file]")
    place.config(f'[approvals]\non_approval = "http://127.0.0.1:{free_port()}/me"\n')
    place.drop("a.txt")
    with place.daemon():
        wait_for(lambda: "could not be announced" in place.stderr.read_text())
        [asked] = place.json("approvals", "list")
        place.call("approvals", "approve", asked["id"])
        wait_for(lambda: place.ended())
    assert [run.status for run in place.runs()] == ["ok"]


def test_the_desktop_is_told_of_what_waits_unless_that_is_switched_off(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.agent(settings="approve: [move_file]")
    program = tmp_path / "notify-send"
    program.write_text('#!/bin/sh\necho "$@" >> "$0.seen"\n')
    program.chmod(0o755)
    place.variables |= {"PATH": f"{tmp_path}:{os.environ['PATH']}", "DISPLAY": ":0"}
    seen = tmp_path / "notify-send.seen"
    with place.daemon():
        place.drop("a.txt")
        wait_for(seen.exists)
        [asked] = place.json("approvals", "list")
    shown = f"--app-name=edgeagent -- inbox asks: move_file edgeagent approvals show {asked['id'][-8:].lower()}\n"
    assert seen.read_text() == shown
    place.config("[approvals]\ndesktop = false\n")
    with place.daemon():
        place.drop("b.txt")
        wait_for(lambda: len(place.json("approvals", "list")) == 2)
    assert seen.read_text() == shown
