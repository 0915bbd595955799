"""The tools that look at files and folders: read_file, list_directory, search_files, get_file_info.

They change nothing, follow no link after the plan, wait for no pipe, and hold no more of a file or folder in memory
than they may show.
"""

from __future__ import annotations

import codecs
import fnmatch
import heapq
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from pydantic import Field

from edgeagent.errors import ToolError
from edgeagent.schema import Json, ToolSpec
from edgeagent.tools.base import PathArguments, Plan, ToolContext, counted, cut, parse_arguments, shown
from edgeagent.tools.paths import (
    explained,
    kind_of,
    open_entry,
    opened_folder,
    opened_parent,
    readable_folder,
    require_file,
    resolve,
)
from edgeagent.tools.specs import BUILTIN_SPECS

_UNSIZED_BYTES = 1 << 20
"""How much is read of a file that reports size 0, as those of /proc do."""
_VISITED = 200_000
"""Entries that one search looks at before it gives up."""

Lines = Annotated[int, Field(ge=1)]


class ReadArguments(PathArguments):
    head: Lines | None = None
    tail: Lines | None = None


class SearchArguments(PathArguments):
    pattern: str


class _Reader:
    """What the four have in common: one path, and nothing to undo or to find again after a crash."""

    name: str
    arguments: type[PathArguments] = PathArguments

    @property
    def spec(self) -> ToolSpec:
        return BUILTIN_SPECS[self.name]

    def plan(self, arguments: Json, context: ToolContext) -> Plan:
        asked = parse_arguments(self.arguments, arguments)
        path = resolve(asked.path, context.home_dir)
        return Plan(self.name, asked.model_dump(exclude_none=True), reads=(path,))

    def was_applied(self, plan: Plan, context: ToolContext) -> str | None:
        return None


class ReadFile(_Reader):
    name = "read_file"
    arguments = ReadArguments

    def plan(self, arguments: Json, context: ToolContext) -> Plan:
        plan = super().plan(arguments, context)
        if "head" in plan.arguments and "tail" in plan.arguments:
            raise ToolError("give head or tail, not both")
        return plan

    def apply(self, plan: Plan, context: ToolContext) -> str:
        path = plan.reads[0]
        with explained(path), opened_parent(path) as (folder, name):
            file = open_entry(folder, name)
            try:
                require_file(os.fstat(file), path)
                if "tail" in plan.arguments:
                    return _last_lines(file, path, plan.arguments["tail"], context.result_limit)
                return _first_lines(file, path, plan.arguments.get("head"), context.result_limit)
            finally:
                os.close(file)


class ListDirectory(_Reader):
    name = "list_directory"

    def apply(self, plan: Plan, context: ToolContext) -> str:
        path = plan.reads[0]
        # A line takes at least eight characters: more lines than that are never shown, so never kept.
        shown_at_most = context.result_limit // len("[DIR] x\n") + 1
        with explained(path), opened_folder(path) as folder:
            total = 0

            def lines() -> Iterator[tuple[str, str]]:
                nonlocal total
                for name, is_folder in _entries(folder):
                    total += 1
                    yield name, f"[DIR] {shown(name)}" if is_folder else f"[FILE] {shown(name)}"

            kept = [line for _, line in heapq.nsmallest(shown_at_most, lines())]
        return _fitted(kept, total, context.result_limit) or "(empty)"


class SearchFiles(_Reader):
    name = "search_files"
    arguments = SearchArguments

    def apply(self, plan: Plan, context: ToolContext) -> str:
        path, pattern = plan.reads[0], plan.arguments["pattern"]
        if not pattern:
            raise ToolError("the pattern is empty")
        found: list[str] = []
        total = visited = 0
        with explained(path):
            for file, is_folder in _all_below(path):
                visited += 1
                if visited > _VISITED:
                    break
                if not is_folder and _matches(file, path, pattern):
                    total += 1
                    if len(found) * 2 < context.result_limit:
                        found.append(shown(file))
        text = _fitted(sorted(found), total, context.result_limit) or "no files found"
        return f"{text}\n[stopped after {_VISITED} entries]" if visited > _VISITED else text


class GetFileInfo(_Reader):
    name = "get_file_info"

    def apply(self, plan: Plan, context: ToolContext) -> str:
        path = plan.reads[0]
        with explained(path), opened_folder(path.parent) as folder:
            found = os.stat(path.name or ".", dir_fd=folder, follow_symlinks=False)
        return "\n".join(
            (
                f"kind: {kind_of(found.st_mode)}",
                f"size: {counted(found.st_size, 'byte')}",
                f"modified: {_time(found.st_mtime)}",
                f"accessed: {_time(found.st_atime)}",
            )
        )


