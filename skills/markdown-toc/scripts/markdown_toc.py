"""Prints the table of contents of a Markdown file as JSON, or writes it into the file."""

import argparse
import json
import os
import re
import sys

MAX_BYTES = 2_000_000
BEGIN, END = "<!-- toc -->", "<!-- tocstop -->"
HEADING = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*")
UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*")
FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
NO_PARAGRAPH = re.compile(r" {0,3}(?:[-*+>|]|\d+[.)]|<)|\t| {4}|[ \t]*$")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--file", required=True)
    parser.add_argument("--depth", type=int, default=3)
    parser.add_argument("--insert", action="store_true")
    given = parser.parse_args()
    try:
        if os.path.getsize(given.file) > MAX_BYTES:
            return fail(f"{given.file} is larger than {MAX_BYTES // 1_000_000} MB")
        with open(given.file, encoding="utf-8", newline="") as file:
            text = file.read()
        headings = headings_of(text)
        toc = table(headings, given.depth)
        if not given.insert:
            print(json.dumps({"headings": toc.count("\n") + bool(toc), "toc": toc}))
            return 0
        if not toc:
            return fail(f"{given.file} has no headings for a table of contents")
        new = with_table(text, toc)
        if new != text:
            with open(given.file, "r+", encoding="utf-8", newline="") as file:
                file.write(new)
                file.truncate()
        print(json.dumps({"headings": toc.count("\n") + 1, "changed": new != text}))
    except UnicodeDecodeError:
        return fail(f"{given.file} is not UTF-8 text")
    except OSError as error:
        return fail(f"{given.file}: {error.strerror}")
    return 0


def headings_of(text: str) -> list:
    """Level, text and line number of each heading, in order."""
    found, fence, before = [], "", ""
    lines = [line.rstrip("\r") for line in text.split("\n")]
    for number, line in skipping_front_matter(lines):
        opens = FENCE.fullmatch(line)
        if fence:
            if opens and opens[1].startswith(fence) and not opens[2].strip():
                fence = ""
            before = ""
        elif opens and not (opens[1][0] == "`" and "`" in opens[2]):
            fence, before = opens[1], ""
        elif HEADING.fullmatch(line):
            heading = HEADING.fullmatch(line)
            found.append((len(heading[1]), heading[2] or "", number))
            before = ""
        elif before and UNDERLINE.fullmatch(line):
            found.append((1 if "=" in line else 2, before.strip(), number))
            before = ""
        else:
            before = "" if NO_PARAGRAPH.match(line) else line
    return [(level, title, number) for level, title, number in found if title]


def skipping_front_matter(lines: list) -> list:
    start = 0
    if lines and lines[0].rstrip() == "---":
        start = next((number + 1 for number, line in enumerate(lines[1:], 1) if line.rstrip() == "---"), 0)
    return list(enumerate(lines))[start:]


def table(headings: list, depth: int) -> str:
    """A list of links, indented by level; the title of the document is not in it."""
    used = {}
    linked = [(level, title, anchor(title, used)) for level, title, _ in headings]
    tops = [level for level, _, _ in linked]
    if linked and tops[0] == min(tops) and tops.count(tops[0]) == 1:
        linked = linked[1:]
    if not linked:
        return ""
    top = min(level for level, _, _ in linked)
    shown = [(level - top, title, link) for level, title, link in linked if level - top < depth]
    return "\n".join(f"{'  ' * indent}- [{plain_links(title)}](#{link})" for indent, title, link in shown)


def anchor(title: str, used: dict) -> str:
    """As GitHub makes it: lower case, no punctuation, - for spaces, a number for one that is there already."""
    words = re.sub(r"[*`]|(?<!\w)_|_(?!\w)", "", plain_links(title)).strip().lower()
    slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
    count = used.get(slug, -1) + 1
    used[slug] = count
    return f"{slug}-{count}" if count else slug


def plain_links(title: str) -> str:
    """The title with the text of links in place of them, since links hold no links."""
    return re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", title)


def with_table(text: str, toc: str) -> str:
    newline = "\r\n" if "\r\n" in text else "\n"
    block = newline.join([BEGIN, "", *toc.split("\n"), "", END])
    begin, end = text.find(BEGIN), text.find(END)
    if 0 <= begin < end:
        return text[:begin] + block + text[end + len(END) :]
    lines = text.split("\n")
    after = headings_of(text)[0][2] + 1
    head, rest = "\n".join(lines[:after]).rstrip("\r"), "\n".join(lines[after:])
    return head + newline * 2 + block + newline + rest


def fail(message: str) -> int:
    print(message, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
