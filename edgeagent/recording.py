"""What a run does, written into the journal as it happens, with the values of secrets hidden.

Owns which steps are written together. Which run it is, and what becomes of it, is the worker's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from edgeagent.redaction import Redactor
from edgeagent.schema import Json, Step, ToolCall
from edgeagent.store import Store


@dataclass(slots=True)
class Recording:
    """Writes a run's steps as they happen, and tells whoever watches.

    What a model said is written together with what follows from it at once, the beginning of a call or the end of the
    run, which spares an SD card a write. A process that dies in between asks the model again.
    """

    store: Store
    agent: str
    run_id: str
    on_step: Callable[[Step], None]
    redactor: Redactor
    may_act: Callable[[], bool]
    _said: Step | None = None

    def started(self, n: int, call: ToolCall, plan: Json) -> bool:
        hide = self.redactor.json
        with self._together():  # a yes is used up by the call that it was for, or not at all
            if not plan["reads_only"] and not self.may_act():  # another run of the agent was faster
                return False
            self.store.use_approval(self.run_id, n)
            self.store.record_step_started(self.run_id, n, "tool", call.name, hide(call.arguments), hide(plan))
        return True

    def ended(self, step: Step) -> None:
        step = hidden(step, self.redactor)
        if step.kind == "chat" and step.status == "ok":
            self.write()
            self._said = step
        else:
            with self._together():
                self.store.record_step(self.run_id, step)
                self.store.keep_own_writes(self.agent)
        self.on_step(step)

    def end(self, written: Callable[[], object]) -> None:
        """Writes what became of the run, and what was not written yet: all or nothing."""
        with self._together():
            written()

    def write(self) -> None:
        """What was not written yet: before a person is waited for, or the model says more."""
        if self._said:
            self.end(lambda: None)

    @contextmanager
    def _together(self) -> Iterator[None]:
        """One transaction, with what the model said before."""
        with self.store.transaction():
            if self._said:
                self.store.record_step(self.run_id, self._said)
            yield
        self._said = None


def hidden(step: Step, redactor: Redactor) -> Step:
    """The step without the values of secrets."""
    hide = redactor.text
    return replace(
        step,
        name=hide(step.name),
        result=hide(step.result),
        error=hide(step.error),
        reasoning=hide(step.reasoning),
        arguments=redactor.json(step.arguments),
        calls=tuple(ToolCall(call.name, redactor.json(call.arguments)) for call in step.calls),
    )