def _time(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (OverflowError, ValueError):
        return "unknown"


def _first_lines(file: int, path: Path, lines: int | None, limit: int) -> str:
    """The beginning of an open file: `lines` of it, or all, but no more than `limit` characters."""
    size = os.fstat(file).st_size
    data = _read_up_to(file, max(4 * limit + 4, _UNSIZED_BYTES if size == 0 else 0))
    at_end = not os.read(file, 1)
    text = _decoded(data, path, is_whole=at_end)
    if lines is not None:
        kept = "".join(text.splitlines(keepends=True)[:lines])
        if len(kept) < len(text) or at_end:
            return cut(kept, limit) or "(empty)"
    if at_end:
        return cut(text, limit) or "(empty)"
    rest = size - len(text[:limit].encode())
    return f"{text[:limit]}\n[cut: {f'{rest} more bytes' if rest > 0 else 'there is more'}]"


def _last_lines(file: int, path: Path, lines: int, limit: int) -> str:
    """The last `lines` of an open file, of which the last `limit` characters at most."""
    size = os.fstat(file).st_size
    start = max(0, size - 4 * limit)
    os.lseek(file, start, os.SEEK_SET)
    data = _read_up_to(file, max(4 * limit, _UNSIZED_BYTES if size == 0 else 0))
    text = _decoded(data, path, is_whole=True)
    whole = "".join(text.splitlines(keepends=True)[-lines:])
    kept = whole[-limit:]
    if len(kept) < len(whole) or (start > 0 and len(whole) == len(text)):
        return f"[cut: the beginning of these lines]\n{kept}"
    return kept or "(empty)"


def _read_up_to(file: int, count: int) -> bytes:
    blocks = []
    while count > 0 and (block := os.read(file, min(count, _UNSIZED_BYTES))):
        blocks.append(block)
        count -= len(block)
    return b"".join(blocks)


def _decoded(data: bytes, path: Path, *, is_whole: bool) -> str:
    """UTF-8 with what is broken replaced. A character cut in two at the end is left out unless the data is whole."""
    if b"\0" in data:
        raise ToolError(f"not text but binary: {shown(path)}")
    return codecs.getincrementaldecoder("utf-8-sig")("replace").decode(data, is_whole)


def _entries(folder: int) -> Iterator[tuple[str, bool]]:
    """Names in a marked folder and whether each is a folder. A link is shown as a file, wherever it leads."""
    readable = readable_folder(folder)
    try:
        with os.scandir(readable) as entries:
            for entry in entries:
                yield entry.name, entry.is_dir(follow_symlinks=False)
    finally:
        os.close(readable)


def _all_below(root: Path) -> Iterator[tuple[Path, bool]]:
    """Everything below a folder, folder by folder, and whether it is one.

    What cannot be opened inside, or just went, is passed over.
    """
    waiting = [root]
    while waiting:
        current = waiting.pop()
        try:
            with opened_folder(current) as folder:
                entries = sorted(_entries(folder))
        except (OSError, ToolError):
            if current == root:
                raise
            continue
        waiting.extend(current / name for name, is_folder in reversed(entries) if is_folder)
        yield from ((current / name, is_folder) for name, is_folder in entries)


def _matches(file: Path, root: Path, pattern: str) -> bool:
    """A pattern with a slash is for the path below the root, one without for the name; a plain word may be anywhere."""
    name, wanted = file.name.lower(), pattern.lower()
    if not any(char in wanted for char in "*?["):
        return wanted in name
    if "/" not in wanted:
        return fnmatch.fnmatchcase(name, wanted)
    below = str(file.relative_to(root)).lower()
    return fnmatch.fnmatchcase(below, wanted) or fnmatch.fnmatchcase(below, wanted.removeprefix("**/"))


def _fitted(lines: list[str], total: int, limit: int) -> str:
    """As many whole lines as fit, and how many are missing."""
    size = fitting = 0
    for line in lines:
        size += len(line) + 1
        if size > limit + 1:
            break
        fitting += 1
    text = "\n".join(lines[:fitting])
    return text if fitting == total else f"{text}\n[cut: {total - fitting} more]".lstrip("\n")
