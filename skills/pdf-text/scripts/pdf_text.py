"""Prints the text of a PDF as JSON. pdftotext of poppler does the work; this checks what goes in and comes out."""

import argparse
import json
import os
import subprocess
import sys

MAX_CHARACTERS = 100_000
REASONS = {1: "it is damaged, protected by a password, or no PDF", 3: "its author allows no copying"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--file", required=True)
    parser.add_argument("--page", type=int)
    given = parser.parse_args()
    if not os.path.isfile(given.file):
        return fail(f"{given.file} is no file that can be read")
    command = ["pdftotext", "-q", "-enc", "UTF-8"]
    if given.page is not None:
        command += ["-f", str(given.page), "-l", str(given.page)]
    try:
        done = subprocess.run(
            [*command, os.path.abspath(given.file), "-"], stdin=subprocess.DEVNULL, capture_output=True
        )
    except FileNotFoundError:
        return fail("pdftotext is not installed: sudo apt install poppler-utils")
    if done.returncode == 99 and given.page is not None:
        return fail(f"there is no page {given.page}")
    if done.returncode:
        return fail(f"{given.file}: {REASONS.get(done.returncode, 'pdftotext cannot read it')}")
    print(json.dumps(answer(done.stdout.decode("utf-8", "replace"))))
    return 0


def answer(printed: str) -> dict:
    """pdftotext ends each page with a form feed."""
    pages = printed.split("\f")[:-1]
    text = "\n\n".join(page.strip() for page in pages).strip()
    found = {"pages": len(pages), "text": text[:MAX_CHARACTERS]}
    if len(text) > MAX_CHARACTERS:
        found["cut"] = True
    if not text:
        found["scan"] = True
    return found


def fail(message: str) -> int:
    print(message, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
