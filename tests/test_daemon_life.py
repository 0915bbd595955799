"""The real daemon in a process of its own, on scripts: what it does when files, settings and signals come."""

from __future__ import annotations

import fcntl
import mmap
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from daemon_world import MOVE, Place, wait_for

from edgeagent.daemon.lock import held
from edgeagent.errors import HomeError
from edgeagent.schema import RunStatus


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_daemon_that_has_just_taken_the_lock_is_named_and_not_the_dead_one_before(tmp_path: Path) -> None:
    lock = tmp_path / "daemon.lock"
    lock.write_text("1\n")
    os.utime(lock, (0, 0))  # what stands there was written before any process that lives now had begun
    with lock.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)

        def write_number() -> None:
            lock.write_text(f"{os.getpid()}\n")

        threading.Timer(0.3, write_number).start()
        with pytest.raises(HomeError, match=rf"process {os.getpid()}\)"), held(lock):
            pass


def test_a_lock_whose_holder_does_not_say_who_it_is_is_still_a_lock(tmp_path: Path) -> None:
    lock = tmp_path / "daemon.lock"
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(HomeError, match="process unknown"), held(lock):
            pass


def test_a_new_agent_file_is_taken_up_without_a_restart(place: Place) -> None:
    with place.daemon():
        place.agent()
        place.drop("a.txt")
        wait_for(lambda: place.ended("inbox"))
    assert place.runs()[0].status is RunStatus.OK


def test_only_the_triggers_of_an_agent_that_changed_start_again(place: Place) -> None:
    place.agent("still", f'triggers: [{{trigger: file, path: "{place.done}", settle: 100ms}}]')
    path = place.agent("inbox")
    with place.daemon():
        path.write_text(path.read_text().replace("File it.", "File it well."))
        wait_for(lambda: "changed: inbox\n" in place.stderr.read_text())
        place.drop("a.txt")
        wait_for(lambda: place.ended("inbox"))
    assert "changed: still" not in place.stderr.read_text()


def test_a_broken_file_leaves_the_version_before_and_status_says_so(place: Place) -> None:
    path = place.agent()
    good = path.read_text()
    with place.daemon():
        path.write_text(good.replace("tools:", "tolls:"))
        wait_for(lambda: place.client.status()["problems"])
        (problem,) = place.client.status()["problems"]
        assert f"{path}:4: " in problem and "the version before goes on" in problem
        place.drop("a.txt")
        wait_for(lambda: place.ended("inbox"))
        path.write_text(good)
        wait_for(lambda: not place.client.status()["problems"])
    assert place.runs()[0].status is RunStatus.OK


def test_an_agent_whose_file_goes_is_gone(place: Place) -> None:
    path = place.agent()
    with place.daemon():
        path.unlink()
        wait_for(lambda: place.client.status()["agents"] == [])
        place.drop("a.txt")
        time.sleep(0.5)
    assert place.runs() == []


def test_settings_are_read_again_and_broken_ones_are_not(place: Place) -> None:
    place.agent()
    with place.daemon():
        place.config('[power]\non = "battery"\n')
        wait_for(lambda: "read settings and agents again" in place.stderr.read_text())
        place.drop("a.txt")
        wait_for(lambda: place.client.status()["queue"].get("deferred") == 1)
        assert place.runs()[0].reason == "on mains power, and power.on is battery"
        place.config('[power]\non = "sunshine"\n')
        wait_for(lambda: place.client.status()["problems"])
        assert "power.on" in place.client.status()["problems"][0]
        assert place.client.status()["queue"].get("deferred") == 1
        place.config('[power]\non = "any"\n')
        wait_for(lambda: place.ended("inbox"))
        assert place.client.status()["problems"] == []
    assert place.runs()[0].status is RunStatus.OK


def test_hangup_reads_everything_at_once(place: Place) -> None:
    with place.daemon() as process:
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: "read settings and agents again; changed: nothing" in place.stderr.read_text())
        assert process.poll() is None


