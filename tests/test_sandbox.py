"""What a confined command gets and how it ends: one suite for every level of the sandbox."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edgeagent.errors import SandboxError
from edgeagent.sandbox import Bubblewrap, Command, Landlocked, Limits, Outcome, Sandbox, read_written, run

PATIENCE = 60.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "skill"
    place.mkdir()
    return place


@pytest.fixture(params=["full", "reduced"])
def sandbox(request: pytest.FixtureRequest, tmp_path: Path) -> Sandbox:
    if request.param == "full":
        return Bubblewrap()
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return Landlocked(scratch)


def shell(sandbox: Sandbox, folder: Path, script: str, **given: object) -> Outcome:
    return run(sandbox, Command(("/bin/sh", "-c", script), folder, **given))  # type: ignore[arg-type]


def test_a_command_gets_its_input_and_its_output_comes_back(sandbox: Sandbox, folder: Path) -> None:
    outcome = shell(sandbox, folder, "cat; echo bad >&2; exit 3", stdin=b"given")
    assert (outcome.stdout, outcome.stderr, outcome.exit_code) == (b"given", b"bad\n", 3)
    assert outcome.limit is None and not outcome.ok and outcome.level == sandbox.level


def test_more_input_and_output_than_a_pipe_holds_goes_through(sandbox: Sandbox, folder: Path) -> None:
    data = bytes(range(256)) * 2000
    assert shell(sandbox, folder, "cat", stdin=data).stdout == data


def test_input_that_nobody_reads_does_no_harm(sandbox: Sandbox, folder: Path) -> None:
    assert shell(sandbox, folder, "exec <&-; echo done", stdin=b"x" * 500_000).stdout == b"done\n"


def test_it_starts_in_its_own_folder_and_cannot_change_it(sandbox: Sandbox, folder: Path) -> None:
    (folder / "own.txt").write_text("mine")
    outcome = shell(sandbox, folder, "cat own.txt; pwd; echo x > new; rm own.txt")
    assert outcome.stdout == b"mine" + f"{folder}\n".encode()
    assert outcome.stderr.count(b"own.txt") == outcome.stderr.count(b"new") == 1
    assert (folder / "own.txt").read_text() == "mine" and not (folder / "new").exists()


def test_granted_paths_are_there_under_their_own_names(sandbox: Sandbox, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("in")
    (tmp_path / "out").mkdir()
    script = f"cat {tmp_path}/in.txt > {tmp_path}/out/copy && echo x > {tmp_path}/in.txt"
    outcome = shell(sandbox, folder, script, reads=(tmp_path / "in.txt",), writes=(tmp_path / "out",))
    assert (tmp_path / "out/copy").read_text() == "in"
    assert (tmp_path / "in.txt").read_text() == "in" and not outcome.ok


def test_the_environment_holds_what_was_given_and_no_more(
    sandbox: Sandbox, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEAGENT_TEST_VARIABLE", "of the daemon")
    outcome = shell(sandbox, folder, "env", environment={"COLOUR": "red"}, idempotency_key="k1")
    names = dict(line.split("=", 1) for line in outcome.stdout.decode().splitlines())
    assert names.pop("PWD") == str(folder)
    assert names.pop("HOME") == names.pop("TMPDIR")
    assert names == {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "COLOUR": "red",
        "EDGEAGENT_IDEMPOTENCY_KEY": "k1",
    }


def test_a_secret_is_read_from_a_descriptor_and_stands_nowhere_else(sandbox: Sandbox, folder: Path) -> None:
    script = 'cat "$TOKEN_FILE" "$TOKEN_FILE"; env; cat /proc/*/environ /proc/*/cmdline'
    outcome = shell(sandbox, folder, script, secrets={"TOKEN": "hunter2"})
    assert outcome.stdout.startswith(b"hunter2hunter2")
    assert outcome.stdout.count(b"hunter2") == 2


def test_what_takes_too_long_is_ended_with_all_it_started(sandbox: Sandbox, folder: Path) -> None:
    began = time.monotonic()
    outcome = shell(sandbox, folder, "sleep 60 & sleep 60 & wait", limits=Limits(wall_seconds=0.3))
    assert outcome.limit == "wall" and outcome.signal == 9
    assert time.monotonic() - began < 30


def test_the_caller_can_stop_it(sandbox: Sandbox, folder: Path) -> None:
    asked = iter((False, True))
    command = Command(("/bin/sleep", "60"), folder)
    assert run(sandbox, command, lambda: next(asked)).limit == "stopped"


def test_output_is_cut_at_its_limit(sandbox: Sandbox, folder: Path) -> None:
    outcome = shell(sandbox, folder, "yes", limits=Limits(output_bytes=1000))
    assert outcome.limit == "output" and outcome.stdout == b"y\n" * 500


def test_a_program_that_is_not_there_is_told_as_a_shell_tells_it(sandbox: Sandbox, folder: Path) -> None:
    outcome = run(sandbox, Command(("no-such-program",), folder))
    assert outcome.exit_code == 127 and b"no-such-program" in outcome.stderr


@pytest.mark.parametrize(
    "wrong",
    [
        {"argv": ()},
        {"argv": ("",)},
        {"argv": ("a\0b",)},
        {"reads": (Path("relative"),)},
        {"reads": (Path("/a/../etc"),)},
        {"environment": {"LD_PRELOAD": "/tmp/x.so"}},
        {"environment": {"A=B": "c"}},
        {"secrets": {"": "c"}},
        {"hosts": ("https://ntfy.sh",)},
    ],
)
def test_a_request_that_makes_no_sense_is_refused(folder: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(SandboxError):
        Command(**{"argv": ("true",), "folder": folder, **wrong})  # type: ignore[arg-type]


def test_scratch_is_private_writable_and_gone_afterwards(sandbox: Sandbox, folder: Path, tmp_path: Path) -> None:
    first = shell(sandbox, folder, 'echo mine > "$TMPDIR/x"; cat "$HOME/x"; echo "$TMPDIR"')
    assert first.stdout.startswith(b"mine\n")
    again = shell(sandbox, folder, f'cat "$TMPDIR/x" {first.stdout.split()[1].decode()}/x')
    assert again.stdout == b"" and not again.ok
    assert list(tmp_path.glob("scratch/*")) == []


def test_python_runs(sandbox: Sandbox, folder: Path) -> None:
    (folder / "sum.py").write_text("import json, subprocess, sys\nprint(sum(json.load(sys.stdin)))\n")
    outcome = run(sandbox, Command(("python3", "sum.py"), folder, stdin=b"[1, 2, 3]"))
    assert (outcome.stdout, outcome.stderr, outcome.ok) == (b"6\n", b"", True)


def test_a_path_that_became_a_link_is_refused(sandbox: Sandbox, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "granted").symlink_to(tmp_path / "secret")
    for reads in (tmp_path / "granted", tmp_path / "granted" / "deeper"):
        with pytest.raises(SandboxError):
            shell(sandbox, folder, "true", reads=(reads,))


@pytest.mark.parametrize("path", ["/", "/proc/self", "/dev", "/nowhere/at/all"])
def test_places_that_no_command_is_given(sandbox: Sandbox, folder: Path, path: str) -> None:
    with pytest.raises(SandboxError):
        shell(sandbox, folder, "true", reads=(Path(path),))


def test_edgeagents_own_state_is_never_given(folder: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    (state / "deep").mkdir(parents=True)
    for sandbox in (Bubblewrap((state,)), Landlocked(tmp_path, (state,))):
        for path in (state, state / "deep", tmp_path):
            with pytest.raises(SandboxError, match="own state"):
                shell(sandbox, folder, "true", writes=(path,))
        assert run(sandbox, Command(("true",), state / "deep")).ok, "but its own folder always is"


def test_devices_and_pipes_are_not_given(sandbox: Sandbox, folder: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SandboxError, match="neither a file nor a folder"):
        shell(sandbox, folder, "true", reads=(tmp_path / "pipe",))


def test_a_folder_in_a_read_only_one_can_be_written(sandbox: Sandbox, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "all/out").mkdir(parents=True)
    script = f"echo x > {tmp_path}/all/out/new; echo x > {tmp_path}/all/new"
    shell(sandbox, folder, script, reads=(tmp_path / "all",), writes=(tmp_path / "all/out",))
    assert (tmp_path / "all/out/new").exists() and not (tmp_path / "all/new").exists()


def test_many_commands_run_beside_each_other(sandbox: Sandbox, folder: Path) -> None:
    with ThreadPoolExecutor(6) as pool:
        done = pool.map(lambda n: shell(sandbox, folder, f"sleep 0.1; echo {n}"), range(12))
        assert [int(outcome.stdout) for outcome in done] == list(range(12))


def test_no_descriptor_is_left_open(sandbox: Sandbox, folder: Path) -> None:
    shell(sandbox, folder, "true")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        shell(sandbox, folder, "yes", secrets={"A": "b"}, limits=Limits(output_bytes=10))
        with pytest.raises(SandboxError):
            shell(sandbox, folder, "true", reads=(Path("/nowhere"),))
    assert len(os.listdir("/proc/self/fd")) == before


DAEMON = """
import sys
from pathlib import Path
from edgeagent.sandbox import Bubblewrap, Command, Landlocked, run
sandbox = Bubblewrap() if sys.argv[1] == "full" else Landlocked(Path(sys.argv[3]))
script = f"(setsid sleep {sys.argv[4]} &) ; echo started >&2; sleep {sys.argv[4]}"
run(sandbox, Command(("/bin/sh", "-c", script), Path(sys.argv[2])))
"""


def running(nap: str) -> int:
    count = 0
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            count += place.read_bytes() == f"sleep\0{nap}\0".encode()
        except OSError:
            continue
    return count


def wait_until(condition: object) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.02)


def test_nothing_survives_when_the_daemon_is_killed(sandbox: Sandbox, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir(exist_ok=True)
    nap = f"700.{os.getpid()}{sandbox.level == 'full':d}"
    daemon = subprocess.Popen([sys.executable, "-c", DAEMON, sandbox.level, folder, tmp_path / "scratch", nap])
    wait_until(lambda: running(nap) == 2)
    daemon.send_signal(signal.SIGKILL)
    daemon.wait()
    wait_until(lambda: running(nap) == 0)
    wait_until(lambda: list((tmp_path / "scratch").iterdir()) == [])


def test_what_was_written_is_read_only_where_it_is_a_file_below_the_folder(tmp_path: Path) -> None:
    (tmp_path / "out/deep").mkdir(parents=True)
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "out/deep/good.txt").write_text("good")
    (tmp_path / "out/link").symlink_to(tmp_path / "secret")
    (tmp_path / "out/up").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "out/pipe")
    assert read_written(tmp_path / "out", "deep/good.txt", 100) == b"good"
    for name in ("link", "up/secret", "pipe", "deep", "../secret", "/etc/passwd", "", "nowhere"):
        with pytest.raises(SandboxError):
            read_written(tmp_path / "out", name, 100)
    with pytest.raises(SandboxError, match="larger"):
        read_written(tmp_path / "out", "deep/good.txt", 3)
