"""`edgeagent eval` through a real daemon: on scripted turns where the model is not the point, once on `pocket`."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cli_world import World
from daemon_world import wait_for
from mcp_world import PYTHON, SERVER

AGENTS = """\
agents:
  filer: |
    ---
    tools: [move_file, delete_file, remember, recall]
    grants: {write: [~/Inbox, ~/Documents]}
    ---
    Bills go to ~/Documents.
  gardener: |
    ---
    skills: [garden]
    approval: never
    ---
    Water what is dry.
  keeper: |
    ---
    tools: [recall]
    memory: {thread: "{{ event.path }}"}
    ---
    Answer.
skills:
  garden:
    description: Watering.
    tools:
      - {name: open_valve, description: Water a bed., arguments: {bed: [roses, beans]}, gives: valve open}
      - {name: close_valve, description: Stop., fails: the valve is stuck}
agent: filer
"""
MOVE = {
    "name": "move_file",
    "arguments": {"source": "{{ event.path }}", "destination": "~/Documents/{{ event.name }}"},
}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


class Cases:
    """A case file, and a script for what the model says to each event."""

    def __init__(self, world: World, cases: str, turns: Any) -> None:
        self.world = world
        self.file = world.root / "cases.yaml"
        self.file.write_text(AGENTS + "cases:\n" + cases)
        self.script = world.root / "turns.script.json"
        self.script.write_text(json.dumps(turns))

    def run(self, *options: str) -> tuple[int, str, str]:
        ended = self.world.run("eval", "--cases", str(self.file), "--model", str(self.script), *options)
        return ended.returncode, ended.stdout, ended.stderr

    def results(self, *options: str) -> Mapping[str, Any]:
        code, stdout, stderr = self.run("--json", *options)
        assert code in (0, 1), stderr
        return {one["name"]: one for one in json.loads(stdout)["results"]}


BILL = "- {name: bill, file: ~/Inbox/bill.txt, text: Due 4, moved: ~/Documents/}\n"
LIST = "- {name: list, split: leave, file: ~/Inbox/list.txt, text: eggs, nothing: true}\n"


def test_all_pass_and_the_table_says_so(world: World) -> None:
    cases = Cases(world, BILL + LIST, {"*bill*": [MOVE, "Done."], "*": ["Left."]})
    code, stdout, stderr = cases.run()
    assert code == 0, stderr
    assert "100.0 % (34-100)" in stdout
    assert "2 of 2 cases passed" in stdout
    assert "FAILED" not in stdout


def test_a_failure_is_shown_whole_and_ends_with_1(world: World) -> None:
    cases = Cases(world, BILL + LIST, [MOVE, "Done."])
    code, stdout, _ = cases.run()
    assert code == 1
    assert f"{cases.file}:{AGENTS.count(chr(10)) + 3}" in stdout
    failure = " ".join(stdout.partition("\nall ")[0].split())
    assert "expected nothing" in failure
    assert "said: Done." in failure
    assert "wrong a call that is not expected: move_file(" in failure
    assert cases.run("--at-least", "50")[0] == 0
    assert cases.run("--at-least", "51")[0] == 1


def test_json_has_counts_by_category_and_split_and_every_run(world: World) -> None:
    code, stdout, _ = Cases(world, BILL + LIST, [MOVE, "Done."]).run("--json")
    told = json.loads(stdout)
    assert code == 1
    assert (told["passed"], told["cases"], told["share"]) == (1, 2, 0.5)
    assert told["by"]["split"]["leave"]["passed"] == 0
    assert told["interval"] == [0.0945, 0.9055]
    (failed,) = [one for one in told["results"] if not one["passed"]]
    assert failed["run"]["steps"][1]["name"] == "move_file"
    assert failed["faults"][0].startswith("a call that is not expected")


def test_a_person_says_yes_unless_the_case_says_no(world: World) -> None:
    case = "- {name: asked, file: ~/Inbox/a.txt, text: x, calls: [delete_file], disk: {~/Inbox/a.txt: false}}\n"
    case += "- {name: refused, approve: no, file: ~/Inbox/a.txt, text: x, status: failed, nothing: true}\n"
    delete = {"name": "delete_file", "arguments": {"path": "{{ event.path }}"}}
    found = Cases(world, case, [delete, "Done."]).results()
    assert [one["faults"] for one in found.values()] == [[], []]
    assert found["refused"]["run"]["reason"] == "denied"


def test_tools_made_for_the_cases_run_in_the_sandbox(world: World) -> None:
    event = "agent: gardener, event: {mqtt: {topic: soil, payload: {dry: true}}}"
    case = f"- {{name: dry, {event}, calls: [open_valve: {{bed: roses}}]}}\n"
    case += f"- {{name: stuck, {event}, calls: [{{close_valve: , status: error}}], status: failed}}\n"
    turns = [{"name": "open_valve", "arguments": {"bed": "roses"}}, {"name": "close_valve", "arguments": {}}, "Done."]
    found = Cases(world, case, turns).results()
    steps = [step for step in found["dry"]["run"]["steps"] if step["kind"] == "tool"]
    assert (steps[0]["status"], steps[0]["result"]) == ("ok", "valve open")
    assert steps[1]["status"] == "error"
    assert found["dry"]["run"]["event"]["json"] == {"dry": True}
    assert "the valve is stuck" in steps[1]["error"]
    (fault,) = found["dry"]["faults"]
    assert fault.startswith("the run ended failed (tool_error: close_valve: ")
    assert found["stuck"]["faults"][0].startswith("a call that is not expected: open_valve")


def test_earlier_events_are_run_first_and_only_the_last_is_judged(world: World) -> None:
    case = "- {name: c, earlier: [{file: ~/Inbox/bill.txt, text: a}], file: ~/Inbox/list.txt, text: b, nothing: true}\n"
    found = Cases(world, case, {"*bill*": [MOVE, "Done."], "*": ["Left."]}).results()
    assert found["c"]["faults"] == []


def test_nothing_is_remembered_from_one_case_to_the_next_but_within_one(world: World) -> None:
    event = "agent: keeper, file: ~/Inbox/a.txt, text: x"
    case = f"- {{name: a, {event}, answer: Yes.}}\n- {{name: b, {event}, answer: Yes.}}\n"
    case += f"- {{name: c, {event}, answer: Again., earlier: [{{file: ~/Inbox/a.txt, text: x}}]}}\n"
    found = Cases(world, case, ["Yes.", "Again."]).results()
    assert [one["faults"] for one in found.values()] == [[], [], []]


def test_what_was_there_before_is_as_it_was_and_the_agent_of_the_command_counts(world: World) -> None:
    before = sorted(world.root.rglob("*"))
    cases = Cases(world, BILL, [MOVE, "Done."])
    ended = world.run("eval", "inbox", "--cases", str(cases.file), "--model", str(cases.script), "--json")
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["results"][0]["agent"] == "inbox"
    assert sorted(set(world.root.rglob("*")) - set(before)) == [cases.file, cases.script]


def test_a_model_that_is_not_here_and_a_script_without_a_grammar_are_refused(world: World) -> None:
    cases = Cases(world, BILL, ["Done."])
    ended = world.run("eval", "--cases", str(cases.file), "--model", "nonesuch")
    assert (ended.returncode, "edgeagent models list" in ended.stderr) == (5, True)
    code, _, stderr = cases.run("--free")
    assert (code, "leave out --free" in stderr) == (2, True)
    assert cases.run("--only", "nonesuch")[0] == 2


def test_without_the_grammar_the_same_model_answers_too(world: World) -> None:
    cases = Cases(world, BILL + LIST, [])
    ended = world.run("eval", "--cases", str(cases.file), "--model", "pocket", "--free", "--json")
    told = json.loads(ended.stdout)
    assert told["models"] == ["pocket"]
    assert told["free"]["cases"] == 2
    for one in told["results"]:
        assert one["run"]["steps"][0]["output_tokens"] > 0
        assert one["free"]["run"]["steps"][0]["output_tokens"] > 0


def test_servers_of_the_settings_are_there_as_in_life(world: World) -> None:
    program = world.root / "server" / "server.py"
    program.parent.mkdir()
    shutil.copy(SERVER, program)
    (world.home / "config.toml").write_text(f"[mcp.plain]\ncommand = {json.dumps([PYTHON, str(program), 'good'])}\n")
    world.agent("speaker", "---\nmcp: [plain]\napproval: never\n---\nSay it again.\n")
    case = "- {name: a, agent: speaker, event: {manual: {}}, calls: [plain/echo: {text: hi}]}\n"
    found = Cases(world, case, [{"name": "plain/echo", "arguments": {"text": "hi"}}, "Done."]).results()
    assert found["a"]["faults"] == []


def test_ended_from_outside_it_leaves_nothing_behind(world: World) -> None:
    cases = Cases(world, BILL, [600, "Done."])
    world.variables["TMPDIR"] = str(world.root / "tmp")
    (world.root / "tmp").mkdir()
    process = world.started("eval", "--cases", str(cases.file), "--model", str(cases.script))
    wait_for(lambda: list(world.root.glob("tmp/*/edgeagent/edgeagent.db")) or process.poll() is not None)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode == 130
    assert not list((world.root / "tmp").iterdir())
