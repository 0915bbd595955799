"""The documents of the training episodes: what is in `content/`, filled in and put together.

Owns the parsing of `content/`, the filling of `{slots}` and the composition of a document: from single lines (opening,
lines, body, closing; `KIND.txt` and `more/KIND.txt`), or from a whole document of `whole/KIND.txt`. Knows nothing of
rules or tools.

Each line and each whole document belongs to one of two splits by its position: every ninth is held out and seen only
by the evaluation. A kind whose `near` names another is never used as a counter-example for that other one.

Rules name any of the kinds, each by its first phrases. The documents of `whole/miscellany.txt` are of no kind that a
rule names: they are there to be left alone, and the model learns to call them `other`.
"""

from __future__ import annotations

import random
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from names import Names

CONTENT = Path(__file__).parent / "content"
HELD_OUT_EVERY = 9
PHRASES = 10
"""How many of a kind's phrases are used: the plainest. More of them want many more tokens of training."""
OTHER = "other"
_BETWEEN = "---"
_SLOT = re.compile(r"\{([a-z_]+)\}")
_SECTIONS = ("open", "line", "body", "close")


@dataclass(frozen=True)
class Kind:
    """One kind of document. `parts[section][held_out]` and `whole[held_out]` are the items of one split."""

    label: str
    subjects: tuple[str, ...]
    near: frozenset[str]
    stems: tuple[str, ...]
    parts: dict[str, dict[bool, tuple[str, ...]]]
    whole: dict[bool, tuple[str, ...]]
    lists: dict[str, tuple[str, ...]] = field(default_factory=dict)


def _sections(text: str) -> dict[str, list[str]]:
    sections: dict[str, list[str]] = {}
    current: list[str] = []
    for line in text.splitlines():
        line = line.rstrip()
        if re.fullmatch(r"\[[a-z]+(:[a-z_]+)?\]", line):
            current = sections.setdefault(line[1:-1], [])
        elif line.strip():
            current.append(line)
    return sections


def _split(items: Sequence[str]) -> dict[bool, tuple[str, ...]]:
    """The items by split: True is held out."""
    held = tuple(item for index, item in enumerate(items) if index % HELD_OUT_EVERY == 4)
    kept = tuple(item for index, item in enumerate(items) if index % HELD_OUT_EVERY != 4)
    return {True: held or kept, False: kept}


