"""Drops documents written by hand, none of them seen in training, into the folder of a running daemon.

    python bench/filing.py [--model NAME_OR_PATH]

The agent is examples/inbox.md, the documents are those of tests/data/handwritten.yaml whose kind that agent clearly has
a rule for, or clearly none. Prints where each one ended, and how many were filed right, left alone rightly, and wrong.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import yaml

from edgeagent.bundled import bundled
from edgeagent.store import open_read_only

DOCUMENTS = Path(__file__).parent.parent / "tests" / "data" / "handwritten.yaml"
FOLDERS = {
    "invoice": "bills",
    "electricity bill": "bills",
    "phone bill": "bills",
    "water bill": "bills",
    "recipe": "recipes",
    "personal letter": "letters",
    "medical report": "health",
}
UNCLEAR = {
    *("parking fine", "price quote", "shop receipt", "order confirmation", "tax letter", "lab results", "prescription"),
    *("repair report", "vet record", "loan letter", "doctor appointment", "vaccination record", "invitation"),
    *("diary entry", "cover letter", "school letter"),
}
WAIT_SECONDS = 300.0


def documents() -> list[dict[str, str]]:
    read = yaml.safe_load(DOCUMENTS.read_text(encoding="utf-8"))
    return [document for document in read if document["kind"] not in UNCLEAR]


def wait_for(database: Path, count: int) -> None:
    until = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < until:
        with open_read_only(database) as store:
            if sum(number for status, number in store.counts().items() if status.is_terminal) >= count:
                return
        time.sleep(0.2)
    raise SystemExit(f"not all runs ended within {WAIT_SECONDS:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="pocket")
    arguments = parser.parse_args()
    chosen = documents()
    root = Path(tempfile.mkdtemp(prefix="edgeagent-filing-"))
    inbox = root / "user" / "Inbox"
    (root / "home" / "agents").mkdir(parents=True)
    inbox.mkdir(parents=True)
    (root / "user" / "Documents").mkdir()
    agent = (bundled("examples") / "inbox.md").read_text(encoding="utf-8")
    agent = agent.replace("model: pocket", f"model: {arguments.model}")
    (root / "home" / "agents" / "inbox.md").write_text(agent, encoding="utf-8")
    environment = {**os.environ, "HOME": str(root / "user"), "EDGEAGENT_HOME": str(root / "home")}
    daemon = subprocess.Popen([sys.executable, "-m", "edgeagent.cli", "daemon", "-q"], env=environment)
    try:
        while not (root / "home" / "run" / "edgeagent.sock").exists():
            time.sleep(0.1)
        names = {}
        for number, document in enumerate(chosen):
            name = document["name"] if document["name"].endswith((".txt", ".md")) else document["name"] + ".txt"
            names[number] = f"{number:02} {name}"
            (inbox / names[number]).write_text(document["text"], encoding="utf-8")
        wait_for(root / "home" / "edgeagent.db", len(chosen))
    finally:
        daemon.terminate()
        daemon.wait(20)
    tally: Counter[str] = Counter()
    for number, document in enumerate(chosen):
        found = [path.parent for path in (root / "user").rglob("*") if path.name == names[number]]
        wanted = FOLDERS.get(document["kind"])
        place = root / "user" / "Documents" / wanted if wanted else inbox
        verdict = ("filed right" if wanted else "left rightly") if found == [place] else "WRONG"
        tally[verdict] += 1
        where = ", ".join(folder.name for folder in found)
        print(f"{names[number][:36]:36} {document['kind']:18} {where:12} {verdict}")
    print(f"\n{len(chosen)} documents: {', '.join(f'{count} {verdict}' for verdict, count in sorted(tally.items()))}")


if __name__ == "__main__":
    main()
