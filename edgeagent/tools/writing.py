"""The tools that make and change files where they stand: write_file, append_file, create_directory.

A file is replaced whole or not at all; a line is appended whole or taken back. After a kill the stored plan says what
stood there before, so that the same call is carried out exactly once, or an error where someone else came between.
"""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

from edgeagent.errors import ToolError
from edgeagent.schema import Json
from edgeagent.tools.atomic import discard, replace_file, temporary_name, write_all
from edgeagent.tools.base import PathArguments, Plan, ToolContext, counted, parse_arguments, shown
from edgeagent.tools.paths import (
    entry_stat,
    explained,
    open_entry,
    opened_folder,
    opened_parent,
    path_stat,
    require_file,
    resolve,
    sync_folder,
)
from edgeagent.tools.specs import BUILTIN_SPECS

_SEARCHED_BYTES = 64 << 20
"""How far back an appended line is looked for after a crash."""


class ContentArguments(PathArguments):
    content: str


class WriteFile:
    spec = BUILTIN_SPECS["write_file"]

    def plan(self, arguments: Json, context: ToolContext) -> Plan:
        return _plan_content(self.spec.name, arguments, context)

    def apply(self, plan: Plan, context: ToolContext) -> str:
        path, content = plan.writes[0], to_bytes(plan.arguments["content"])
        with explained(path), opened_parent(path, create=True) as (folder, name):
            found = entry_stat(folder, name)
            if fingerprint(found) != plan.detail["before"]:
                raise ToolError(f"changed meanwhile: {shown(path)}")
            if found is not None and not os.access(name, os.W_OK, dir_fd=folder):
                raise ToolError(f"no permission: {shown(path)}")
            replace_file(folder, name, content, context.key, found.st_mode if found else None)
        return _wrote(content, path)

    def was_applied(self, plan: Plan, context: ToolContext) -> str | None:
        path, content = plan.writes[0], to_bytes(plan.arguments["content"])
        found = path_stat(path)
        if found is None or not stat.S_ISREG(found.st_mode) or found.st_size != len(content):
            return None
        with explained(path), opened_parent(path) as (folder, name):
            with os.fdopen(open_entry(folder, name), "rb") as file:
                if file.read(len(content) + 1) != content:
                    return None
            discard(folder, temporary_name(context.key))
            sync_folder(folder)
        return _wrote(content, path)


class AppendFile:
    """Appends in place, so that other writers of a log and its links keep seeing one file."""

    spec = BUILTIN_SPECS["append_file"]

    def plan(self, arguments: Json, context: ToolContext) -> Plan:
        plan = _plan_content(self.spec.name, arguments, context)
        if not plan.detail.get("before"):
            return plan
        path = plan.writes[0]
        with explained(path), opened_parent(path) as (folder, name):
            file = open_entry(folder, name)
            try:
                ends_line = _ends_line(file, plan.detail["before"]["size"])
            finally:
                os.close(file)
        return replace(plan, detail={**plan.detail, "ends_line": ends_line})

    def apply(self, plan: Plan, context: ToolContext) -> str:
        path, lines = plan.writes[0], _whole_lines(plan.arguments["content"])
        with explained(path), opened_parent(path, create=True) as (folder, name):
            file = open_entry(folder, name, os.O_RDWR | os.O_APPEND | os.O_CREAT)
            try:
                require_file(os.fstat(file), path)
                _append(file, plan, lines)
            finally:
                os.close(file)
            if plan.detail["before"] is None:
                sync_folder(folder)
        return _appended(lines, path)

    def was_applied(self, plan: Plan, context: ToolContext) -> str | None:
        """Looks for the lines after what stood there when the call was planned."""
        path, lines, before = plan.writes[0], _whole_lines(plan.arguments["content"]), plan.detail["before"]
        found = path_stat(path)
        if found is None and before is None:
            return None
        start = before["size"] if before else 0
        if found is None or found.st_size < start or (before and found.st_ino != before["inode"]):
            raise ToolError(f"changed meanwhile, not appended again: {shown(path)}")
        with (
            explained(path),
            opened_parent(path) as (folder, name),
            os.fdopen(open_entry(folder, name), "rb") as file,
        ):
            file.seek(start)
            added = file.read(_SEARCHED_BYTES)
            os.fsync(file)
        starts_line = b"\n" if plan.detail.get("ends_line", True) else b""
        return _appended(lines, path) if b"\n" + lines in starts_line + added else None