def test_a_disabled_agent_does_nothing_until_it_is_enabled_though_the_daemon_restarts(place: Place) -> None:
    place.agent()
    with place.daemon():
        place.call("agents", "disable", "inbox")
        place.drop("a.txt")
        assert place.client.status()["disabled"] == ["inbox"]
        time.sleep(0.5)
        assert place.runs() == []
    with place.daemon():
        assert place.client.status()["triggers"] == []
        place.call("agents", "enable", "inbox")
        wait_for(lambda: place.ended("inbox"))


def test_agents_are_switched_without_a_daemon_too(place: Place) -> None:
    place.agent()
    assert place.json("agents", "disable", "inbox") == {"name": "inbox", "enabled": False}
    assert [agent["enabled"] for agent in place.json("agents", "list")] == [False]
    place.call("agents", "enable", "inbox")
    assert [agent["enabled"] for agent in place.json("agents", "list")] == [True]
    place.call("agents", "disable", "nobody", code=5)


def test_a_stopping_daemon_lets_short_runs_end_and_long_ones_go_on_later(place: Place) -> None:
    place.agent("short", script=[0.5, MOVE, "Filed."])
    with place.daemon() as process:
        place.drop("a.txt")
        wait_for(lambda: any(run.status is RunStatus.RUNNING for run in place.runs()))
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert [run.status for run in place.runs()] == [RunStatus.OK]

    place.agent("short", script=[60, MOVE, "Filed."])
    with place.daemon() as process:
        place.drop("b.txt")
        wait_for(lambda: any(run.status is RunStatus.RUNNING for run in place.runs()))
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert time.monotonic() - began < 10
    run = place.runs()[0]
    assert (run.status, run.attempt) == (RunStatus.QUEUED, 0)
    place.agent("short", script=[MOVE, "Filed."])
    with place.daemon():
        wait_for(lambda: len(place.ended()) == 2)
    assert place.runs()[0].status is RunStatus.OK


def test_a_second_signal_ends_the_daemon_at_once(place: Place) -> None:
    place.agent(script=[60, MOVE, "Filed."])
    with place.daemon() as process:
        place.drop("a.txt")
        wait_for(lambda: any(run.status is RunStatus.RUNNING for run in place.runs()))
        process.send_signal(signal.SIGTERM)
        wait_for(lambda: "stopping" in place.stderr.read_text())
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGTERM
        assert time.monotonic() - began < 3


