"""Packs one file or folder into a new zip archive, and leaves out what is neither file nor folder."""

import argparse
import json
import os
import stat
import sys
import zipfile
from collections.abc import Iterator
from typing import IO

from checked import MAX_ENTRIES, Refused, fail


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    parser.add_argument("--archive", required=True)
    given = parser.parse_args()
    try:
        with open(given.archive, "xb") as file:
            try:
                found = packed(given.source, file)
            except BaseException:
                os.unlink(given.archive)
                raise
        print(json.dumps({**found, "bytes": os.path.getsize(given.archive)}))
    except FileExistsError:
        return fail(f"{given.archive} is there already; name another archive")
    except Refused as error:
        return fail(f"{given.source} is not packed: {error}")
    except OSError as error:
        return fail(f"{error.filename or given.archive}: {error.strerror}")
    return 0


def packed(source: str, file: IO) -> dict:
    top = os.path.dirname(os.path.abspath(source))
    own = os.fstat(file.fileno())
    files = left_out = 0
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
        for path in paths(source):
            found = os.lstat(path)
            if os.path.samestat(found, own):
                continue
            if not stat.S_ISREG(found.st_mode) or not is_text(path):
                left_out += 1
                continue
            files += 1
            if files > MAX_ENTRIES:
                raise Refused(f"it holds more than {MAX_ENTRIES:,} files")
            archive.write(path, os.path.relpath(path, top))
    if not files:
        raise Refused("there is no file in it")
    return {"files": files, "left_out": left_out}


def is_text(path: str) -> bool:
    """Whether the name is UTF-8, as names in archives are."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def paths(source: str) -> Iterator[str]:
    """The source where it is a file, else every file below it and every link to a folder, in order."""
    os.lstat(source)
    if not os.path.isdir(source):
        yield source
    for folder, folders, names in os.walk(source):
        folders.sort()
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in sorted([*names, *links]):
            yield os.path.join(folder, name)


if __name__ == "__main__":
    sys.exit(main())
