"""What exists in the file system of level `full`, as options of bubblewrap. Nothing but what stands here.

The programs of the system, read-only; a handful of files of /etc that programs cannot do without; made-up users; a new
/proc; a minimal /dev; scratch memory at /tmp. Everything that a command is granted comes on top.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

SCRATCH = "/tmp"
USER = 1000
"""The user in the sandbox, whoever runs it."""
_SHARED_MEMORY = 64_000_000

_LINKS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
ETC = (
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "alternatives",
    "ssl/certs",
    "ssl/openssl.cnf",
    "ca-certificates",
    "pki/tls/certs",
    "pki/ca-trust/extracted",
    "crypto-policies",
    "localtime",
    "timezone",
    "mime.types",
    "magic",
    "fonts",
    "ImageMagick-6",
    "ImageMagick-7",
    "papersize",
)
_MADE_UP = {
    "passwd": f"user:x:{USER}:{USER}::{SCRATCH}:/bin/sh\nnobody:x:65534:65534::/:/usr/sbin/nologin\n",
    "group": f"user:x:{USER}:\nnogroup:x:65534:\n",
    "hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}


def namespaces() -> list[str]:
    """New namespaces of every kind, no way to make more, no rights, no terminal, no life after ours."""
    user = str(USER)
    return [
        *("--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"),
        *("--disable-userns", "--uid", user, "--gid", user, "--hostname", "sandbox"),
        *("--new-session", "--die-with-parent", "--cap-drop", "ALL"),
    ]


def made_up_files() -> Iterator[tuple[str, bytes]]:
    """Files of /etc that are written for the sandbox."""
    for name, text in _MADE_UP.items():
        yield f"/etc/{name}", text.encode()


def system(scratch_size: int) -> list[str]:
    """The system's own files, and the scratch memory with its size (a tmpfs takes half the memory unless told)."""
    scratch = str(max(scratch_size, 4096))
    shared = str(max(min(scratch_size, _SHARED_MEMORY), 4096))
    options = ["--ro-bind", "/usr", "/usr", "--perms", "0755", "--dir", "/etc"]
    for name in _LINKS:
        options += _top_folder(Path("/", name))
    for name in ETC:
        if Path("/etc", name).exists():
            options += ["--ro-bind", f"/etc/{name}", f"/etc/{name}"]
    options += [
        "--proc",
        "/proc",
        *_closed_facts(),
        "--remount-ro",
        "/proc",
        "--dev",
        "/dev",
        "--size",
        shared,
        "--perms",
        "1777",
        "--tmpfs",
        "/dev/shm",
    ]
    return [*options, "--remount-ro", "/dev", "--size", scratch, "--perms", "1777", "--tmpfs", SCRATCH]


def _closed_facts() -> list[str]:
    """Of /proc, what only root may read: the user in the sandbox is root outside where the daemon runs as root."""
    if os.geteuid() != 0:
        return []
    closed = [entry.path for entry in os.scandir("/proc") if entry.is_file() and not entry.stat().st_mode & 0o004]
    return [part for path in (*closed, "/proc/keys") for part in ("--ro-bind", "/dev/null", path)]


def _top_folder(path: Path) -> list[str]:
    """/lib and its like: a link into /usr on most systems, a folder on some."""
    if path.is_symlink():
        return ["--symlink", os.readlink(path), str(path)]
    return ["--ro-bind", str(path), str(path)] if path.is_dir() else []
