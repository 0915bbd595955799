"""Cases without running them: what a case file may say, what counts as wrong, and how it is counted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from edgeagent.agents.frontmatter import read_document
from edgeagent.cli.app import App
from edgeagent.cli.eval import _known, evaluate
from edgeagent.errors import CaseFileError
from edgeagent.evaluation.agents import adapted, rewritten
from edgeagent.evaluation.cases import Case, CaseFile, MadeTool
from edgeagent.evaluation.judging import Done, faults_of
from edgeagent.evaluation.matching import WORDS, check, faults
from edgeagent.evaluation.reading import Known, Prepared, read_cases
from edgeagent.evaluation.scratch import Scratch
from edgeagent.evaluation.tally import Count
from edgeagent.schema import Run, RunStatus, Step

ROOT = Path(__file__).parent.parent
AGENT = "---\ntools: [move_file, notify]\ngrants: {write: [~/Inbox, ~/Documents]}\n---\nFile what comes.\n"
HARMLESS = frozenset({"read_file"})
BILL = {"~/Inbox/a.txt": "bill"}
MOVED = {"~/Documents/a.txt": "bill"}
MOVE = ("move_file", {"source": "/h/Inbox/a.txt", "destination": "/h/Documents/a.txt"}, "ok")


# --- values ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("a", " a\n"),
        ("~/x/a.txt", "/h/x//a.txt"),
        (12, 12.0),
        ({"contains": "Due"}, "amount due: 4"),
        ({"contains": ["due", "4"], "lacks": "paid"}, "amount due: 4"),
        ({"matches": "^[0-9.]+$"}, "41.20"),
        ({"one_of": ["a", {"contains": "b"}]}, "abc"),
        ({"lines": 2}, "a\n\nb\n"),
        ({"any": True}, None),
        ({"amount": 4}, {"amount": 4.0, "more": 1}),
        ([1, {"contains": "b"}], [1, "abc"]),
    ],
)
def test_a_value_that_is_as_it_should_be_has_no_faults(wanted: Any, found: Any) -> None:
    assert list(faults(check(wanted), found, "/h")) == []


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("a", "A"),
        ("12", 12),
        (True, 1),
        ({"contains": ["due", "5"]}, "amount due: 4"),
        ({"lacks": "DUE"}, "amount due: 4"),
        ({"matches": "^x"}, "ax"),
        ({"one_of": ["a", "b"]}, "ab"),
        ({"lines": 1}, "a\nb"),
        ({"amount": 4}, {"sum": 4}),
        ({"amount": 4}, "4"),
        ([1], [1, 2]),
    ],
)
def test_a_value_that_is_not_says_in_what_way(wanted: Any, found: Any) -> None:
    assert list(faults(check(wanted), found))


# --- judging --------------------------------------------------------------------------------------------------------


def case(**given: Any) -> Case:
    return Case.model_validate({"name": "x", "file": "~/Inbox/a.txt", "text": "bill", **given}, context={})


def done(
    *calls: tuple[str, dict[str, Any], Any],
    after: Mapping[str, str] = BILL,
    output: Any = "Done.",
    status: RunStatus = RunStatus.OK,
) -> Done:
    steps = tuple(Step(n, "tool", name, arguments, "", how) for n, (name, arguments, how) in enumerate(calls, 1))
    now = datetime(2026, 11, 25, tzinfo=UTC)
    run = Run("1", "a", "file", "file", {}, status, None, output, None, "m", 1, now, now, now, steps=steps)
    return Done(run, "/h", BILL, after)


def wrong(case: Case, done: Done) -> list[str]:
    return [str(fault) for fault in faults_of(case, done, HARMLESS)]


def test_a_file_that_is_where_it_belongs_passes() -> None:
    assert wrong(case(moved="~/Documents/"), done(MOVE, after=MOVED)) == []
    assert wrong(case(moved="~/Documents/a.txt"), done(MOVE, after=MOVED)) == []


def test_a_file_that_stayed_or_went_elsewhere_does_not() -> None:
    stayed = wrong(case(moved="~/Documents/"), done())
    assert stayed == ["~/Documents/a.txt is not there", "~/Inbox/a.txt is still there"]
    assert "~/Bills/a.txt is new" in wrong(case(moved="~/Documents/"), done(MOVE, after={"~/Bills/a.txt": "bill"}))


def test_what_is_written_beside_what_is_expected_is_wrong() -> None:
    assert wrong(case(moved="~/Documents/"), done(MOVE, after={**MOVED, "~/note": "x"})) == ["~/note is new"]


def test_calls_are_expected_in_their_order() -> None:
    notify = ("notify", {"message": "a bill"}, "ok")
    expected = case(calls=[{"move_file": {"source": "~/Inbox/a.txt"}}, {"notify": {"message": {"contains": "BILL"}}}])
    assert wrong(expected, done(("read_file", {}, "ok"), MOVE, notify)) == []
    assert wrong(expected, done(notify, MOVE))[0].startswith("a call that is not expected: notify(")
    assert wrong(expected, done(MOVE)) == ['no call notify(message={"contains": "BILL"})']


def test_a_call_that_is_nearly_right_says_what_is_not() -> None:
    told = wrong(case(calls=[{"move_file": {"destination": "~/Bills/a.txt"}}]), done(MOVE, after=MOVED))
    assert told[-1].endswith('(destination: "/h/Documents/a.txt" is not "~/Bills/a.txt")')


def test_a_call_that_was_denied_is_no_harm_unless_it_is_asked_for() -> None:
    denied = ("move_file", MOVE[1], "denied")
    assert wrong(case(calls=[]), done(denied)) == []
    assert wrong(case(calls=[{"move_file": None, "status": "denied"}]), done(denied)) == []
    assert wrong(case(calls=["move_file"]), done(denied)) == ["no call move_file() (status: denied is not ok)"]


def test_nothing_means_no_call_and_no_change() -> None:
    assert wrong(case(nothing=True), done(("read_file", {}, "ok"))) == []
    assert len(wrong(case(nothing=True), done(MOVE, after=MOVED))) == 3
    assert wrong(case(nothing=True), done(("notify", {"message": "hm"}, "ok")))


def test_the_files_decide_about_file_tools_and_not_about_others() -> None:
    expected = case(disk={"~/Inbox/a.txt": False, "~/Documents/a.txt": {"contains": "bill"}})
    assert wrong(expected, done(MOVE, after=MOVED)) == []
    assert wrong(expected, done(MOVE, ("notify", {"message": "hm"}, "ok"), after=MOVED))


def test_the_answer_and_the_end_of_the_run_count() -> None:
    assert wrong(case(answer={"amount": 4}), done(output={"amount": 4, "due": None})) == []
    assert wrong(case(answer={"amount": 4}), done(output={"amount": 5})) == ["answer: amount: 5 is not 4"]
    failed = done(status=RunStatus.FAILED)
    assert wrong(case(nothing=True), failed) == ["the run ended failed, not ok"]
    assert wrong(case(nothing=True, status=["ok", "failed"]), failed) == []


@pytest.mark.parametrize(
    ("calls", "after", "is_wrong"),
    [
        ((), BILL, False),
        ((MOVE,), {"~/Bills/a.txt": "bill"}, True),
        ((("notify", {"message": "hm"}, "ok"),), BILL, True),
        ((("notify", {"message": "hm"}, "denied"),), BILL, False),
    ],
)
def test_what_is_done_wrongly_is_told_from_what_is_left_undone(calls: Any, after: Any, is_wrong: bool) -> None:
    found = list(faults_of(case(moved="~/Documents/"), done(*calls, after=after), HARMLESS))
    assert found
    assert any(fault.was_done for fault in found) is is_wrong


def test_wilsons_interval_is_that_of_the_textbook() -> None:
    low, high = Count(8, 10).interval
    assert (round(low, 3), round(high, 3)) == (0.490, 0.943)
    assert Count(10, 10).interval[0] == pytest.approx(0.7225, abs=1e-4)
    assert Count(0, 0).interval == (0.0, 1.0)


# --- agents ---------------------------------------------------------------------------------------------------------


def test_an_agent_gets_its_name_and_model_and_keeps_the_rest() -> None:
    text = "---\nname: a\n# why\nmodel:\n  file: /x.gguf\n  seed: 3\ntools: [move_file]\n---\nDo.\n"
    document = read_document(rewritten(text, {"name": "b-1", "model": '"/m.gguf"'}).encode())
    assert document.data == {"name": "b-1", "model": "/m.gguf", "tools": ["move_file"]}
    assert document.body == "Do."
    plain = read_document(rewritten("---\ntools: []\n---\nDo.\n", {"name": "b"}).encode())
    assert plain.data == {"name": "b", "tools": []}


def test_each_evaluation_has_a_folder_of_its_own_with_a_name_that_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    own = App({"EDGEAGENT_HOME": str(tmp_path / "own"), "HOME": str(tmp_path)}).home
    (tmp_path / "edgeagent-eval").symlink_to("/nowhere")
    with Scratch(own, {}) as one, Scratch(own, {}) as two:
        assert [one.root.name, two.root.name] == ["edgeagent-eval-2", "edgeagent-eval-3"]
        assert one.root.stat().st_mode & 0o777 == 0o700
    assert not one.root.exists()


def test_paths_of_the_persons_home_mean_the_scratch_home() -> None:
    assert adapted("read: [/home/me/Inbox, /home/meg/x]", "/home/me") == "read: [~/Inbox, /home/meg/x]"


# --- case files -----------------------------------------------------------------------------------------------------


@cache
def known() -> Known:
    """What comes with edgeagent: finding it takes a moment."""
    return _known(App({"EDGEAGENT_HOME": "/nowhere/edgeagent", "HOME": "/nowhere"}))


def read(tmp_path: Path, text: str, agent: str | None = None, **options: bool) -> list[Prepared]:
    file = tmp_path / "cases.yaml"
    file.write_text(text)
    app = App({"EDGEAGENT_HOME": str(tmp_path / "edgeagent"), "HOME": str(tmp_path / "user")})
    own = replace(known(), home=app.home, agent_file=lambda name: app.runtime.agent(name).path)
    return read_cases(file, own, agent, **options)


def problems(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(CaseFileError) as caught:
        read(tmp_path, text)
    assert caught.value.exit_code == 2
    return [str(problem).removeprefix(f"{tmp_path}/") for problem in caught.value.problems]


HEAD = "agents:\n  one: |\n" + "".join(f"    {line}\n" for line in AGENT.splitlines()) + "agent: one\n"


def test_the_keys_at_the_top_hold_where_a_case_says_nothing(tmp_path: Path) -> None:
    cases = "cases:\n- {name: a, file: ~/Inbox/a, text: x, nothing: true}\n- {name: b, event: {manual: {}}, calls: []"
    found = read(tmp_path, f"{HEAD}category: sorting\nfiles: {{~/x: y}}\n{cases}, category: own}}\n")
    assert [(one.category, one.split, one.agent.name, dict(one.files)) for one in found] == [
        ("sorting", "other", "one", {"~/x": "y"}),
        ("own", "other", "one", {"~/x": "y"}),
    ]


@pytest.mark.parametrize(
    ("case", "told"),
    [
        ("{nam: a, event: {manual: {}}, nothing: true}", 'unknown key "nam"; did you mean "name"?'),
        ("{name: a, event: {webhok: {}}, nothing: true}", 'unknown event "webhok"; did you mean "webhook"?'),
        ("{name: a, event: {manual: {}}}", "nothing is expected"),
        ("{name: a, nothing: true}", "what happens?"),
        ("{name: a, file: /etc/a, text: x, nothing: true}", "must be below the home folder"),
        ("{name: a, file: ~/../a, text: x, nothing: true}", "must be below the home folder"),
        ("{name: a, file: ~/a, nothing: true}", "~/a has no text, and is not among files"),
        ("{name: a, event: {manual: {}}, calls: [move_fle]}", 'has no tool "move_fle"; did you mean "move_file"?'),
        (
            "{name: a, event: {manual: {}}, calls: [{move_file: {sorce: x}}]}",
            'move_file has no argument "sorce"; did you mean "source"?',
        ),
        ("{name: a, event: {manual: {}}, answer: {contain: x}}", 'unknown word "contain"; did you mean "contains"?'),
        ("{name: a, event: {manual: {}}, answer: {matches: '('}}", "not a regular expression"),
        ("{name: a, event: {manual: {}}, status: okay}", 'unknown status "okay"; did you mean "ok"?'),
        ("{name: a, agent: on, event: {manual: {}}, nothing: true}", 'no agent named on; did you mean "one"?'),
    ],
)
def test_a_fault_in_a_case_has_its_line_and_its_words(tmp_path: Path, case: str, told: str) -> None:
    line = HEAD.count("\n") + 2
    (problem, *_) = [one for one in problems(tmp_path, f"{HEAD}cases:\n- {case}\n") if told in one]
    assert problem.startswith(f"cases.yaml:{line}: ")


def test_a_fault_in_an_agent_has_its_line_in_the_case_file(tmp_path: Path) -> None:
    text = HEAD.replace("move_file", "move_fil") + "cases:\n- {name: a, event: {manual: {}}, nothing: true}\n"
    assert problems(tmp_path, text) == ['cases.yaml:4: unknown tool "move_fil"; did you mean "move_file"?']


@pytest.mark.parametrize("grants", ["{write: [/srv/photos]}", "{network: ['ntfy.sh:443']}"])
def test_an_agent_with_effects_outside_is_refused_unless_that_is_wanted(tmp_path: Path, grants: str) -> None:
    agent = HEAD.replace("{write: [~/Inbox, ~/Documents]}", grants)
    text = f"{agent}cases:\n- {{name: a, event: {{manual: {{}}}}, nothing: true}}\n"
    assert "with --real it may" in problems(tmp_path, text)[0]
    assert read(tmp_path, text, is_real=True)


def test_the_case_files_of_the_page_are_valid(tmp_path: Path) -> None:
    agents = tmp_path / "edgeagent" / "agents"
    agents.mkdir(parents=True)
    (agents / "inbox.md").write_text(AGENT)
    (agents / "night-watch.md").write_text(AGENT)
    page = (ROOT / "docs" / "eval.md").read_text("utf-8")
    blocks = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert [len(read(tmp_path, block)) for block in blocks] == [3, 1]


def test_the_page_names_every_key_option_and_word() -> None:
    page = (ROOT / "docs" / "eval.md").read_text("utf-8")
    keys = {*Case.model_fields, *CaseFile.model_fields, *MadeTool.model_fields} - {"description", "read_only", "cases"}
    options = {name for option in evaluate.params for name in option.opts if name.startswith("--")} - {"--cases"}
    for name in (*keys, *options, *WORDS):
        assert re.search(rf"(?<![\w-]){re.escape(name)}(?!\w)", page), name


# --- the cases that come with edgeagent -----------------------------------------------------------------------------


def test_the_cases_of_the_examples_are_valid_and_many() -> None:
    files = sorted((ROOT / "examples" / "cases").glob("*.yaml"))
    cases = [case for file in files for case in read_cases(file, known())]
    assert len(cases) >= 150
    assert len({one.case.name for one in cases}) == len(cases)
    assert {one.split for one in cases} >= {"narrow", "rules", "values", "steps", "nothing", "messages", "unseen-tools"}
    assert sum(one.split == "nothing" for one in cases) >= 30