class CreateDirectory:
    spec = BUILTIN_SPECS["create_directory"]

    def plan(self, arguments: Json, context: ToolContext) -> Plan:
        asked = parse_arguments(PathArguments, arguments)
        path = resolve(asked.path, context.home_dir)
        return Plan(self.spec.name, asked.model_dump(), writes=(path,))

    def apply(self, plan: Plan, context: ToolContext) -> str:
        path = plan.writes[0]
        with explained(path), opened_folder(path, create=True):
            return f"made {shown(path)}"

    def was_applied(self, plan: Plan, context: ToolContext) -> str | None:
        path = plan.writes[0]
        found = path_stat(path)
        return f"made {shown(path)}" if found is not None and stat.S_ISDIR(found.st_mode) else None


def fingerprint(found: os.stat_result | None) -> Json | None:
    """What tells one state of a file from another, as it is stored in a plan."""
    if found is None:
        return None
    return {"device": found.st_dev, "inode": found.st_ino, "size": found.st_size, "mtime_ns": found.st_mtime_ns}


def to_bytes(content: str) -> bytes:
    """UTF-8; lone surrogates that stand for bytes become those bytes, others a question mark."""
    try:
        return content.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return content.encode("utf-8", "replace")


def _plan_content(name: str, arguments: Json, context: ToolContext) -> Plan:
    """The plan of a call with a path and content, with what stands there now where the agent may know."""
    asked = parse_arguments(ContentArguments, arguments)
    path = resolve(asked.path, context.home_dir)
    if asked.path.endswith("/"):
        raise ToolError(f"give a file name, not a folder: {shown(path)}")
    detail: Json = {}
    if context.may_write(path):
        with explained(path):
            found = path_stat(path)
        if found is not None:
            require_file(found, path)
        detail = {"before": fingerprint(found)}
    return Plan(name, asked.model_dump(), writes=(path,), detail=detail)


def _wrote(content: bytes, path: Path) -> str:
    return f"wrote {counted(len(content), 'byte')} to {shown(path)}"


def _appended(lines: bytes, path: Path) -> str:
    number = lines.count(b"\n")
    return f"appended {counted(number, 'line')} to {shown(path)}"


def _whole_lines(content: str) -> bytes:
    return to_bytes(content.removesuffix("\n")) + b"\n"


def _ends_line(file: int, size: int) -> bool:
    return size == 0 or os.pread(file, 1, size - 1) == b"\n"


def _append(file: int, plan: Plan, lines: bytes) -> None:
    """Writes the lines, or what a killed try left unwritten; on failure takes back what stands there of them."""
    size = os.fstat(file).st_size
    written = _written_before(file, size, plan, lines)
    separator = b"" if _ends_line(file, size - written) else b"\n"
    rest = (separator + lines)[written:]
    try:
        write_all(file, rest)
        os.fsync(file)
    except OSError:
        if os.fstat(file).st_size < size + len(rest):  # nobody else came after us
            os.ftruncate(file, size - written)
        raise


def _written_before(file: int, size: int, plan: Plan, lines: bytes) -> int:
    """How many bytes of the addition stand at the end of the file already, from a try that was killed."""
    before = plan.detail["before"]
    if before and os.fstat(file).st_ino != before["inode"]:
        return 0
    start = before["size"] if before else 0
    addition = lines if plan.detail.get("ends_line", True) else b"\n" + lines
    grown = size - start
    return grown if 0 < grown < len(addition) and os.pread(file, grown, start) == addition[:grown] else 0
