"""A real Mosquitto on a loopback port, with sessions that survive its restart, and mosquitto_pub."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from triggers_world import PATIENCE


def _program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    assert found, f"{name} is missing; try: packaging/setup.sh dev --packages"
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class Broker:
    def __init__(self, folder: Path, *settings: str, port: int | None = None) -> None:
        self.port = port or free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(exist_ok=True)
        lines = [
            f"listener {self.port} 127.0.0.1",
            *settings,
            *([] if any("allow_anonymous" in line for line in settings) else ["allow_anonymous true"]),
            "max_queued_messages 0",
            "persistence true",
            f"persistence_location {folder}/",
            "user root",
        ]
        (folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        log = (self._folder / "log").open("ab")
        self._process = subprocess.Popen(
            [_program("mosquitto"), "-c", str(self._folder / "mosquitto.conf")], stdout=log, stderr=log
        )
        log.close()
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            assert self._process.poll() is None and time.monotonic() < deadline, (self._folder / "log").read_text()
            time.sleep(0.02)

    def stop(self) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def publish(self, topic: str, messages: Sequence[str | bytes], *options: str) -> None:
        """One message a line, at QoS 1."""
        lines = [one.encode() if isinstance(one, str) else one for one in messages]
        subprocess.run(
            [
                *(_program("mosquitto_pub"), "-V", "5", "-h", "127.0.0.1", "-p", str(self.port)),
                *("-q", "1", "-t", topic, "-l", *options),
            ],
            input=b"\n".join(lines) + b"\n",
            check=True,
            timeout=PATIENCE,
        )

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True


@contextmanager
def broker(folder: Path, *settings: str) -> Iterator[Broker]:
    made = Broker(folder, *settings)
    made.start()
    try:
        yield made
    finally:
        made.stop()
