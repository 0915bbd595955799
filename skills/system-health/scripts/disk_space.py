"""Prints how full the disk is that a path lies on, as JSON."""

import argparse
import json
import os
import sys


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--path", required=True)
    given = parser.parse_args()
    try:
        disk = os.statvfs(given.path)
    except OSError as error:
        print(f"{given.path}: {error.strerror}", file=sys.stderr)
        return 1
    used = disk.f_blocks - disk.f_bfree
    usable = used + disk.f_bavail
    answer = {
        "total_gb": round(disk.f_blocks * disk.f_frsize / 1e9, 2),
        "free_gb": round(disk.f_bavail * disk.f_frsize / 1e9, 2),
        "used_percent": round(100 * used / usable, 1) if usable else 0.0,
    }
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
