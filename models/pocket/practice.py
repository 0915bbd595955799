"""Episodes that practise one thing only: copying (`echo`), and saying what a document is and what names it (`drill`)."""

from __future__ import annotations

from draws import Draws, Episode
from wordings import BAD_LINES

from edgeagent.prompt import opening_messages
from edgeagent.schema import Event, Message


def echo(draws: Draws) -> Episode:
    """Nothing but copying. Dense in what is hardest to learn, so that copying appears early in training."""
    rng = draws.rng
    kinds_of_value = [
        lambda: f"{draws.names.folder()}/{draws.names.file_name()}",
        draws.names.file_name,
        draws.names.folder,
        lambda: " ".join(draws.names.word() for _ in range(rng.randint(1, 8))),
        lambda: "".join(draws.names.piece() for _ in range(rng.randint(1, 4))),
        draws.any_line,
        draws.any_line,
        lambda: f"{draws.date_event('cron').data['scheduled_at'][:19]} {draws.log_line(BAD_LINES)}",
    ]
    values = [rng.choice(kinds_of_value)() for _ in range(rng.choice([1, 1, 2, 3]))]
    keys = rng.sample(["a", "b", "c", "d"], len(values))
    asked = rng.sample(range(len(values)), len(values))
    text = "\n".join(f"{key}: {value}" for key, value in zip(keys, values, strict=True))
    event = Event("", "manual", "", "", {"preview": text})
    wanted = ", ".join(keys[index] for index in asked)
    answer = "\n".join(values[index] for index in asked)
    messages = [*opening_messages(f"Repeat {wanted}.", event), Message("assistant", answer)]
    return Episode("echo", tuple(messages), (), "", "echo")


def drill(draws: Draws) -> Episode:
    """Nothing but judging: what a document is, and mostly for many phrases whether they name it."""
    rng = draws.rng
    kind, label = draws.document_kind()
    if rng.random() < 0.8:
        text = draws.writer.document(kind)
        preview = _words_of(draws, text) if rng.random() < 0.6 else text[: rng.choice([60, 100, 150, 200, 300, 400])]
        messages = opening_messages("Check.", Event("", "manual", "", "", {"preview": preview}))
        return Episode("drill", (*messages, Message("assistant", "Checked.", label)), (), label, "drill")
    data = {"preview": draws.writer.document(kind)[: draws.preview()]}
    fitting = draws.library.phrases_of.get(kind.label, [])
    phrases = rng.sample(fitting, min(len(fitting), rng.choice([0, 1, 2, 3, 4])))
    phrases += list(rng.sample(draws.library.other_phrases(kind.label), rng.randint(3, 7)))
    phrases = list(dict.fromkeys(phrases))
    rng.shuffle(phrases)
    lines = [label, *(f"{phrase}: {'yes' if phrase in fitting else 'no'}" for phrase in phrases)]
    messages = opening_messages(f"Check {', '.join(phrases)}.", Event("", "manual", "", "", data))
    messages.append(Message("assistant", "Checked.", "\n".join(lines)))
    return Episode("drill", tuple(messages), (), label, "drill")


def _words_of(draws: Draws, text: str) -> str:
    """A few of the text's words in any order, so that each word has to count by itself."""
    words = text.split()
    if draws.held_out or len(words) < 5:
        return text[:400]
    return " ".join(draws.rng.sample(words, min(len(words), draws.rng.randint(5, 25))))
