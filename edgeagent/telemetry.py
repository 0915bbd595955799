"""Numbers for Prometheus: what has happened since the daemon started, and how things stand, as its text format."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from edgeagent.schema import Outcome, RunStatus, Step

Labels = tuple[tuple[str, str], ...]
Samples = Mapping[Labels, float]


@dataclass
class Counters:
    """Counts what workers tell it. From any thread."""

    _ended: Counter[Labels] = field(default_factory=Counter)
    _seconds: dict[Labels, float] = field(default_factory=lambda: defaultdict(float))
    _tokens: Counter[Labels] = field(default_factory=Counter)
    _calls: Counter[Labels] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def ended(self, agent: str, outcome: Outcome) -> None:
        reason = outcome.reason if outcome.status is RunStatus.FAILED and outcome.reason else ""
        with self._lock:
            self._ended[_labels(agent=agent, status=outcome.status.value, reason=reason)] += 1

    def step(self, agent: str, step: Step) -> None:
        with self._lock:
            self._seconds[_labels(agent=agent, kind=step.kind)] += step.seconds
            if step.kind == "tool":
                self._calls[_labels(agent=agent, tool=step.name, status=step.status)] += 1
                return
            for kind in ("input", "cached", "output"):
                self._tokens[_labels(agent=agent, kind=kind)] += getattr(step, f"{kind}_tokens")

    def text(self) -> str:
        with self._lock:
            return "".join(
                (
                    metric("edgeagent_runs_ended_total", "counter", "Runs that ended.", self._ended),
                    metric("edgeagent_step_seconds_total", "counter", "Time spent in steps.", self._seconds),
                    metric("edgeagent_tokens_total", "counter", "Tokens of models.", self._tokens),
                    metric("edgeagent_tool_calls_total", "counter", "Calls of tools.", self._calls),
                )
            )


def gauge(name: str, about: str, samples: Samples | float) -> str:
    return metric(name, "gauge", about, samples if isinstance(samples, Mapping) else {(): samples})


def metric(name: str, kind: str, about: str, samples: Samples) -> str:
    """One metric family of the text format 0.0.4."""
    lines = [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]
    lines += [
        f"{name}{_shown(labels)} {value:g}" if value % 1 else f"{name}{_shown(labels)} {value:.0f}"
        for labels, value in samples.items()
    ]
    return "\n".join(lines) + "\n"


def _labels(**given: str) -> Labels:
    return tuple((name, value) for name, value in given.items() if value)


def labelled(name: str, samples: Mapping[str, float] | Iterable[tuple[str, float]]) -> Samples:
    """Samples that differ in one label."""
    return {((name, value),): number for value, number in dict(samples).items()}


def _shown(labels: Labels) -> str:
    if not labels:
        return ""
    escaped = (
        f'{name}="{value.translate({92: chr(92) * 2, 34: chr(92) + chr(34), 10: chr(92) + "n"})}"'
        for name, value in labels
    )
    return "{" + ",".join(escaped) + "}"
