"""The parts that the file trigger is made of: patterns, previews, file systems, one look at a path."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from edgeagent.triggers.contents import HEAD, Interrupted, Unsteady, preview, read_contents
from edgeagent.triggers.filesystems import silent_file_system
from edgeagent.triggers.listing import list_files, look
from edgeagent.triggers.patterns import Selection


@pytest.mark.parametrize(
    ("pattern", "taken", "refused"),
    [
        ("**/*", ["a", "a/b", "a/b/c.txt", ".hidden", "two\nlines"], []),
        ("*.txt", ["a.txt", "in/a.txt", "\udcff.txt"], ["a.txt.pdf", "atxt"]),
        ("**/*.txt", ["a.txt", "in/deep/a.txt"], ["a.md"]),
        ("/*.txt", ["a.txt"], ["in/a.txt"]),
        ("./*.txt", ["a.txt"], ["in/a.txt"]),
        ("in/*.txt", ["in/a.txt"], ["a.txt", "in/deep/a.txt", "x/in/a.txt"]),
        ("in/**", ["in/a.txt", "in/deep/a.txt"], ["a.txt", "inn/a.txt"]),
        ("in/**/a.txt", ["in/a.txt", "in/b/c/a.txt"], ["in/ba.txt"]),
        ("scan-??.[pj][dp]*", ["scan-01.pdf", "scan-02.jpg"], ["scan-1.pdf", "scan-01.txt"]),
        ("[!a]*.(x)+$", ["b.(x)+$"], ["a.(x)+$", "b.xx"]),
        ("[z-a]", ["[z-a]"], ["z"]),
        ("a[", ["a["], ["a"]),
    ],
)
def test_a_pattern_takes_what_it_says(pattern: str, taken: list[str], refused: list[str]) -> None:
    selection = Selection([pattern], [])
    assert [path for path in taken if not selection.takes(path)] == []
    assert [path for path in refused if selection.takes(path)] == []


def test_what_is_ignored_includes_everything_below_an_ignored_folder() -> None:
    selection = Selection(["**/*"], ["build", "/only-here", "*.log"])
    assert not any(selection.takes(path) for path in ("build/a.txt", "x/build/y/a.txt", "only-here", "x/a.log"))
    assert all(selection.takes(path) for path in ("x/only-here", "builds/a.txt"))


@pytest.mark.parametrize("name", [".a.txt.swp", "a~", "a.part", "a.crdownload", ".goutputstream-X", ".#a", ".~lock.a#"])
def test_what_programs_leave_while_they_work_does_not_count(name: str) -> None:
    assert not Selection(["**/*"], []).takes(name)
    assert not Selection(["**/*"], []).takes(f"folder/{name}")


@pytest.mark.parametrize(
    ("head", "shown"),
    [
        (b"", ""),
        ("grüße".encode(), "grüß"),
        (b"\xef\xbb\xbftext", "text"),
        ("grüße".encode("utf-16"), "grüß"),
        (b"caf\xe9 x", "caf\ufffd"),
        ("grü".encode()[:-1], "gr\ufffd"),
        (b"PK\x03\x04\x00\x00", ""),
        (b"%PDF-1.7 text", ""),
        (bytes(range(1, 32)), ""),
        (b"a\r\n\tb", "a\r\n\t"),
    ],
)
def test_the_preview_is_the_beginning_of_text_and_nothing_else(head: bytes, shown: str) -> None:
    assert preview(head, 4) == shown


def test_a_character_cut_by_the_end_of_what_was_read_is_left_out() -> None:
    head = ("a" + "ü" * HEAD).encode()[:HEAD]
    assert "\ufffd" not in preview(head, HEAD)


def test_reading_tells_a_file_that_was_replaced_or_went(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    seen = look(str(path))
    assert seen is not None
    path.write_text("newer")
    with pytest.raises(Unsteady):
        read_contents(str(path), seen, lambda: False)
    path.unlink()
    with pytest.raises(Unsteady):
        read_contents(str(path), seen, lambda: False)
    os.mkfifo(path)
    with pytest.raises(Unsteady):
        read_contents(str(path), seen, lambda: False)


def test_reading_ends_when_the_daemon_does(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("text")
    seen, stopping = look(str(path)), threading.Event()
    assert seen is not None
    assert read_contents(str(path), seen, stopping.is_set).head == b"text"
    stopping.set()
    with pytest.raises(Interrupted):
        read_contents(str(path), seen, stopping.is_set)


def test_a_listing_neither_follows_links_nor_enters_what_is_ignored(tmp_path: Path) -> None:
    for name in ("in/deep/a.txt", "ignored/b.txt", "c.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "loop").symlink_to(tmp_path)
    listing = list_files(str(tmp_path), True, lambda path: True, lambda path: not path.endswith("ignored"))
    assert sorted(os.path.relpath(path, tmp_path) for path in listing.files) == ["c.txt", "in/deep/a.txt", "loop"]
    assert list_files(str(tmp_path / "none"), True, lambda path: True, lambda path: True).files == {}


MOUNTS = r"""22 27 0:21 / /proc rw - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 27 0:30 / /mnt/my\040disk rw,relatime shared:1 - fuse.sshfs host:/ rw
31 27 0:31 / /srv rw - ext4 /dev/sdb rw
32 27 0:32 / /srv rw - nfs4 server:/srv rw
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/home/me/in", None),
        ("/srv/in", "nfs4"),
        ("/srv", "nfs4"),
        ("/srv2", None),
        ("/mnt/my disk/in", "fuse.sshfs"),
        ("/mnt/my disks", None),
    ],
)
def test_file_systems_that_tell_nothing_are_known_by_their_mount(tmp_path: Path, folder: str, kind: str | None) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    assert silent_file_system(folder, mounts) == kind


def test_without_a_table_of_mounts_the_system_is_trusted(tmp_path: Path) -> None:
    assert silent_file_system("/home", tmp_path / "none") is None
