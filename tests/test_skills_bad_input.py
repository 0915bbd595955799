"""Skills that are wrong, used by an agent: one clear line for the model and the record, and the run goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_world import World
from test_skills import SIDECAR, make_skill
from test_tools_skill import install, one_run, runtime

from edgeagent.errors import SkillError
from edgeagent.runtime import Runtime
from edgeagent.schema import Step, ToolCall
from edgeagent.skills import read_skill

__all__ = ["runtime"]

ODD = """\
version: 1
tools:
  - name: act
    description: Does something odd.
    run: RUN
    timeout: 5s
    input_schema: {type: object, properties: {}}
    output_schema: {type: object, required: [a]}
"""


def acting(folder: Path, run: str, script: str = "", mode: int = 0o755) -> Path:
    make_skill(folder, sidecar=ODD.replace("RUN", run))
    if script:
        (folder / "scripts" / "act").write_text(script)
        (folder / "scripts" / "act").chmod(mode)
    return folder


@pytest.mark.parametrize(
    ("run", "script", "mode", "told"),
    [
        ("[scripts/act]", "#!/bin/sh\n", 0o644, "scripts/act may not be executed: chmod +x it"),
        ("[scripts/act]", "#!/no/such/program\n", 0o755, "/no/such/program, which is not on this machine"),
        ("[scripts/act]", "#!/bin/sh\r\nexit 0\r\n", 0o755, "carriage return"),
        ("[scripts/act]", "exit 0\n", 0o755, "its first line must be one such as #!/bin/sh"),
        ("[no-such-program]", "", 0, "there is no no-such-program on this machine that skills can see"),
        ("[sh, scripts/act]", "echo no JSON\n", 0o644, "did not print the JSON that it declares"),
        ("[sh, scripts/act]", "echo '{}'\n", 0o644, "JSON that does not match its schema: 'a' is a required property"),
        ("[sh, scripts/act]", "printf '\\377'\n", 0o644, "not UTF-8"),
        ("[sh, scripts/act]", "yes\n", 0o644, "printed more than a tool may"),
        ("[sh, scripts/act]", "head -c 3000000 /dev/zero | tr '\\0' a\n", 0o644, "printed more than a tool may"),
        ("[sh, scripts/act]", "exec sleep 60\n", 0o644, "took longer than 5 s"),
        ("[sh, scripts/act]", "echo it broke >&2; exit 3\n", 0o644, "ended with exit code 3: it broke"),
        ("[sh, scripts/act]", "exit 3\n", 0o644, "ended with exit code 3: it said nothing"),
        ("[sh, scripts/act]", ": > $HOME/a; exec tail -f /dev/zero > $HOME/a\n", 0o644, "act"),
    ],
)
def test_what_goes_wrong_in_a_call_is_one_line_and_the_run_goes_on(
    runtime: Runtime, tmp_path: Path, run: str, script: str, mode: int, told: str
) -> None:
    install(runtime, acting(tmp_path / "odd", run, script, mode))
    ended = one_run(runtime, tmp_path, "odd", ToolCall("act", {}))
    step = ended.steps[1]
    assert step.status == "error" and told in step.result, step.result
    assert "\n" not in step.result and len(step.result) < 600
    assert [step.kind for step in ended.steps] == ["chat", "tool", "chat"], "the model was told, and went on"
    assert (ended.status, ended.reason) == ("failed", "tool_error"), "and its word for it did not count"


def test_a_script_that_is_missing_is_found_before_it_is_installed(tmp_path: Path) -> None:
    world = World(tmp_path)
    told = world.run("skills", "add", str(acting(tmp_path / "odd", "[sh, scripts/none.sh]")))
    assert told.returncode == 2 and "tools.yaml:5: act: scripts/none.sh is not in the skill" in told.stderr
    assert world.run("skills", "show", "odd").returncode == 5


@pytest.mark.parametrize("front", ["name: NAME", "name: NAME\ndescription:"])
def test_a_skill_without_a_description_is_one_line(tmp_path: Path, front: str) -> None:
    world, folder = World(tmp_path), make_skill(tmp_path / "mute", front)
    for command in (("skills", "add", str(folder)), ("skills", "validate", str(folder))):
        told = world.run(*command)
        assert told.returncode == 2 and 'missing key "description"' in told.stdout + told.stderr
        assert "Traceback" not in told.stderr


def test_two_tools_of_one_name_are_an_error_in_one_skill_and_in_two(runtime: Runtime, tmp_path: Path) -> None:
    twice = SIDECAR + SIDECAR.partition("tools:\n")[2]
    with pytest.raises(SkillError, match='two tools are named "shout"'):
        read_skill(make_skill(tmp_path / "twice", sidecar=twice))
    for name in ("one", "two"):
        install(runtime, make_skill(tmp_path / name, sidecar=SIDECAR))
    run = one_run(runtime, tmp_path, "one, two", ToolCall("shout", {"text": "a"}))
    assert run.status == "failed" and run.error and "shout" in run.error and "\n" not in run.error


def step_of(runtime: Runtime, tmp_path: Path, secrets: str = "{}") -> Step:
    return one_run(runtime, tmp_path, "keyed", ToolCall("shout", {"text": "a"}), secrets=secrets).steps[1]


def test_a_secret_that_is_not_set_or_not_granted_is_said_in_one_line(runtime: Runtime, tmp_path: Path) -> None:
    runtime.home.config_file.write_text('[secrets]\nbackend = "none"\n')
    runtime.reload_config()
    sidecar = SIDECAR + "    needs: {secrets: [API_KEY]}\n"
    install(runtime, make_skill(tmp_path / "keyed", sidecar=sidecar))
    granted = step_of(runtime, tmp_path, "{shout: [API_KEY]}")
    assert granted.status == "error" and "the secret API_KEY is not set" in granted.result
    assert "edgeagent secrets set API_KEY" in granted.result
    assert step_of(runtime, tmp_path).status == "ok", "without the grant the tool runs without the secret"


def test_a_skill_that_nobody_trusts_does_not_run_and_says_what_to_do(runtime: Runtime, tmp_path: Path) -> None:
    install(runtime, make_skill(tmp_path / "mine", sidecar=SIDECAR))
    (runtime.home.skills / "skills.lock").unlink()
    run = one_run(runtime, tmp_path, "mine", ToolCall("shout", {"text": "a"}), ToolCall("load_skill", {"name": "mine"}))
    for step in (step for step in run.steps if step.kind == "tool"):
        assert step.status == "error" and "nobody has trusted it yet" in step.result
        assert "edgeagent skills trust mine" in step.result


def test_an_agent_with_a_skill_that_is_gone_names_the_file_and_line(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.agent("keeper", "---\nname: keeper\nskills: [gone]\n---\nGo.\n")
    for command in (("run", "keeper"), ("agents", "validate")):
        told = world.run(*command)
        assert told.returncode == 2 and "keeper.md:3: " in told.stdout + told.stderr
        assert 'unknown skill "gone"' in told.stdout + told.stderr


def test_a_broken_lock_file_is_one_line_and_nothing_runs(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.run("skills", "add", str(make_skill(tmp_path / "mine")), "--yes")
    (world.home / "skills" / "skills.lock").write_text('{"skills": {"mine": 5}}')
    told = world.run("skills", "show", "mine")
    assert told.returncode == 2 and "skills.lock cannot be read" in told.stderr and "Traceback" not in told.stderr


def test_lists_of_skills_are_json_whatever_their_state(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.run("skills", "add", str(make_skill(tmp_path / "mine")))
    (world.home / "skills" / "bad").mkdir()
    (world.home / "skills" / "bad" / "SKILL.md").write_text("nothing")
    found = {one["name"]: one for one in json.loads(world.run("skills", "list", "--json").stdout)}
    assert (found["mine"]["state"], found["bad"]["state"]) == ("untrusted", "broken")
    assert "no frontmatter" in found["bad"]["reason"] and found["checksums"]["state"] == "ready"
