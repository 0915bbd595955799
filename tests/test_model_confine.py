"""What is taken from the model host: each claim with the same attempt unconfined, which works."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgeagent.bundled import bundled
from edgeagent.model.client import HostModel, HostOptions

POCKET = bundled("models") / "pocket" / "pocket.gguf"

ATTEMPTS = {
    "write outside": "(outside / 'new').write_text('x')",
    "write over": "(outside / 'there').write_text('x')",
    "truncate": "os.truncate(outside / 'there', 0)",
    "remove": "(outside / 'there').unlink()",
    "rename": "(outside / 'there').rename(outside / 'moved')",
    "move in": "(outside / 'there').rename(cache / 'moved')",
    "folder": "(outside / 'folder').mkdir()",
    "link": "(outside / 'link').symlink_to('/')",
    "tcp": "socket.socket(socket.AF_INET)",
    "udp": "socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)",
    "unix": "socket.socket(socket.AF_UNIX)",
    "program": "subprocess.run(['/bin/true'], check=True)",
    "in a thread": "in_a_thread()",
    "write in the cache": "(cache / 'new').write_text('x')",
    "rename in the cache": "(cache / 'kept').rename(cache / 'renamed')",
    "write to nowhere": "open('/dev/null', 'w').write('x')",
    "read": "Path('/etc/passwd').read_bytes()",
}
ALLOWED = {"write in the cache", "rename in the cache", "write to nowhere", "read"}
PROGRAM = """
import os, socket, subprocess, sys, threading
from pathlib import Path
from edgeagent.model.confine import confine
cache, outside = Path(sys.argv[1]), Path(sys.argv[2])
def in_a_thread():
    failed = []
    def work():
        try:
            (outside / 'thread').write_text('x')
        except OSError as error:
            failed.append(error)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
if sys.argv[3] == 'confined':
    print(confine(cache), file=sys.stderr)
try:
    ATTEMPT
except PermissionError:
    print('refused')
else:
    print('done')
"""


def attempt(tmp_path: Path, what: str, how: str) -> str:
    cache, outside = tmp_path / how / "cache", tmp_path / how / "outside"
    for path in (cache / "kept", outside / "there"):
        path.parent.mkdir(parents=True)
        path.write_text("before")
    program = PROGRAM.replace("ATTEMPT", ATTEMPTS[what])
    done = subprocess.run(
        [sys.executable, "-c", program, str(cache), str(outside), how], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.parametrize("what", ATTEMPTS)
def test_what_is_taken_works_without_and_not_with_confinement(tmp_path: Path, what: str) -> None:
    assert attempt(tmp_path, what, "free") == "done"
    assert attempt(tmp_path, what, "confined") == ("done" if what in ALLOWED else "refused")


def test_the_model_host_is_confined_and_says_so(tmp_path: Path) -> None:
    model = HostModel("pocket", POCKET, HostOptions(threads=1, cache=str(tmp_path / "cache")))
    try:
        facts = model.facts()
        status = Path(f"/proc/{model.process_id}/status").read_text()
        tasks = [path.read_text() for path in Path(f"/proc/{model.process_id}/task").glob("*/status")]
    finally:
        model.close()
    assert facts["taken_from_it"] == "no writing outside the cache folder, no network, no programs"
    assert "NoNewPrivs:\t1" in status
    assert all("Seccomp:\t2" in task for task in tasks) and json.dumps(facts)
