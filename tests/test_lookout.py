"""The thread that looks after runs: a stop, a cancel, an alarm, and sleep when there is nothing."""

from __future__ import annotations

import threading
import time

import pytest
from daemon_world import wait_for

from edgeagent.errors import HomeError
from edgeagent.lookout import LOOK_SECONDS, Lookout, timer


def test_a_stop_and_a_cancel_reach_the_run_that_they_are_for() -> None:
    cancelled: set[str] = set()
    lookout = Lookout(lambda: cancelled)
    stop, first, second = threading.Event(), threading.Event(), threading.Event()
    with lookout.watching("1", stop, first), lookout.watching("2", stop, second):
        cancelled.add("2")
        assert second.wait(30)
        assert not first.is_set()
        stop.set()
        assert first.wait(30)


def test_a_run_that_is_over_is_left_alone() -> None:
    lookout = Lookout(lambda: {"1"})
    run_stop, other = threading.Event(), threading.Event()
    with lookout.watching("1", threading.Event(), run_stop):
        pass
    with lookout.watching("2", threading.Event(), other):
        time.sleep(3 * LOOK_SECONDS)
    assert not run_stop.is_set()


def test_a_journal_that_cannot_be_read_for_a_while_ends_nothing() -> None:
    answers: list[set[str] | None] = [{"1"}, None, None]

    def cancelled() -> set[str]:
        answer = answers.pop() if answers else {"1"}
        if answer is None:
            raise HomeError("locked")
        return answer

    lookout, run_stop = Lookout(cancelled), threading.Event()
    with lookout.watching("1", threading.Event(), run_stop):
        assert run_stop.wait(30)


@pytest.mark.parametrize("kind", ["lookout", "timer"])
def test_an_alarm_rings_once_unless_it_is_taken_back(kind: str) -> None:
    alarm = timer if kind == "timer" else Lookout(frozenset).alarm
    rung: list[str] = []
    alarm(0.1, lambda: rung.append("late"))
    alarm(0.1, lambda: rung.append("never"))()
    wait_for(lambda: rung)
    time.sleep(3 * LOOK_SECONDS)
    assert rung == ["late"]


def test_with_nothing_to_look_after_it_sleeps_and_wakes_when_there_is() -> None:
    looks: list[float] = []

    def cancelled() -> frozenset[str]:
        looks.append(time.monotonic())
        return frozenset()

    lookout = Lookout(cancelled)
    with lookout.watching("1", threading.Event(), threading.Event()):
        wait_for(lambda: looks)
    wait_for(lambda: lookout._sleeps)
    stop, run_stop = threading.Event(), threading.Event()
    stop.set()
    with lookout.watching("2", stop, run_stop):
        assert run_stop.wait(30)
