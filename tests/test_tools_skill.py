"""Tools of skills, called as a model calls them: checked, allowed, confined, and shown as results."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from test_skills import make_skill

from edgeagent.bundled import bundled
from edgeagent.errors import SkillError, ToolError
from edgeagent.model.scripted import ScriptedModel
from edgeagent.runtime import Runtime, open_runtime
from edgeagent.sandbox import Bubblewrap, Landlocked, Sandbox
from edgeagent.schema import Run, ToolCall
from edgeagent.skills import Installed, SkillLibrary
from edgeagent.tools.skill_test import run_tests

PRINTS = """\
version: 1
tools:
  - name: prints
    description: Prints what it is told to.
    run:
      - python3
      - -c
      - import sys; sys.stdout.buffer.write(bytes.fromhex(sys.argv[1])); sys.exit(int(sys.argv[2]))
      - "{hex}"
      - "{code}"
    timeout: 2s
    input_schema:
      type: object
      required: [hex, code]
      additionalProperties: false
      properties: {hex: {type: string}, code: {type: integer}}
    output_schema: {type: object, required: [a]}
  - name: reads
    description: Reads a file.
    run: [cat, "{file}"]
    input_schema: {type: object, required: [file], properties: {file: {type: string}}}
    needs: {read: [file]}
    annotations: {read_only: true}
  - name: waits
    description: Waits.
    run: [sleep, "30"]
    timeout: 1s
    input_schema: {type: object, properties: {}}
"""


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    environment = {"EDGEAGENT_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)}
    runtime = open_runtime(environment)
    runtime.home.create()
    return runtime


def one_run(
    runtime: Runtime, tmp_path: Path, skills: str, *turns: ToolCall | str, more: str = "", secrets: str = "{}"
) -> Run:
    """One run of an agent that has these skills and may read `shared`, by a model that follows a script."""
    (tmp_path / "shared").mkdir(exist_ok=True)
    file = tmp_path / "home" / "agents" / "tester.md"
    file.write_text(
        f"---\nname: tester\nskills: [{skills}]\napproval: never\n"
        f"grants: {{read: ['{tmp_path}/shared'], secrets: {secrets}}}\n{more}---\nGo.\n"
    )
    agent = runtime.agent("tester")
    model = ScriptedModel([*turns, "Done."])
    with runtime.writer() as store:
        from edgeagent.runtime import enqueue_manual, utc_now

        run_id = enqueue_manual(store, agent, "manual", {})
        worker = runtime.worker(store, "cli")
        worker.models = lambda agent: model
        run = store.claim_run(run_id, worker.owner, utc_now())
        assert run
        worker.execute(run, agent, threading.Event())
        return store.run(run_id)


def install(runtime: Runtime, folder: Path) -> None:
    from edgeagent.runtime import utc_now
    from edgeagent.skills.fetch import staged

    with staged(str(folder), runtime.home.skills) as found:
        runtime.skills.install(found.skills[0])
    runtime.skills.trust(folder.name, utc_now())


def test_a_bundled_tool_is_called_and_its_result_seen(runtime: Runtime, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "a.txt").write_text("hello\n")
    run = one_run(runtime, tmp_path, "checksums", ToolCall("checksum", {"file": f"{tmp_path}/shared/a.txt"}))
    assert run.status == "ok", run.error
    assert "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03" in run.steps[1].result


def test_a_path_outside_the_grants_is_denied_before_anything_runs(runtime: Runtime, tmp_path: Path) -> None:
    run = one_run(runtime, tmp_path, "checksums", ToolCall("checksum", {"file": "/etc/passwd"}))
    assert run.steps[1].status == "denied" and "may not read /etc/passwd" in run.steps[1].error


def test_instructions_come_when_they_are_asked_for(runtime: Runtime, tmp_path: Path) -> None:
    run = one_run(runtime, tmp_path, "checksums", ToolCall("load_skill", {"name": "checksums"}))
    assert "MD5 finds accidents" in run.steps[1].result


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (ToolCall("prints", {"hex": b'{"a": 1}'.hex(), "code": 3}), 'ended with exit code 3: {"a": 1}'),
        (ToolCall("prints", {"hex": "ff", "code": 0}), "not UTF-8"),
        (ToolCall("prints", {"hex": b"hello".hex(), "code": 0}), "did not print the JSON"),
        (ToolCall("prints", {"hex": b"{}".hex(), "code": 0}), "does not match its schema"),
        (ToolCall("prints", {"hex": 5, "code": 0}), "hex: 5 is not of type"),
        (ToolCall("prints", {"hex": "00"}), "'code' is a required property"),
        (ToolCall("waits", {}), "took longer than 1 s"),
    ],
)
def test_what_goes_wrong_is_one_line_that_the_model_sees(
    runtime: Runtime, tmp_path: Path, call: ToolCall, told: str
) -> None:
    install(runtime, make_skill(tmp_path / "printing", sidecar=PRINTS))
    step = one_run(runtime, tmp_path, "printing", call).steps[1]
    assert step.status == "error" and told in step.result


def test_a_skill_that_changed_is_an_error_of_the_call_and_not_of_the_run(runtime: Runtime, tmp_path: Path) -> None:
    install(runtime, make_skill(tmp_path / "printing", sidecar=PRINTS))
    (runtime.home.skills / "printing" / "scripts" / "new.py").write_text("")
    run = one_run(runtime, tmp_path, "printing", ToolCall("prints", {"hex": b'{"a": 1}'.hex(), "code": 0}))
    assert run.steps[1].status == "error" and "changed since it was trusted" in run.steps[1].result


def test_a_script_without_a_sidecar_always_asks(runtime: Runtime, tmp_path: Path) -> None:
    folder = make_skill(tmp_path / "plain")
    install(runtime, folder)
    call = ToolCall("run_skill_script", {"skill": "plain", "script": "shout.py", "arguments": ["loud"]})
    run = one_run(runtime, tmp_path, "plain", call)
    assert run.steps[1].status in ("denied", "waiting")
    named = one_run(runtime, tmp_path, "plain", call, more="tools: [run_skill_script]\n")
    assert named.steps[1].result == "LOUD"


def test_an_agent_cannot_name_a_skill_that_is_not_there(runtime: Runtime, tmp_path: Path) -> None:
    from edgeagent.errors import AgentFileError

    with pytest.raises(AgentFileError, match='unknown skill "cheksums"; did you mean "checksums"'):
        one_run(runtime, tmp_path, "cheksums")


@pytest.mark.parametrize("level", ["full", "reduced"])
@pytest.mark.parametrize("name", sorted(path.parent.name for path in bundled("skills").glob("*/SKILL.md")))
def test_the_tests_of_bundled_skills_hold(runtime: Runtime, tmp_path: Path, name: str, level: str) -> None:
    found = SkillLibrary(bundled("skills"), runtime.home.skills).find(name)
    assert found.skill is not None, found.reason
    assert found.state == "ready", found.reason
    sandbox: Sandbox = Bubblewrap() if level == "full" else Landlocked(tmp_path)
    verdicts = list(run_tests(found, lambda: sandbox))
    assert verdicts and [one for one in verdicts if one.fault] == []


def test_a_skill_that_is_not_ready_says_what_to_do(tmp_path: Path) -> None:
    broken = Installed("x", tmp_path, "installed", "untrusted", None, "", "nobody has trusted it yet", "try this")
    with pytest.raises(SkillError, match="nobody has trusted it") as caught:
        broken.usable()
    assert caught.value.hint == "try this"
    assert not isinstance(caught.value, ToolError)
