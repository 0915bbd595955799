"""Prints what an image says of itself as JSON. Reads headers only, with the standard library."""

import argparse
import json
import os
import re
import struct
import sys

HEAD = 1 << 20
TURNED = {3: 180, 6: 90, 8: 270}
MAKE, MODEL, ORIENTATION, EXIF, GPS, TAKEN = 0x010F, 0x0110, 0x0112, 0x8769, 0x8825, 0x9003


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--file", required=True)
    given = parser.parse_args()
    try:
        with open(given.file, "rb") as file:
            head = file.read(HEAD)
        found = image(head)
    except OSError as error:
        return fail(f"{given.file}: {error.strerror}")
    except (struct.error, IndexError):
        return fail(f"{given.file} is damaged")
    if not found:
        return fail(f"{given.file} is no PNG, JPEG, GIF, WebP or BMP image")
    print(json.dumps({**found, "bytes": os.path.getsize(given.file)}))
    return 0


def image(head: bytes) -> dict:
    """Format, width, height and the rest; nothing for other files."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return sized("PNG", *struct.unpack(">II", head[16:24]))
    if head.startswith((b"GIF87a", b"GIF89a")):
        return sized("GIF", *struct.unpack("<HH", head[6:10]))
    if head.startswith(b"BM"):
        width, height = struct.unpack("<ii", head[18:26])
        return sized("BMP", width, abs(height))
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return sized("WebP", *webp(head))
    if head.startswith(b"\xff\xd8\xff"):
        return jpeg(head)
    return {}


def sized(kind: str, width: int, height: int) -> dict:
    return {"format": kind, "width": width, "height": height}


def webp(head: bytes) -> tuple:
    kind = head[12:16]
    if kind == b"VP8X":
        return tuple(1 + int.from_bytes(head[place : place + 3], "little") for place in (24, 27))
    if kind == b"VP8L":
        bits = struct.unpack("<I", head[21:25])[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return tuple(side & 0x3FFF for side in struct.unpack("<HH", head[26:30]))


def jpeg(head: bytes) -> dict:
    """Walks the segments up to the one that has the size."""
    place, photo = 2, {}
    while True:
        if head[place] != 0xFF:
            raise IndexError("no segment begins here")
        marker = head[place + 1]
        if marker == 0xFF or marker == 0x01 or 0xD0 <= marker <= 0xD8:
            place += 1 if marker == 0xFF else 2
            continue
        length = struct.unpack(">H", head[place + 2 : place + 4])[0]
        body = head[place + 4 : place + 2 + length]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", body[1:5])
            return {**sized("JPEG", width, height), **photo}
        if marker == 0xE1 and body.startswith(b"Exif\0\0"):
            photo = photo or exif(body[6:])
        place += 2 + length


def exif(data: bytes) -> dict:
    """What a photo says of itself; nothing where that is damaged."""
    try:
        order = {b"II": "<", b"MM": ">"}[data[:2]]
        tags = directory(data, struct.unpack(order + "I", data[4:8])[0], order)
        more = directory(data, tags[EXIF], order) if isinstance(tags.get(EXIF), int) else {}
    except (struct.error, KeyError, IndexError):
        return {}
    found = {}
    taken = more.get(TAKEN)
    if isinstance(taken, str) and re.fullmatch(r"\d{4}:\d\d:\d\d \d\d:\d\d:\d\d", taken):
        found["taken"] = taken[:10].replace(":", "-") + taken[10:]
    camera = " ".join(str(tags[tag]) for tag in (MAKE, MODEL) if isinstance(tags.get(tag), str) and tags[tag])
    if camera:
        found["camera"] = camera[:100]
    if tags.get(ORIENTATION) in TURNED:
        found["turned"] = TURNED[tags[ORIENTATION]]
    if GPS in tags:
        found["has_place"] = True
    return found


def directory(data: bytes, place: int, order: str) -> dict:
    """The tags of one directory that are texts or whole numbers."""
    found = {}
    count = struct.unpack(order + "H", data[place : place + 2])[0]
    for number in range(min(count, 200)):
        entry = data[place + 2 + 12 * number : place + 14 + 12 * number]
        tag, kind, length = struct.unpack(order + "HHI", entry[:8])
        if kind == 2:
            start = struct.unpack(order + "I", entry[8:12])[0] if length > 4 else None
            raw = entry[8 : 8 + length] if start is None else data[start : start + min(length, 200)]
            found[tag] = "".join(char for char in raw.decode("ascii", "replace") if char.isprintable()).strip()
        elif kind == 3:
            found[tag] = struct.unpack(order + "H", entry[8:10])[0]
        elif kind == 4:
            found[tag] = struct.unpack(order + "I", entry[8:12])[0]
    return found


def fail(message: str) -> int:
    print(message, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
