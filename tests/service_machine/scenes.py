"""What is tried with a service, of a user and of the system alike."""

from __future__ import annotations

import json
import time

from service_machine.machine import until
from service_machine.people import Person, Tally

LONG = 6


def furnish(person: Person) -> None:
    """A home with agents on scripts, one with a skill, and one on the bundled model."""
    owner = "edgeagent" if person.is_root else person.name
    move = {
        "name": "move_file",
        "arguments": {"source": "{{ event.path }}", "destination": f"{person.done}/{{{{ event.name }}}}"},
    }
    scripts = {
        "inbox": [move, "Filed."],
        "sums": [{"name": "checksum", "arguments": {"file": "{{ event.path }}"}}, "Done."],
        "slow": [LONG, "Done."],
    }
    watch = f"triggers: [{{trigger: file, path: {person.inbox}, settle: 200ms, process_existing: true}}]\n"
    keys = {
        "inbox": f"{watch}tools: [move_file]\ngrants: {{write: [{person.inbox}, {person.done}]}}\n",
        "sums": f"skills: [checksums]\ngrants: {{read: [{person.done}]}}\n",
        "slow": "triggers: []\n",
        "sorter": f"tools: [move_file]\ngrants: {{write: [{person.done}]}}\n",
    }
    for name, turns in scripts.items():
        person.machine.write(f"{person.home}/{name}.script.json", json.dumps(turns))
    for name, told in keys.items():
        model = "pocket" if name == "sorter" else f'"{person.home}/{name}.script.json"'
        body = f"You file documents.\nBills and invoices go to {person.done}/bills.\nLeave the rest."
        person.machine.write(
            f"{person.home}/agents/{name}.md", f"---\nmodel: {model}\napproval: never\n{told}---\n{body}\n"
        )
    person.machine.write(f"{person.home}/config.toml", '[sandbox]\nminimum = "full"\n')
    person.machine.run("mkdir", "-p", person.inbox, person.done)
    person.machine.run("chown", "-R", f"{owner}:", person.home, person.inbox, person.done)


def begin(person: Person, tally: Tally, *options: str) -> None:
    code, said = person.service("install", *options)
    tally.check("install starts it, and it starts by itself from now on", code == 0 and "active (running)" in said)
    unit = person.shows("FragmentPath")
    judged = person.types(f"systemd-analyze {'--system' if person.is_root else '--user'} --man=no verify '{unit}'")
    tally.check("systemd finds nothing wrong with the unit", judged == (0, ""))
    tally.check("it says when it is ready and how it goes", "agents; idle" in person.shows("StatusText"))


def work(person: Person, tally: Tally) -> None:
    """The session of the issue: files come, the service stops, more come, it starts."""
    person.drop("a", "b", "c")
    person.until_ran(["a", "b", "c"])
    code, _ = person.service("stop")
    tally.check("stop ends it, and it stays ended", code == 0 and person.shows("ActiveState") == "inactive")
    person.drop("d", "e", "f")
    code, _ = person.edgeagent("status")
    tally.check("status says with its exit code that no daemon runs", code == 3)
    person.service("start")
    person.until_ran(["a", "b", "c", "d", "e", "f"])
    person.edgeagent("runs", "list")
    person.types(f"ls {person.inbox} {person.done}")
    tally.check("what came while it was stopped has run, and nothing twice", person.names() == list("abcdef"))


def crash(person: Person, tally: Tally) -> None:
    before = person.shows("MainPID")
    began = time.monotonic()
    person.types(f"kill -9 {before}")
    until(lambda: person.shows("ActiveState") == "active" and person.shows("MainPID") != before, "it is back")
    tally.check("after kill -9 it is started again", True, f"after {time.monotonic() - began:.0f} s")
    person.drop("g")
    person.until_ran(list("abcdefg"))
    tally.check("and works", True)


def hang(person: Person, tally: Tally) -> None:
    person.drop_in("watchdog", "[Service]\nWatchdogSec=4s\nTimeoutAbortSec=2s\n")
    person.systemctl("restart", "edgeagent")
    before = person.shows("MainPID")
    time.sleep(9)
    tally.check("a daemon that is well is left alone by the watchdog", person.shows("MainPID") == before)
    person.types(f"kill -STOP {before}")
    until(lambda: person.shows("ActiveState") == "active" and person.shows("MainPID") != before, "it is back")
    tally.check(
        "a daemon that hangs is ended by the watchdog and started again", "Watchdog timeout" in person.journal()
    )
    person.drop_in("watchdog", "")
    person.systemctl("restart", "edgeagent")


