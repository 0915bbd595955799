"""Splits an agent file into frontmatter and body, and reads the frontmatter's YAML without trusting it.

Owns the defences: size, encoding, aliases, tags, depth and duplicate keys are checked on the stream of events, before
anything is built. Keeps the line of every key and list item, counted in the whole file. It does not know which keys
an agent may have.

Scalars follow YAML 1.2: `on`, `yes` and `12:30` are text, not true, true and 750. So is `~`, which means home here.
"""

from __future__ import annotations

import bisect
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from edgeagent.fields import Location

MAX_BYTES = 256_000
MAX_DEPTH = 16
MAX_NODES = 10_000

_FENCE = re.compile(r"^---[ \t]*\r?$", re.MULTILINE)
_TAG = "tag:yaml.org,2002:"


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalars of YAML 1.2 (its core schema) in place of those of 1.1."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own form


for _kind, _pattern, _first in (
    ("null", r"(?:null|Null|NULL|)", ["n", "N", ""]),
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)", list("tTfF")),
    ("int", r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)", list("-+0123456789")),
    (
        "float",
        r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))",
        list("-+.0123456789"),
    ),
):
    _Loader.add_implicit_resolver(_TAG + _kind, re.compile(_pattern + r"\Z", re.ASCII), _first)


@dataclass(slots=True)
class Document:
    """What was found in one file. With `problems` the data is what could be read, perhaps nothing."""

    data: dict[str, Any] = field(default_factory=dict)
    lines: dict[Location, int] = field(default_factory=dict)
    body: str = ""
    body_line: int = 1
    problems: list[tuple[int, str]] = field(default_factory=list)

    def line_of(self, location: Location) -> int:
        """The line of the key at a location, or of the nearest one around it."""
        place: Location = ()
        for part in location:
            if (*place, part) in self.lines:
                place = (*place, part)
        return self.lines.get(place, 1)


def read_document(raw: bytes) -> Document:
    """The document in the bytes of a file. Never raises: what is wrong is in `problems`, as line and message."""
    if len(raw) > MAX_BYTES:
        return Document(problems=[(1, f"larger than {MAX_BYTES // 1000} KB, too large for an agent file")])
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return Document(problems=[(raw[: error.start].count(b"\n") + 1, "not UTF-8 text")])
    if "\0" in text:
        return Document(problems=[(text[: text.index("\0")].count("\n") + 1, "a NUL character, so not a text file")])
    return _split(text)


def read_yaml(raw: bytes) -> Document:
    """The same for a file that is YAML throughout, with no body."""
    document = read_document(b"---\n" + raw.removeprefix(b"\xef\xbb\xbf") + b"\n---\n-\n")
    document.lines = {place: max(1, line - 1) for place, line in document.lines.items()}
    document.problems = [(max(1, line - 1), message) for line, message in document.problems]
    return document


def _split(text: str) -> Document:
    opening = _FENCE.match(text)
    if not opening:
        return Document(problems=[(1, "no frontmatter: the first line must be ---")])
    closing = _FENCE.search(text, opening.end() + 1)
    if not closing:
        return Document(problems=[(1, "the frontmatter has no end: close it with a line ---")])
    document = Document(body=text[closing.end() :].strip(), body_line=text[: closing.start()].count("\n") + 1)
    _Reader(text[opening.end() + 1 : closing.start()], document).read()
    if not document.body:
        document.problems.append((document.body_line, "empty body: write below the frontmatter what the agent does"))
    return document


