"""The tools that give a file another place: move_file and delete_file, which moves it to the trash.

Nothing is ever overwritten. The trash follows the freedesktop layout (`files/` and `info/`, where `Path=` says
percent-encoded where a file came from), so that any file manager's rules for it apply. Emptying it is not done here.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from urllib.parse import quote

from edgeagent.errors import ToolError
from edgeagent.schema import Json, format_time
from edgeagent.tools.atomic import finish_move, move_entry, replace_file
from edgeagent.tools.base import Arguments, PathArguments, Plan, ToolContext, parse_arguments, shown
from edgeagent.tools.paths import explained, opened_parent, path_stat, resolve, resolve_entry
from edgeagent.tools.specs import BUILTIN_SPECS

_NAME_BYTES = 255


class MoveArguments(Arguments):
    source: str
    destination: str


class MoveFile:
    spec = BUILTIN_SPECS["move_file"]

    def plan(self, arguments: Json, context: ToolContext) -> Plan:
        asked = parse_arguments(MoveArguments, arguments)
        source = resolve_entry(asked.source, context.home_dir)
        destination = resolve(asked.destination, context.home_dir)
        detail: Json = {}
        if context.may_write(source, destination):
            found = _existing(source, context)
            destination = _final(asked.destination, source, context)
            if destination.is_relative_to(source) and destination != source:
                raise ToolError(f"cannot move a folder into itself: {shown(source)}")
            with explained(destination):
                if path_stat(destination) is not None:
                    raise ToolError(f"destination exists: {shown(destination)}")
            detail = {"source": _identity(found)}
        return Plan(self.spec.name, asked.model_dump(), writes=(source, destination), detail=detail)

    def apply(self, plan: Plan, context: ToolContext) -> str:
        source, destination = plan.writes
        _relocate(source, destination, plan.detail["source"], context)
        return f"moved to {shown(destination)}"

    def was_applied(self, plan: Plan, context: ToolContext) -> str | None:
        source, destination = plan.writes
        done = _is_relocated(source, destination, plan.detail["source"])
        return f"moved to {shown(destination)}" if done else None


class DeleteFile:
    spec = BUILTIN_SPECS["delete_file"]

    def plan(self, arguments: Json, context: ToolContext) -> Plan:
        asked = parse_arguments(PathArguments, arguments)
        path = resolve_entry(asked.path, context.home_dir)
        detail: Json = {}
        if context.may_write(path):
            found = _existing(path, context)
            if stat.S_ISDIR(found.st_mode):
                raise ToolError(f"is a folder: {shown(path)}")
            detail = {
                "source": _identity(found),
                "name": _trash_name(path, context),
                "deleted_at": format_time(context.now()),
            }
        return Plan(self.spec.name, asked.model_dump(), writes=(path,), detail=detail)

    def apply(self, plan: Plan, context: ToolContext) -> str:
        path, trash = plan.writes[0], Path(os.path.realpath(context.trash))
        _record_origin(trash / "info" / f"{plan.detail['name']}.trashinfo", path, plan, context)
        _relocate(path, trash / "files" / plan.detail["name"], plan.detail["source"], context)
        return f"put in the trash: {shown(path)}"

    def was_applied(self, plan: Plan, context: ToolContext) -> str | None:
        path, trash = plan.writes[0], Path(os.path.realpath(context.trash))
        done = _is_relocated(path, trash / "files" / plan.detail["name"], plan.detail["source"])
        return f"put in the trash: {shown(path)}" if done else None


def _existing(path: Path, context: ToolContext) -> os.stat_result:
    """What stands at a path that shall go. A granted folder itself stays: its name is not part of the grant."""
    with explained(path):
        found = path_stat(path)
    if found is None:
        raise ToolError(f"not found: {shown(path)}")
    if path in context.write_roots and stat.S_ISDIR(found.st_mode):
        raise ToolError(f"the granted folder itself must stay: {shown(path)}")
    return found


def _final(asked: str, source: Path, context: ToolContext) -> Path:
    """Where exactly the file will be: a folder that exists, or a path that ends with a slash, means into it."""
    resolved = resolve(asked, context.home_dir)
    with explained(resolved):
        found = path_stat(resolved)
    if asked.endswith("/") or (found is not None and stat.S_ISDIR(found.st_mode)):
        return resolved / source.name
    return resolve_entry(asked, context.home_dir)


def _identity(found: os.stat_result) -> Json:
    return {"device": found.st_dev, "inode": found.st_ino, "size": found.st_size}


def _is_planned(found: os.stat_result, source: Json) -> bool:
    return bool(found.st_dev == source["device"] and found.st_ino == source["inode"])


def _relocate(source: Path, destination: Path, identity: Json, context: ToolContext) -> None:
    """Moves what was planned and nothing else, or finishes a move that was killed half way."""
    with explained(source), opened_parent(source) as (folder, name):
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if not _is_planned(found, identity):
            raise ToolError(f"changed meanwhile: {shown(source)}")
        with explained(destination), opened_parent(destination, create=True) as (target, new_name):
            if finish_move(folder, name, target, new_name, context.key):
                return
            try:
                move_entry(folder, name, target, new_name, context.key)
            except FileExistsError as error:
                raise ToolError(f"destination exists: {shown(destination)}") from error


def _is_relocated(source: Path, destination: Path, identity: Json) -> bool:
    """Whether a planned move was carried out. Nothing stood at the destination when it was planned.

    Another file may have come to the source since: then the destination must hold the planned one, or on another
    device a copy of its size.
    """
    old, new = path_stat(source), path_stat(destination)
    if new is None or (old is not None and _is_planned(old, identity)):
        return False
    if old is None or _is_planned(new, identity):
        return True
    return bool(new.st_dev != identity["device"] and new.st_size == identity["size"])


def _trash_name(path: Path, context: ToolContext) -> str:
    """A free name that begins with the call's key and ends as the file's does."""
    trash = Path(os.path.realpath(context.trash))
    for attempt in range(1, 1000):
        key = context.key if attempt == 1 else f"{context.key}-{attempt}"
        room = _NAME_BYTES - len(key) - len("-.trashinfo")
        name = f"{key}-{os.fsdecode(os.fsencode(path.name)[-room:])}"
        if path_stat(trash / "files" / name) is None:
            return name
    raise ToolError("the trash has no free name")


def _record_origin(info: Path, path: Path, plan: Plan, context: ToolContext) -> None:
    """Writes where a file came from before it goes; the same again after a kill."""
    content = f"[Trash Info]\nPath={quote(os.fsencode(path))}\nDeletionDate={plan.detail['deleted_at']}\n".encode()
    with explained(info), opened_parent(info, create=True) as (folder, name):
        replace_file(folder, name, content, context.key, 0o600)
