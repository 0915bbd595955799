"""Hostile skills to install: how each is made, and what a careless program does with it."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import stat
import struct
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

GOOD = b"---\nname: evil\ndescription: Looks like any other.\n---\nGo.\n"
GIGABYTE = 10**9
_CHUNK = 10_000_000

Made = Callable[[Path], str]
"""Makes a source in a folder `from` beside `victim`, and says what to add."""


def victim(base: Path) -> Path:
    return base / "victim"


def outwards(base: Path) -> str:
    """A relative path that leads from anywhere to a new file of the victim."""
    return "../" * 20 + str(victim(base) / "new").lstrip("/")


# --- zip ------------------------------------------------------------------------------------------------------------


def zip_of(*entries: tuple[Callable[[Path], str] | str, int, bytes], packed: bool = False) -> Made:
    """A zip archive with a good SKILL.md and these entries: name, mode and content."""

    def make(base: Path) -> str:
        path = base / "from" / "evil.zip"
        how = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
        with zipfile.ZipFile(path, "w", how) as archive:
            archive.writestr("evil/SKILL.md", GOOD)
            for name, mode, content in entries:
                info = zipfile.ZipInfo(name if isinstance(name, str) else name(base))
                info.external_attr, info.compress_type = mode << 16, how
                archive.writestr(info, content)
        return str(path)

    return make


def careless_unzip(source: str, folder: Path) -> None:
    """As many programs do it: names are joined, links are made, modes are set."""
    with zipfile.ZipFile(source) as archive:
        for entry in archive.infolist():
            target = os.path.join(folder, entry.filename.replace("\\", "/"))
            mode = entry.external_attr >> 16
            os.makedirs(os.path.dirname(target), exist_ok=True)
            if stat.S_ISLNK(mode):
                os.symlink(archive.read(entry), target)
            elif not entry.is_dir():
                Path(target).write_bytes(archive.read(entry, pwd=b"open"))
                if mode:
                    os.chmod(target, mode & 0o7777)


def link_to_secret(base: Path) -> str:
    """A zip archive with a link in place of its SKILL.md."""
    with zipfile.ZipFile(base / "from" / "evil.zip", "w") as archive:
        info = zipfile.ZipInfo("evil/SKILL.md")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, str(victim(base) / "secret.txt"))
    return str(base / "from" / "evil.zip")


def link_and_through(base: Path) -> str:
    with zipfile.ZipFile(base / "from" / "evil.zip", "w") as archive:
        archive.writestr("evil/SKILL.md", GOOD)
        info = zipfile.ZipInfo("evil/l")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, str(victim(base)))
        archive.writestr("evil/l/new", b"x")
    return str(base / "from" / "evil.zip")


def _zeros(size: int) -> bytes:
    """Raw deflate data of that many zeros, made from one piece over and over."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = packer.compress(bytes(_CHUNK)) + packer.flush(zlib.Z_FULL_FLUSH)
    last = zlib.compressobj(9, zlib.DEFLATED, -15)
    return piece * (size // _CHUNK) + last.flush()


def _zip_by_hand(path: Path, name: bytes, data: bytes, *, size: int, method: int = 8) -> None:
    local = struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, method, 0, 33, 0, len(data), size, len(name), 0)
    central = struct.pack(
        "<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, method, 0, 33, 0, len(data), size, len(name), 0, 0, 0, 0, 0, 0
    )
    end = struct.pack(
        "<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(central) + len(name), len(local) + len(name) + len(data), 0
    )
    path.write_bytes(local + name + data + central + name + end)


def zip_bomb(base: Path) -> str:
    """Ten megabytes that are 4 GB when unpacked, the most that the old form can say."""
    path = base / "from" / "bomb.zip"
    _zip_by_hand(path, b"evil/zeros", _zeros(4 * GIGABYTE), size=4 * GIGABYTE)
    return str(path)


def zip_that_lies(base: Path) -> str:
    """Says that it holds ten bytes."""
    path = base / "from" / "liar.zip"
    _zip_by_hand(path, b"evil/zeros", _zeros(4 * GIGABYTE), size=10)
    return str(path)