class _Reader:
    """Reads one frontmatter into a document."""

    def __init__(self, text: str, document: Document) -> None:
        self._text = text
        self._document = document
        self._breaks = [position for position, character in enumerate(text) if character == "\n"]

    def read(self) -> None:
        self._document.lines[()] = 2
        try:
            if self._refuse():
                return
            root = yaml.compose(self._text, Loader=_Loader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            self._problem(mark.index if mark else 0, f"broken YAML: {error.problem or error.context}")
        except yaml.reader.ReaderError as error:
            self._problem(error.position, f"broken YAML: character U+{_code(error.character):04X} is not allowed")
        else:
            self._build_root(root)

    def _refuse(self) -> bool:
        """Walks the events, before anything is built. True where one of them rules the file out."""
        depth = nodes = documents = 0
        refused = False
        for event in yaml.parse(self._text, Loader=_Loader):
            nodes += isinstance(event, yaml.NodeEvent)
            documents += isinstance(event, yaml.DocumentStartEvent)
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            fault = _fault(event)
            if fault:
                self._problem(_index(event), fault)
                refused = True
            overflow = _overflow(depth, nodes, documents)
            if overflow:
                self._problem(_index(event), overflow)
                return True
        return refused

    def _build_root(self, root: Node | None) -> None:
        if root is None or (isinstance(root, ScalarNode) and root.value == ""):
            return
        if not isinstance(root, MappingNode):
            self._problem(root.start_mark.index, "the frontmatter must be keys and values, such as name: inbox")
            return
        self._document.data = self._mapping(root, ())

    def _build(self, node: Node, place: Location) -> Any:
        if isinstance(node, MappingNode):
            return self._mapping(node, place)
        if isinstance(node, SequenceNode):
            return list(self._sequence(node, place))
        return self._scalar(node)

    def _mapping(self, node: MappingNode, place: Location) -> dict[str, Any]:
        built: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                self._problem(key.start_mark.index, "a key must be a word")
                continue
            here = (*place, key.value)
            if key.value in built:
                first = self._document.lines[here]
                self._problem(key.start_mark.index, f'key "{key.value}" appears twice; it is on line {first} already')
                continue
            self._document.lines[here] = self._line(key.start_mark.index)
            self._scalar(key)
            built[key.value] = self._build(value, here)
        return built

    def _sequence(self, node: SequenceNode, place: Location) -> Iterator[Any]:
        for position, item in enumerate(node.value):
            here = (*place, position)
            self._document.lines[here] = self._line(item.start_mark.index)
            yield self._build(item, here)

    def _scalar(self, node: Node) -> Any:
        try:
            return _value(node.tag.removeprefix(_TAG), node.value)
        except ValueError as error:
            self._problem(node.start_mark.index, str(error))
            return None

    def _problem(self, index: int, message: str) -> None:
        self._document.problems.append((self._line(index), message))

    def _line(self, index: int) -> int:
        """The line in the file. PyYAML's own count takes more characters for a line break than editors do."""
        return bisect.bisect_left(self._breaks, index) + 2


def _index(event: yaml.Event) -> int:
    return event.start_mark.index if event.start_mark else 0


def _fault(event: yaml.Event) -> str:
    if isinstance(event, yaml.AliasEvent):
        return f'YAML aliases are not allowed: write out what "*{event.anchor}" stands for'
    if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent):
        if event.anchor:
            return f'YAML anchors are not allowed: remove "&{event.anchor}"'
        if event.tag is not None:
            return f'YAML tags are not allowed: remove "{event.tag.replace(_TAG, "!!")}"'
    return ""


def _overflow(depth: int, nodes: int, documents: int) -> str:
    if depth > MAX_DEPTH:
        return f"nested more than {MAX_DEPTH} levels deep"
    if nodes > MAX_NODES:
        return f"more than {MAX_NODES:,} values, too many for an agent file"
    if documents > 1:
        return "more than one YAML document in the frontmatter"
    return ""


def _value(kind: str, written: str) -> Any:
    """A scalar as Python has it. Raises ValueError for what could not be written back as UTF-8 or JSON."""
    match kind:
        case "null":
            return None
        case "bool":
            return written.lower() == "true"
        case "int":
            return _whole(written)
        case "float":
            number = float(written.lower().replace(".inf", "inf").replace(".nan", "nan"))
            if not math.isfinite(number):
                raise ValueError(f'"{written}" is not a number that can be used')
            return number
    if "\0" in written or any("\ud800" <= character <= "\udfff" for character in written):
        raise ValueError("text with a NUL or half of a surrogate pair cannot be used")
    return written


def _whole(written: str) -> int:
    if len(written) > 30:
        raise ValueError("a number with more than 30 digits cannot be used")
    return int(written, 0) if written.startswith(("0o", "0x")) else int(written)


def _code(character: Any) -> int:
    return character if isinstance(character, int) else ord(character)
