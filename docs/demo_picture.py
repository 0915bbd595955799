"""Makes docs/demo.svg from what `edgeagent demo` prints.

COLUMNS=92 edgeagent demo | python docs/demo_picture.py docs/demo.svg
"""

from __future__ import annotations

import re
import sys
from html import escape
from pathlib import Path

CHARACTER, LINE, MARGIN = 7.25, 17, 14
"""Pixels: the width of a character, the height of a line, the border."""


def picture(text: str) -> str:
    """An SVG of a terminal that shows the text."""
    lines = ["$ edgeagent demo", *re.sub(r"\x1b\[[0-9;]*m", "", text).rstrip().splitlines()]
    width = round(max(len(line) for line in lines) * CHARACTER + 2 * MARGIN)
    height = len(lines) * LINE + 2 * MARGIN
    shown = []
    for number, line in enumerate(lines):
        y = MARGIN + LINE * (number + 1) - 5
        colour = "#9ece6a" if line.endswith("ok") else "#f7768e" if line.endswith("WRONG") else "#c0caf5"
        shown.append(f'<text x="{MARGIN}" y="{y}" fill="{colour}" xml:space="preserve">{escape(line)}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="12">\n'
        f'<rect width="100%" height="100%" rx="8" fill="#1a1b26"/>\n' + "\n".join(shown) + "\n</svg>\n"
    )


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(picture(sys.stdin.read()), encoding="utf-8")
