"""Prints which files below a folder have the same content, as JSON: by size, then their beginning, then all of it."""

import argparse
import hashlib
import json
import os
import stat
import sys
from collections.abc import Callable

MAX_FILES, MAX_GROUPS, MAX_NAMES = 100_000, 50, 20
BEGINNING = 1 << 16


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", required=True)
    given = parser.parse_args()
    if not os.path.isdir(given.folder):
        return fail(f"{given.folder} is no folder that can be read")
    files, unread = files_below(given.folder)
    if len(files) > MAX_FILES:
        return fail(f"{given.folder} holds more than {MAX_FILES:,} files; name a folder below it")
    groups = [files]
    for key in (lambda path: os.path.getsize(path), beginning, whole):
        groups, lost = divided(groups, key)
        unread += lost
    found = sorted((group_of(paths, given.folder) for paths in groups), key=lambda one: (-waste(one), one["names"]))
    answer = {"files": len(files), "unread": unread, "wasted_bytes": sum(map(waste, found))}
    if len(found) > MAX_GROUPS:
        answer["groups_left_out"] = len(found) - MAX_GROUPS
    print(json.dumps({**answer, "groups": found[:MAX_GROUPS]}))
    return 0


def files_below(folder: str) -> tuple:
    """Every file that is not empty, each once however many names it has, and how many folders could not be read."""
    seen, found, errors = set(), [], []
    for place, folders, names in os.walk(folder, onerror=errors.append):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(place, name)
            try:
                about = os.lstat(path)
            except OSError:
                continue
            if stat.S_ISREG(about.st_mode) and about.st_size and (about.st_dev, about.st_ino) not in seen:
                seen.add((about.st_dev, about.st_ino))
                found.append(path)
        if len(found) > MAX_FILES:
            break
    return found, len(errors)


def divided(groups: list, key: Callable) -> tuple:
    """The groups split by a key, those of one file left out, and how many files could not be read."""
    result, lost = [], 0
    for paths in groups:
        parts = {}
        for path in paths:
            try:
                parts.setdefault(key(path), []).append(path)
            except OSError:
                lost += 1
        result += [part for part in parts.values() if len(part) > 1]
    return result, lost


def beginning(path: str) -> bytes:
    with open(path, "rb") as file:
        return hashlib.sha256(file.read(BEGINNING)).digest()


def whole(path: str) -> bytes:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.digest()


def group_of(paths: list, folder: str) -> dict:
    names = [shown(os.path.relpath(path, folder)) for path in paths[:MAX_NAMES]]
    return {"bytes": os.path.getsize(paths[0]), "copies": len(paths), "names": names}


def waste(group: dict) -> int:
    return group["bytes"] * (group["copies"] - 1)


def shown(name: str) -> str:
    """A name that may not be UTF-8, with its odd bytes spelled out."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def fail(message: str) -> int:
    print(message, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
