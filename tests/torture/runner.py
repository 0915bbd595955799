"""Makes the batches that are not on record yet: the waiting ones beside the busy ones, those that measure alone.

Owns the order, the processes of the batches and the estimate of the time left.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from torture.plan import Batch, Promise
from torture.records import Record, Records

WAITING = 2
"""How many batches that mostly sleep go on at a time. Those that are to be alone come after all others, one by one."""
TRIES = 2
"""How often a batch is begun that cannot be made."""
MOST_SECONDS = 1800.0


@dataclass(frozen=True)
class Job:
    promise: Promise
    batch: Batch

    @property
    def name(self) -> str:
        return f"{self.promise.number} {self.batch.label}"


@dataclass
class Runner:
    """`run` gives whether everything was made; `stop`, from any thread, ends it soon."""

    records: Records
    scale: float
    commit: str
    say: Callable[[str], None]
    busy: int = 1
    _left: list[Job] = field(default_factory=list)
    _factor: list[float] = field(default_factory=list)
    """Seconds that batches took, for each second that the plan gives them."""
    _children: set[subprocess.Popen[str]] = field(default_factory=set)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _stopping: threading.Event = field(default_factory=threading.Event)

    @property
    def _lanes(self) -> dict[str, int]:
        return {"busy": self.busy, "waiting": WAITING, "alone": 1}

    def run(self, jobs: list[Job]) -> bool:
        self._left = list(jobs)
        self.say(f"{len(jobs)} batches to be made, {self._time_left()}")
        together = [self._lane(kind) for kind in ("busy", "waiting") for _ in range(self._lanes[kind])]
        for lane in together:
            lane.join()
        self._lane("alone").join()
        return not self._left

    def stop(self) -> None:
        self._stopping.set()
        with self._lock:
            children = list(self._children)
        for child in children:
            with suppress(ProcessLookupError):
                child.terminate()

    def _lane(self, kind: str) -> threading.Thread:
        lane = threading.Thread(target=self._work, args=(kind,))
        lane.start()
        return lane

    def _work(self, kind: str) -> None:
        tries: dict[Job, int] = {}
        while not self._stopping.is_set():
            job = self._next(kind, tries)
            if job is None:
                return
            record = self._made(job)
            if record is None:
                with self._lock:
                    self._left.append(job)
                return
            self.records.add(record)
            with self._lock:
                if record.not_made:
                    tries[job] = tries.get(job, 0) + 1
                    self._left.append(job)
                else:
                    self._factor.append(record.seconds / job.batch.seconds)
            self._tell(job, record)

    def _next(self, kind: str, tries: dict[Job, int]) -> Job | None:
        with self._lock:
            fitting = [job for job in self._left if job.batch.kind == kind and tries.get(job, 0) < TRIES]
            if fitting:
                self._left.remove(fitting[0])
            return fitting[0] if fitting else None

    def _made(self, job: Job) -> Record | None:
        """None where it was told to stop."""
        command = [sys.executable, "-m", "torture.batch", str(job.promise.number), job.batch.label, str(self.scale)]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
        began = time.monotonic()
        child = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,
        )
        with self._lock:
            self._children.add(child)
        if self._stopping.is_set():
            child.terminate()
        try:
            output, complaints = child.communicate(timeout=max(600.0, min(MOST_SECONDS, 30 * job.batch.seconds)))
        except subprocess.TimeoutExpired:
            output, complaints = _ended(child)
        finally:
            with self._lock:
                self._children.discard(child)
        if self._stopping.is_set():
            return None
        return self._record(job, output, complaints, child.returncode, time.monotonic() - began)

    def _record(self, job: Job, output: str, complaints: str, code: int, seconds: float) -> Record:
        ended_at = datetime.now(UTC).isoformat(timespec="seconds")
        try:
            tally = json.loads(output.strip().splitlines()[-1]) if code == 0 else {}
        except (ValueError, IndexError):
            tally = {}
        not_made = ""
        if "n" not in tally:
            not_made = tally.get("not_made") or f"it ended with {code}: {complaints.strip()[-600:]}"
        return Record(
            self.scale,
            job.promise.number,
            job.batch.label,
            self.commit,
            ended_at,
            round(seconds, 1),
            {} if not_made else tally,
            not_made,
        )

    def _tell(self, job: Job, record: Record) -> None:
        if record.not_made:
            self.say(f"{job.name}: not made: {record.not_made}")
            return
        tally = record.tally
        found = f"{tally['violations']} violations in {tally['n']}"
        self.say(f"{job.name}: {found} ({record.seconds:.0f} s); {len(self._left)} left, {self._time_left()}")
        for told in tally["told"]:
            self.say(f"     {told}")

    def _time_left(self) -> str:
        with self._lock:
            factor = sum(self._factor[-20:]) / len(self._factor[-20:]) if self._factor else 1.0
            lanes = {
                kind: sum(job.batch.seconds for job in self._left if job.batch.kind == kind) / many
                for kind, many in self._lanes.items()
            }
        seconds = factor * (max(lanes["busy"], lanes["waiting"]) + lanes["alone"])
        return f"about {seconds / 60:.0f} min" if seconds >= 90 else f"about {seconds:.0f} s"


def _ended(child: subprocess.Popen[str]) -> tuple[str, str]:
    """One that takes too long is asked to end, and is given time to take down what it started."""
    child.terminate()
    try:
        return child.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        return child.communicate()
