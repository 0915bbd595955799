"""Composes training episodes: instructions, tools, an event, and what a good agent does about it.

Owns the right behaviour; the wording of instructions is in `wordings.py`, rules are in `rules.py`. Everything that the
product renders at run time is rendered here by the product's own code: `edgeagent.prompt` for the event,
`edgeagent.tools.specs` for the tools, the chat template beside this file through `edgeagent.model.template`.

Families: sort (rules by kind of document), note (add a line taken from the text), digest (list a folder, write the
list), watch (read a file, note a line only when it matters); and echo and drill, for practice. What is drawn with
`held_out` has wordings and content that training never sees.
"""

from __future__ import annotations

from collections.abc import Callable

from content import OTHER, Library
from draws import Draws, Episode
from practice import drill, echo
from rules import Rule, Rules
from wordings import (
    BAD_LINES,
    DATE_HINTS,
    DIGEST_ASKS,
    ELSE_RULES,
    EXTRAS,
    FILE_NAME,
    FIRST_LINE,
    GOOD_LINES,
    KEY_LINE,
    LEAVE_REST,
    NOTE_OPENERS,
    NOTE_RULES,
    OPENERS,
    WATCH_ASKS,
    WATCH_WORD_ASKS,
    capital,
)

from edgeagent.prompt import opening_messages
from edgeagent.schema import Event, Message


