"""Unpacks a zip archive into a folder: all of it or nothing, never over what is there, never anywhere else."""

import argparse
import json
import os
import shutil
import sys
import zipfile

from checked import DAMAGED, MAX_BYTES, Refused, fail, fault, opened


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--archive", required=True)
    parser.add_argument("--folder", required=True)
    given = parser.parse_args()
    try:
        archive = opened(given.archive)
        wrong = fault(archive)
        if wrong:
            return fail(f"{given.archive} is not unpacked: {wrong}")
        print(json.dumps(unpacked(archive, given.folder)))
    except Refused as error:
        return fail(f"{given.archive} is not unpacked: {error}")
    except DAMAGED:
        return fail(f"{given.archive} is not unpacked: it is damaged, or packed in a way that is not known here")
    except OSError as error:
        return fail(f"{error.filename or given.folder}: {error.strerror}")
    return 0


def unpacked(archive: zipfile.ZipFile, folder: str) -> dict:
    """Whatever was made is taken away again where not all of it can be."""
    names = sorted({parts(entry)[0] for entry in archive.infolist()})
    for name in names:
        if os.path.lexists(os.path.join(folder, name)):
            raise Refused(f"{name} is there already")
    was_there = os.path.isdir(folder)
    os.makedirs(folder, exist_ok=True)
    made = []
    try:
        return {**written(archive, folder, made), "names": names[:50]}
    except BaseException:
        for path in made:
            shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
        if not was_there:
            os.rmdir(folder)
        raise


def parts(entry: zipfile.ZipInfo) -> list:
    return [part for part in entry.filename.split("/") if part not in ("", ".")]


def written(archive: zipfile.ZipFile, folder: str, made: list) -> dict:
    """Counts what comes out and not what the archive says of itself. `made` gets what is new in the folder."""
    files, left = 0, MAX_BYTES
    for entry in archive.infolist():
        words = parts(entry)
        above = os.path.join(folder, *(words if entry.is_dir() else words[:-1]))
        if above != folder:
            top = os.path.join(folder, words[0])
            if top not in made:
                os.mkdir(top)
                made.append(top)
            os.makedirs(above, exist_ok=True)
        if entry.is_dir():
            continue
        target = os.path.join(above, words[-1])
        with archive.open(entry) as source, open(target, "xb") as file:
            if above == folder:
                made.append(target)
            for block in iter(lambda: source.read(1 << 16), b""):
                left -= len(block)
                if left < 0:
                    raise Refused(f"it holds more than {MAX_BYTES // 1_000_000} MB")
                file.write(block)
        files += 1
    return {"files": files, "bytes": MAX_BYTES - left}


if __name__ == "__main__":
    sys.exit(main())
