"""Which level is picked, and why not a higher one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from edgeagent.errors import SandboxError
from edgeagent.sandbox import Bubblewrap, Landlocked, Sandbox, open_sandbox
from edgeagent.sandbox.confined import Confined
from edgeagent.sandbox.opening import choose
from edgeagent.sandbox.proof import ATTEMPTS, ATTEMPTS_OF_CALLS, _running, prepared, programs, prove
from edgeagent.sandbox.request import Command, Level


class Unconfined:
    """A sandbox that does not hold: what an escape looks like to the proof."""

    level: Level = "full"

    def check(self) -> None:
        pass

    def launch(self, command: Command) -> Confined:
        pipe = subprocess.PIPE
        variables = {**command.environment, "TMPDIR": str(command.folder.parent), "PATH": "/usr/bin:/bin"}
        process = subprocess.Popen(
            command.argv, cwd=command.folder, env=variables, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0
        )
        return Confined(command, self.level, process, lambda: None)


def program(path: Path, text: str, mode: int = 0o755) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_the_highest_level_is_picked_and_proved(tmp_path: Path) -> None:
    opened = open_sandbox((), tmp_path / "scratch")
    assert (opened.level, opened.reasons) == ("full", ())
    assert opened.require().level == "full"
    assert len(opened.proof.attempts) >= 12 and opened.proof.holds
    assert list((tmp_path / "scratch").iterdir()) == []


def test_reduced_holds_too(tmp_path: Path) -> None:
    proof = prove(Landlocked(tmp_path), tmp_path)
    assert proof.holds and len(proof.attempts) >= 12


def test_the_attempts_of_the_proof_work_unconfined(tmp_path: Path) -> None:
    with prepared(tmp_path) as targets:
        found: set[str] = set()
        for argv, _ in programs():
            done = subprocess.run(
                argv,
                cwd=targets.folder,
                env={**targets.environment, "TMPDIR": str(tmp_path), "PATH": "/usr/bin:/bin"},
                capture_output=True,
                check=False,
            )
            found |= targets.escapes(done.stdout)
    refused_by_this_kernel = {"keys", "namespaces"}
    assert _running(targets.environment["NAP"]) == []
    assert found | refused_by_this_kernel >= ATTEMPTS.keys() | ATTEMPTS_OF_CALLS.keys()


def test_a_sandbox_that_does_not_hold_is_not_used(tmp_path: Path) -> None:
    levels: tuple[Sandbox, ...] = (Unconfined(), Landlocked(tmp_path))
    opened = choose(levels, tmp_path, "reduced")
    assert opened.level == "reduced"
    assert "a command could" in opened.reasons[0] and "end another process" in opened.reasons[0]


@pytest.mark.parametrize(
    ("text", "mode", "why"),
    [
        (None, 0, "no such file"),
        ("#!/bin/sh\nexit 1\n", 0o755, "too old"),
        ("#!/bin/sh\necho --size --disable-userns\n", 0o755, "too old: it lacks --ro-bind-fd"),
        ("#!/bin/sh\n", 0o644, "not executable"),
        ("#!/bin/sh\n", 0o757, "only root can change"),
        ("#!/nowhere/sh\n", 0o755, "does not start"),
        ("#!/bin/sh\necho --ro-bind-fd --disable-userns --size --add-seccomp-fd\nexit 1\n", 0o755, "full: "),
    ],
)
def test_without_a_good_bubblewrap_the_level_is_reduced_and_says_why(
    tmp_path: Path, text: str | None, mode: int, why: str
) -> None:
    bwrap = tmp_path / "bwrap"
    if text is not None:
        program(bwrap, text, mode)
    if os.getuid() != 0 and text is not None:
        why = "only root can change"
    opened = choose((Bubblewrap(bwrap=bwrap), Landlocked(tmp_path)), tmp_path, "reduced")
    assert opened.level == "reduced"
    assert why in opened.reasons[0].lower() or why in opened.reasons[0]
    assert opened.hint


def test_a_bwrap_earlier_in_the_path_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = tmp_path / "was-run"
    program(tmp_path / "bwrap", f"#!/bin/sh\ntouch {marker}\n")
    program(tmp_path / "prlimit", f"#!/bin/sh\ntouch {marker}\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert open_sandbox((), tmp_path / "scratch").level == "full"
    assert not marker.exists()


def test_a_link_in_place_of_bubblewrap_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bwrap").symlink_to("/usr/bin/bwrap")
    with pytest.raises(SandboxError, match="only root can change"):
        Bubblewrap(bwrap=tmp_path / "bwrap").check()


def test_nothing_below_the_minimum_is_picked(tmp_path: Path) -> None:
    opened = choose((Bubblewrap(bwrap=tmp_path / "none"), Landlocked(tmp_path)), tmp_path, "full")
    assert opened.level == "none"
    assert any("sandbox.minimum" in reason for reason in opened.reasons)
    with pytest.raises(SandboxError, match="no skill runs without a sandbox"):
        opened.require()


def test_scratch_folders_of_the_dead_are_removed(tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    for owner in (gone.pid, os.getpid()):
        (tmp_path / f"{owner}-x" / "deep").mkdir(parents=True)
    open_sandbox((), tmp_path)
    assert [place.name for place in tmp_path.iterdir()] == [f"{os.getpid()}-x"]


def test_a_command_with_hosts_is_refused_at_reduced(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="level full"):
        Landlocked(tmp_path).launch(Command(("true",), tmp_path, hosts=("ntfy.sh:443",)))