class Composer:
    """Draws episodes: a share of them for practice, the rest of the four families."""

    def __init__(self, draws: Draws, echo_share: float = 0.04, drill_share: float = 0.0) -> None:
        self.draws = draws
        self.rng = draws.rng
        self.rules = Rules(draws)
        self.echo_share = echo_share
        self.drill_share = drill_share
        self._families: list[tuple[float, Callable[[], Episode]]] = [
            (0.62, self.sort),
            (0.14, self.note),
            (0.08, self.digest),
            (0.16, self.watch),
        ]

    @property
    def library(self) -> Library:
        return self.draws.library

    def episode(self) -> Episode:
        if self.rng.random() < self.echo_share:
            return echo(self.draws)
        if self.rng.random() < self.drill_share:
            return drill(self.draws)
        weights = [weight for weight, _ in self._families]
        return self.rng.choices([make for _, make in self._families], weights)[0]()

    # --- sorting ------------------------------------------------------------------------------------------------

    def sort(self) -> Episode:
        rng = self.draws.rng
        kind, label = self.draws.document_kind()
        source_folder, root = self.draws.source()
        # People keep their folders side by side, so that they differ in their last name only.
        self.draws.base = self.draws.names.folder(root=root) if rng.random() < 0.7 else ""
        rules = self.rules.several(kind, label != OTHER and rng.random() < 0.66, root)
        otherwise = (
            self.draws.folder("misc other rest" if rng.random() < 0.5 else "", root) if rng.random() < 0.25 else ""
        )
        sentences = self.rules.sentences(rules)
        if otherwise:
            sentences.append(self.draws.one(ELSE_RULES).replace("{f}", otherwise))
        elif rng.random() < 0.75:
            sentences.append(self.draws.one(LEAVE_REST))
        if rng.random() < 0.6:
            sentences.insert(0, self.draws.one(OPENERS))
        if rng.random() < 0.25:
            sentences.insert(
                rng.choice([len(sentences), len(sentences), min(1, len(sentences))]), self.draws.one(EXTRAS)
            )
        text = self.draws.writer.document(kind)
        if label == OTHER and rng.random() < 0.2:
            text = rng.choice(["", "", " ".join(self.draws.names.word() for _ in range(rng.randint(1, 20)))])
        name = self.draws.name(kind)
        data = self.draws.file_data(source_folder, name, text, self.draws.preview())
        think, rule = self.rules.thinking(label, rules, f"else: {otherwise}" if otherwise else "no rule")
        needed = {"move_file"} | {"delete_file" for item in rules if item.action == "delete"}
        read_first = rng.random() < 0.05 and bool(text)
        if read_first:
            needed.add("read_file")
            data.pop("preview")
        tools = self.draws.tools(*sorted(needed))
        event = Event("", rng.choices(["file", "manual"], [85, 15])[0], "", "", data)
        messages = opening_messages(self.draws.joined(sentences), event)
        path = str(data["path"])
        if read_first:
            messages += [self.draws.call("", "read_file", path=path), Message("tool", text, name="read_file")]
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
            call = self.draws.call(think, "delete_file", path=path)
            done, result = f"Put {name} in the trash.", f"put in the trash: {path}"
        else:
            destination = f"{target.rstrip('/')}/{name}"
            call = self.draws.call(think, "move_file", source=path, destination=destination)
            absolute = destination.replace("~", "/home/" + self.draws.names.nonsense(), 1)
            done, result = f"Moved {name} to {target.rstrip('/')}.", f"moved to {absolute}"
        if self.draws.rng.random() < 0.08:
            result, reason = self.draws.error(path, f"{target.rstrip('/')}/{name}" if target else path)
            done = f"Could not {action} {name}: {reason}."
        return [call, Message("tool", result, name=call.calls[0].name), Message("assistant", done)]

    # --- noting -------------------------------------------------------------------------------------------------

    def note(self) -> Episode:
        rng = self.draws.rng
        kind, label = self.draws.document_kind()
        text = self.draws.writer.document(kind)
        preview = self.draws.preview()
        lines = [line.strip() for line in text[:preview].splitlines() if line.strip()]
        whole = lines[:-1] if len(text) > preview and len(lines) > 1 else lines
        source_folder, _ = self.draws.source()
        name = self.draws.name(kind)
        data = self.draws.file_data(source_folder, name, text, preview)
        what, content = self._what(whole, name)
        out = self.draws.folder().rstrip("/") + "/" + self.draws.names.word() + rng.choice([".md", ".txt", ".csv", ""])
        fits = label != OTHER and rng.random() < 0.68
        phrases = self.rules.phrases(kind if fits else None, rng.choices([1, 2], [80, 20])[0], set(), kind.label)
        subject = rng.choice([" and ", " or "]).join(phrases)
        wording = self.draws.one(NOTE_RULES).replace("{s}", subject).replace("{S}", capital(subject))
        sentences = [wording.replace("{what}", what).replace("{f}", out)]
        if rng.random() < 0.7:
            sentences.append(
                self.draws.one(LEAVE_REST)
                if rng.random() < 0.5
                else rng.choice(["Otherwise do nothing.", "Do nothing for other files."])
            )
        if rng.random() < 0.6:
            sentences.insert(0, self.draws.one(NOTE_OPENERS))
        rule = Rule(phrases, "note", out)
        think, found = self.rules.thinking(label, [rule], "no rule")
        messages = opening_messages(self.draws.joined(sentences), Event("", "file", "", "", data))
        tools = self.draws.tools("append_file")
        if found is None:
            messages.append(Message("assistant", f"Nothing noted for {name}: no rule fits.", think))
            return Episode("note", tuple(messages), tools, label, "nothing")
        messages += self._noted(think, out, content)
        right = "note" if messages[-2].content.startswith("appended") else "error"
        return Episode("note", tuple(messages), tools, label, right)

    def _what(self, lines: list[str], name: str) -> tuple[str, str]:
        """What to note, in words, and the text that this is."""
        draw = self.draws.rng.random()
        if draw < 0.4 or len(lines) < 2:
            return self.draws.one(FIRST_LINE), lines[0]
        if draw < 0.55:
            return self.draws.one(FILE_NAME), name
        line = self.draws.rng.choice(lines)
        words = [word.strip(".,:;()\"'") for word in line.split()]
        rare = [word for word in words if len(word) > 2 and sum(word.lower() in other.lower() for other in lines) == 1]
        if not rare:
            return self.draws.one(FIRST_LINE), lines[0]
        return self.draws.one(KEY_LINE).replace("{w}", self.draws.rng.choice(rare)), line

    def _noted(self, think: str, out: str, content: str) -> list[Message]:
        call = self.draws.call(think, "append_file", path=out, content=content)
        result, done = (
            f"appended 1 line to {out.replace('~', '/home/' + self.draws.names.nonsense(), 1)}",
            f"Added a line to {out}.",
        )
        if self.draws.rng.random() < 0.07:
            result, reason = self.draws.error(out, out)
            done = f"Could not write to {out}: {reason}."
        return [call, Message("tool", result, name="append_file"), Message("assistant", done)]

    # --- schedules ----------------------------------------------------------------------------------------------

    def digest(self) -> Episode:
        rng = self.draws.rng
        event = self.draws.date_event(rng.choice(["cron", "cron", "every", "at", "manual"]))
        date = event.data["date"]
        folder = self.draws.folder().rstrip("/")
        dated = rng.random() < 0.75
        stem = (
            rng.choice(["DATE", "DATE", f"{self.draws.names.word()}-DATE", f"DATE-{self.draws.names.word()}"])
            if dated
            else self.draws.names.word()
        )
        out = f"{self.draws.folder().rstrip('/')}/{stem}.md"
        ask = self.draws.one(DIGEST_ASKS).replace("{d}", folder).replace("{o}", out)
        if dated:
            ask = ask.rstrip(".") + rng.choice([", ", "; "]) + self.draws.one(DATE_HINTS) + "."
        target = out.replace("DATE", date) if dated else out
        entries = sorted(
            {self.draws.name(self.draws.kind()) for _ in range(rng.choice([0, 1, 2, 3, 3, 4, 5, 6, 8, 10, 12]))}
        )
        folders = sorted({self.draws.names.folder_name() for _ in range(rng.choice([0, 0, 0, 1, 2]))})
        marked = [(name, f"[DIR] {name}") for name in folders] + [(name, f"[FILE] {name}") for name in entries]
        listing = "\n".join(line for _, line in sorted(marked)) or "(empty)"
        messages = opening_messages(ask, event)
        tools = self.draws.tools("list_directory", "write_file")
        messages.append(self.draws.call("", "list_directory", path=folder))
        if rng.random() < 0.06:
            result, reason = self.draws.error(folder, folder)
            messages += [
                Message("tool", result, name="list_directory"),
                Message("assistant", f"Could not list {folder}: {reason}."),
            ]
            return Episode("digest", tuple(messages), tools, "", "error")
        body = "\n".join(f"- {name}" for name in entries) or "(no files)"
        messages += [
            Message("tool", listing, name="list_directory"),
            self.draws.call("", "write_file", path=target, content=f"# {date}\n{body}\n"),
            Message("tool", f"wrote {len(body) + 13} bytes to {target}", name="write_file"),
            Message("assistant", f"Wrote {target}."),
        ]
        return Episode("digest", tuple(messages), tools, "", "digest")

    def watch(self) -> Episode:
        rng = self.draws.rng
        path = (
            self.draws.folder().rstrip("/")
            + "/"
            + rng.choice(["status.txt", "machine.log", "health.txt", self.draws.names.file_name()])
        )
        out = self.draws.folder().rstrip("/") + "/" + self.draws.names.word() + rng.choice([".md", ".txt", ""])
        matters = rng.random() < 0.55
        lines = [self.draws.log_line(GOOD_LINES) for _ in range(rng.randint(1, 6))]
        if rng.random() < 0.35:
            word = self.draws.names.word()
            ask, verdict = self.draws.one(WATCH_WORD_ASKS).replace("{w}", word), word
            found = f"{self.draws.names.word()} {word} {rng.choice(['', self.draws.names.word()])}".strip()
            lines = [line for line in lines if word.lower() not in line.lower()] or ["ok"]
        else:
            ask, verdict = self.draws.one(WATCH_ASKS), "problem"
            found = self.draws.log_line(BAD_LINES)
        if matters:
            lines.insert(rng.randint(0, len(lines)), found)
        stamp = rng.random()
        if stamp < 0.5:
            lines = [
                f"{self.draws.names.slot('time') if stamp < 0.25 else self.draws.date_event('cron').data['scheduled_at'][:19]} {line}"
                for line in lines
            ]
            found = next((line for line in lines if line.endswith(found)), found)
        event = self.draws.date_event(rng.choice(["every", "every", "cron", "manual"]))
        messages = opening_messages(ask.replace("{p}", path).replace("{o}", out), event)
        tools = self.draws.tools("read_file", "append_file")
        messages.append(self.draws.call("", "read_file", path=path))
        if rng.random() < 0.06:
            result, reason = self.draws.error(path, path)
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
