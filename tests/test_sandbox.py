"""What a confined command gets, and how it ends."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from edgeagent.errors import SandboxError
from edgeagent.sandbox import Bubblewrap, Command, Limits, Outcome, run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "skill"
    place.mkdir()
    return place


def shell(folder: Path, script: str, **given: object) -> Outcome:
    return run(Bubblewrap(), Command(("/bin/sh", "-c", script), folder, **given))  # type: ignore[arg-type]


def test_a_command_gets_its_input_and_its_output_comes_back(folder: Path) -> None:
    outcome = shell(folder, "cat; echo bad >&2; exit 3", stdin=b"given")
    assert (outcome.stdout, outcome.stderr, outcome.exit_code) == (b"given", b"bad\n", 3)
    assert outcome.limit is None and not outcome.ok and outcome.level == "full"


def test_more_input_and_output_than_a_pipe_holds_goes_through(folder: Path) -> None:
    data = bytes(range(256)) * 2000
    assert shell(folder, "cat", stdin=data).stdout == data


def test_input_that_nobody_reads_does_no_harm(folder: Path) -> None:
    assert shell(folder, "exec <&-; echo done", stdin=b"x" * 500_000).stdout == b"done\n"


def test_it_starts_in_its_own_folder_and_cannot_change_it(folder: Path) -> None:
    (folder / "own.txt").write_text("mine")
    outcome = shell(folder, "cat own.txt; pwd; touch new; rm own.txt")
    assert outcome.stdout == b"mine" + f"{folder}\n".encode()
    assert outcome.stderr.count(b"Read-only file system") == 2


def test_granted_paths_are_there_under_their_own_names(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("in")
    (tmp_path / "out").mkdir()
    script = f"cat {tmp_path}/in.txt > {tmp_path}/out/copy && ls {tmp_path}"
    outcome = shell(folder, script, reads=(tmp_path / "in.txt",), writes=(tmp_path / "out",))
    assert (tmp_path / "out/copy").read_text() == "in"
    assert outcome.stdout.split() == [b"in.txt", b"out", b"skill"]


def test_the_environment_holds_what_was_given_and_no_more(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEAGENT_TEST_VARIABLE", "of the daemon")
    outcome = shell(folder, "env", environment={"COLOUR": "red"}, idempotency_key="k1")
    names = dict(line.split("=", 1) for line in outcome.stdout.decode().splitlines())
    assert names.pop("PWD") == str(folder)
    assert names == {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": "/tmp",
        "TMPDIR": "/tmp",
        "LANG": "C.UTF-8",
        "COLOUR": "red",
        "EDGEAGENT_IDEMPOTENCY_KEY": "k1",
    }


def test_a_secret_is_read_from_a_descriptor_and_stands_nowhere_else(folder: Path) -> None:
    script = 'cat "$TOKEN_FILE" "$TOKEN_FILE"; env; cat /proc/*/environ /proc/*/cmdline'
    outcome = shell(folder, script, secrets={"TOKEN": "hunter2"})
    assert outcome.stdout.startswith(b"hunter2hunter2")
    assert outcome.stdout.count(b"hunter2") == 2


def test_what_takes_too_long_is_ended_with_all_it_started(folder: Path) -> None:
    began = time.monotonic()
    outcome = shell(folder, "sleep 60 & sleep 60 & wait", limits=Limits(wall_seconds=0.3))
    assert outcome.limit == "wall" and outcome.signal == 9
    assert time.monotonic() - began < 30


def test_the_caller_can_stop_it(folder: Path) -> None:
    asked = iter((False, True))
    command = Command(("/bin/sleep", "60"), folder)
    assert run(Bubblewrap(), command, lambda: next(asked)).limit == "stopped"


def test_output_is_cut_at_its_limit(folder: Path) -> None:
    outcome = shell(folder, "yes", limits=Limits(output_bytes=1000))
    assert outcome.limit == "output" and outcome.stdout == b"y\n" * 500


def test_a_program_that_is_not_there_is_told_as_a_shell_tells_it(folder: Path) -> None:
    outcome = run(Bubblewrap(), Command(("no-such-program",), folder))
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
