"""Composes training episodes: instructions, tools, an event, and what a good agent does about it.

Owns the wording of instructions and the right behaviour. Everything that the product renders at run time is rendered
here by the product's own code: `edgeagent.prompt` for the event, `edgeagent.tools.specs` for the tools, the chat
template beside this file through `edgeagent.model.template`.

Families: sort (rules by kind of document), note (add a line taken from the text), digest (list a folder, write the
list), watch (read a file, note a line only when it matters); and echo and drill, for practice. `held_out=True` uses wordings and content that training
never sees.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from content import CONTENT, OTHER, Kind, Library, Writer
from names import Names

from edgeagent.prompt import opening_messages
from edgeagent.schema import Event, Message, ToolCall, ToolSpec
from edgeagent.tools.specs import BUILTIN_SPECS

# Rule wordings: {s} the subject phrase(s), {f} the folder. Every seventh is held out.
MOVE_RULES = """
{S} go to {f}.
{S} go into {f}.
{S} belong in {f}.
Put {s} in {f}.
Put {s} into {f}.
Move {s} to {f}.
Move {s} into {f}.
File {s} under {f}.
{S}: {f}
{S} -> {f}
- {s}: {f}
- {s} go to {f}
- {s} to {f}
* {S} into {f}
Please put {s} in {f}.
Everything that is {s} goes to {f}.
Save {s} in {f}.
Store {s} in {f}.
{S} should be moved to {f}.
{S} should end up in {f}.
I keep {s} in {f}.
If you see {s}, move it to {f}.
Anything like {s} goes to {f}.
For {s} use the folder {f}.
{f} is for {s}.
{f} is where {s} go.
{S} are kept in {f}.
Sort {s} into {f}.
Send {s} to {f}.
{S} must go to {f}.
{S} live in {f}.
Collect {s} in {f}.
- {S} → {f}
{S} have their place in {f}.
Drop {s} into {f}.
""".strip().splitlines()
# Several rules in one sentence: how the first goes, and how those after it do.
JOINT_RULES = [
    ("{S} go to {f}", "{s} to {f}"),
    ("{S} go to {f}", "{s} go to {f}"),
    ("{S} to {f}", "{s} to {f}"),
    ("{S} go into {f}", "{s} into {f}"),
    ("{S} belong in {f}", "{s} in {f}"),
    ("Put {s} in {f}", "{s} in {f}"),
    ("Put {s} into {f}", "put {s} into {f}"),
    ("Move {s} to {f}", "{s} to {f}"),
    ("Move {s} to {f}", "move {s} to {f}"),
    ("File {s} under {f}", "{s} under {f}"),
    ("Sort {s} into {f}", "{s} into {f}"),
]
JOINTS = [", ", ", ", "; ", " and "]
LAST_JOINTS = [" and ", " and ", ", and ", ", "]
SINGLE_RULES = """
If it is {a}, move it to {f}.
If the file is {a}, put it in {f}.
When it is {a}, it goes to {f}.
Is it {a}? Then move it to {f}.
Move it to {f} if it is {a}.
{A} goes to {f}.
If the text is {a}, file it under {f}.
Whenever {a} arrives, move it to {f}.
""".strip().splitlines()
DELETE_RULES = [
    "Delete {s}.",
    "{S} can be deleted.",
    "Throw {s} away.",
    "{S} go to the trash.",
    "Put {s} in the trash.",
]
LEAVE_RULES = [
    "Leave {s} where they are.",
    "Do not touch {s}.",
    "{S} stay where they are.",
    "Keep {s} in place.",
    "Never move {s}.",
]
LEAVE_REST = """
Leave the rest.
Leave everything else where it is.
Leave anything else alone.
Leave the rest alone.
Do not touch anything else.
Other files stay where they are.
Ignore everything else.
Anything else stays.
If nothing fits, do nothing.
Leave what you do not know.
All other files stay put.
If no rule fits, leave the file.
""".strip().splitlines()
ELSE_RULES = """
Everything else goes to {f}.
Anything else goes to {f}.
The rest goes to {f}.
Put everything else in {f}.
Move the rest to {f}.
All other files go to {f}.
Whatever is left goes to {f}.
Other documents: {f}
- everything else: {f}
If nothing fits, move it to {f}.
""".strip().splitlines()
OPENERS = """
You file documents.
You sort the files in my inbox.
Sort incoming files.
You tidy up a folder.
You are a filing clerk.
You keep my papers in order.
Please sort my files.
You look after my downloads.
You decide where a new file belongs.
Look at each new file and file it.
A file has arrived. Decide by its text where it goes.
You sort text documents by what they are.
My scanner drops files here. Sort them.
Here is how I want my papers sorted.
""".strip().splitlines()
EXTRAS = """
Keep the file name.
Keep the name of the file.
Never delete anything.
Do not rename files.
Decide by the text, not by the file name.
Be careful.
Use move_file.
Say in one sentence what you did.
File names can be misleading.
""".strip().splitlines()

NOTE_RULES = """
For {s}, add {what} to {f}.
When {s} arrive, append {what} to {f}.
If the file is one of {s}, write {what} at the end of {f}.
{S}: add {what} to {f}.
From {s} take {what} and add it to {f}.
Add {what} of {s} to {f}.
I collect {s}: append {what} to {f}.
""".strip().splitlines()
NOTE_OPENERS = [
    "You take notes.",
    "You keep a list.",
    "You write things down for me.",
    "Keep my notes up to date.",
    "You note what matters.",
]
FIRST_LINE = ["the first line", "the first line of the text", "its first line"]
KEY_LINE = ["the line with {w}", "the line that mentions {w}", "the line that says {w}", "the line with the word {w}"]
FILE_NAME = ["the file name", "its name", "the name of the file"]

DIGEST_ASKS = """
List {d} and write the names to {o}.
Every day list {d} and write the file names into {o}.
Write a digest of {d} to {o}.
Look into {d} and write a list of its files to {o}.
Make a list of what is in {d} and save it as {o}.
You write a daily digest: list {d}, then write {o}.
See what is in {d}. Write one line for each file to {o}.
""".strip().splitlines()
DATE_HINTS = [
    "where DATE is the date of the event",
    "DATE is the event's date",
    "with the date of the event for DATE",
    "put the date in place of DATE",
]

WATCH_ASKS = """
Read {p}. If it reports a problem, add that line to {o}. Otherwise do nothing.
Read {p}. If a line tells of an error or a failure, append this line to {o}. If all is well, do nothing.
Look at {p}. When something went wrong, add the line to {o}; otherwise leave it.
You watch a machine. Read {p} and note the line with a problem in {o}. Write nothing when all is fine.
Check {p} for trouble. Add a line that shows trouble to {o}. No trouble: do nothing.
Read {p} and append to {o} only what matters: errors, failures, warnings.
Read {p}. Append the line to {o} when something is broken. If everything is fine, do nothing.
Open {p} and see whether all is well. If it is not, add the line that says so to {o}.
Read {p}. Something bad in it? Put that line into {o}. Nothing bad: do nothing.
Every line of {p} is a reading. Add a worrying one to {o}; if none is, write nothing.
I want to know when {p} shows a fault: append that line to {o}.
Read {p} and keep {o} up to date: one line for a problem, none when the machine is healthy.
""".strip().splitlines()
WATCH_WORD_ASKS = """
Read {p}. If it mentions {w}, add that line to {o}. Otherwise do nothing.
Read {p}. If a line has the word {w}, append this line to {o}.
Look at {p}. When it says {w}, add the line to {o}; otherwise leave it.
Read {p} and add the line with {w} to {o}. Do nothing when there is none.
""".strip().splitlines()
BAD_LINES = (CONTENT / "machine" / "bad.txt").read_text(encoding="utf-8").splitlines()
GOOD_LINES = (CONTENT / "machine" / "good.txt").read_text(encoding="utf-8").splitlines()
TOOL_ERRORS = [
    ("error: destination exists: {dst}", "a file of that name is already there"),
    ("error: not found: {src}", "the file is not there"),
    ("error: no permission: {dst}", "there is no permission"),
    ("denied: may not write {dst}", "the folder is not granted"),
    ("denied: may not read {src}", "the file is not granted"),
    ("error: disk full: {dst}", "the disk is full"),
    ("error: read-only: {dst}", "the disk is read-only"),
    ("denied: needs approval and nobody gave it", "nobody approved it"),
    ("error: {w}: {dst}", "{w}"),
]


_ENDS = {"delete": "trash", "leave": "stay"}
"""What stands for the folder in the reasoning where a rule names none."""


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
class _Rule:
    phrases: list[str]
    action: str
    target: str = ""
    text: str = ""
    subject: str = ""
    """The phrases as a sentence has them; empty where a rule cannot share its sentence."""


def _split(items: Sequence[str], held_out: bool) -> list[str]:
    """The part of the wordings that belongs to a split; short lists are shared."""
    if len(items) < 7:
        return list(items)
    return [item for index, item in enumerate(items) if (index % 7 == 3) == held_out]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _article(label: str) -> str:
    return f"{'an' if label[0].lower() in 'aeiou' else 'a'} {label}"


@dataclass
class Composer:
    """Draws episodes.

    Args:
        rng: the only source of chance; the same seed gives the same episodes.
        library: the kinds of documents.
        names: names and words.
        held_out: draw wordings and content of the held-out split.
    """

    rng: random.Random
    library: Library
    names: Names
    held_out: bool = False
    echo_share: float = 0.04
    drill_share: float = 0.0
    writer: Writer = field(init=False)
    _base: str = field(init=False, default="")

    def __post_init__(self) -> None:
        self.writer = Writer(self.rng, self.names, self.held_out)
        self._families: list[tuple[float, Callable[[], Episode]]] = [
            (0.62, self.sort),
            (0.14, self.note),
            (0.08, self.digest),
            (0.16, self.watch),
        ]

    def episode(self) -> Episode:
        if self.rng.random() < self.echo_share:
            return self.echo()
        if self.rng.random() < self.drill_share:
            return self.drill()
        weights = [weight for weight, _ in self._families]
        return self.rng.choices([make for _, make in self._families], weights)[0]()

    def echo(self) -> Episode:
        """Nothing but copying. Dense in what is hardest to learn, so that copying appears early in training."""
        rng = self.rng
        draws = [
            lambda: f"{self.names.folder()}/{self.names.file_name()}",
            self.names.file_name,
            self.names.folder,
            lambda: " ".join(self.names.word() for _ in range(rng.randint(1, 8))),
            lambda: "".join(self.names.piece() for _ in range(rng.randint(1, 4))),
            self._any_line,
            self._any_line,
            lambda: f"{self._date_event('cron').data['scheduled_at'][:19]} {self._log_line(BAD_LINES)}",
        ]
        values = [rng.choice(draws)() for _ in range(rng.choice([1, 1, 2, 3]))]
        keys = rng.sample(["a", "b", "c", "d"], len(values))
        asked = rng.sample(range(len(values)), len(values))
        text = "\n".join(f"{key}: {value}" for key, value in zip(keys, values, strict=True))
        event = Event("", "manual", "", "", {"preview": text})
        wanted = ", ".join(keys[index] for index in asked)
        answer = "\n".join(values[index] for index in asked)
        messages = [*opening_messages(f"Repeat {wanted}.", event), Message("assistant", answer)]
        return Episode("echo", tuple(messages), (), "", "echo")

    def drill(self) -> Episode:
        """Nothing but judging: what a document is, and mostly for many phrases whether they name it."""
        rng = self.rng
        kind, label = self._document_kind()
        if rng.random() < 0.8:
            text = self.writer.document(kind)
            preview = self._words_of(text) if rng.random() < 0.6 else text[: rng.choice([60, 100, 150, 200, 300, 400])]
            messages = opening_messages("Check.", Event("", "manual", "", "", {"preview": preview}))
            return Episode("drill", (*messages, Message("assistant", "Checked.", label)), (), label, "drill")
        data = {"preview": self.writer.document(kind)[: self._preview()]}
        fitting = self.library.phrases_of.get(kind.label, [])
        phrases = rng.sample(fitting, min(len(fitting), rng.choice([0, 1, 2, 3, 4])))
        phrases += list(rng.sample(self.library.other_phrases(kind.label), rng.randint(3, 7)))
        phrases = list(dict.fromkeys(phrases))
        rng.shuffle(phrases)
        lines = [label, *(f"{phrase}: {'yes' if phrase in fitting else 'no'}" for phrase in phrases)]
        messages = opening_messages(f"Check {', '.join(phrases)}.", Event("", "manual", "", "", data))
        messages.append(Message("assistant", "Checked.", "\n".join(lines)))
        return Episode("drill", tuple(messages), (), label, "drill")

    def _words_of(self, text: str) -> str:
        """A few of the text's words in any order, so that each word has to count by itself."""
        words = text.split()
        if self.held_out or len(words) < 5:
            return text[:400]
        return " ".join(self.rng.sample(words, min(len(words), self.rng.randint(5, 25))))

    def _any_line(self) -> str:
        """A line of some document, whole."""
        text = self.writer.document(self._kind())
        return self.rng.choice([line.strip() for line in text.splitlines() if line.strip()] or ["-"])

    # --- what all families share -------------------------------------------------------------------------------

    def _one(self, items: Sequence[str]) -> str:
        return self.rng.choice(_split(items, self.held_out))

    def _tools(self, *needed: str) -> tuple[ToolSpec, ...]:
        others = [name for name in BUILTIN_SPECS if name not in needed]
        count = self.rng.choices([0, 1, 2, 3, 4], [35, 25, 20, 12, 8])[0]
        chosen = [*needed, *self.rng.sample(others, count)]
        self.rng.shuffle(chosen)
        return tuple(BUILTIN_SPECS[name] for name in chosen)

    def _joined(self, sentences: list[str]) -> str:
        """Instructions as one paragraph, as lines, or as paragraphs."""
        if any(sentence.startswith(("-", "*")) for sentence in sentences) or self.rng.random() < 0.4:
            return "\n".join(sentences)
        return " ".join(sentence if sentence.endswith((".", "?", "!")) else sentence + "." for sentence in sentences)

    def _file_data(self, folder: str, name: str, text: str, preview: int = 400) -> dict[str, object]:
        change = self.rng.choices(["created", "modified"], [9, 1])[0]
        data: dict[str, object] = {"path": f"{folder}/{name}", "name": name, "size": len(text.encode())}
        data["change"] = change
        data["preview"] = text[:preview]
        return data

    def _preview(self) -> int:
        return self.rng.choice([40, 60, 80, 100, 140, 200, 300, 400, 400])

    def _kind(self) -> Kind:
        """A kind that rules may name."""
        return self.rng.choice(list(self.library.kinds.values()))

    def _document_kind(self) -> tuple[Kind, str]:
        """The kind of a document, and what the model calls it: one in seven is of a kind that no rule names."""
        if self.rng.random() < 0.15:
            return self.library.other, OTHER
        kind = self._kind()
        return kind, kind.label

    def _name(self, kind: Kind | None) -> str:
        stem = self.writer.stem(kind) if kind and self.rng.random() < 0.45 else ""
        if kind and stem == "" and self.rng.random() < 0.06:
            stem = self.writer.stem(self._kind())  # misleading, as real names are
        name = self.names.file_name(stem)
        return name if name not in (".", "..") else "file.txt"

    def _folder(self, hint: str = "", root: str | None = None) -> str:
        if self._base and root:
            return f"{self._base}/{self.names.folder_name(hint)}"
        folder = self.names.folder(hint, root)
        return folder + "/" if self.rng.random() < 0.1 else folder

    def _source(self) -> tuple[str, str | None]:
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

    def _call(self, think: str, name: str, **arguments: object) -> Message:
        return Message("assistant", "", think, (ToolCall(name, dict(arguments)),))

    def _error(self, source: str, destination: str) -> tuple[str, str]:
        message, reason = self.rng.choice(TOOL_ERRORS)
        word = f"{self.names.word()} {self.names.word()}"
        fill = {"src": source, "dst": destination, "w": word}
        return message.format(**fill), reason.format(**fill)

    # --- sorting ------------------------------------------------------------------------------------------------

    def _phrases(self, wanted: Kind | None, count: int, taken: set[str], label: str) -> list[str]:
        """`count` subject phrases that do not apply to `label`; the first applies to `wanted` where one is given."""
        phrases: list[str] = []
        if wanted:
            phrases.append(self.rng.choice(self.library.phrases_of[wanted.label]))
        others = self.library.other_phrases(label)
        while len(phrases) < count:
            phrase = self.rng.choice(others)
            if phrase not in taken and phrase not in phrases:
                phrases.append(phrase)
        self.rng.shuffle(phrases)
        return phrases

    def _rule(self, phrases: list[str], root: str | None) -> _Rule:
        rng = self.rng
        action = rng.choices(["move", "delete", "leave"], [90, 5, 5])[0]
        subject = (
            phrases[0] if len(phrases) == 1 else ", ".join(phrases[:-1]) + rng.choice([" and ", " or "]) + phrases[-1]
        )
        rule = _Rule(phrases, action)
        if action == "move":
            rule.target = self._folder(phrases[0] if rng.random() < 0.7 else "", root if rng.random() < 0.9 else None)
            rule.subject = subject
            wording = self._one(MOVE_RULES)
        else:
            wording = self._one(DELETE_RULES if action == "delete" else LEAVE_RULES)
        rule.text = wording.replace("{s}", subject).replace("{S}", _capital(subject)).replace("{f}", rule.target)
        return rule

    def _sentences(self, rules: list[_Rule]) -> list[str]:
        """A sentence for each rule, or now and then one for two or three that follow each other."""
        rng, sentences, rest = self.rng, [], list(rules)
        while rest:
            group = rest[: rng.choice([2, 2, 3])] if rng.random() < 0.3 else rest[:1]
            if len(group) > 1 and all(rule.subject for rule in group):
                first, then = rng.choice(JOINT_RULES)
                parts = [self._worded(first if rule is group[0] else then, rule) for rule in group]
                joint = rng.choice(JOINTS)
                sentences.append(joint.join(parts[:-1]) + rng.choice(LAST_JOINTS) + parts[-1] + ".")
                rest = rest[len(group) :]
            else:
                sentences.append(rest.pop(0).text)
        return sentences

    @staticmethod
    def _worded(wording: str, rule: _Rule) -> str:
        worded = wording.replace("{s}", rule.subject).replace("{S}", _capital(rule.subject))
        return worded.replace("{f}", rule.target)

    def _single_rule(self, kind: Kind, root: str | None) -> _Rule:
        """A rule in the singular, by the kind's own name: 'If it is an invoice, move it to ...'."""
        rule = _Rule([kind.label], "move", self._folder(kind.label, root))
        text = (
            self._one(SINGLE_RULES).replace("{a}", _article(kind.label)).replace("{A}", _capital(_article(kind.label)))
        )
        rule.text = text.replace("{f}", rule.target)
        return rule

    def _single_kind(self, label: str) -> Kind:
        """A kind that is clearly not `label`, for a singular rule that does not apply."""
        while True:
            kind = self._kind()
            if kind.label != label and not self.library.are_near(kind.label, label):
                return kind

    def _rules(self, kind: Kind, fits: bool, root: str | None) -> list[_Rule]:
        rng = self.rng
        total = rng.choices([1, 2, 3, 4, 5], [6, 24, 32, 23, 15])[0]
        place = rng.randrange(total) if fits else -1
        taken: set[str] = set()
        rules = []
        for index in range(total):
            if rng.random() < 0.12:
                rules.append(self._single_rule(kind if index == place else self._single_kind(kind.label), root))
                continue
            count = rng.choices([1, 2, 3], [75, 19, 6])[0]
            phrases = self._phrases(kind if index == place else None, count, taken, kind.label)
            taken.update(phrases)
            rules.append(self._rule(phrases, root))
        return rules

    def _thinking(self, label: str, rules: list[_Rule], last: str) -> tuple[str, _Rule | None]:
        """The reasoning that a run shows: the kind, then each subject in turn until one fits, and where that leads."""
        lines = [label]
        for rule in rules:
            for phrase in rule.phrases:
                fits = phrase == label or (
                    label in self.library.kinds
                    and phrase in self.library.phrases
                    and self.library.applies(label, phrase)
                )
                lines.append(f"{phrase}: {'yes' if fits else 'no'}")
                if fits:  # the folder at once, beside its phrase: after "yes" alone a neighbour's folder was taken
                    lines[-1] += f", {_ENDS.get(rule.action, rule.target)}"
                    return "\n".join(lines), rule
        lines.append(last)
        return "\n".join(lines), None

    def sort(self) -> Episode:
        rng = self.rng
        kind, label = self._document_kind()
        source_folder, root = self._source()
        # People keep their folders side by side, so that they differ in their last name only.
        self._base = self.names.folder(root=root) if rng.random() < 0.7 else ""
        rules = self._rules(kind, label != OTHER and rng.random() < 0.66, root)
        otherwise = self._folder("misc other rest" if rng.random() < 0.5 else "", root) if rng.random() < 0.25 else ""
        sentences = self._sentences(rules)
        if otherwise:
            sentences.append(self._one(ELSE_RULES).replace("{f}", otherwise))
        elif rng.random() < 0.75:
            sentences.append(self._one(LEAVE_REST))
        if rng.random() < 0.6:
            sentences.insert(0, self._one(OPENERS))
        if rng.random() < 0.25:
            sentences.insert(rng.choice([len(sentences), len(sentences), min(1, len(sentences))]), self._one(EXTRAS))
        text = self.writer.document(kind)
        if label == OTHER and rng.random() < 0.2:
            text = rng.choice(["", "", " ".join(self.names.word() for _ in range(rng.randint(1, 20)))])
        name = self._name(kind)
        data = self._file_data(source_folder, name, text, self._preview())
        think, rule = self._thinking(label, rules, f"else: {otherwise}" if otherwise else "no rule")
        needed = {"move_file"} | {"delete_file" for item in rules if item.action == "delete"}
        read_first = rng.random() < 0.05 and bool(text)
        if read_first:
            needed.add("read_file")
            data.pop("preview")
        tools = self._tools(*sorted(needed))
        event = Event("", rng.choices(["file", "manual"], [85, 15])[0], "", "", data)
        messages = opening_messages(self._joined(sentences), event)
        path = str(data["path"])
        if read_first:
            messages += [self._call("", "read_file", path=path), Message("tool", text, name="read_file")]
        action = rule.action if rule else ("move" if otherwise else "leave")
        target = rule.target if rule else otherwise
        if action == "leave":
            because = "no rule fits" if rule is None else f"{self._matched(think)} stay"
            messages.append(Message("assistant", f"Left {name} where it is: {because}.", think))
            return Episode("sort", tuple(messages), tools, label, "leave")
        messages += self._act(think, action, path, name, target)
        right = ("else" if rule is None else action) if messages[-2].content[:5] not in ("error", "denie") else "error"
        return Episode("sort", tuple(messages), tools, label, right)

    def _matched(self, think: str) -> str:
        return think.splitlines()[-1].rsplit(":", 1)[0]

    def _act(self, think: str, action: str, path: str, name: str, target: str) -> list[Message]:
        """The call that moves or deletes, its result, and the closing sentence."""
        if action == "delete":
            call = self._call(think, "delete_file", path=path)
            done, result = f"Put {name} in the trash.", f"put in the trash: {path}"
        else:
            destination = f"{target.rstrip('/')}/{name}"
            call = self._call(think, "move_file", source=path, destination=destination)
            absolute = destination.replace("~", "/home/" + self.names.nonsense(), 1)
            done, result = f"Moved {name} to {target.rstrip('/')}.", f"moved to {absolute}"
        if self.rng.random() < 0.08:
            result, reason = self._error(path, f"{target.rstrip('/')}/{name}" if target else path)
            done = f"Could not {action} {name}: {reason}."
        return [call, Message("tool", result, name=call.calls[0].name), Message("assistant", done)]

    # --- noting -------------------------------------------------------------------------------------------------

    def note(self) -> Episode:
        rng = self.rng
        kind, label = self._document_kind()
        text = self.writer.document(kind)
        preview = self._preview()
        lines = [line.strip() for line in text[:preview].splitlines() if line.strip()]
        whole = lines[:-1] if len(text) > preview and len(lines) > 1 else lines
        source_folder, _ = self._source()
        name = self._name(kind)
        data = self._file_data(source_folder, name, text, preview)
        what, content = self._what(whole, name)
        out = self._folder().rstrip("/") + "/" + self.names.word() + rng.choice([".md", ".txt", ".csv", ""])
        fits = label != OTHER and rng.random() < 0.68
        phrases = self._phrases(kind if fits else None, rng.choices([1, 2], [80, 20])[0], set(), kind.label)
        subject = rng.choice([" and ", " or "]).join(phrases)
        wording = self._one(NOTE_RULES).replace("{s}", subject).replace("{S}", _capital(subject))
        sentences = [wording.replace("{what}", what).replace("{f}", out)]
        if rng.random() < 0.7:
            sentences.append(
                self._one(LEAVE_REST)
                if rng.random() < 0.5
                else rng.choice(["Otherwise do nothing.", "Do nothing for other files."])
            )
        if rng.random() < 0.6:
            sentences.insert(0, self._one(NOTE_OPENERS))
        rule = _Rule(phrases, "note", out)
        think, found = self._thinking(label, [rule], "no rule")
        messages = opening_messages(self._joined(sentences), Event("", "file", "", "", data))
        tools = self._tools("append_file")
        if found is None:
            messages.append(Message("assistant", f"Nothing noted for {name}: no rule fits.", think))
            return Episode("note", tuple(messages), tools, label, "nothing")
        messages += self._noted(think, out, content)
        right = "note" if messages[-2].content.startswith("appended") else "error"
        return Episode("note", tuple(messages), tools, label, right)

    def _what(self, lines: list[str], name: str) -> tuple[str, str]:
        """What to note, in words, and the text that this is."""
        draw = self.rng.random()
        if draw < 0.4 or len(lines) < 2:
            return self._one(FIRST_LINE), lines[0]
        if draw < 0.55:
            return self._one(FILE_NAME), name
        line = self.rng.choice(lines)
        words = [word.strip(".,:;()\"'") for word in line.split()]
        rare = [word for word in words if len(word) > 2 and sum(word.lower() in other.lower() for other in lines) == 1]
        if not rare:
            return self._one(FIRST_LINE), lines[0]
        return self._one(KEY_LINE).replace("{w}", self.rng.choice(rare)), line

    def _noted(self, think: str, out: str, content: str) -> list[Message]:
        call = self._call(think, "append_file", path=out, content=content)
        result, done = (
            f"appended 1 line to {out.replace('~', '/home/' + self.names.nonsense(), 1)}",
            f"Added a line to {out}.",
        )
        if self.rng.random() < 0.07:
            result, reason = self._error(out, out)
            done = f"Could not write to {out}: {reason}."
        return [call, Message("tool", result, name="append_file"), Message("assistant", done)]

    # --- schedules ----------------------------------------------------------------------------------------------

    def _date_event(self, trigger: str) -> Event:
        rng = self.rng
        date = f"{rng.randint(2020, 2035)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"
        clock = (
            f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}:{rng.choice(['00', '00', str(rng.randint(10, 59))])}.000Z"
        )
        return Event("", trigger, "", "", {"scheduled_at": f"{date}T{clock}", "date": date})

    def digest(self) -> Episode:
        rng = self.rng
        event = self._date_event(rng.choice(["cron", "cron", "every", "at", "manual"]))
        date = event.data["date"]
        folder = self._folder().rstrip("/")
        dated = rng.random() < 0.75
        stem = (
            rng.choice(["DATE", "DATE", f"{self.names.word()}-DATE", f"DATE-{self.names.word()}"])
            if dated
            else self.names.word()
        )
        out = f"{self._folder().rstrip('/')}/{stem}.md"
        ask = self._one(DIGEST_ASKS).replace("{d}", folder).replace("{o}", out)
        if dated:
            ask = ask.rstrip(".") + rng.choice([", ", "; "]) + self._one(DATE_HINTS) + "."
        target = out.replace("DATE", date) if dated else out
        entries = sorted({self._name(self._kind()) for _ in range(rng.choice([0, 1, 2, 3, 3, 4, 5, 6, 8, 10, 12]))})
        folders = sorted({self.names.folder_name() for _ in range(rng.choice([0, 0, 0, 1, 2]))})
        marked = [(name, f"[DIR] {name}") for name in folders] + [(name, f"[FILE] {name}") for name in entries]
        listing = "\n".join(line for _, line in sorted(marked)) or "(empty)"
        messages = opening_messages(ask, event)
        tools = self._tools("list_directory", "write_file")
        messages.append(self._call("", "list_directory", path=folder))
        if rng.random() < 0.06:
            result, reason = self._error(folder, folder)
            messages += [
                Message("tool", result, name="list_directory"),
                Message("assistant", f"Could not list {folder}: {reason}."),
            ]
            return Episode("digest", tuple(messages), tools, "", "error")
        body = "\n".join(f"- {name}" for name in entries) or "(no files)"
        messages += [
            Message("tool", listing, name="list_directory"),
            self._call("", "write_file", path=target, content=f"# {date}\n{body}\n"),
            Message("tool", f"wrote {len(body) + 13} bytes to {target}", name="write_file"),
            Message("assistant", f"Wrote {target}."),
        ]
        return Episode("digest", tuple(messages), tools, "", "digest")

    def watch(self) -> Episode:
        rng = self.rng
        path = (
            self._folder().rstrip("/")
            + "/"
            + rng.choice(["status.txt", "machine.log", "health.txt", self.names.file_name()])
        )
        out = self._folder().rstrip("/") + "/" + self.names.word() + rng.choice([".md", ".txt", ""])
        matters = rng.random() < 0.55
        lines = [self._log_line(GOOD_LINES) for _ in range(rng.randint(1, 6))]
        if rng.random() < 0.35:
            word = self.names.word()
            ask, verdict = self._one(WATCH_WORD_ASKS).replace("{w}", word), word
            found = f"{self.names.word()} {word} {rng.choice(['', self.names.word()])}".strip()
            lines = [line for line in lines if word.lower() not in line.lower()] or ["ok"]
        else:
            ask, verdict = self._one(WATCH_ASKS), "problem"
            found = self._log_line(BAD_LINES)
        if matters:
            lines.insert(rng.randint(0, len(lines)), found)
        stamp = rng.random()
        if stamp < 0.5:
            lines = [
                f"{self.names.slot('time') if stamp < 0.25 else self._date_event('cron').data['scheduled_at'][:19]} {line}"
                for line in lines
            ]
            found = next((line for line in lines if line.endswith(found)), found)
        event = self._date_event(rng.choice(["every", "every", "cron", "manual"]))
        messages = opening_messages(ask.replace("{p}", path).replace("{o}", out), event)
        tools = self._tools("read_file", "append_file")
        messages.append(self._call("", "read_file", path=path))
        if rng.random() < 0.06:
            result, reason = self._error(path, path)
            messages += [
                Message("tool", result, name="read_file"),
                Message("assistant", f"Could not read {path}: {reason}."),
            ]
            return Episode("watch", tuple(messages), tools, "", "error")
        messages.append(Message("tool", "\n".join(lines), name="read_file"))
        if not matters:
            messages.append(Message("assistant", "Nothing to note.", f"{verdict}: no"))
            return Episode("watch", tuple(messages), tools, "", "nothing")
        messages += self._noted(f"{verdict}: yes", out, found)
        return Episode(
            "watch", tuple(messages), tools, "", "note" if messages[-2].content.startswith("app") else "error"
        )

    def _log_line(self, items: Sequence[str]) -> str:
        rng = self.rng
        return (
            self._one(items)
            .replace("{x}", self.names.word())
            .replace("{n}", str(rng.randint(1, 900)))
            .replace("{d}", str(rng.randint(0, 9)))
        )


def as_text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
