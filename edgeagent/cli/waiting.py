"""A last line that counts the seconds while a model thinks. On terminals only, and gone before anything is printed."""

from __future__ import annotations

import threading
import time

from edgeagent.cli.screen import Screen
from edgeagent.cli.words import duration

_SECONDS = 1.0


class Waiting:
    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """From now on the seconds are counted. What is soon over is not shown at all."""
        if self._thread is None and self._screen.color:
            self._over.clear()
            self._thread = threading.Thread(target=self._count, args=(time.monotonic(),), daemon=True)
            self._thread.start()

    def stop(self) -> None:
        if self._thread is not None:
            self._over.set()
            self._thread.join()
            self._thread = None

    def _count(self, began: float) -> None:
        is_shown = False
        while not self._over.wait(_SECONDS):
            told = self._screen.style(f"   … {duration(time.monotonic() - began)}", "dim")
            self._screen.rewrite(told)
            is_shown = True
        if is_shown:
            self._screen.rewrite("")