def zip_with_overlap(base: Path) -> str:
    """Three thousand entries that share the bytes of one: 3 GB out of a few kilobytes."""
    path = base / "from" / "overlap.zip"
    name, data, count = b"evil/zeros", _zeros(_CHUNK), 3000
    local = struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 8, 0, 33, 0, len(data), _CHUNK, len(name), 0)
    central = b""
    for number in range(count):
        named = b"evil/%05d" % number
        central += (
            struct.pack(
                "<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 8, 0, 33, 0, len(data), _CHUNK, len(named), 0, 0, 0, 0, 0, 0
            )
            + named
        )
    offset = len(local) + len(name) + len(data)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(central), offset, 0)
    path.write_bytes(local + name + data + central + end)
    return str(path)


def careless_inflate(source: str, folder: Path) -> None:
    """Unpacks the first entry without a look at sizes; how much came out is the size of a file without content."""
    raw = Path(source).read_bytes()
    start = 30 + struct.unpack_from("<H", raw, 26)[0]
    unpacker, count, place = zlib.decompressobj(-15), 0, start
    while count < GIGABYTE and not unpacker.eof:
        piece = unpacker.unconsumed_tail or raw[place : place + 65536]
        place += 0 if unpacker.unconsumed_tail else 65536
        count += len(unpacker.decompress(piece, 1 << 24))
    times = raw.count(b"PK\1\2")
    with (folder / "zeros").open("wb") as file:
        file.truncate(count * times)


def zip_of_many(base: Path) -> str:
    """The list of 200,000 entries, all without content."""
    path = base / "from" / "many.zip"
    central = b"".join(
        struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 33, 0, 0, 0, 11, 0, 0, 0, 0, 0, 0)
        + b"evil/%06d" % number
        for number in range(200_000)
    )
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, len(central), 0, 0)
    path.write_bytes(central + end)
    return str(path)


def careless_many(source: str, folder: Path) -> None:
    """Makes a file for each entry, up to more than a skill may have."""
    with zipfile.ZipFile(source) as archive:
        names = archive.namelist()[:6000]
    (folder / "evil").mkdir()
    for name in names:
        (folder / name).touch()


def encrypted_zip(base: Path) -> str:
    """The payload behind the password "open", where no scanner sees it."""
    content = b"#!/bin/sh\nevil\n"
    keys = [0x12345678, 0x23456789, 0x34567890]

    def update(byte: int) -> None:
        keys[0] = zlib.crc32(bytes([byte]), keys[0] ^ 0xFFFFFFFF) ^ 0xFFFFFFFF
        keys[1] = ((keys[1] + (keys[0] & 0xFF)) * 134775813 + 1) & 0xFFFFFFFF
        keys[2] = zlib.crc32(bytes([keys[1] >> 24]), keys[2] ^ 0xFFFFFFFF) ^ 0xFFFFFFFF

    for byte in b"open":
        update(byte)
    crc = zlib.crc32(content)
    data = bytearray()
    for byte in bytes(11) + bytes([crc >> 24]) + content:
        word = keys[2] | 2
        data.append(byte ^ (((word * (word ^ 1)) >> 8) & 0xFF))
        update(byte)
    name = b"evil/scripts/run.sh"
    local = (
        struct.pack("<4s5H3L2H", b"PK\3\4", 20, 1, 0, 0, 33, crc, len(data), len(content), len(name), 0) + name + data
    )
    central = struct.pack(
        "<4s6H3L5H2L", b"PK\1\2", 20, 20, 1, 0, 0, 33, crc, len(data), len(content), len(name), 0, 0, 0, 0, 0, 0
    )
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(central) + len(name), len(local), 0)
    path = base / "from" / "locked.zip"
    path.write_bytes(local + central + name + end)
    return str(path)


def nested_bomb(base: Path) -> str:
    inner = Path(zip_bomb(base)).read_bytes()
    return zip_of(("evil/assets/inner.zip", stat.S_IFREG | 0o644, inner))(base)


def careless_nested(source: str, folder: Path) -> None:
    """Unpacks what is in it, and what is in that."""
    careless_unzip(source, folder)
    careless_inflate(str(folder / "evil/assets/inner.zip"), folder)


# --- tar ------------------------------------------------------------------------------------------------------------


def tar_of(*entries: Callable[[Path], tuple[tarfile.TarInfo, bytes]], name: str = "evil.tar.gz") -> Made:
    def make(base: Path) -> str:
        path = base / "from" / name
        with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as archive:
            for made in (lambda base: entry("evil/SKILL.md", content=GOOD), *entries):
                info, content = made(base)
                archive.addfile(info, io.BytesIO(content))
        return str(path)

    return make


