"""Prints the checksum of a file, or whether it is the expected one, as JSON."""

import argparse
import hashlib
import json
import sys

BY_LENGTH = {32: "md5", 64: "sha256", 128: "sha512"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--file", required=True)
    parser.add_argument("--algorithm", choices=["sha256", "md5", "sha512"], default="sha256")
    parser.add_argument("--expected")
    given = parser.parse_args()
    algorithm = BY_LENGTH.get(len(given.expected)) if given.expected else given.algorithm
    if algorithm is None:
        print("the expected checksum is neither MD5, SHA-256 nor SHA-512", file=sys.stderr)
        return 1
    try:
        digest = hashlib.new(algorithm)
        with open(given.file, "rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                digest.update(block)
    except OSError as error:
        print(f"{given.file}: {error.strerror}", file=sys.stderr)
        return 1
    answer = {"algorithm": algorithm, "checksum": digest.hexdigest()}
    if given.expected:
        answer["match"] = digest.hexdigest() == given.expected.lower()
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