def skills(person: Person, tally: Tally) -> None:
    code, said = person.edgeagent("trigger", "sums", "--file", f"{person.done}/a.txt", "--wait", "--json", show=False)
    steps = json.loads(said[said.index("{") :])["steps"] if code == 0 else []
    result = next((step["result"] for step in steps if step["kind"] == "tool"), said[-300:])
    tally.check(
        "a tool of a skill runs in the sandbox, at level full", "sha256" in result, result.replace("\n", " ")[:100]
    )


def pocket(person: Person, tally: Tally) -> None:
    person.types(f"printf 'Water bill\\nAmount due: 41.20 EUR\\n' > {person.done}/bill.txt")
    _, said = person.edgeagent("trigger", "sorter", "--file", f"{person.done}/bill.txt", "--wait", "--json", show=False)
    run = json.loads(said[said.index("{") :])
    told = run["error"] or f"{run['status']}, {run['usage']['output_tokens']} tokens"
    tally.check("the bundled model runs in its own process", run["status"] == "ok" and run["model"] == "pocket", told)


def patience(person: Person, tally: Tally) -> None:
    """A stop that lasts longer than the unit allows, since daemon.stop_timeout says so."""
    person.drop_in("stop", "[Service]\nTimeoutStopSec=2s\n")
    person.types(f"printf '[daemon]\\nstop_timeout = \"20s\"\\n' >> '{person.home}/config.toml'")
    code, _ = person.systemctl("reload", "edgeagent", show=True)
    until(lambda: "read settings" in person.journal(), "the settings are read again")
    tally.check("systemctl reload has the settings read again", code == 0 and "read settings" in person.journal())
    person.edgeagent("trigger", "slow")
    until(lambda: person.runs("slow")[0]["status"] == "running", "the slow run has begun")
    person.service("stop")
    ended = person.runs("slow")[0]["status"], person.shows("Result")
    tally.check("a stop waits for the run in hand, beyond TimeoutStopSec", ended == ("ok", "success"), " ".join(ended))
    person.drop_in("stop", "")
    person.service("start")


def mistakes(person: Person, tally: Tally) -> None:
    person.service("stop")
    person.types(f"cp '{person.home}/config.toml' /tmp/kept.toml; echo 'wrong = ' >> '{person.home}/config.toml'")
    code, said = person.service("start")
    tally.check("a start with wrong settings names the file", code == 1 and "config.toml: broken TOML" in said)
    time.sleep(7)
    tally.check(
        "and is not tried again and again", person.shows("NRestarts") == "0" and person.shows("ActiveState") == "failed"
    )
    person.types(f"cat /tmp/kept.toml > '{person.home}/config.toml'; rm /tmp/kept.toml", show=False)
    person.service("start")
    unit = person.shows("FragmentPath")
    person.types(f"sed -i 's/WatchdogSec=60s/WatchdogSec=90s/' '{unit}'")
    code, said = person.service("install")
    tally.check("a unit that was changed by hand is not overwritten", code == 1 and "changed by hand" in said)
    code, said = person.service("install", "--force")
    tally.check("unless that is asked for, and then it is kept", code == 0 and ".before" in said)


def end(person: Person, tally: Tally) -> None:
    pid, unit = person.shows("MainPID"), person.shows("FragmentPath")
    code, _ = person.service("uninstall")
    gone = person.types(f"kill -0 {pid} 2>/dev/null || test -e '{unit}'", show=False)[0]
    tally.check("uninstall ends it and takes its file away", code == 0 and gone == 1)
    kept = person.types(f"test -e '{person.home}/edgeagent.db' -a -e '{person.home}/agents/inbox.md'", show=False)[0]
    tally.check("the home stays", kept == 0)
    tally.check("what is not installed is told by the exit code", person.service("status")[0] == 3)


def exceptions(root: Person, tally: Tally) -> None:
    """What the hardened unit leaves open, it leaves open for a reason."""
    for option in (
        "ProtectKernelTunables=yes",
        "ProtectHostname=yes",
        "ProcSubset=pid",
        "RestrictNamespaces=yes",
        "SystemCallFilter=~@mount",
        "RestrictAddressFamilies=~AF_NETLINK",
    ):
        root.drop_in("harder", f"[Service]\n{option}\n")
        root.systemctl("restart", "edgeagent")
        words = ("trigger", "sums", "--file", f"{root.done}/a.txt", "--wait", "--json")
        said = root.edgeagent(*words, show=False)[1].replace("\n", " ")
        why = said.partition("full: ")[2].partition("; reduced")[0] or said[-160:]
        refused = "no skill runs without a sandbox" in said or "the daemon is not running" in said
        tally.check(f"with {option} no skill would run", refused and '"algorithm' not in said, why)
    root.drop_in("harder", "")
    root.systemctl("restart", "edgeagent")
