"""What would be on the disk after a power cut: strace's log of writes and syncs, and images rebuilt from it.

Nothing but what was synced is certain (POSIX): of the writes after the last completed sync of a file any may be there,
whole, torn at sectors or not at all; a file that was made or deleted without a sync of its folder may be there or not.
The index beside a write-ahead log (-shm) is memory, and gone.
"""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

CALLS = (
    "pwrite64",
    "write",
    "fsync",
    "fdatasync",
    "ftruncate",
    "unlink",
    "unlinkat",
    "rename",
    "renameat2",
    "openat",
    "sendto",
)
OPTIONS = ("-y", "-xx", "-s", "1000000")
SECTOR = 512
_LINE = re.compile(rb"^(\d+) +(?:<\.\.\. (\w+) resumed>(.*)|(\w+)\((.*))$", re.DOTALL)
_PATH = re.compile(rb"^(?:AT_FDCWD|\d+)<((?:\\x[0-9a-f]{2})+)>")
_TEXT = re.compile(rb'"((?:\\x[0-9a-f]{2})*)"')
_SYNCS = {"fsync", "fdatasync"}


@dataclass(frozen=True)
class Call:
    """One call: what it did to which file, and between which lines of the log it was under way.

    `offset` is None for a plain write, which goes to where the file ends or to a socket.
    """

    name: str
    path: str
    data: bytes
    offset: int | None
    begun: int
    ended: int


def read_log(log: Path) -> list[Call]:
    """The calls that succeeded, in the order in which they began."""
    calls: list[Call] = []
    open_calls: dict[bytes, tuple[int, bytes, bytes]] = {}
    with log.open("rb") as lines:
        for number, line in enumerate(lines):
            found = _LINE.match(line.rstrip(b"\n"))
            if not found:
                continue
            thread, resumed, rest, name, arguments = found.groups()
            if resumed:
                begun, name, head = open_calls.pop(thread, (number, resumed, b""))
                arguments = head + rest
            elif arguments.endswith(b"<unfinished ...>"):
                open_calls[thread] = (number, name, arguments.removesuffix(b"<unfinished ...>"))
                continue
            else:
                begun = number
            if b") = -1" not in arguments and b") = ?" not in arguments:
                calls += _call(name.decode(), arguments, begun, number)
    for begun, name, arguments in open_calls.values():  # under way when the log ends
        calls += _call(name.decode(), arguments, begun, 1 << 60)
    return sorted(calls, key=lambda call: call.begun)


def _call(name: str, arguments: bytes, begun: int, ended: int) -> Iterator[Call]:
    path = _PATH.match(arguments)
    where = _plain(path[1]).decode(errors="replace") if path else ""
    texts = [_plain(text) for text in _TEXT.findall(arguments)]
    if name in ("unlink", "unlinkat"):
        yield Call(name, _joined(where, texts[0]), b"", None, begun, ended)
    elif name in ("rename", "renameat2"):
        yield Call("rename", _joined(where, texts[0]), texts[-1], None, begun, ended)
    elif name == "openat":
        if b"O_CREAT" in arguments:
            yield Call("create", _joined(where, texts[0]), b"", None, begun, ended)
    elif name in ("pwrite64", "ftruncate"):
        number = int(re.findall(rb", (\d+) *(?:\)|$)", arguments)[-1])
        yield Call(name, where, texts[0] if texts else b"", number, begun, ended)
    else:
        yield Call(name, where, texts[0] if texts else b"", None, begun, ended)


def _plain(hexed: bytes) -> bytes:
    return bytes.fromhex(hexed.replace(b"\\x", b"").decode())


def _joined(folder: str, name: bytes) -> str:
    return str(Path(folder) / name.decode(errors="replace"))


def image(calls: list[Call], files: Collection[str], cut: int, dice: random.Random, keep: str) -> dict[str, bytes]:
    """What the files hold when the power goes at that line of the log.

    `keep` says what becomes of the writes that were not synced: all, none, some, or torn.
    """
    before = [call for call in calls if call.begun < cut]
    return {path: content for path in files if (content := _content(before, path, cut, dice, keep)) is not None}


def _content(before: list[Call], path: str, cut: int, dice: random.Random, keep: str) -> bytes | None:
    synced, listed = _last_sync(before, path, cut), _last_sync(before, str(Path(path).parent), cut)
    content: bytearray | None = None
    for call in before:
        if call.path != path:
            continue
        if call.name == "create":
            # A file that was there already is opened by the same call; what it held stays.
            if content is None and (call.ended < listed or _kept(keep, dice)):
                content = bytearray()
        elif call.name in ("unlink", "unlinkat"):
            if call.ended < listed or _kept(keep, dice):
                content = None
        elif content is not None and call.name in ("pwrite64", "ftruncate"):
            is_certain = call.ended <= synced
            if is_certain or keep == "torn" or _kept(keep, dice):
                _apply(content, call, None if is_certain or keep != "torn" else dice)
    return None if content is None else bytes(content)


def _last_sync(before: list[Call], path: str, cut: int) -> int:
    """Where the last sync of the file or folder began that was over by then; -1 where none was."""
    syncs = (call for call in before if call.path == path and call.name in _SYNCS and call.ended < cut)
    return max((call.begun for call in syncs), default=-1)


def _kept(keep: str, dice: random.Random) -> bool:
    return keep == "all" or (keep in ("some", "torn") and dice.random() < 0.5)


def _apply(content: bytearray, call: Call, dice: random.Random | None) -> None:
    assert call.offset is not None
    if call.name == "ftruncate":
        if dice is None or dice.random() < 0.5:
            del content[call.offset :]
            content.extend(bytes(call.offset - len(content)))
        return
    start, end = call.offset, call.offset + len(call.data)
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    at = start
    while at < end:
        upto = min(end, (at // SECTOR + 1) * SECTOR)
        if dice is None or dice.random() < 0.5:
            content[at:upto] = call.data[at - start : upto - start]
        at = upto
