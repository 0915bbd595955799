"""`edgeagent run` and `trigger`: what is shown, what is on the record, and the exit code that a script sees."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from api_world import SmallBackend, served
from cli_world import AGENT, Terminal, World

from edgeagent.cli.running import exit_code
from edgeagent.schema import Outcome, Reason, Run, RunStatus
from edgeagent.store import open_read_only

FIELDS = {
    *("id", "agent", "trigger", "trigger_id", "event", "status", "reason", "output", "error", "model", "attempt"),
    *("created_at", "started_at", "ended_at", "seconds", "usage", "steps"),
}
"""SPEC section 5."""


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def move(world: World, name: str = "bill.txt") -> dict[str, Any]:
    arguments = {"source": str(world.inbox / name), "destination": str(world.user / "Documents" / "bills" / name)}
    return {"name": "move_file", "arguments": arguments}


def test_a_run_shows_event_call_result_answer_and_end(world: World) -> None:
    bill = world.file()
    done = world.call("run", "inbox", "--file", str(bill), script=[move(world), "Filed the bill."])
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["agent", "inbox"]
    assert lines[1].split() == ["model", "pocket"]
    assert lines[2].split() == ["event", "file,", "created", "bill.txt"]
    shown = done.stdout
    for text in (" 1 model ", "tokens in", "call   move_file", "source", "destination"):
        assert text in shown
    assert " 2 tool  move_file ok" in shown
    assert "moved to" in shown
    assert "answer Filed the bill." in shown
    assert lines[-1].startswith("ok  in 0.")
    assert (world.user / "Documents/bills/bill.txt").exists()
    assert not bill.exists()
    assert done.stderr == ""
    assert max(len(line) for line in lines if str(world.user) not in line) <= 80


def test_with_json_there_is_nothing_but_the_object_of_the_specification(world: World) -> None:
    world.file()
    done = world.call("run", "inbox", "--file", str(world.inbox / "bill.txt"), "--json", script=[move(world), "Filed."])
    run = json.loads(done.stdout)
    assert set(run) == FIELDS
    assert (run["status"], run["output"], run["trigger"]) == ("ok", "Filed.", "file")
    assert [step["kind"] for step in run["steps"]] == ["chat", "tool", "chat"]
    assert done.stderr == ""
    assert world.json("runs", "show", run["id"], "--json") == run


def test_quiet_leaves_the_answer(world: World) -> None:
    assert world.call("run", "inbox", "-q", script=["Nothing to do."]).stdout == "Nothing to do.\n"
    assert world.call("-q", "run", "inbox", script=["Nothing to do."]).stdout == "Nothing to do.\n"


def test_a_file_gives_the_event_that_its_trigger_would(world: World) -> None:
    bill = world.file("bill.txt", "Water bill, amount due\n")
    link = world.user / "link"
    link.symlink_to(world.inbox)
    event = world.json("run", "inbox", "--file", str(link / "bill.txt"), "--json", script=["ok"])["event"]
    assert list(event) == ["path", "name", "size", "mtime", "change", "sha256", "preview"]
    assert event["path"] == str(bill)
    assert (event["size"], event["change"], event["preview"]) == (23, "created", "Water bill, amount d")
    assert len(event["sha256"]) == 64


def test_values_of_the_event_are_json_or_text(world: World) -> None:
    given = ["--input", "n=3", "--input", "name=a b", "--input", "list=[1, 2]", "--input", "empty=", "--input", "e=a=b"]
    run = world.json("run", "inbox", *given, "--json", script=["ok"])
    assert run["event"] == {"n": 3, "name": "a b", "list": [1, 2], "empty": "", "e": "a=b"}
    assert run["trigger"] == "manual"


def test_an_event_comes_from_a_file_or_from_stdin_and_values_change_it(world: World) -> None:
    (world.root / "event.json").write_text('{"path": "/x", "change": "created", "n": 1}')
    run = world.json(
        "run", "inbox", "--event", str(world.root / "event.json"), "--input", "n=2", "--json", script=["ok"]
    )
    assert run["event"] == {"path": "/x", "change": "created", "n": 2}
    assert run["trigger"] == "file"
    done = world.call("run", "inbox", "--event", "-", "--json", script=["ok"], stdin='{"a": 1}')
    assert json.loads(done.stdout)["event"] == {"a": 1}


def test_a_schedule_is_run_as_if_it_were_due(world: World) -> None:
    every = "{trigger: cron, schedule: '0 9 * * *', timezone: Pacific/Kiritimati}"
    world.agent("digest", AGENT.replace("{trigger: file, path: ~/Inbox, preview: 20}", every))
    run = world.json("run", "digest", "--json", script=["ok"])
    assert run["trigger"] == "cron"
    assert set(run["event"]) == {"scheduled_at", "date"}
    assert run["event"]["scheduled_at"].endswith("Z")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--file", "missing.txt"], 5, "no file missing.txt"),
        (["--file", "."], 2, "is not a file"),
        (["--file", "/dev/null"], 2, "is not a file"),
        (["--event", "missing.json"], 5, "no file missing.json"),
        (["--event", "/dev/null"], 2, "is not JSON"),
        (["--input", "novalue"], 2, "is not KEY=VALUE"),
        (["--input", "=3"], 2, "is not KEY=VALUE"),
        (["--bogus"], 2, "no such option"),
    ],
)
def test_an_event_that_cannot_be_is_told_and_nothing_runs(
    world: World, arguments: list[str], code: int, message: str
) -> None:
    done = world.call("run", "inbox", *arguments)
    assert done.exit_code == code
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert "\ntry: " in done.stderr
    assert not (world.home / "edgeagent.db").exists()


def test_an_event_that_is_a_list_is_refused(world: World) -> None:
    (world.root / "event.json").write_text("[1]")
    done = world.call("run", "inbox", "--event", str(world.root / "event.json"))
    assert done.exit_code == 2
    assert "is not a JSON object" in done.stderr


def test_an_unknown_agent_is_not_found(world: World) -> None:
    done = world.call("run", "nobody")
    assert (done.exit_code, done.stdout) == (5, "")
    assert done.stderr == "error: no agent named nobody\ntry: edgeagent agents list\n"


def test_an_agent_that_cannot_be_used_is_told_line_by_line(world: World) -> None:
    path = world.root / "mine.md"
    path.write_text("---\ntriger: x\ntools: [read_fil]\n---\nhi\n")
    done = world.run("run", "mine.md")  # as it was given, so that it can be clicked on
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        'mine.md:2: unknown key "triger"; did you mean "triggers"?\n'
        'mine.md:3: unknown tool "read_fil"; did you mean "read_file"?\n'
    )


def test_a_model_that_is_not_there_is_told_before_anything_runs(world: World) -> None:
    world.variables["EDGEAGENT_MODEL_DEFAULT"] = "nothing"
    done = world.run("run", "inbox")
    assert done.returncode == 5
    assert "no model named nothing" in done.stderr


def test_a_model_that_is_broken_fails_the_run(world: World) -> None:
    (world.root / "bad.gguf").write_bytes(b"GGUF" + b"\0" * 100)
    world.agent("bad", AGENT.replace("---\ndesc", f"---\nmodel: {world.root}/bad.gguf\ndesc", 1))
    done = world.run("run", "bad")
    assert done.returncode == 1
    assert "failed (model_error)" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_what_the_gate_refuses_is_skipped_and_no_failure(world: World) -> None:
    world.agent("inbox", AGENT.replace("approval: never", "approval: never\nwhen: [{field: event.n, equals: 1}]"))
    done = world.run("run", "inbox", "--input", "n=2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2].startswith("skipped")


def test_a_call_that_nobody_is_there_to_approve_lets_the_run_wait_and_exits_with_4(world: World) -> None:
    world.agent("inbox", AGENT.replace("approval: never", "approval: on-write"))
    bill = world.file()
    done = world.run("run", "inbox", script=[move(world), "I could not."])
    assert done.returncode == 4, done.stdout
    assert "move_file waiting" in done.stdout
    assert done.stderr.splitlines() == ["try: edgeagent approvals list"]
    assert bill.exists()


@pytest.mark.parametrize(("answer", "code", "moved"), [("approve", 0, True), ("deny", 4, False)])
def test_a_run_that_waited_goes_on_here_after_the_answer(world: World, answer: str, code: int, moved: bool) -> None:
    world.agent("inbox", AGENT.replace("approval: never", "approval: on-write"))
    world.file()
    script = [move(world), "Done."]
    run = json.loads(world.run("run", "inbox", "--json", script=script).stdout)
    assert (run["status"], run["steps"][-1]["status"]) == ("waiting", "waiting")
    asked = world.json("approvals", "list", "--json")
    assert [(one["run_id"], one["tool"], one["status"]) for one in asked] == [(run["id"], "move_file", "pending")]
    assert world.call("runs", "resume", run["id"]).exit_code == 2
    decided = world.call("approvals", answer, asked[0]["id"][-8:].lower())
    assert decided.exit_code == 0, decided.output
    assert "edgeagent runs resume" in decided.stderr
    ended = world.run("runs", "resume", run["id"], "--json", script=script[1:])
    assert ended.returncode == code, ended.stderr
    steps = json.loads(ended.stdout)["steps"]
    assert [step["status"] for step in steps] == ["ok", "ok" if moved else "denied", "ok"]
    assert (world.user / "Documents/bills/bill.txt").exists() is moved
    assert world.call("approvals", answer, asked[0]["id"]).exit_code == 4


def test_a_dry_run_changes_nothing(world: World) -> None:
    bill = world.file()
    done = world.call("run", "inbox", "--dry-run", script=[move(world), "Filed."])
    assert done.exit_code == 0
    assert "would call move_file" in done.stdout
    assert bill.exists()


def test_a_run_that_takes_too_long_exits_with_124(world: World) -> None:
    world.agent("inbox", AGENT.replace("approval: never", "approval: never\nlimits: {seconds: 0.3}"))
    done = world.call("run", "inbox", script=[30, "late"])
    assert done.exit_code == 124, done.output
    assert "failed (limit_seconds)" in done.stdout


def test_ctrl_c_ends_the_run_in_order_and_exits_with_130(world: World) -> None:
    process = world.started("run", "inbox", script=[60, "late"])
    assert process.stdout
    assert process.stdout.readline().startswith("agent")
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=20)
    assert process.returncode == 130, stderr
    assert "cancelled" in stdout
    assert stderr == ""
    with open_read_only(world.home / "edgeagent.db") as store:
        assert [run.status for run in store.runs()] == [RunStatus.CANCELLED]


def test_a_reader_that_goes_away_does_not_fail_the_run(world: World) -> None:
    world.file()
    process = world.started("run", "inbox", script=[0.5, move(world), "Filed."])
    assert process.stdout
    assert process.stderr
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    process.wait(20)
    process.stderr.close()
    with open_read_only(world.home / "edgeagent.db") as store:
        assert [run.status for run in store.runs()] == [RunStatus.OK]
    assert (world.user / "Documents/bills/bill.txt").exists()


@pytest.mark.parametrize(("answer", "code", "moved"), [("y", 0, True), ("n", 4, False), ("", 4, False)])
def test_at_a_terminal_a_person_is_asked(world: World, answer: str, code: int, moved: bool) -> None:
    world.agent("inbox", AGENT.replace("approval: never", "approval: on-write"))
    world.file()
    terminal = Terminal(world, "run", "inbox", script=[move(world), "Done."])
    shown = terminal.until("allow this call? [y/N]")
    assert "move_file(" in shown
    assert "move_file changes something" in shown
    terminal.type(answer + "\n")
    assert terminal.end()[0] == code
    assert (world.user / "Documents/bills/bill.txt").exists() is moved


def test_ctrl_c_at_the_question_ends_the_run(world: World) -> None:
    world.agent("inbox", AGENT.replace("approval: never", "approval: on-write"))
    bill = world.file()
    terminal = Terminal(world, "run", "inbox", script=[move(world), "Done."])
    terminal.until("allow this call? [y/N]")
    terminal.process.send_signal(signal.SIGINT)
    code, shown = terminal.end()
    assert code == 130, shown
    assert bill.exists()


def test_nothing_that_a_model_or_a_file_says_reaches_the_terminal_as_a_command(world: World) -> None:
    evil = "a\x1b]0;owned\x07\u202eb\x9b31m.txt"
    world.file(evil)
    call = {"name": "read_file", "arguments": {"path": str(world.inbox / evil)}}
    done = world.call("run", "inbox", "--file", str(world.inbox / evil), script=[call, "\x1b[2Jwiped\r\n"])
    assert done.exit_code == 0
    world.call("runs", "list")
    shown = done.stdout + world.call("runs", "list").stdout + world.call("runs", "show", done.stdout.split()[-1]).stdout
    assert not set(shown) & set("\x1b\x07\x9b\r\u202e")
    assert "\\x1b[2Jwiped" in shown


def test_while_the_model_thinks_the_seconds_are_counted_and_then_gone(world: World) -> None:
    terminal = Terminal(world, "run", "inbox", script=[2.5, "Done."])
    terminal.until("… 1 s")
    shown = terminal.end()[1]
    assert "\r\x1b[K" + "\x1b[1m 1 model" in shown
    assert "…" not in Terminal(world, "run", "inbox", "--json", script=[1.5, "Done."]).end()[1]


def test_no_screen_shows_the_codes_of_its_own_colours(world: World) -> None:
    world.call("run", "inbox", script=["Done."])
    for arguments in (
        ["status"],
        ["runs", "list"],
        ["runs", "show", "0"],
        ["agents", "show", "inbox"],
        ["agents", "list"],
    ):
        shown = Terminal(world, *arguments).end()[1]
        assert "\x1b[" in shown
        assert "\\x1b" not in shown


def test_colours_are_for_terminals_that_want_them(world: World) -> None:
    assert "\x1b[" in Terminal(world, "run", "inbox", script=["Done."]).end()[1]
    world.variables["NO_COLOR"] = "1"
    assert "\x1b[" not in Terminal(world, "run", "inbox", script=["Done."]).end()[1]


def ended(status: RunStatus, reason: str | None = None) -> Run:
    return Run("1", "a", "manual", "manual", {}, status, reason, None, None, None, 1, *([None] * 3))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("run", "code"),
    [
        (ended(RunStatus.OK), 0),
        (ended(RunStatus.SKIPPED), 0),
        (ended(RunStatus.FAILED, "expectation"), 1),
        (ended(RunStatus.FAILED, "denied"), 4),
        (ended(RunStatus.FAILED, "limit_seconds"), 124),
        (ended(RunStatus.WAITING), 4),
        (ended(RunStatus.CANCELLED), 1),
        (ended(RunStatus.INTERRUPTED), 1),
    ],
)
def test_every_end_has_its_exit_code(run: Run, code: int) -> None:
    assert exit_code(run) == code


def test_a_run_that_was_over_when_ctrl_c_came_is_ok() -> None:
    assert exit_code(ended(RunStatus.OK), was_interrupted=True) == 0
    assert exit_code(ended(RunStatus.CANCELLED), was_interrupted=True) == 130


# Through a daemon.


def work(backend: SmallBackend, outcome: Outcome) -> None:
    """Takes the next submitted run to its end, as a daemon would."""
    until = time.monotonic() + 30
    while not (found := backend.store.runs(status=RunStatus.QUEUED)):
        assert time.monotonic() < until
        time.sleep(0.05)
    backend.work(found[0].id, 3)
    backend.end(found[0].id, outcome)


def test_with_a_daemon_the_run_is_its_business_and_looks_the_same(world: World) -> None:
    bill = world.file()
    with served(world.home) as (backend, _):
        process = world.started("run", "inbox", "--file", str(bill), "--dry-run")
        work(backend, Outcome(RunStatus.FAILED, Reason.EXPECTATION, "Filed the bill.", "expected /x to exist"))
        stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stderr) == (1, "")
    agent, data, trigger, dry_run = backend.submitted[0]
    assert (agent, data["name"], trigger, dry_run) == ("inbox", "bill.txt", "file", True)
    for text in ("model    pocket", "400 tokens in (380 from memory, 20 read), 40 out, 0.30 s", "bill: bills go to /c"):
        assert text in stdout
    for text in ('move_file(source="/a/b.txt", destination="/c/b.txt")', "moved to /c/b.txt", "failed (expectation)"):
        assert text in stdout
    assert "expected /x to exist" in stdout


def test_a_path_goes_to_the_daemon_in_full(world: World) -> None:
    with served(world.home) as (_, client):
        done = world.run("run", "edgeagent/agents/inbox.md", "--json")
        assert done.returncode == 5
        assert f"no agent named {world.home}/agents/inbox.md" in done.stderr
        client.check()


def test_ctrl_c_cancels_the_run_in_the_daemon(world: World) -> None:
    with served(world.home) as (backend, _):
        process = world.started("run", "inbox", "--json")
        until = time.monotonic() + 30
        while not backend.submitted:
            assert time.monotonic() < until
            time.sleep(0.05)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=20)
    assert process.returncode == 130, stderr
    assert json.loads(stdout)["status"] == "cancelled"


def test_trigger_prints_the_id_and_does_not_wait(world: World) -> None:
    with served(world.home) as (backend, _):
        done = world.run("trigger", "inbox", "--input", "n=1")
        assert done.returncode == 0
        assert backend.store.run(done.stdout.strip()).event == {"n": 1}
        told = world.run("trigger", "inbox", "--json")
        assert backend.store.run(json.loads(told.stdout)["id"]).status is RunStatus.QUEUED


def test_trigger_with_wait_exits_by_the_end_of_the_run(world: World) -> None:
    with served(world.home) as (backend, _):
        process = world.started("trigger", "inbox", "--wait", "--json")
        work(backend, Outcome(RunStatus.FAILED, Reason.DENIED, error="no"))
        stdout, _ = process.communicate(timeout=30)
    assert process.returncode == 4
    assert json.loads(stdout)["reason"] == "denied"


def test_trigger_needs_a_daemon(world: World) -> None:
    done = world.run("trigger", "inbox")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "error: the daemon is not running\ntry: edgeagent daemon\n"


def test_the_bundled_model_runs_an_agent_from_end_to_end(world: World) -> None:
    done = world.run("run", "inbox", "--file", str(world.file()), "--json")
    run = json.loads(done.stdout)
    assert set(run) == FIELDS
    assert run["model"] == "pocket"
    assert done.returncode == (0 if run["status"] == "ok" else 1), done.stderr
    assert run["usage"]["output_tokens"] > 0