def entry(
    name: str, kind: bytes = tarfile.REGTYPE, content: bytes = b"x", **more: Any
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.mode = 0o644
    for key, value in more.items():
        setattr(info, key, value)
    content = content if kind == tarfile.REGTYPE else b""
    info.size = len(content)
    return info, content


def careless_untar(source: str, folder: Path) -> None:
    with tarfile.open(source) as archive:
        if hasattr(tarfile, "fully_trusted_filter"):
            archive.extractall(folder, filter="fully_trusted")
        else:
            archive.extractall(folder)


def _gzipped(path: Path, *pieces: bytes) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    path.write_bytes(b"".join(packer.compress(piece) for piece in pieces) + packer.flush())


def tar_bomb(base: Path) -> str:
    """Ten gigabytes in ten megabytes: a header, and zeros in pieces of their own, which gzip allows."""
    path = base / "from" / "bomb.tar.gz"
    info = tarfile.TarInfo("evil/zeros")
    info.size = 10 * GIGABYTE
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    piece = packer.compress(bytes(_CHUNK)) + packer.flush()
    head = zlib.compressobj(9, zlib.DEFLATED, 31)
    start = head.compress(info.tobuf(tarfile.GNU_FORMAT)) + head.flush()
    path.write_bytes(start + piece * 1000)
    return str(path)


def careless_gunzip(source: str, folder: Path) -> None:
    count = 0
    with gzip.open(source) as stream:
        while count < GIGABYTE and (block := stream.read(1 << 24)):
            count += len(block)
    with (folder / "zeros").open("wb") as file:
        file.truncate(count)


def sparse_tar(base: Path) -> str:
    """A file of eight gigabytes that is one hole."""
    header = bytearray(tarfile.TarInfo("evil/zeros").tobuf(tarfile.GNU_FORMAT))
    header[156:157] = b"S"
    header[386:410] = b"%011o\0" % (8 * GIGABYTE) + b"%011o\0" % 0
    header[483:495] = b"%011o\0" % (8 * GIGABYTE)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path = base / "from" / "evil.tar.gz"
    _gzipped(path, bytes(header), bytes(1024))
    return str(path)


def huge_pax_header(base: Path) -> str:
    """Forty megabytes of comment before one file, to be held in memory."""
    info = tarfile.TarInfo("evil/comment")
    info.type, size = b"x", 40_000_000
    record = b"%d comment=" % size
    info.size = size
    path = base / "from" / "evil.tar.gz"
    body = record + b"a" * (size - len(record) - 1) + b"\n"
    body += bytes(-len(body) % 512)
    _gzipped(path, info.tobuf(tarfile.GNU_FORMAT), body, entry("evil/SKILL.md")[0].tobuf(), b"x" + bytes(2047))
    return str(path)


def careless_header(source: str, folder: Path) -> None:
    with tarfile.open(source) as archive:
        member = archive.next()
        assert member
        (folder / "comment").write_text(member.pax_headers["comment"])


def tar_of_many(base: Path) -> str:
    path = base / "from" / "many.tar.gz"
    _gzipped(
        path, *(tarfile.TarInfo(f"evil/{number:06}").tobuf(tarfile.GNU_FORMAT) for number in range(6000)), bytes(1024)
    )
    return str(path)


def cut_off(make: Made, part: float) -> Made:
    """The first part of an archive, as from a connection that broke."""

    def made(base: Path) -> str:
        source = make(base)
        raw = Path(source).read_bytes()
        Path(source).write_bytes(raw[: int(len(raw) * part)])
        return source

    return made


def long_tar(base: Path) -> str:
    noise = os.urandom(300_000)
    return tar_of(lambda base: entry("evil/scripts/run.sh", content=noise))(base)


def careless_half(source: str, folder: Path) -> None:
    with suppress(tarfile.TarError, EOFError, OSError, zlib.error):
        careless_untar(source, folder)


# --- folders --------------------------------------------------------------------------------------------------------


def folder_with(*change: Callable[[Path, Path], object], name: str = "evil") -> Made:
    """A skill folder, and what is done to it: called with the folder and the base."""

    def make(base: Path) -> str:
        folder = base / "from" / name
        (folder / "scripts").mkdir(parents=True)
        (folder / "SKILL.md").write_bytes(GOOD)
        for one in change:
            one(folder, base)
        return str(folder)

    return make


def careless_copy(source: str, folder: Path) -> None:
    subprocess.run(["cp", "-r", source, folder], check=True)


def copy_following(source: str, folder: Path) -> None:
    shutil.copytree(source, folder / Path(source).name)


def six_thousand_files(folder: Path, base: Path) -> None:
    for number in range(6000):
        (folder / "scripts" / str(number)).touch()


def sparse_file(folder: Path, base: Path) -> None:
    with (folder / "zeros").open("wb") as file:
        file.truncate(10 * GIGABYTE)


# --- git ------------------------------------------------------------------------------------------------------------

_GIT = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always"]


def git(folder: Path, *arguments: str, stdin: bytes = b"") -> str:
    done = subprocess.run([*_GIT, "-C", str(folder), *arguments], input=stdin, capture_output=True, check=True)
    return done.stdout.decode().strip()


def repository(*change: Callable[[Path, Path], object], name: str = "repo") -> Made:
    def make(base: Path) -> str:
        folder = base / "from" / name
        (folder / "evil").mkdir(parents=True)
        (folder / "evil" / "SKILL.md").write_bytes(GOOD)
        git(folder, "init", "-q", "-b", "main")
        for one in change:
            one(folder, base)
        git(folder, "add", "-A")
        git(folder, "commit", "-qm", "a")
        return f"file://{folder}"

    return make


def with_submodule(folder: Path, base: Path) -> None:
    """Another repository of this machine, which the attacker could not read by himself."""
    private = base / "from" / "private"
    private.mkdir()
    (private / "secret.txt").write_text((victim(base) / "secret.txt").read_text())
    git(private, "init", "-q", "-b", "main")
    git(private, "add", "-A")
    git(private, "commit", "-qm", "a")
    git(folder, "submodule", "--quiet", "add", f"file://{private}", "evil/private")


def careless_clone(source: str, folder: Path) -> None:
    subprocess.run([*_GIT, "clone", "-q", "--recurse-submodules", source, folder / "clone"], check=True)


def from_raw_tree(entries: Callable[[Path, Path], bytes]) -> Made:
    """A repository whose newest commit is a tree that git itself would not make."""

    def make(base: Path) -> str:
        folder = base / "from" / "raw"
        folder.mkdir()
        git(folder, "init", "-q", "-b", "main")
        tree = git(folder, "hash-object", "-t", "tree", "-w", "--stdin", "--literally", stdin=entries(folder, base))
        commit = git(folder, "commit-tree", "-m", "a", tree)
        git(folder, "update-ref", "refs/heads/main", commit)
        return f"file://{folder}"

    return make


def blob(folder: Path, content: bytes) -> bytes:
    return bytes.fromhex(git(folder, "hash-object", "-w", "--stdin", stdin=content))


def tree_that_leads_out(folder: Path, base: Path) -> bytes:
    return b"100644 SKILL.md\0" + blob(folder, GOOD) + b"100644 " + outwards(base).encode() + b"\0" + blob(folder, b"x")


def tree_bomb(folder: Path, base: Path) -> bytes:
    """Ten trees of ten trees of ten ...: a few hundred bytes that name a billion files."""
    below = b"".join(b"100644 f%d\0" % number + blob(folder, b"x") for number in range(10))
    for _ in range(8):
        name = git(folder, "hash-object", "-t", "tree", "-w", "--stdin", "--literally", stdin=below)
        below = b"".join(b"40000 d%d\0" % number + bytes.fromhex(name) for number in range(10))
    return b"100644 SKILL.md\0" + blob(folder, GOOD) + below


def careless_tree(source: str, folder: Path) -> None:
    """Writes every file of the newest commit to where its name says."""
    repository = Path(source.removeprefix("file://"))
    listing = subprocess.Popen(
        [*_GIT, "-C", str(repository), "ls-tree", "-r", "-z", "HEAD"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert listing.stdout
    lines = listing.stdout.read(500_000).split(b"\0")[:-1][:6000]
    listing.kill()
    listing.communicate()
    for line in lines:
        target = os.path.join(folder, os.fsdecode(line.partition(b"\t")[2]))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        Path(target).write_bytes(b"x")


def big_blob(folder: Path, base: Path) -> None:
    with (folder / "evil" / "zeros").open("wb") as file:
        file.truncate(210_000_000)


def payload(base: Path) -> str:
    """A command that leaves a new file with the victim."""
    return f"touch {victim(base)}/new"
