"""What every family of episodes draws: names, folders, documents, tools, wordings, errors. All chance is one `rng`."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from content import OTHER, Kind, Library, Writer
from names import Names
from wordings import TOOL_ERRORS, part

from edgeagent.schema import Event, Message, ToolCall, ToolSpec
from edgeagent.tools.specs import BUILTIN_SPECS


@dataclass(frozen=True)
class Episode:
    """A whole conversation. The model learns the assistant messages; everything else is given to it."""

    family: str
    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...]
    kind: str = ""
    right: str = ""
    """What the right behaviour is, for tables: move, else, leave, delete, note, digest, nothing, error."""


@dataclass
class Draws:
    """The source of all chance and of all names. The same seed gives the same episodes.

    Args:
        rng: the only source of chance.
        library: the kinds of documents.
        names: names and words.
        held_out: draw wordings and content of the held-out split.
    """

    rng: random.Random
    library: Library
    names: Names
    held_out: bool = False
    writer: Writer = field(init=False)
    base: str = field(init=False, default="")
    """The folder beside which the targets of an episode lie; empty where each lies anywhere."""

    def __post_init__(self) -> None:
        self.writer = Writer(self.rng, self.names, self.held_out)

    def any_line(self) -> str:
        """A line of some document, whole."""
        text = self.writer.document(self.kind())
        return self.rng.choice([line.strip() for line in text.splitlines() if line.strip()] or ["-"])

    def one(self, items: Sequence[str]) -> str:
        return self.rng.choice(part(items, self.held_out))

    def tools(self, *needed: str) -> tuple[ToolSpec, ...]:
        others = [name for name in BUILTIN_SPECS if name not in needed]
        count = self.rng.choices([0, 1, 2, 3, 4], [35, 25, 20, 12, 8])[0]
        chosen = [*needed, *self.rng.sample(others, count)]
        self.rng.shuffle(chosen)
        return tuple(BUILTIN_SPECS[name] for name in chosen)

    def joined(self, sentences: list[str]) -> str:
        """Instructions as one paragraph, as lines, or as paragraphs."""
        if any(sentence.startswith(("-", "*")) for sentence in sentences) or self.rng.random() < 0.4:
            return "\n".join(sentences)
        return " ".join(sentence if sentence.endswith((".", "?", "!")) else sentence + "." for sentence in sentences)

    def file_data(self, folder: str, name: str, text: str, preview: int = 400) -> dict[str, object]:
        change = self.rng.choices(["created", "modified"], [9, 1])[0]
        data: dict[str, object] = {"path": f"{folder}/{name}", "name": name, "size": len(text.encode())}
        data["change"] = change
        data["preview"] = text[:preview]
        return data

    def preview(self) -> int:
        return self.rng.choice([40, 60, 80, 100, 140, 200, 300, 400, 400])

    def kind(self) -> Kind:
        """A kind that rules may name."""
        return self.rng.choice(list(self.library.kinds.values()))

    def document_kind(self) -> tuple[Kind, str]:
        """The kind of a document, and what the model calls it: one in seven is of a kind that no rule names."""
        if self.rng.random() < 0.15:
            return self.library.other, OTHER
        kind = self.kind()
        return kind, kind.label

    def name(self, kind: Kind | None) -> str:
        stem = self.writer.stem(kind) if kind and self.rng.random() < 0.45 else ""
        if kind and stem == "" and self.rng.random() < 0.06:
            stem = self.writer.stem(self.kind())  # misleading, as real names are
        name = self.names.file_name(stem)
        return name if name not in (".", "..") else "file.txt"

    def folder(self, hint: str = "", root: str | None = None) -> str:
        if self.base and root:
            return f"{self.base}/{self.names.folder_name(hint)}"
        folder = self.names.folder(hint, root)
        return folder + "/" if self.rng.random() < 0.1 else folder

    def source(self) -> tuple[str, str | None]:
        """The watched folder as an event shows it (absolute), and the root that targets use."""
        root = self.names.root()
        absolute = root.replace("~", f"/home/{self.names.nonsense()}") if root == "~" else root
        if root == "~" and self.rng.random() < 0.3:
            absolute = self.names.folder()
            absolute = absolute.replace("~", "/home/" + self.names.nonsense())
        inbox = (
            self.names.rng.choice(["Inbox", "inbox", "Downloads", "Scans", "in", "drop"])
            if self.rng.random() < 0.6
            else self.names.folder_name()
        )
        return f"{absolute}/{inbox}", root

    def call(self, think: str, name: str, **arguments: object) -> Message:
        return Message("assistant", "", think, (ToolCall(name, dict(arguments)),))

    def error(self, source: str, destination: str) -> tuple[str, str]:
        message, reason = self.rng.choice(TOOL_ERRORS)
        word = f"{self.names.word()} {self.names.word()}"
        fill = {"src": source, "dst": destination, "w": word}
        return message.format(**fill), reason.format(**fill)

    def date_event(self, trigger: str) -> Event:
        rng = self.rng
        date = f"{rng.randint(2020, 2035)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"
        clock = (
            f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}:{rng.choice(['00', '00', str(rng.randint(10, 59))])}.000Z"
        )
        return Event("", trigger, "", "", {"scheduled_at": f"{date}T{clock}", "date": date})

    def log_line(self, items: Sequence[str]) -> str:
        rng = self.rng
        return (
            self.one(items)
            .replace("{x}", self.names.word())
            .replace("{n}", str(rng.randint(1, 900)))
            .replace("{d}", str(rng.randint(0, 9)))
        )
