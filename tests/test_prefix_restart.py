"""The real daemon on the real bundled model: after a restart what an agent always says first comes from disk."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

from daemon_world import Place, wait_for

from edgeagent.schema import Run


def test_after_a_restart_of_the_daemon_the_beginning_of_the_prompt_comes_from_disk(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.variables["EDGEAGENT_MODEL_THREADS"] = "1"
    path = place.agent("inbox")
    scripted = f"model: {place.root / 'inbox.script.json'}"
    path.write_text(path.read_text().replace(scripted, "model: pocket").replace("File it.", "Recipes go to ~/R. " * 20))

    def filed(name: str) -> Run:
        """One start of the daemon, one file, one run."""
        before = len(place.ended())
        with place.daemon() as daemon:
            place.drop(name)
            wait_for(lambda: len(place.ended()) > before, 240)
            daemon.send_signal(signal.SIGTERM)
            assert daemon.wait(60) == 0
        return place.run(place.ended()[0].id)

    first, second = filed("one.txt"), filed("two.txt")
    opening = first.steps[0]
    assert (opening.cached_tokens, opening.disk_tokens) == (0, 0), "nothing was known yet"
    shown = place.json("runs", "show", second.id)["steps"][0]
    kept = shown["disk_tokens"]
    assert kept == shown["cached_tokens"] > 100
    assert 0 < shown["input_tokens"] - kept < 100, "what was read is the event"
    assert shown["disk_tokens"] + (shown["input_tokens"] - kept) == shown["input_tokens"]
    text = place.call("runs", "show", second.id)
    told = re.search(r"(\d+) tokens in \((\d+) from disk, (\d+) read\)", text)
    assert told and tuple(map(int, told.groups())) == (shown["input_tokens"], kept, shown["input_tokens"] - kept)
    assert json.loads(place.call("runs", "show", second.id, "--json"))["usage"]["disk_tokens"] >= kept
