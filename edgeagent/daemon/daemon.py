"""The daemon: triggers put events into the queue, workers take runs out of it, until it is told to stop.

The composition root of the long-running process: it alone decides what starts and stops in which order, and what is
read again when the settings or the agents change.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from types import FrameType

import edgeagent
from edgeagent.agents import LoadedAgents
from edgeagent.approval import Approval
from edgeagent.daemon.announcing import Announcer
from edgeagent.daemon.attention import Attention, Bell
from edgeagent.daemon.crew import Crew, fingerprint
from edgeagent.daemon.lock import held
from edgeagent.daemon.status import agent_json, crew_json, metrics_text, model_json
from edgeagent.daemon.supervisor import Supervisor
from edgeagent.daemon.upkeep import Upkeep, journal_problems, open_journal
from edgeagent.daemon.workers import Workers
from edgeagent.errors import ConfigError, HomeError, NotFound
from edgeagent.gate import Gate
from edgeagent.logs import LOGGER, log_to_file
from edgeagent.redaction import hide_in_log
from edgeagent.runtime import Runtime, enqueue_manual, is_alive, utc_now
from edgeagent.schema import Json, RunStatus, format_time
from edgeagent.store import Store
from edgeagent.telemetry import Counters
from edgeagent.triggers.alarms import Alarms
from edgeagent.triggers.build import Surroundings, build_triggers, machine_zone
from edgeagent.triggers.watching import Pace, Watching
from edgeagent.triggers.webhook import Hooks

log = logging.getLogger("edgeagent.daemon")

LOOK_SECONDS = 0.5
"""How often the files are looked at. What is being written is read when it has been the same twice."""
HOUSEKEEPING_SECONDS = 30.0
STOP_MARGIN_SECONDS = 10.0
"""What systemd allows beyond `stop_timeout` before it kills."""
RELOAD_SECONDS = 10.0
"""How long who changes something waits to see it done."""


class Daemon:
    """The daemon of one home. `serve` returns when it has stopped."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._attention = Attention()
        self._stop_asked = self._reload_asked = False
        self._settings_problems: list[str] = []
        self._counters = Counters()
        self._reloads = Bell()
        self._started_at = utc_now()
        self._supervisor = Supervisor(runtime.environ)
        self.hooks = Hooks()
        self.store: Store

    def serve(self) -> None:
        """Runs until SIGTERM or SIGINT. Raises HomeError where the home cannot be used."""
        self._runtime.home.create()
        with held(self._runtime.home.daemon_lock):
            file = log_to_file(self._runtime.home.log)
            hide_in_log([file, *logging.getLogger().handlers], self._runtime.redactor)
            self.store = open_journal(self._runtime)
            try:
                self._serve()
            finally:
                self._runtime.close()
                self.store.close()
                logging.getLogger(LOGGER).removeHandler(file)

    def stop(self) -> None:
        """Asks the daemon to stop. From any thread, and from a signal handler."""
        self._stop_asked = True
        self._attention.call()

    def reload(self) -> None:
        """Asks the daemon to read settings and agents again. From any thread, and from a signal handler."""
        self._reload_asked = True
        self._attention.call()

    def _serve(self) -> None:
        from edgeagent.api.app import build_app
        from edgeagent.daemon.listening import Listening

        self._take_signals()
        self.store.unfollow()  # an agent that went meanwhile must not follow for ever
        if again := self.store.recover(utc_now(), is_alive):
            log.info("%d runs of an earlier daemon go on", len(again))
        self._watching = Watching(Pace(scan=self._runtime.config.daemon.scan_interval))
        alarms = Alarms(utc_now)
        around = Surroundings(
            store=self.store,
            watching=self._watching,
            alarms=alarms,
            clock=utc_now,
            home_dir=self._runtime.home.user,
            local_zone=machine_zone(),
            agents=lambda: self._crew.agents,
            hooks=self.hooks,
            secrets=self._runtime.secrets,
        )
        self._crew = Crew(self.store, self._read_agents, lambda agent: build_triggers(agent, around))
        models = self._runtime.models
        gate = Gate(self.store, lambda: self._runtime.config.power, models.shortage, models.fits_beside)
        announcer = Announcer(lambda: self._runtime.config.approvals, self._runtime.environ)
        worker = self._runtime.worker(self.store, "daemon", obstacle=gate.obstacle, announce=announcer.announce)
        self._workers = Workers(worker, gate, lambda: self._crew.agents)
        self.store.tell(self._workers.bell.ring)
        worker.on_step, worker.on_end = self._counters.step, self._counters.ended
        self._listening = Listening(lambda: build_app(self), self._runtime.home)
        self._watching.start()
        alarms.start()
        self._read = self._seen = self._fingerprint()
        self._crew.load()
        self._listening.start(self._runtime.config.api.listen)
        self._workers.resize(self._runtime.config.daemon.workers)
        log.info("ready: %d agents, process %d", len(self._crew.agents), os.getpid())
        self._supervisor.ready()
        with announcer, Upkeep(self.store, lambda: self._runtime.config.journal, self._runtime.home.trash, utc_now):
            self._keep_house()
        self._supervisor.stopping(self._runtime.config.daemon.stop_timeout + STOP_MARGIN_SECONDS)
        log.info("stopping")
        self._end_in_time()
        self._crew.stop()
        alarms.stop()
        self._watching.stop()
        if not self._workers.drain(self._runtime.config.daemon.stop_timeout):
            log.warning("a run did not stop in time; it goes on at the next start")
        self._listening.stop()
        log.info("stopped")

    def _read_agents(self) -> LoadedAgents:
        return self._runtime.load_agents(self.store.disabled_agents())

    def _end_in_time(self) -> None:
        """Whatever hangs while the daemon stops, it is over after `stop_timeout`: recovery can deal with that."""

        def end() -> None:
            log.warning("stopped by force after %g s", seconds)
            os._exit(0)

        seconds = self._runtime.config.daemon.stop_timeout
        last = threading.Timer(max(seconds, 0.5), end)
        last.daemon = True
        last.start()

    # --- while it runs ------------------------------------------------------------------------------------------

    def _keep_house(self) -> None:
        """Until the stop: follows the files, tells the supervisor, unloads idle models."""
        mend_at = time.monotonic() + HOUSEKEEPING_SECONDS
        rings = -1
        while not self._stop_asked:
            self._follow_files()
            self._runtime.models.close_idle()
            self._expire_approvals()
            if self._workers.are_alive:
                self._supervisor.alive()
            if self._supervisor.listens and rings != self._workers.bell.rings:
                rings = self._workers.bell.rings
                self._supervisor.status(self._status_line())
            if time.monotonic() >= mend_at:
                mend_at = time.monotonic() + HOUSEKEEPING_SECONDS
                self._mend()
            self._attention.wait(min(LOOK_SECONDS, self._supervisor.pulse or LOOK_SECONDS))

    def _follow_files(self) -> None:
        """Reads again what has changed and then held still, or at once where that was asked for."""
        found = self._fingerprint()
        has_settled = found == self._seen and found != self._read
        self._seen = found
        if has_settled or self._reload_asked:
            self._reload_asked = False
            self._supervisor.reloading()
            self._reload()
            self._supervisor.ready()

    def _reload(self) -> None:
        """Reads settings and agents. What is broken leaves what was before in place, and `status` says so."""
        self._read = self._fingerprint()
        try:
            self._runtime.reload_config()
        except ConfigError as error:
            self._settings_problems = [f"{line} (the settings before go on)" for line in error.message.splitlines()]
            log.warning("%s", "; ".join(self._settings_problems))
        else:
            self._settings_problems = []
            self._apply_settings()
        changed = self._crew.load()
        self._workers.bell.ring()
        log.info("read settings and agents again; changed: %s", ", ".join(sorted(changed)) or "nothing")
        self._reloads.ring()

    def _apply_settings(self) -> None:
        settings = self._runtime.config
        self._workers.gate.look_again()
        self._workers.resize(settings.daemon.workers)
        self._watching.scan_every(settings.daemon.scan_interval)
        self.store.set_synchronous(settings.journal.synchronous)
        self._listening.move(settings.api.listen)

    def _fingerprint(self) -> tuple[object, ...]:
        return fingerprint(self._runtime.home.config_file, self._runtime.home.agents)

    def _mend(self) -> None:
        """What went wrong and may go right now. Runs of commands whose process died are ended."""
        self._crew.mend()
        try:
            self.store.recover(utc_now(), is_alive)
        except HomeError as error:
            log.error("%s", error.message)

    def _expire_approvals(self) -> None:
        with contextlib.suppress(HomeError):  # tried again in a moment
            if expired := self.store.expire_approvals(utc_now()):
                log.warning("%d calls were denied, since nobody answered in time", expired)

    def _status_line(self) -> str:
        try:
            counts = self.store.counts_open()
        except HomeError as error:
            return error.message
        told = ", ".join(f"{count} {status.value}" for status, count in counts.items()) or "idle"
        return f"{len(self._crew.agents)} agents; {told}"

    def _take_signals(self) -> None:
        """The first signal asks to stop; the second ends the process at once, which recovery can deal with."""

        def stop(number: int, frame: FrameType | None) -> None:
            if self._stop_asked:
                os._exit(128 + number)
            self.stop()

        def reload(number: int, frame: FrameType | None) -> None:
            self.reload()

        if threading.current_thread() is threading.main_thread():
            for number, take in ((signal.SIGTERM, stop), (signal.SIGINT, stop), (signal.SIGHUP, reload)):
                signal.signal(number, take)

    # --- what the API asks --------------------------------------------------------------------------------------

    def status(self) -> Json:
        found = crew_json(self._crew, self.store)
        problems = [*self._settings_problems, *self._listening.problems, *found.pop("problems")]
        problems += journal_problems(self._runtime.home)
        if not self._workers.are_alive:
            problems.append("a worker has died; restart the daemon")
        return {
            "pid": os.getpid(),
            "version": edgeagent.__version__,
            "started_at": format_time(self._started_at),
            "home": str(self._runtime.home.database.parent),
            "queue": {status.value: count for status, count in self.store.counts().items()},
            "model": model_json(self._runtime),
            **found,
            "api": self._listening.as_json(),
            "problems": problems,
        }

    def agents(self) -> list[Json]:
        return [agent_json(agent, self._runtime.config.model.default) for agent in self._crew.agents.values()]

    def metrics(self) -> str:
        if not self._runtime.config.telemetry.metrics:
            raise NotFound("metrics are switched off", "telemetry.metrics in config.toml")
        return metrics_text(self._runtime, self.store, self._crew, self._started_at) + self._counters.text()

    def submit(self, agent: str, data: Json, *, trigger: str = "manual", dry_run: bool = False) -> str:
        """Queues a run. NotFound or AgentFileError where the agent cannot be used."""
        found = self._crew.agents.get(agent) or self._runtime.agent(agent)
        return enqueue_manual(self.store, found, trigger, data, dry_run=dry_run)

    def decide(self, approval_id: str, approves: bool, sha256: str | None) -> Approval:
        return self.store.decide(approval_id, approves, utc_now(), "api", sha256)

    def cancel(self, run_id: str) -> RunStatus:
        return self.store.cancel(run_id, utc_now())

    def retry(self, run_id: str) -> None:
        self.store.retry(run_id)

    def enable(self, agent: str, is_enabled: bool) -> None:
        """Switches an agent on or off, for good; it is so when this returns. NotFound where there is none."""
        if agent not in self._crew.agents:
            raise NotFound(f"no agent named {agent}", "edgeagent agents list")
        seen = self._reloads.rings
        if self.store.enable_agent(agent, is_enabled):
            self.reload()
            self._reloads.wait(seen, RELOAD_SECONDS)
