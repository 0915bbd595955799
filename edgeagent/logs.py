"""The log: how a line looks on stderr, and the file that `edgeagent logs` reads. Knows nothing of what is logged.

stderr is for whoever started the daemon: a terminal (time, level, text), systemd's journal (priority and text), or a
program (`--log-format json`). The file holds the same lines as JSON, for filters by agent and time; it lies in the
cache folder, is cut to two parts of a megabyte each, and may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TextIO

from edgeagent.schema import Json, format_time, parse_time
from edgeagent.visible import visible

LOGGER = "edgeagent"
MAX_BYTES = 1_000_000
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
_CONTEXT = ("agent", "run")

Format = Literal["text", "json"]


def log_to(stream: TextIO, form: Format, level: int, environ: Mapping[str, str]) -> None:
    """Sends the log to a stream, in the form that its reader wants. What others log is shown from warnings on."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_formatter(stream, form, environ))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger(LOGGER).setLevel(level)


def log_to_file(path: Path) -> logging.Handler:
    """Writes the log to the file as well, from now on. Take the handler away with `removeHandler` to end that."""
    handler = LogFile(path)
    logging.getLogger(LOGGER).addHandler(handler)
    return handler


def _formatter(stream: TextIO, form: Format, environ: Mapping[str, str]) -> logging.Formatter:
    if form == "json":
        return JsonLines()
    if is_journal(stream, environ):
        return Priorities("%(message)s")
    return Lines("%(asctime)s %(levelname)-7s %(message)s", datefmt="%Y-%m-%d %H:%M:%S")


def is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether the stream leads to systemd's journal. The variable alone says little: children inherit it."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class Lines(logging.Formatter):
    """For people: nothing that a terminal obeys, and no further line that passes for one of its own."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record)).replace("\n", "\n  ")


class Priorities(Lines):
    """`<6>text`, on every line, as sd-daemon(3) wants it. The journal keeps the time itself."""

    def format(self, record: logging.LogRecord) -> str:
        level = max((known for known in _PRIORITIES if known <= record.levelno), default=logging.DEBUG)
        prefix = f"<{_PRIORITIES[level]}>"
        return prefix + super().format(record).replace("\n", f"\n{prefix}")


class JsonLines(logging.Formatter):
    """One object a line: time, level, message, and agent and run where the line is about one."""

    def format(self, record: logging.LogRecord) -> str:
        told: Json = {
            "time": format_time(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        told |= {name: value for name in _CONTEXT if (value := getattr(record, name, None)) is not None}
        if record.exc_info:
            told["traceback"] = record.exc_text or self.formatException(record.exc_info)
        return json.dumps(told)


class LogFile(logging.Handler):
    """Appends each line at once and keeps nothing open, so that the file may be moved or deleted under it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self.setFormatter(JsonLines())

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):  # a full disk: stderr has the line
            self._append(self.format(record).encode() + b"\n")

    def _append(self, line: bytes) -> None:
        try:
            file = self._open()
        except FileNotFoundError:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = self._open()
        try:
            os.write(file, line)
            is_full = os.fstat(file).st_size > MAX_BYTES
        finally:
            os.close(file)
        if is_full:
            self._path.replace(_older(self._path))

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


def read_log(path: Path, agent: str | None = None, since: datetime | None = None) -> list[Json]:
    """The lines that are there, oldest first. What is no line of ours is left out."""
    return [
        line
        for part in (_older(path), path)
        for text in _lines(part)
        if (line := parsed(text, agent, since)) is not None
    ]


def parsed(text: str, agent: str | None = None, since: datetime | None = None) -> Json | None:
    """One line of the file; None where it is not asked for."""
    try:
        line: Json = json.loads(text)
        if (agent and line.get("agent") != agent) or (since and parse_time(line["time"]) < since):
            return None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return line


def follow_log(path: Path) -> Iterator[str | None]:
    """Lines that are added from now on; None where there is none for now. Goes on when the file is cut or made anew."""
    file: TextIO | None = None
    try:
        file = _opened(path)
        if file:
            file.seek(0, os.SEEK_END)
        rest = ""
        while True:
            text = file.readline() if file else ""
            if text.endswith("\n"):
                yield rest + text
                rest = ""
                continue
            rest += text
            if not text and _is_replaced(file, path):
                if file:
                    file.close()
                file, rest = _opened(path), ""
            yield None
    finally:
        if file:
            file.close()


def _older(path: Path) -> Path:
    return path.with_name(path.name + ".1")


def _lines(path: Path) -> list[str]:
    file = _opened(path)
    if file is None:
        return []
    with file:
        return file.readlines()


def _opened(path: Path) -> TextIO | None:
    try:
        return path.open(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None


def _is_replaced(file: TextIO | None, path: Path) -> bool:
    try:
        status = path.stat()
    except FileNotFoundError:
        return False
    return file is None or os.fstat(file.fileno()).st_ino != status.st_ino
