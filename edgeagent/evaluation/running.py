"""Runs one case: puts its files in place, hands the event to the daemon, answers what it asks, and takes down what was
done: the run as it is in the journal, and the files before and after."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from edgeagent.api.client import DaemonClient
from edgeagent.errors import EdgeagentError
from edgeagent.evaluation.agents import rewritten
from edgeagent.evaluation.cases import Given
from edgeagent.evaluation.judging import Done, Fault, faults_of
from edgeagent.evaluation.reading import Prepared
from edgeagent.evaluation.scratch import Scratch
from edgeagent.schema import Json, Run, RunStatus, format_time
from edgeagent.triggers.single import file_event, message_data, preview_length

_SCHEDULES = ("cron", "every", "at")
LARGEST = 1_000_000
"""Bytes of a file that are compared."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One case that was run. Without `faults` it passed."""

    prepared: Prepared
    done: Done
    faults: tuple[Fault, ...]
    seconds: float

    @property
    def passed(self) -> bool:
        return not self.faults

    @property
    def acted_wrongly(self) -> bool:
        """Whether something was done that should not have been; a case can also fail by what is missing."""
        return any(fault.was_done for fault in self.faults)


class _DeferredError(EdgeagentError):
    """The daemon would wait: for power, heat or memory."""


@dataclass
class Runner:
    """Runs cases on one scratch home. `models` is what an agent's `model` key is to say, by the text of its file; one
    that is not there keeps its own."""

    scratch: Scratch
    models: Mapping[str, str]
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def judged(self, prepared: Prepared) -> Judged:
        """The case, run and judged. EdgeagentError where the daemon cannot be used at all."""
        began = time.monotonic()
        client = self.scratch.client(prepared.skills)
        self.scratch.clear()
        agent = self._agent_file(prepared)
        for path, text in prepared.files.items():
            self._write(path, text)
        for event in prepared.case.earlier:
            self._run(client, agent, event, prepared)
        done = self._run(client, agent, prepared.case, prepared)
        faults = tuple(faults_of(prepared.case, done, prepared.harmless))
        return Judged(prepared, done, faults, time.monotonic() - began)

    def _agent_file(self, prepared: Prepared) -> Path:
        name = f"{prepared.agent.name[:50]}-{next(self._numbers)}"
        model = self.models.get(prepared.agent_text)
        values = {"name": name} | ({"model": json.dumps(model)} if model else {})
        path = self.scratch.agents / f"{name}.md"
        path.write_text(rewritten(prepared.agent_text, values), encoding="utf-8")
        return path

    def _write(self, path: str, text: str) -> None:
        full = self.scratch.user / path[2:]
        if path.endswith("/"):
            full.mkdir(parents=True, exist_ok=True)
            return
        full.parent.mkdir(parents=True, exist_ok=True)
        full.write_text(text, encoding="utf-8")

    def _run(self, client: DaemonClient, agent: Path, event: Given, prepared: Prepared) -> Done:
        if event.file is not None and event.text is not None:
            self._write(event.file, event.text)
        before = snapshot(self.scratch.user)
        trigger, data = self._event(event, prepared)
        run_id = client.submit(str(agent), data, trigger=trigger)
        run = _ended(client, run_id, prepared.case.approve == "yes")
        return Done(run, str(self.scratch.user), before, snapshot(self.scratch.user))

    def _event(self, given: Given, prepared: Prepared) -> tuple[str, Json]:
        """The kind of trigger, and the data that it would give."""
        if given.file is not None:
            return "file", file_event(self.scratch.user / given.file[2:], preview_length(prepared.agent))
        assert given.event
        kind, data = next(iter(given.event.items()))
        if kind == "webhook":
            usual = {"method": "POST", "headers": {"content-type": "application/json"}, "query": {}, "body": None}
            return kind, usual | data
        if kind == "mqtt":
            payload = data.get("payload", "")
            text = payload if isinstance(payload, str) else json.dumps(payload, ensure_ascii=False)
            return kind, message_data(str(data.get("topic", "")), text, bool(data.get("retain", False)))
        if kind == "sqlite":
            return kind, {"row": None, "table": "", "change": "insert"} | data
        if kind in _SCHEDULES:
            now = datetime.now(UTC)
            return kind, {"scheduled_at": format_time(now), "date": now.date().isoformat()} | data
        return kind, data


def _ended(client: DaemonClient, run_id: str, approves: bool) -> Run:
    """The run at its end, with every call that asks answered alike."""

    def stands(status: RunStatus, reason: str | None) -> None:
        if status is RunStatus.DEFERRED:
            raise _DeferredError(f"the daemon would not run it now: {reason}", "see power in config.toml")

    try:
        while True:
            run = client.follow(run_id, lambda step: None, on_status=stands)
            if run.status is not RunStatus.WAITING:
                return run
            for approval in client.approvals("pending"):
                if approval.subject.run_id == run_id:
                    client.decide(approval.id, approves, approval.sha256)
    except (_DeferredError, KeyboardInterrupt):
        client.cancel(run_id)
        raise


def snapshot(folder: Path) -> Mapping[str, str]:
    """Every file below a home folder, as `~/...`, with what is in it."""
    return {f"~/{path.relative_to(folder)}": _content(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def _content(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(LARGEST).decode("utf-8", "replace")