@contextmanager
def supervisor(folder: Path) -> Iterator[socket.socket]:
    """A socket where systemd's would be."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(folder / "notify"))
        receiver.settimeout(60)
        yield receiver


def until(receiver: socket.socket, line: str) -> list[str]:
    """Everything that is told up to a line."""
    told: list[str] = []
    while line not in told:
        told += receiver.recv(4096).decode().splitlines()
    return told


def test_systemd_is_told_of_start_reload_life_and_stop(place: Place) -> None:
    place.agent()
    place.variables |= {"NOTIFY_SOCKET": str(place.root / "notify"), "WATCHDOG_USEC": "400000"}
    with supervisor(place.root) as receiver, place.daemon() as process:
        until(receiver, "READY=1")
        until(receiver, "STATUS=1 agents; idle")
        began = time.monotonic()
        until(receiver, "WATCHDOG=1")
        until(receiver, "WATCHDOG=1")
        assert time.monotonic() - began < 20
        process.send_signal(signal.SIGHUP)
        told = until(receiver, "RELOADING=1") + until(receiver, "READY=1")
        stamp = next(line for line in told if line.startswith("MONOTONIC_USEC="))
        assert abs(int(stamp.partition("=")[2]) / 1e6 - time.clock_gettime(time.CLOCK_MONOTONIC)) < 60
        process.send_signal(signal.SIGTERM)
        told = until(receiver, "STOPPING=1")
        told += receiver.recv(4096).decode().splitlines() if told[-1] == "STOPPING=1" else []
        assert "EXTEND_TIMEOUT_USEC=20000000" in told  # stop_timeout is 10 s, and a margin
        assert process.wait(30) == 0


def test_the_watchdog_of_another_process_is_not_answered(place: Place) -> None:
    place.variables |= {"NOTIFY_SOCKET": str(place.root / "notify"), "WATCHDOG_USEC": "100000", "WATCHDOG_PID": "1"}
    with supervisor(place.root) as receiver, place.daemon() as process:
        until(receiver, "READY=1")
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        assert "WATCHDOG=1" not in until(receiver, "STOPPING=1")


def test_a_run_that_kills_the_daemon_each_time_is_parked(place: Place) -> None:
    place.agent(settings="limits: {attempts: 2}", script={"*poison*": [60, "never"], "*": [MOVE, "Filed."]})
    place.drop("poison.txt")
    for _ in range(2):
        with place.daemon() as process:
            wait_for(lambda: any(run.status is RunStatus.RUNNING for run in place.runs()))
            process.kill()
    place.drop("a.txt")
    with place.daemon():
        wait_for(lambda: len(place.ended()) == 2)
    poison = next(run for run in place.runs() if run.event["name"] == "poison.txt")
    assert (poison.status, poison.reason) == (RunStatus.FAILED, "crashed")
    assert poison.error == "the process ended in the middle of each of its 2 attempts"
    assert [run["id"] for run in place.json("runs", "list", "--status", "failed")] == [poison.id]


def test_what_a_person_asked_for_survives_a_kill_with_its_terms(place: Place) -> None:
    """A dry run stays one, and the agent in a file elsewhere is not mistaken for the one of that name."""
    place.agent("inbox", "triggers: []", script=["the wrong agent"])
    elsewhere = place.root / "inbox.md"
    model = place.script([2, MOVE, "Filed."], "elsewhere")
    text = (place.home / "agents" / "inbox.md").read_text()
    elsewhere.write_text(text.replace(str(place.root / "inbox.script.json"), str(model)))
    place.drop("a.txt")
    with place.daemon() as process:
        told = place.call("trigger", str(elsewhere), "--file", str(place.inbox / "a.txt"), "--dry-run")
        wait_for(lambda: place.run(told.strip()).status is RunStatus.RUNNING)
        process.kill()
    with place.daemon():
        wait_for(lambda: place.ended())
    (run,) = place.runs()
    assert run.status is RunStatus.OK and "would call move_file" in run.output
    assert (place.inbox / "a.txt").exists()


def test_an_idle_daemon_sleeps(place: Place) -> None:
    place.agent()
    with place.daemon() as process:
        time.sleep(1)
        before = _cpu(process.pid)
        written = _written(process.pid)
        time.sleep(3)
        assert _cpu(process.pid) - before < 0.15, "seconds of processor in three seconds of doing nothing"
        assert _written(process.pid) == written


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _written(pid: int) -> int:
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes"))


def test_the_interval_of_full_scans_is_taken_from_changed_settings(place: Place) -> None:
    """What a program writes through mmap makes no event of the kernel, so that only a scan finds it."""
    place.config('[daemon]\nscan_interval = "1h"\n')
    path = place.inbox / "mapped.txt"
    path.write_bytes(b"old " * 100)
    place.agent(
        "inbox",
        f'triggers: [{{trigger: file, path: "{place.inbox}", settle: 100ms, changes: [modified]}}]',
        script=["Seen."],
    )
    with place.daemon(), path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[:4] = b"new "
        mapped.flush()
        time.sleep(3)
        assert place.runs() == []
        place.config('[daemon]\nscan_interval = "1s"\n')
        wait_for(lambda: place.ended("inbox"))
    assert place.runs()[0].event["change"] == "modified"
