"""`python -m service_machine`: boots the machine, uses the service as a user and as root, and prints a summary."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from service_machine import scenes
from service_machine.image import CannotRun, image
from service_machine.machine import SOURCE, Machine, until
from service_machine.people import FOLDER, Person, Tally

CHECKOUT = Path(__file__).resolve().parent.parent.parent
_PROGRAM = f'#!/bin/sh\nexec "{FOLDER}/venv/bin/python" -P -m edgeagent.cli "$@"\n'
MOST_EXPOSED = 3.0


def install(machine: Machine) -> None:
    """edgeagent with what it needs, as seen from the machine."""
    packages = next((CHECKOUT / ".venv" / "lib").glob("python*")).relative_to(CHECKOUT) / "site-packages"
    machine.run("python3", "-m", "venv", "--without-pip", f"{FOLDER}/venv")
    found = machine.run("sh", "-c", f"ls -d '{FOLDER}'/venv/lib/python*/site-packages")
    machine.write(f"{found}/edgeagent.pth", f"{SOURCE}\n{SOURCE}/{packages}\n")
    machine.write("/usr/local/bin/edgeagent", _PROGRAM, "755")
    machine.run("useradd", "--create-home", "--shell", "/bin/bash", "alice")


def of_a_user(alice: Person, tally: Tally) -> None:
    print("\n--- a service of a user ---")
    alice.machine.write("/home/alice/.profile", f"export EDGEAGENT_HOME='{alice.home}'\n")
    scenes.furnish(alice)
    alice.machine.run("chown", "-R", "alice:", "/home/alice")
    told = alice.machine.run("runuser", "-u", "alice", "--", "edgeagent", "service", "install", "--dry-run")
    tally.check("a dry run shows the unit", "ExecStart=" in told)
    told = alice.machine.run(
        "env", "-u", "XDG_RUNTIME_DIR", "runuser", "-u", "alice", "--", "edgeagent", "service", "start", check=False
    )
    tally.check("without one there is nothing to start", "edgeagent service install" in told)
    command = ["runuser", "-u", "alice", "--", "env", f"EDGEAGENT_HOME={alice.home}", "edgeagent", "service", "install"]
    told = alice.machine.run(*command, check=False)
    print("alice$ edgeagent service install      # after su, without a session\n    " + told.replace("\n", "\n    "))
    tally.check("without a systemd of the user that is said, with what to do", "enable-linger alice" in told)
    _, told = alice.service("install")
    tally.check("without lingering it is said how to have it run from boot on", "enable-linger alice" in told)
    alice.machine.run("loginctl", "enable-linger", "alice")
    until(lambda: "alice" in alice.machine.run("loginctl", "list-users"), "alice lingers")
    scenes.begin(alice, tally)
    _play(alice, tally)


def of_the_system(root: Person, tally: Tally) -> None:
    print("\n--- the service of the system ---")
    root.machine.run("mkdir", "-p", root.inbox, root.done)
    scenes.begin(root, tally, "--write", root.inbox, "--write", root.done)
    scenes.furnish(root)
    said = root.types("systemd-analyze security --no-pager edgeagent.service | tail -1")[1]
    score = float((re.search(r"[0-9]+\.[0-9]+", said) or ["99"])[0])
    tally.check(f"it is exposed less than {MOST_EXPOSED:g}", score < MOST_EXPOSED, str(score))
    _play(root, tally)
    code, _ = root.types(
        f"runuser -u edgeagent -- cat /etc/shadow {root.home}/config.toml > /dev/null 2>&1", show=False
    )
    tally.check("its user is an ordinary one", code != 0)
    scenes.exceptions(root, tally)


def _play(person: Person, tally: Tally) -> None:
    """What both kinds of service have to go through."""
    for scene in (
        scenes.work,
        scenes.crash,
        scenes.hang,
        scenes.skills,
        scenes.pocket,
        scenes.patience,
        scenes.mistakes,
    ):
        scene(person, tally)


def _is_active(person: Person) -> bool:
    return person.shows("ActiveState") == "active"


def restart(alice: Person, root: Person, tally: Tally) -> None:
    print("\n--- the machine starts again ---")
    alice.machine.off()
    alice.machine.boot()
    for person in (alice, root):
        until(partial(_is_active, person), f"{person.name}'s service runs")
        person.drop("h")
        person.until_ran(list("abcdefgh"))
        tally.check(
            f"the service of {'the system' if person.is_root else 'a user who lingers'} starts with the machine", True
        )


def main() -> int:
    try:
        base = image()
    except CannotRun as missing:
        print(f"cannot boot a machine here: {missing}", file=sys.stderr)
        return 1
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="edgeagent-machine-") as layer:
        machine = Machine(base, Path(layer), CHECKOUT)
        try:
            machine.boot()
            install(machine)
            print(
                f"booted: {machine.run('systemctl', '--version').splitlines()[0]}, Linux {machine.run('uname', '-r')}"
            )
            alice = Person(machine, "alice", "/home/alice/my agents 100%", "/home/alice/Inbox", "/home/alice/Done")
            root = Person(machine, "root", "/var/lib/edgeagent", "/srv/inbox", "/srv/done")
            of_a_user(alice, tally)
            of_the_system(root, tally)
            restart(alice, root, tally)
            scenes.end(alice, tally)
            scenes.end(root, tally)
        except (AssertionError, ValueError, subprocess.SubprocessError) as error:
            tally.check("the session went on to its end", False, str(error))
        finally:
            machine.off()
    print(f"\n{len(tally.seen) - tally.broken} of {len(tally.seen)} hold")
    for claim, holds, detail in tally.seen:
        if not holds:
            print(f"does not hold: {claim}{f': {detail}' if detail else ''}")
    return 1 if tally.broken else 0


if __name__ == "__main__":
    sys.exit(main())
