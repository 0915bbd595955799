"""Prints what a CSV file holds, column by column, as JSON. Reads it once, line by line, whatever its size."""

import argparse
import codecs
import csv
import datetime
import io
import json
import re
import sys

MAX_COLUMNS, MAX_DISTINCT, DISTINCT_CHARACTERS = 60, 1000, 200
EXAMPLES, EXAMPLE_CHARACTERS = 3, 60
SEPARATORS = ",;\t|"
INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]{1,2})?")
COMMA_NUMBER = re.compile(r"[-+]?(?:[0-9]+|[0-9]{1,3}(?:\.[0-9]{3})+)(?:,[0-9]+)?")
DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--file", required=True)
    given = parser.parse_args()
    try:
        with open(given.file, "rb") as file:
            print(json.dumps(summary(file)))
    except OSError as error:
        return fail(f"{given.file}: {error.strerror}")
    except (ValueError, csv.Error) as error:
        return fail(f"{given.file} {error}")
    return 0


def summary(file: io.BufferedReader) -> dict:
    """ValueError, as the end of a sentence that begins with the file, for what is no table."""
    encoding = encoding_of(file)
    lines = io.TextIOWrapper(file, encoding=encoding, errors="replace", newline="")
    separator = separator_of(lines.readline())
    lines.seek(0)
    csv.field_size_limit(1_000_000)
    rows = csv.reader(lines, delimiter=separator)
    names = next((row for row in rows if row), None)
    if names is None:
        raise ValueError("is empty")
    columns = [Column(name.strip(), separator == ";") for name in names[:MAX_COLUMNS]]
    count = ragged = 0
    for row in rows:
        if not row:
            continue
        count += 1
        ragged += len(row) != len(names)
        for column, cell in zip(columns, row):
            column.add(cell.strip())
    found = {"rows": count, "ragged": ragged, "separator": separator, "encoding": encoding.replace("-sig", "")}
    if len(names) > MAX_COLUMNS:
        found["columns_left_out"] = len(names) - MAX_COLUMNS
    return {**found, "columns": [column.answer() for column in columns]}


class Column:
    """What is known of one column so far."""

    def __init__(self, name: str, has_commas: bool) -> None:
        self.name = name
        self.has_commas = has_commas
        self.filled = 0
        self.total = 0.0
        self.distinct = {}
        self.kinds = set()
        self.least = self.greatest = None

    def add(self, cell: str) -> None:
        if not cell:
            return
        self.filled += 1
        if len(self.distinct) < MAX_DISTINCT:
            self.distinct[cell[:DISTINCT_CHARACTERS]] = None
        kind, value = self.value_of(cell)
        self.kinds.add(kind)
        if self.kind() == "text":
            return
        self.least = value if self.least is None else min(self.least, value)
        self.greatest = value if self.greatest is None else max(self.greatest, value)
        if kind != "date":
            self.total += value

    def value_of(self, cell: str) -> tuple:
        if INTEGER.fullmatch(cell) and not re.match("[-+]?0[0-9]", cell):
            return "integer", int(cell)
        if self.has_commas and COMMA_NUMBER.fullmatch(cell):
            return "number", float(cell.replace(".", "").replace(",", "."))
        if NUMBER.fullmatch(cell) and not re.match("[-+]?0[0-9]", cell):
            return "number", float(cell)
        if DATE.fullmatch(cell) and is_date(cell):
            return "date", cell
        return "text", cell

    def kind(self) -> str:
        if not self.kinds:
            return "empty"
        if len(self.kinds) == 1:
            return next(iter(self.kinds))
        return "number" if self.kinds == {"integer", "number"} else "text"

    def answer(self) -> dict:
        kind = self.kind()
        found = {"name": self.name, "kind": kind, "filled": self.filled, "distinct": len(self.distinct)}
        if kind == "text":
            found["examples"] = [cell[:EXAMPLE_CHARACTERS] for cell in list(self.distinct)[:EXAMPLES]]
        elif kind != "empty":
            found.update(min=self.least, max=self.greatest)
            if kind != "date":
                found["mean"] = round(self.total / self.filled, 6)
        return found


def encoding_of(file: io.BufferedReader) -> str:
    start = file.read(4)
    file.seek(0)
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    decoder = codecs.getincrementaldecoder("utf-8")()
    is_utf8 = True
    for block in iter(lambda: file.read(1 << 20), b""):
        if b"\0" in block:
            raise ValueError("is no text file")
        try:
            decoder.decode(block)
        except UnicodeDecodeError:
            is_utf8 = False
    file.seek(0)
    return "utf-8-sig" if is_utf8 else "cp1252"


def separator_of(line: str) -> str:
    """The one that the line of names has most of, outside of quotation marks."""
    bare = re.sub('"[^"]*"', "", line)
    return max(SEPARATORS, key=bare.count)


def is_date(cell: str) -> bool:
    try:
        datetime.date.fromisoformat(cell)
    except ValueError:
        return False
    return True


def fail(message: str) -> int:
    print(message, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
