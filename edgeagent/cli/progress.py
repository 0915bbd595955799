"""A bar that shows how much of a file is there: on a terminal in place, elsewhere a line for every tenth."""

from __future__ import annotations

import time
from types import TracebackType

from edgeagent.cli.app import App
from edgeagent.cli.words import duration, size

_WIDTH = 24
_REDRAW_SECONDS = 0.1


class Bar:
    """Called with the bytes that are there and the bytes in all; writes to standard error."""

    def __init__(self, app: App, label: str) -> None:
        self._app, self._label = app, label
        self._in_place = app.notes.fits and not app.quiet
        self._began = time.monotonic()
        self._first: int | None = None
        self._drawn_at = 0.0
        self._tenth = -1
        self._drawn = False

    def __enter__(self) -> Bar:
        return self

    def __call__(self, done: int, total: int) -> None:
        if self._first is None:
            self._first = done
        if self._in_place:
            self._draw(done, total)
        elif total and done * 10 // total > self._tenth:
            self._tenth = done * 10 // total
            self._app.note(f"{self._label}: {done * 100 // total} % of {size(total)}")

    def _draw(self, done: int, total: int) -> None:
        now = time.monotonic()
        if done < total and now - self._drawn_at < _REDRAW_SECONDS:
            return
        self._drawn_at, self._drawn = now, True
        share = done / total if total else 1.0
        filled = round(share * _WIDTH)
        rate = (done - (self._first or 0)) / max(now - self._began, 0.001)
        left = f", {duration((total - done) / rate)} left" if rate > 0 and done < total else ""
        bar = "█" * filled + "░" * (_WIDTH - filled)
        text = f"{self._label}  {bar} {share * 100:3.0f} %  {size(done)} of {size(total)}"
        notes = self._app.notes
        notes.rewrite(notes.cut(f"{text}, {size(int(rate))}/s{left}", notes.width - 1))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._drawn:
            self._app.notes.line()
