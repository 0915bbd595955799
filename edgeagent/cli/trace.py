"""A run as people see it, step by step: while it goes on and afterwards, from the daemon or from this process.

Only prints. With `is_brief` (-q) nothing but the answer.
"""

from __future__ import annotations

from edgeagent.cli.screen import Screen, cut, one_line
from edgeagent.cli.waiting import Waiting
from edgeagent.cli.words import STATUS_STYLES, answer_of, as_text, call_of, seconds, short_id, status_of
from edgeagent.schema import Run, RunStatus, Step, ToolCall

_LABEL = 9
_INDENT = " " * _LABEL
_RESULT_LINES = 6
_THOUGHT_CHARACTERS = 210
_RESULT_CHARACTERS = 600
_STYLES = {"ok": "green", "error": "red", "denied": "yellow", "waiting": "yellow"}


class Trace:
    """Prints one run.

    Args:
        is_brief: only the answer is shown.
        is_live: the run goes on now, so the time is counted while nothing happens.
    """

    def __init__(self, screen: Screen, *, is_brief: bool = False, is_live: bool = False) -> None:
        self._screen = screen
        self._is_brief = is_brief
        self._waiting = Waiting(screen) if is_live and not is_brief else None
        self._answer = ""

    def begin(self, *, agent: str, model: str, event: str, path: str = "") -> None:
        """The header."""
        if self._is_brief:
            return
        self._pair("agent", self._screen.style(one_line(agent), "bold"))
        self._pair("model", one_line(model))
        self._pair("event", one_line(event))
        if path:
            self._screen.wrapped(one_line(path), _INDENT)
        self._screen.line()
        self._screen.flush()
        self._wait()

    def step(self, step: Step) -> None:
        if self._is_brief:
            return
        self.pause()
        if step.kind == "chat":
            self._turn(step)
        else:
            self._result(step)
        self._screen.flush()
        self._wait()

    def pause(self) -> None:
        """Stops counting until the next step: somebody else writes to the terminal."""
        if self._waiting:
            self._waiting.stop()

    def _wait(self) -> None:
        if self._waiting:
            self._waiting.start()

    def end(self, run: Run) -> None:
        """The outcome."""
        self.pause()
        if self._is_brief:
            if run.status is RunStatus.OK:
                self._screen.lines(as_text(run.output))
            return
        output = as_text(run.output)
        if output and output != self._answer:  # what a dry run would have done
            self._lines("answer", output)
        if run.steps or output:
            self._screen.line()
        style = STATUS_STYLES.get(run.status.value, "")
        told = [self._screen.style(status_of(run), *(s for s in (style, "bold") if s and s != "dim"))]
        if run.seconds is not None:
            told.append(f"in {seconds(run.seconds)}")
        told.append(self._screen.style(f"run {short_id(run.id)}", "dim"))
        self._screen.line("  ".join(told))
        if run.error or run.status is RunStatus.SKIPPED:
            self._screen.wrapped(one_line(answer_of(run)), _INDENT)
        self._screen.flush()

    def _turn(self, step: Step) -> None:
        """One turn of the model: what it read and wrote, what it thought, and what it wants."""
        spent = f"{step.input_tokens} tokens in{_origin(step)}, {step.output_tokens} out"
        self._numbered(step.n, "model", self._dim(f"{spent}, {seconds(step.seconds)}"))
        if step.reasoning:
            self._lines("", _in_short(step.reasoning), "dim")
        for call in step.calls:
            self._call(call)
        if step.status != "ok":
            self._lines("error", one_line(step.error), "red")
        elif step.result and not step.calls:
            self._answer = step.result
            self._lines("answer", step.result)

    def _call(self, call: ToolCall) -> None:
        whole = call_of(call.name, call.arguments)
        name = self._screen.style(one_line(call.name), "cyan")
        if len(whole) + _LABEL <= self._screen.width or not call.arguments:
            self._pair("  call", name + one_line(whole[len(call.name) :]))
            return
        self._pair("  call", name)
        size = max(len(key) for key in call.arguments)
        for key, value in call.arguments.items():
            shown = self._shortened(as_text(value))
            self._screen.wrapped(shown, f"{_INDENT}  {' ' * size}  ", f"{_INDENT}  {one_line(key).ljust(size)}  ")

    def _result(self, step: Step) -> None:
        label = self._screen.style(one_line(step.name), "cyan")
        status = self._screen.style(step.status, _STYLES.get(step.status, ""))
        self._numbered(step.n, "tool", f"{label} {status}{self._dim(', ' + seconds(step.seconds))}")
        self._screen.wrapped(self._shortened(step.result or step.error), _INDENT)

    def _shortened(self, text: str) -> str:
        """The beginning; the whole is in `runs show --json`."""
        lines = text[:_RESULT_CHARACTERS].splitlines()
        shown = "\n".join(lines[:_RESULT_LINES])
        missing = len(text) - len(shown)
        return f"{shown}\n… {missing} more characters" if missing > 1 else shown

    def _lines(self, label: str, text: str, style: str = "") -> None:
        self._screen.wrapped(text, _INDENT, f"  {label}".ljust(_LABEL), style)

    def _numbered(self, n: int, label: str, text: str) -> None:
        self._screen.line(f"{self._screen.style(f'{n:>2} {label}'.ljust(_LABEL), 'bold')}{text}")

    def _pair(self, label: str, text: str) -> None:
        self._screen.line(label.ljust(_LABEL) + text)

    def _dim(self, text: str) -> str:
        return self._screen.style(text, "dim")


def _origin(step: Step) -> str:
    """Where the state of the input tokens came from; nothing where all of them were read."""
    counts = {
        "from memory": step.cached_tokens - step.disk_tokens,
        "from disk": step.disk_tokens,
        "read": step.input_tokens - step.cached_tokens,
    }
    told = ", ".join(f"{count} {words}" for words, count in counts.items() if count)
    return f" ({told})" if step.cached_tokens else ""


def _in_short(reasoning: str) -> str:
    """What a model thought, its lines after each other, as far as a glance goes."""
    lines = (one_line(line) for line in reasoning.splitlines())
    return cut("; ".join(line for line in lines if line), _THOUGHT_CHARACTERS)
