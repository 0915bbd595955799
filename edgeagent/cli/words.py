"""Agents, triggers, events, runs and amounts in a few words. Prints nothing."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from edgeagent.schema import Event, Json, Run, RunStatus

if TYPE_CHECKING:
    from edgeagent.agents import Agent

STATUS_STYLES = {
    "ok": "green",
    "failed": "red",
    "interrupted": "red",
    "cancelled": "yellow",
    "waiting": "yellow",
    "deferred": "yellow",
    "running": "cyan",
    "skipped": "dim",
}

SHORT_ID = 8
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"))


def short_id(run_id: str) -> str:
    """The end of a ULID, which is what differs between runs of the same second. `runs show` takes it."""
    return run_id[-SHORT_ID:].lower()


def status_of(run: Run) -> str:
    return f"{run.status.value} ({run.reason})" if run.reason and run.status is RunStatus.FAILED else run.status.value


def event_of(run: Run) -> str:
    """What happened: `created bill.txt`, `due 11-24 07:00`."""
    from edgeagent.store.values import describe

    return describe(_event(run))


def event_words(event: Event) -> str:
    """What happened, with the kind of trigger: `file, created bill.txt`."""
    from edgeagent.store.values import describe

    what = describe(event)
    return what if what == event.trigger else f"{event.trigger}, {what}"


def run_event_words(run: Run) -> str:
    return event_words(_event(run))


def _event(run: Run) -> Event:
    return Event(run.agent, run.trigger, run.trigger_id, "", run.event)


def answer_of(run: Run) -> str:
    """What came of it: the error, why it waits or was skipped, or the model's last words."""
    why = run.reason if run.status in (RunStatus.SKIPPED, RunStatus.DEFERRED) else None
    return run.error or why or as_text(run.output)


def as_text(output: Any) -> str:
    if output is None:
        return ""
    return output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)


def call_of(name: str, arguments: Json) -> str:
    """`move_file(source="/a", destination="/b")`"""
    return f"{name}({', '.join(f'{key}={json.dumps(value, ensure_ascii=False)}' for key, value in arguments.items())})"


def seconds(amount: float | None) -> str:
    """`0.31 s`, `12 s`, `3 min 5 s`; nothing for None."""
    if amount is None:
        return ""
    if amount < 10:
        return f"{amount:.2f} s"
    if amount < 60:
        return f"{amount:.1f} s"
    return duration(amount)


def duration(amount: float) -> str:
    """The two largest units: `2 d 3 h`, `5 min 10 s`."""
    whole, parts = int(amount), []
    for size, unit in _UNITS:
        count, whole = divmod(whole, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join([*parts, f"{whole} s"][:2])


def size(amount: int | None) -> str:
    """Decimal, as in agent files and settings: `3.4 MB`."""
    if amount is None:
        return ""
    value, unit = float(amount), "B"
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if value >= 100 or unit == "B" else f"{value:.1f} {unit}"


def setting(amount: float) -> str:
    """A duration as it is written in files: 300.0 is `5m`."""
    for length, unit in ((86400, "d"), (3600, "h"), (60, "m"), (1, "s")):
        if amount >= length and amount % length == 0:
            return f"{int(amount // length)}{unit}"
    return f"{amount * 1000:g}ms" if 0 < amount < 1 else f"{amount:g}s"


def size_setting(amount: int) -> str:
    """A size as it is written in files: 256000000 is `256MB`."""
    for length, unit in ((10**9, "GB"), (10**6, "MB"), (10**3, "KB")):
        if amount >= length and amount % length == 0:
            return f"{amount // length}{unit}"
    return f"{amount}B"


def local_time(moment: datetime | None) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S") if moment else ""


def short_time(moment: datetime | None) -> str:
    return moment.astimezone().strftime("%m-%d %H:%M") if moment else ""


def trigger_words(trigger: Json) -> str:
    """One trigger of an agent (as JSON) in a few words: `file ~/Inbox`, `every 10m`, `cron 0 9 * * *`."""
    kind = trigger["trigger"]
    if kind == "every":
        return f"every {setting(trigger['interval'])}"
    told = {
        "file": "path",
        "cron": "schedule",
        "at": "time",
        "webhook": "path",
        "mqtt": "topic",
        "sqlite": "table",
        "agent": "agent",
    }
    return f"{kind} {trigger[told[kind]]}" if kind in told else str(kind)


def model_of(agent: Agent, default: str) -> str:
    """The model that an agent asks for, in words."""
    return agent.model_words or f"{default} (default)"