def read_whole(path: Path) -> tuple[str, ...]:
    """The documents of a file, separated by lines that hold only `---`; none where there is no such file."""
    if not path.exists():
        return ()
    documents = re.split(rf"^{_BETWEEN}$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return tuple(text.strip("\n") for text in documents if text.strip())


def read_kind(path: Path) -> Kind:
    """The kind in a file, with the further lines that `more/` and the documents that `whole/` has for it."""
    sections = _sections(path.read_text(encoding="utf-8"))
    further = path.parent / "more" / path.name
    if further.exists():
        for name, items in _sections(further.read_text(encoding="utf-8")).items():
            sections.setdefault(name, []).extend(items)
    return Kind(
        label=sections["label"][0].strip(),
        subjects=tuple(dict.fromkeys(item.strip() for item in sections["subjects"])),
        near=frozenset(item.strip() for item in sections.get("near", [])),
        stems=tuple(sections["stems"]),
        parts={name: _split(sections.get(name, [])) for name in _SECTIONS},
        whole=_split(read_whole(path.parent / "whole" / path.name)),
        lists={key[5:]: tuple(items) for key, items in sections.items() if key.startswith("list:")},
    )


class Library:
    """All kinds, with what applies to what.

    `applies(label, phrase)` is True where a document of that kind falls under the phrase, False where it clearly does
    not, None where people would differ: such pairs are never trained or tested on.
    """

    def __init__(self, folder: Path = CONTENT) -> None:
        kinds = [read_kind(path) for path in sorted(folder.glob("*.txt")) if path.name != "groups.txt"]
        self.kinds = {kind.label: kind for kind in kinds}
        whole = _split(read_whole(folder / "whole" / "miscellany.txt"))
        self.other = Kind(OTHER, (), frozenset(), (), {name: _split([]) for name in _SECTIONS}, whole)
        self._near: dict[str, set[str]] = {kind.label: set(kind.near) for kind in kinds}
        for kind in kinds:
            for other in kind.near:
                self._near.setdefault(other, set()).add(kind.label)
        self.phrases: dict[str, set[str]] = {}
        for kind in self.kinds.values():
            for phrase in kind.subjects[:PHRASES]:
                self.phrases.setdefault(phrase, set()).add(kind.label)
        groups = read_groups(folder / "groups.txt")
        for kind in kinds:  # a phrase that other kinds know too applies to all of them
            for phrase in kind.subjects:
                if phrase in self.phrases:
                    self.phrases[phrase].add(kind.label)
        for phrase, labels in groups.items():
            self.phrases.setdefault(phrase, set()).update(labels)
        self._wide = set(groups)
        named = {phrase: {kind.label for kind in kinds if phrase in kind.subjects} for phrase in self.phrases}
        self._claims = {
            phrase: labels | named[phrase] | groups.get(phrase, set()) for phrase, labels in self.phrases.items()
        }
        self.phrases_of = {
            label: sorted(phrase for phrase, labels in self.phrases.items() if label in labels) for label in self.kinds
        }
        self._no = {
            label: [phrase for phrase in self.phrases if self.applies(label, phrase) is False]
            for label in [*self.kinds, OTHER]
        }

    def applies(self, label: str, phrase: str) -> bool | None:
        if label in self.phrases[phrase]:
            return True
        if label == OTHER:
            return None if phrase in self._wide else False
        claims = self._claims[phrase]
        return None if label in claims or claims & self._near[label] else False

    def are_near(self, label: str, other: str) -> bool:
        return other in self._near[label]

    def other_phrases(self, label: str) -> list[str]:
        return self._no[label]


def read_groups(path: Path) -> dict[str, set[str]]:
    """`phrase, phrase: label | label` lines: wider names that cover several kinds."""
    groups: dict[str, set[str]] = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            if ":" in line and not line.startswith("#"):
                phrases, labels = line.split(":", 1)
                for phrase in phrases.split(","):
                    groups.setdefault(phrase.strip(), set()).update(item.strip() for item in labels.split("|"))
    return groups


class Writer:
    """Writes documents of a kind. With `held_out` it uses only the items that training never sees."""

    def __init__(self, rng: random.Random, names: Names, held_out: bool = False) -> None:
        self.rng = rng
        self.names = names
        self.held_out = held_out

    def fill(self, text: str, kind: Kind) -> str:
        def value(match: re.Match[str]) -> str:
            own = kind.lists.get(match[1])
            return self.fill(self.rng.choice(own), kind) if own else self.names.slot(match[1])

        return (
            _SLOT.sub(value, text.replace("{{", "\x01").replace("}}", "\x02")).replace("\x01", "{").replace("\x02", "}")
        )

    def stem(self, kind: Kind) -> str:
        return self.fill(self.rng.choice(kind.stems), kind).replace("/", "-") if kind.stems else ""

    def document(self, kind: Kind) -> str:
        """A document of that kind: one that was written whole, or composed of lines."""
        whole = kind.whole[self.held_out]
        if whole and (kind.label == OTHER or self.rng.random() < 0.5):
            return self.excerpt(self.rng.choice(whole), kind)
        return self.composed(kind)

    def excerpt(self, document: str, kind: Kind) -> str:
        """A whole document; in training mostly a part of it, with lines missing or worn."""
        rng = self.rng
        lines = self.fill(document, kind).splitlines()
        if not self.held_out and rng.random() < 0.7:
            size = rng.randint(min(2, len(lines)), len(lines))
            start = rng.choice([0, rng.randint(0, len(lines) - size)])
            lines = [line for line in lines[start : start + size] if rng.random() < 0.9] or lines[:3]
            if rng.random() < 0.5:
                lines = [self.worn(line) if rng.random() < 0.5 else line for line in lines]
            if rng.random() < 0.2:
                rng.shuffle(lines)
        text = "\n".join(lines).strip("\n")
        if not text.strip():
            return self.fill(document, kind)
        return self._dress(text.splitlines()) if rng.random() < 0.3 else text

    def composed(self, kind: Kind) -> str:
        """Between one and a dozen lines of a kind, in one of several layouts."""
        rng = self.rng
        lines: list[str] = []
        layout = rng.random()
        parts = {name: kind.parts[name][self.held_out] for name in _SECTIONS}

        def take(name: str, low: int, high: int) -> list[str]:
            items = parts[name]
            count = min(len(items), rng.randint(low, high))
            return [self.worn(self.fill(item, kind)) for item in rng.sample(items, count)]

        if rng.random() < 0.7:
            lines += take("open", 1, 2 if rng.random() < 0.25 else 1)
        if layout < 0.08 and not self.held_out:
            lines = self.scattered(kind)
        elif layout < 0.15 or (self.held_out and layout < 0.4):
            lines += take("line", 3, 7)
        elif layout < 0.6:
            lines += self._prose(take("body", 2, 6))
        elif layout < 0.95:
            mixed = [*take("line", 1, 4), *self._prose(take("body", 1, 4))]
            if rng.random() < 0.4:
                rng.shuffle(mixed)
            lines += mixed
        else:
            lines += take("body", 1, 1)
        if rng.random() < 0.3:
            lines += take("close", 1, 1)
        return self._dress(lines)

    def scattered(self, kind: Kind) -> list[str]:
        """Short pieces from all over a kind's lines, thrown together: nothing to go by but words."""
        rng = self.rng
        items = [item for part in kind.parts.values() for item in part[False]]
        pieces = []
        for item in rng.sample(items, min(len(items), rng.randint(4, 14))):
            words = self.fill(item, kind).split(" ")
            start = rng.randrange(len(words))
            pieces.append(" ".join(words[start : start + rng.randint(1, 4)]))
        size = rng.randint(1, 5)
        return [" ".join(pieces[start : start + size]) for start in range(0, len(pieces), size)]

    def worn(self, line: str) -> str:
        """The line, or mostly only part of it, so that words count and not whole sentences.

        Without this the kind was right for 93 % of documents of known lines and 40 % of documents of new ones.
        """
        rng = self.rng
        words = line.split(" ")
        if self.held_out or len(words) < 3 or rng.random() < 0.5:
            return line
        if rng.random() < 0.5:
            size = rng.randint(1, min(len(words), 6))
            start = rng.randint(0, len(words) - size)
            return " ".join(words[start : start + size])
        kept = rng.uniform(0.4, 0.9)
        return " ".join(word for word in words if rng.random() < kept) or line

    def _prose(self, sentences: list[str]) -> list[str]:
        """The sentences one a line, or run together into paragraphs."""
        if self.rng.random() < 0.5:
            return sentences
        paragraphs: list[str] = []
        while sentences:
            count = self.rng.randint(1, 4)
            paragraphs.append(" ".join(sentences[:count]))
            sentences = sentences[count:]
        return paragraphs

    def _dress(self, lines: list[str]) -> str:
        """Real files differ in blank lines, indents, bullets and capitals."""
        rng = self.rng
        style = rng.random()
        if style < 0.06:
            lines = [line.upper() for line in lines]
        elif style < 0.14:
            lines = [line.lower() for line in lines]
        elif style < 0.20:
            mark = rng.choice(["- ", "* ", "> ", "  ", "\t"])
            lines = [lines[0], *(mark + line for line in lines[1:])]
        if rng.random() < 0.3:
            lines = [self.aligned(line) for line in lines]
        if rng.random() < 0.15:
            lines.insert(rng.randint(0, len(lines)), rng.choice("-=*_~") * rng.choice([3, 10, 20, 40]))
        joiner = "\n\n" if rng.random() < 0.2 else "\n"
        text = joiner.join(lines)
        if rng.random() < 0.35:
            width = rng.randint(34, 90)
            text = "\n".join(textwrap.fill(line, width) if line.strip() else "" for line in text.splitlines())
        return text

    def aligned(self, line: str) -> str:
        """The line as a table would have it: a run of spaces, dots or a tab where a colon or a last word was."""
        head, colon, tail = line.partition(": ")
        if not colon:
            head, _, tail = line.rpartition(" ")
        if not head or len(line) > 60:
            return line
        gap = self.rng.choice([" " * self.rng.randint(2, 24), "\t", " " + "." * self.rng.randint(3, 20) + " ", " | "])
        return f"{head}{gap}{tail}"
