"""The daemon: triggers put events into the queue, workers take runs out of it, until it is told to stop.

The composition root of the long-running process: it alone decides what starts and stops in which order.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from datetime import timedelta
from types import FrameType

import psutil

import edgeagent
from edgeagent.agents import Agent, LoadedAgents
from edgeagent.daemon.lock import held
from edgeagent.errors import EdgeagentError, HomeError
from edgeagent.runtime import Runtime, enqueue_manual, is_alive, utc_now
from edgeagent.schema import Json, RunStatus, format_time
from edgeagent.store import Store
from edgeagent.tools.trash import empty_trash
from edgeagent.triggers.alarms import Alarms
from edgeagent.triggers.base import Trigger
from edgeagent.triggers.build import Surroundings, build_triggers, machine_zone
from edgeagent.triggers.watching import Pace, Watching
from edgeagent.worker import Given

log = logging.getLogger("edgeagent")

IDLE_SECONDS = 0.05
"""Pause of a worker that found nothing to do, before it looks again; grows to a quarter second."""
HOUSEKEEPING_SECONDS = 30.0


class Daemon:
    """The daemon of one home. `serve` returns when it has stopped."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._stop = threading.Event()
        self._signals = 0
        self._loaded = LoadedAgents()
        self._given: dict[str, Given] = {}
        self._triggers: list[Trigger] = []
        self._started_at = utc_now()
        self._wake = threading.Event()
        self.store: Store

    def serve(self) -> None:
        """Runs until SIGTERM or SIGINT. Raises HomeError where the home cannot be used."""
        self._runtime.home.create()
        with held(self._runtime.home.daemon_lock):
            self.store = self._runtime.writer()
            try:
                self._serve()
            finally:
                self._runtime.models.close()
                self.store.close()

    def stop(self) -> None:
        """Asks the daemon to stop. From any thread."""
        self._stop.set()
        self._wake.set()

    def _serve(self) -> None:
        from edgeagent.api.app import build_app
        from edgeagent.api.server import ApiServer

        self._take_signals()
        again = self.store.recover(utc_now(), is_alive)
        if again:
            log.info("%d runs of an earlier daemon go on", len(again))
        self._loaded = self._runtime.load_agents()
        for problem in self._loaded.problems:
            log.warning("%s", problem)
        watching = Watching(Pace(scan=self._runtime.config.daemon.scan_interval))
        alarms = Alarms(utc_now)
        server = ApiServer(build_app(self), self._runtime.home.socket)
        workers = [
            threading.Thread(target=self._work, args=(n,), name=f"worker {n}", daemon=True)
            for n in range(self._runtime.config.daemon.workers)
        ]
        watching.start()
        alarms.start()
        server.start()
        self._start_triggers(watching, alarms)
        for worker in workers:
            worker.start()
        log.info("ready: %d agents, process %d", len(self._loaded.agents), os.getpid())
        self._keep_house()
        log.info("stopping")
        for trigger in self._triggers:
            trigger.stop()
        alarms.stop()
        watching.stop()
        self._let_end(workers)
        server.stop()

    def _start_triggers(self, watching: Watching, alarms: Alarms) -> None:
        around = Surroundings(
            store=self.store,
            watching=watching,
            alarms=alarms,
            clock=utc_now,
            home_dir=self._runtime.home.user,
            local_zone=machine_zone(),
        )
        for agent in self._loaded.agents.values():
            for trigger in build_triggers(agent, around):
                trigger.start()
                self._triggers.append(trigger)

    # --- working ------------------------------------------------------------------------------------------------

    def _work(self, number: int) -> None:
        worker = self._runtime.worker(self.store, "daemon")
        pause = IDLE_SECONDS
        while not self._stop.is_set():
            try:
                found = worker.work(self._loaded.agents, self._stop, self._given)
            except EdgeagentError as error:
                log.error("%s", error.message)
                found = False
                pause = 1.0
            if found:
                pause = IDLE_SECONDS
            elif self._wake.wait(pause):
                self._wake.clear()
                pause = IDLE_SECONDS
            else:
                pause = min(0.25, pause * 1.5)

    def _let_end(self, workers: list[threading.Thread]) -> None:
        """Runs in hand are asked to stop; what is not over by then is left to recovery."""
        until = time.monotonic() + self._runtime.config.daemon.stop_timeout
        for worker in workers:
            worker.join(max(0.0, until - time.monotonic()))
            if worker.is_alive():
                log.warning("a run did not stop in time; it goes on at the next start")

    def _keep_house(self) -> None:
        """Sleeps until the stop, and now and then unloads idle models and drops what is past its retention."""
        prune_at = utc_now()
        while not self._stop.wait(1.0 if self._runtime.models.loaded() else HOUSEKEEPING_SECONDS):
            self._runtime.models.close_idle()
            if utc_now() >= prune_at:
                prune_at = utc_now() + timedelta(days=1)
                self._prune()

    def _prune(self) -> None:
        journal = self._runtime.config.journal
        try:
            before = utc_now() - timedelta(seconds=journal.retention)
            self.store.prune(before, journal.max_size)
            empty_trash(self._runtime.home.trash, before)
        except HomeError as error:
            log.error("%s", error.message)

    def _take_signals(self) -> None:
        """The first signal asks to stop; the second ends the process at once, which recovery can deal with."""

        def take(number: int, frame: FrameType | None) -> None:
            self._signals += 1
            if self._signals > 1:
                os._exit(128 + number)
            self.stop()

        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, take)
            signal.signal(signal.SIGINT, take)

    # --- what the API asks --------------------------------------------------------------------------------------

    def status(self) -> Json:
        loaded = self._runtime.models.loaded()
        return {
            "pid": os.getpid(),
            "version": edgeagent.__version__,
            "started_at": format_time(self._started_at),
            "home": str(self._runtime.home.database.parent),
            "agents": sorted(self._loaded.agents),
            "queue": {status.value: count for status, count in self.store.counts().items()},
            "model": {
                "name": loaded[0].name if loaded else self._runtime.config.model.default,
                "loaded": bool(loaded),
                "resident_bytes": sum(_resident(model.process_id) for model in loaded),
            },
            "triggers": [_trigger_json(trigger) for trigger in self._triggers],
            "problems": [str(problem) for problem in self._loaded.problems],
        }

    def agents(self) -> list[Json]:
        return [agent_json(agent, self._runtime.config.model.default) for agent in self._loaded.agents.values()]

    def submit(self, agent: str, data: Json, *, trigger: str = "manual", dry_run: bool = False) -> str:
        """Queues a run. NotFound or AgentFileError where the agent cannot be used."""
        found = self._loaded.agents.get(agent) or self._runtime.agent(agent)
        with self.store.transaction():  # no worker sees the run before it is known whose it is
            run_id = enqueue_manual(self.store, found, trigger, data)
            if dry_run or self._loaded.agents.get(found.name) is not found:
                self._given[run_id] = Given(found, dry_run)
        self._wake.set()
        return run_id

    def cancel(self, run_id: str) -> RunStatus:
        return self.store.cancel(run_id, utc_now())

    def retry(self, run_id: str) -> None:
        self.store.retry(run_id)
        self._wake.set()


def agent_json(agent: Agent, default_model: str) -> Json:
    """What `agents list` shows."""
    return {
        "name": agent.name,
        "description": agent.description,
        "path": str(agent.path),
        "triggers": [trigger.trigger for trigger in agent.triggers],
        "model": agent.model
        if isinstance(agent.model, str)
        else default_model
        if agent.model is None
        else agent.model.name,
        "enabled": agent.enabled,
    }


def _trigger_json(trigger: Trigger) -> Json:
    state = trigger.state()
    return {
        "agent": trigger.agent,
        "id": trigger.trigger_id,
        "condition": state.condition,
        "text": state.text,
    }


def _resident(pid: int | None) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss) if pid else 0
    except psutil.Error:
        return 0
