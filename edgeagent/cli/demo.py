"""`edgeagent demo`: the main job on the bundled model, in a home of its own that is thrown away afterwards.

Starts the real daemon with the three example agents, drops real files, waits for what comes of it, and looks on the
disk whether each thing is where it belongs. Nothing is simulated; only the schedules of two examples are moved to the
next few seconds.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import click

from edgeagent.bundled import bundled
from edgeagent.cli.app import App, pass_app
from edgeagent.cli.command import Command
from edgeagent.cli.screen import Column, Screen
from edgeagent.errors import EdgeagentError
from edgeagent.schema import Run
from edgeagent.store import Store, open_read_only

WAIT_SECONDS = 90.0

EXPECTED = {
    "scan_0231.txt": "bills",
    "RE-2031.txt": "bills",
    "IMG 4471.txt": "recipes",
    "soup.txt": "recipes",
    "untitled.txt": "letters",
    "postcard.txt": "letters",
    "fax-0007.txt": "health",
    "notes2.txt": None,
    "list.txt": None,
    "build.txt": None,
}
"""The folder below ~/Documents where each file belongs; None: it stays in the inbox."""

HEALTH = """\
2026-11-24 06:00 clock in sync, load 0.42
2026-11-24 06:05 nightly backup failed: no space left on /mnt/backup
2026-11-24 06:10 package lists are up to date
"""
TROUBLE = HEALTH.splitlines()[1]


@dataclass(frozen=True, slots=True)
class Place:
    """The scratch folder: a person's home, and edgeagent's."""

    root: Path

    @property
    def user(self) -> Path:
        return self.root / "home"

    @property
    def home(self) -> Path:
        return self.root / "edgeagent"

    @property
    def inbox(self) -> Path:
        return self.user / "Inbox"

    @property
    def documents(self) -> Path:
        return self.user / "Documents"


@click.command(cls=Command)
@click.option("--keep", is_flag=True, help="Keep the scratch home, to look around in it.")
@pass_app
def demo(app: App, keep: bool) -> int:
    """See the main job done: files arrive, the bundled model decides, tools act.

    Everything happens in a scratch home, offline. Exit code 1 when a file ends up in the wrong place.
    """
    place = Place(Path(tempfile.mkdtemp(prefix="edgeagent-demo-")))
    try:
        began = time.monotonic()
        _prepare(place)
        app.screen.line(f"{len(EXPECTED)} files for three agents on the bundled model, in {place.root}")
        with _daemon(app, place):
            _drop(place)
            runs = _wait(place)
        wrong = _show(app.screen, place, runs)
        seconds = time.monotonic() - began
        app.screen.line(
            f"\n{len(runs)} runs in {seconds:.0f} s. "
            + (f"{wrong} went wrong." if wrong else "All is where it belongs.")
        )
        if keep:
            app.screen.line(f"look around: EDGEAGENT_HOME={place.home} edgeagent runs list")
        return 1 if wrong else 0
    finally:
        if not keep:
            shutil.rmtree(place.root, ignore_errors=True)


def _prepare(place: Place) -> None:
    for folder in (place.inbox, place.documents, place.user / "Machine", place.home / "agents"):
        folder.mkdir(parents=True)
    (place.user / "Machine" / "health.log").write_text(HEALTH, encoding="utf-8")
    soon = datetime.now().astimezone() + timedelta(seconds=12)
    moved = {
        "inbox": ("", ""),
        "digest": (
            'trigger: cron\n    schedule: "0 18 * * *"\n    missed: run_once',
            f'trigger: at\n    time: "{soon.isoformat(timespec="seconds")}"',
        ),
        "watchdog-note": ("interval: 15m", "interval: 8s"),
    }
    for name, (usual, now) in moved.items():
        text = (bundled("examples") / f"{name}.md").read_text(encoding="utf-8")
        assert usual in text, f"the schedule of {name}.md has changed"
        (place.home / "agents" / f"{name}.md").write_text(text.replace(usual, now), encoding="utf-8")


@contextmanager
def _daemon(app: App, place: Place) -> Iterator[None]:
    """The real daemon, for as long as the block lasts."""
    environment = {
        name: value for name, value in app.environ.items() if not name.startswith(("EDGEAGENT_", "XDG_"))
    } | {"HOME": str(place.user), "EDGEAGENT_HOME": str(place.home)}
    process = subprocess.Popen(
        [sys.executable, "-m", "edgeagent.cli", "daemon", "-q"], env=environment, start_new_session=True
    )
    try:
        until = time.monotonic() + 20
        while not (place.home / "run" / "edgeagent.sock").exists():
            if process.poll() is not None or time.monotonic() > until:
                raise EdgeagentError("the daemon did not start", "edgeagent doctor")
            time.sleep(0.05)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _drop(place: Place) -> None:
    for name in EXPECTED:
        shutil.copyfile(bundled("examples") / "demo" / name, place.inbox / name)


def _wait(place: Place) -> list[Run]:
    """The runs that ended, one for each file and at least one of each other agent, oldest first."""
    until = time.monotonic() + WAIT_SECONDS
    with open_read_only(place.home / "edgeagent.db") as store:
        while True:
            runs = _ended(store)
            agents = [run.agent for run in runs]
            if agents.count("inbox") >= len(EXPECTED) and {"digest", "watchdog-note"} <= set(agents):
                return runs
            if time.monotonic() > until:
                return runs
            time.sleep(0.1)


def _ended(store: Store) -> list[Run]:
    return [store.run(run.id) for run in reversed(store.runs(limit=100)) if run.status.is_terminal]


def _show(screen: Screen, place: Place, runs: list[Run]) -> int:
    """The table of what happened, and how many things are not as they should be on the disk."""
    columns = [
        Column("arrived", flexible=True),
        Column("decided", flexible=True),
        Column("tool"),
        Column("is now in", flexible=True),
        Column("tokens", right=True),
        Column("s", right=True),
        Column(""),
    ]
    rows, wrong, seen = [], 0, set()
    for run in runs:
        name = str(run.event.get("name", run.agent))
        if name in seen and run.agent != "inbox":
            continue
        seen.add(name)
        is_right, where = _judge(place, run)
        wrong += not is_right
        tokens = f"{run.usage.input_tokens}+{run.usage.output_tokens}"
        rows.append(
            [name, _decision(run), _tool(run), where, tokens, f"{run.seconds or 0:.1f}", "ok" if is_right else "WRONG"]
        )
    screen.line()
    screen.table(columns, rows, {"ok": "green", "WRONG": "red"})
    missing = (set(EXPECTED) | {"digest", "watchdog-note"}) - seen
    for name in sorted(missing):
        screen.line(f"{name}: no run ended within {WAIT_SECONDS:.0f} s")
    return wrong + len(missing)


def _judge(place: Place, run: Run) -> tuple[bool, str]:
    """Whether the disk is as it should be after the run, and where the thing now is."""
    if run.agent == "digest":
        digest = place.documents / "digests" / f"{run.event.get('date')}.md"
        text = digest.read_text(encoding="utf-8") if digest.exists() else ""
        return run.status == "ok" and text.startswith("# "), _below(digest, place) if text else "nowhere"
    if run.agent == "watchdog-note":
        notes = place.documents / "machine-notes.md"
        lines = notes.read_text(encoding="utf-8").splitlines() if notes.exists() else []
        return set(lines) == {TROUBLE}, _below(notes, place) if lines else "nowhere"
    name = str(run.event["name"])
    folder = EXPECTED[name]
    wanted = place.inbox / name if folder is None else place.documents / folder / name
    found = [path for path in place.user.rglob(name) if path.is_file()]
    return found == [wanted], ", ".join(_below(path.parent, place) for path in found) or "nowhere"


def _below(path: Path, place: Place) -> str:
    return f"~/{path.relative_to(place.user)}"


def _decision(run: Run) -> str:
    """The model's own short reasoning: what the document is, and the rule that fits."""
    thoughts = [step.reasoning for step in run.steps if step.kind == "chat" and step.reasoning]
    if not thoughts:
        return "-"
    lines = thoughts[0].splitlines()
    last = lines[-1].partition(": yes")[0]
    return f"{lines[0]}: {last}" if len(lines) > 1 else last


def _tool(run: Run) -> str:
    used = [step.name for step in run.steps if step.kind == "tool" and step.status == "ok"]
    return used[-1] if used else "none"
