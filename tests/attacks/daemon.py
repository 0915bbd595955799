"""Plays the daemon that is attacked: it has secrets, sockets and neighbours, and runs programs confined or not.

A program of its own, so that it can run as another user: it reads orders from its standard input, one JSON object a
line, and answers each with one line. The place of the package, and a folder of its own, are its arguments.
"""

from __future__ import annotations

import array
import ctypes
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

sys.path.insert(0, sys.argv[1])

from edgeagent.errors import SandboxError
from edgeagent.sandbox import Bubblewrap, Command, Landlocked, Limits, Sandbox, run

PYTHON = "/usr/bin/python3"
LIBRARY = ctypes.CDLL(None, use_errno=True)
IPC_PRIVATE, IPC_CREAT, IPC_RMID = 0, 0o1000, 0


class Daemon:
    """What there is to attack. `environment` tells programs where everything is."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.token = f"token-{secrets.token_hex(12)}"
        self.mark = ""
        self.datagrams: list[bytes] = []
        self.reached = self.calling = False
        self.memory = ctypes.create_string_buffer(self.token.encode())
        self.sandboxes: dict[str, Sandbox] = {
            "full": Bubblewrap(python=PYTHON),
            "reduced": Landlocked(self._folder("scratch"), python=PYTHON),
        }
        self._folders()
        self._sockets()
        self._shared()
        self.victim = self._victim()

    def _folder(self, name: str) -> Path:
        (self.base / name).mkdir(exist_ok=True)
        return self.base / name

    def _folders(self) -> None:
        """Made anew before every order, so that no attack meets what the one before has done."""
        for name in ("private", "other-skill", "own", "in", "out"):
            shutil.rmtree(self.base / name, ignore_errors=True)
            self._folder(name)
        for name in ("private/secret.txt", "other-skill/notes.txt", "edgeagent.db", "in/in.txt", "own/own.txt"):
            (self.base / name).write_text(f"{self.token}\n")
            (self.base / name).chmod(0o600)
        for stray in ("new", "moved"):
            (self.base / stray).unlink(missing_ok=True)

    def _sockets(self) -> None:
        self._folder("run")
        self.abstract = f"edgeagent-{secrets.token_hex(8)}"
        stream, hidden, datagram = (socket.socket(socket.AF_UNIX, kind) for kind in (1, 1, 2))
        stream.bind(str(self.base / "run/s"))
        hidden.bind(f"\0{self.abstract}")
        datagram.bind(str(self.base / "run/d"))
        tcp, udp = socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("127.0.0.1", 0))
        self.tcp_port, self.udp_port = tcp.getsockname()[1], udp.getsockname()[1]
        for listener in (stream, hidden):
            listener.listen()
        for listener in (stream, hidden, tcp):
            threading.Thread(target=self._greet, args=(listener,), daemon=True).start()
        for receiver in (datagram, udp):
            threading.Thread(target=self._receive, args=(receiver,), daemon=True).start()

    def _greet(self, listener: socket.socket) -> None:
        while True:
            peer, _ = listener.accept()
            with peer, suppress(OSError):
                peer.sendall(self.token.encode())

    def _receive(self, receiver: socket.socket) -> None:
        while True:
            self.datagrams.append(receiver.recv(100))

    def _shared(self) -> None:
        """Memory and messages that any process of the user may take part in, by name or by number."""
        self.segment = LIBRARY.shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0o600)
        LIBRARY.shmat.restype = ctypes.c_void_p
        ctypes.memmove(LIBRARY.shmat(self.segment, None, 0), self.token.encode(), len(self.token))
        self.queue = LIBRARY.msgget(IPC_PRIVATE, IPC_CREAT | 0o600)
        self.posix = f"edgeagent-{secrets.token_hex(8)}"
        place = Path("/dev/shm") / self.posix
        place.write_text(self.token)
        self.descriptor = os.open(self.base / "private/secret.txt", os.O_RDONLY)
        os.set_inheritable(self.descriptor, True)

    def _victim(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen([PYTHON, "-c", "import time; time.sleep(600)", self.token], env={"CANARY": self.token})

    def close(self) -> None:
        self.victim.kill()
        self.victim.wait()
        LIBRARY.shmctl(self.segment, IPC_RMID, None)
        LIBRARY.msgctl(self.queue, IPC_RMID, None)
        Path("/dev/shm", self.posix).unlink()

    def environment(self) -> dict[str, str]:
        places = {name.upper(): str(self.base / name) for name in ("private", "in", "out", "own", "run")}
        return places | {
            "BASE": str(self.base),
            "OTHER": str(self.base / "other-skill"),
            "DATABASE": str(self.base / "edgeagent.db"),
            "DAEMON": str(os.getpid()),
            "VICTIM": str(self.victim.pid),
            "ADDRESS": str(ctypes.addressof(self.memory)),
            "DESCRIPTOR": str(self.descriptor),
            "ABSTRACT": self.abstract,
            "TCP": str(self.tcp_port),
            "UDP": str(self.udp_port),
            "SEGMENT": str(self.segment),
            "QUEUE": str(self.queue),
            "POSIX": self.posix,
            "MARK": self.mark,
        }

    def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        """Runs a program as ordered; what it printed, how it ended, and what can be seen of it from here."""
        self._folders()
        self.datagrams.clear()
        self.mark = f"500.{secrets.randbelow(10**9):09}"
        self.reached, self.calling = False, True
        if self.victim.poll() is not None:
            self.victim = self._victim()
        message = array.array("b", b"\1\0\0\0\0\0\0\0" + self.token.encode())
        LIBRARY.msgsnd(self.queue, (ctypes.c_char * len(message)).from_buffer(message), len(self.token), 0o4000)
        how = self._control if order["level"] == "none" else self._confined
        caller = threading.Thread(target=self._call, args=(order,))
        caller.start()
        answer = how(order)
        self.calling = False
        caller.join()
        seen = answer | self._seen()
        if "later" in order:
            time.sleep(order["later"])
            seen["survivors_later"] = _end_marked(self.mark)
        return seen

    def _call(self, order: dict[str, Any]) -> None:
        """Tries to reach a port that the program may have opened, while it runs."""
        while self.calling and not self.reached and "call" in order:
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", order["call"]), 1).close()
                self.reached = True
            time.sleep(0.02)

    def _control(self, order: dict[str, Any]) -> dict[str, Any]:
        scratch = self.base / "scratch/control"
        scratch.mkdir(exist_ok=True)
        variables = {**os.environ, **self.environment(), "TMPDIR": str(scratch), **order.get("environment", {})}
        with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
            with subprocess.Popen(
                order["argv"],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env=variables,
                cwd=self.base / "own",
                pass_fds=[self.descriptor],
                start_new_session=True,
            ) as process:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(order.get("seconds", 60))
                limit = "" if process.poll() is not None else "none"
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, 9)
            texts = [_whole(file) for file in (stdout, stderr)]
        shutil.rmtree(scratch, ignore_errors=True)
        return {"stdout": texts[0], "stderr": texts[1], "limit": limit, "exit_code": process.returncode}

    def _confined(self, order: dict[str, Any]) -> dict[str, Any]:
        command = Command(
            tuple(order["argv"]),
            self.base / "own",
            reads=(self.base / "in",),
            writes=(self.base / "out",),
            hosts=tuple(order.get("hosts", ())),
            environment=self.environment() | order.get("environment", {}),
            limits=Limits(**{"wall_seconds": 60.0, **order.get("limits", {})}),
        )
        try:
            outcome = run(self.sandboxes[order["level"]], command)
        except SandboxError as error:
            return {"stdout": "", "stderr": str(error), "limit": "refused", "exit_code": -1}
        return {
            "stdout": outcome.stdout.decode(errors="replace"),
            "stderr": outcome.stderr.decode(errors="replace"),
            "limit": outcome.limit,
            "exit_code": outcome.exit_code,
        }

    def _seen(self) -> dict[str, Any]:
        secret = self.base / "private/secret.txt"
        return {
            "token": self.token,
            "killed": self._victim_is_dead(),
            "survivors": _end_marked(self.mark),
            "datagrams": len(self.datagrams),
            "reached": self.reached,
            "secret": [secret.read_text() if secret.exists() else "", secret.stat().st_mode, secret.stat().st_mtime_ns],
            "granted": (self.base / "in/in.txt").read_text() if (self.base / "in/in.txt").exists() else "",
            "own": sorted(place.name for place in (self.base / "own").iterdir()),
            "out": sorted(place.name for place in (self.base / "out").iterdir()),
            "base": sorted(place.name for place in self.base.iterdir()),
        }

    def _victim_is_dead(self) -> bool:
        with suppress(subprocess.TimeoutExpired):
            self.victim.wait(0.1)
        return self.victim.poll() is not None


def _whole(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _end_marked(mark: str) -> int:
    """How many processes carry the mark among their arguments; they are ended."""
    count = 0
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark.encode() in (place / "cmdline").read_bytes().split(b"\0"):
                count += 1
                os.kill(int(place.name), 9)
    return count


def main() -> None:
    daemon = Daemon(Path(sys.argv[2]))
    print(json.dumps({"token": daemon.token, "user": os.getuid()}), flush=True)
    try:
        for line in sys.stdin:
            print(json.dumps(daemon.obey(json.loads(line))), flush=True)
    finally:
        daemon.close()


if __name__ == "__main__":
    main()
