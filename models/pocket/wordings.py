"""How people word things: rules, asks, openers, and what tools answer when something goes wrong.

`{s}` and `{S}` stand for the subject phrases, `{a}` and `{A}` for a kind with its article, `{f}` for a folder. Of a list
of seven and more every seventh is held out (`part`); rules that share a sentence (`JOINT_RULES`) are not.
"""

from __future__ import annotations

from collections.abc import Sequence

from content import CONTENT

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


def part(items: Sequence[str], held_out: bool) -> list[str]:
    """The part of the wordings that belongs to a split; short lists are shared."""
    if len(items) < 7:
        return list(items)
    return [item for index, item in enumerate(items) if (index % 7 == 3) == held_out]


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def article(label: str) -> str:
    return f"{'an' if label[0].lower() in 'aeiou' else 'a'} {label}"
