"""Prints what a zip archive holds as JSON, and why it would not be unpacked."""

import argparse
import json
import sys

from checked import Refused, fail, fault, opened

MAX_NAMES = 200


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--archive", required=True)
    given = parser.parse_args()
    try:
        archive = opened(given.archive)
    except Refused as error:
        return fail(f"{given.archive}: {error}")
    files = [entry for entry in archive.infolist() if not entry.is_dir()]
    names = [entry.filename for entry in files]
    found = {"files": len(files), "bytes": sum(entry.file_size for entry in files), "names": names[:MAX_NAMES]}
    if len(names) > MAX_NAMES:
        found["names_left_out"] = len(names) - MAX_NAMES
    wrong = fault(archive)
    if wrong:
        found["refused"] = wrong
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
