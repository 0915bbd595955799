"""What skills of other people look like: every oddity here was seen in a public one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_world import World
from test_skills import make_skill
from test_tools_skill import install, one_run, runtime

from edgeagent.cli.explaining import explained
from edgeagent.errors import NotFound, SkillError
from edgeagent.runtime import Runtime
from edgeagent.schema import ToolCall
from edgeagent.skills import SkillLibrary, read_skill
from edgeagent.skills.fetch import staged
from edgeagent.skills.files import fingerprint

__all__ = ["runtime"]


def odd(folder: Path, text: str | bytes, name: str = "SKILL.md") -> Path:
    folder.mkdir(parents=True)
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


# --- SKILL.md -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "description"),
    [
        ("---\nname: a\ndescription: Use when: it rains\n---\nGo.", "Use when: it rains"),
        ("---\nname: a\ndescription: x\nargument-hint: [a] [b]\n---\nGo.", "x"),
        ("---\nname: a\ndescription: , and then\n---\nGo.", ", and then"),
        ("---\nname: a\ndescription: @you may\n---\nGo.", "@you may"),
        ("---\nname: a\ndescription: >-\n  One\n  two\n---\nGo.", "One two"),
        ("---\nname: a\ndescription: |\n  One\n  two\n---\nGo.", "One two"),
        (b"\xef\xbb\xbf---\r\nname: a\r\ndescription: x\r\n---\r\nGo.\r\n", "x"),
        ("\n\n---\nname: a\ndescription: x\n---\nGo.", "x"),
        ("---\nname: a\ndescription: 2048\n---\nGo.", "2048"),
        ("---\nname: a\ndescription: x\n---", "x"),
        ("---\nname: a\ndescription: x\n---\n---\nA rule.", "x"),
    ],
)
def test_an_odd_frontmatter_is_read_as_it_was_meant(tmp_path: Path, text: str | bytes, description: str) -> None:
    assert read_skill(odd(tmp_path / "a", text)).description == description


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("# Only a body\n", "no frontmatter, so it has no description"),
        ("---\nname: a\ndescription: x\n", "has no end"),
        ("---\nname: a\ndescription: [x\n---\nGo.", "broken YAML"),
        ('---\nname: a\ndescription: "x\n---\nGo.', "broken YAML"),
        ("---\nname: a\ndescription: x\nmetadata: {a: {b: 1}\n---\nGo.", "broken YAML"),
        ("---\nname: a\ndescription: &x text\n---\nGo.", "anchors"),
        (b"---\nname: a\ndescription: \xff\n---\nGo.", "not UTF-8"),
        ("---\nname: a\ndescription: [a, b]\n---\nGo.", "description"),
        ("---\nname: a\ndescription: x\n---\n" + "x" * 300_000, "too large for a SKILL.md"),
    ],
)
def test_what_cannot_be_read_is_one_line_with_its_place(tmp_path: Path, text: str | bytes, told: str) -> None:
    with pytest.raises(SkillError, match=told) as caught:
        read_skill(odd(tmp_path / "a", text))
    assert caught.value.message.count("\n") == 0 and "SKILL.md:" in caught.value.message


def test_a_manifest_may_be_written_in_small_letters(tmp_path: Path) -> None:
    skill = read_skill(odd(tmp_path / "a", "---\nname: a\ndescription: x\n---\nGo.", "skill.md"))
    assert any("should be named SKILL.md" in told for told in skill.warnings)
    library = SkillLibrary(tmp_path / "none", tmp_path / "skills")
    with staged(str(tmp_path / "a"), tmp_path / "skills") as found:
        library.install(found.skills[0])
    assert library.names() == ["a"] and library.find("a").state == "untrusted"


def test_names_of_any_script_are_names(tmp_path: Path) -> None:
    skill = read_skill(odd(tmp_path / "café-été", "---\nname: café-été\ndescription: x\n---\nGo."))
    assert skill.name == "café-été" and skill.warnings == ()


def test_a_key_that_stands_twice_is_a_warning(tmp_path: Path) -> None:
    skill = read_skill(odd(tmp_path / "a", "---\nname: a\ndescription: x\nname: b\n---\nGo."))
    assert skill.name == "a" and any('"name" appears twice' in told for told in skill.warnings)


@pytest.mark.parametrize(
    "metadata",
    [
        '{"openclaw": {"requires": {"bins": ["nope"]}}}',
        "{clawdbot: {requires: {bins: [nope]}}}",
        "{a-fork: {requires: {bins: [nope]}}}",
        "{author: me, requires: {bins: [nope]}}",
        '\'{"moltbot": {"requires": {"bins": ["nope"]}}}\'',
        '\n  clawdis: \'{"requires": {"bins": ["nope"]}}\'',
        '\n  {\n    "openclaw":\n      {\n        "requires": { "bins": ["nope"], },\n      },\n  }',
        "\n  openclaw:\n    requires:\n      bins: nope",
    ],
)
def test_requirements_are_read_in_every_form(tmp_path: Path, metadata: str) -> None:
    folder = odd(tmp_path / "a", f"---\nname: a\ndescription: x\nmetadata: {metadata}\n---\nGo.")
    assert read_skill(folder).requirements.missing() == ("the program nope",)


@pytest.mark.parametrize("metadata", ["just text", "[1, 2]", "{openclaw: [1]}", "{openclaw: {requires: no, os: 3}}"])
def test_requirements_that_make_no_sense_are_none(tmp_path: Path, metadata: str) -> None:
    skill = read_skill(odd(tmp_path / "a", f"---\nname: a\ndescription: x\nmetadata: {metadata}\n---\nGo."))
    assert skill.requirements.missing() == ()


def test_what_is_always_there_is_held_back_by_its_system_alone(tmp_path: Path) -> None:
    metadata = "{openclaw: {always: true, os: [darwin], requires: {bins: [nope], env: [KEY]}}}"
    needs = read_skill(
        odd(tmp_path / "a", f"---\nname: a\ndescription: x\nmetadata: {metadata}\n---\nGo.")
    ).requirements
    assert needs.missing(system="darwin") == ()
    assert needs.missing(system="linux") == ("another system (darwin)",)


def test_allowed_tools_are_told_and_allow_nothing(tmp_path: Path) -> None:
    skill = read_skill(odd(tmp_path / "a", "---\nname: a\ndescription: x\nallowed-tools: Bash(git:*) Read\n---\nGo."))
    assert skill.allowed_tools == ("Bash(git:*)", "Read") and skill.tools == ()


def test_scripts_are_the_programs_and_not_what_lies_beside_them(tmp_path: Path) -> None:
    folder = odd(tmp_path / "a", "---\nname: a\ndescription: x\n---\nGo.")
    for name, text in {
        "a.py": "",
        "b.sh": "",
        "c": "#!/bin/sh\n",
        "d.json": "{}",
        "__init__.py": "",
        "e.md": "#!",
    }.items():
        (folder / "scripts" / "deep").mkdir(parents=True, exist_ok=True)
        (folder / "scripts" / name).write_text(text)
    (folder / "scripts" / "deep" / "f.js").write_text("")
    (folder / "scripts" / "__pycache__").mkdir()
    (folder / "scripts" / "__pycache__" / "a.pyc").write_text("")
    assert read_skill(folder).scripts == ("scripts/a.py", "scripts/b.sh", "scripts/c", "scripts/deep/f.js")


# --- folders of many ------------------------------------------------------------------------------------------------


def test_skills_are_found_wherever_a_repository_keeps_them_and_broken_ones_are_told(tmp_path: Path) -> None:
    top = tmp_path / "repo"
    make_skill(top / ".agents" / "skills" / "one")
    make_skill(top / "skills" / "owner" / "two")
    make_skill(top / "skills" / "owner" / "two" / "examples" / "inner")
    make_skill(top / "skills" / "other" / "two")
    odd(top / "skills" / "bad", "no frontmatter")
    with staged(str(top), tmp_path / "skills") as found:
        assert sorted(skill.name for skill in found.skills) == ["one", "two"]
        bad, second = found.refused
    assert "skills/bad/SKILL.md:1: no frontmatter" in bad and ".adding" not in bad
    assert "is a second skill named two" in second


def test_several_skills_are_one_line_of_json_each(tmp_path: Path) -> None:
    world = World(tmp_path)
    make_skill(tmp_path / "repo" / "one")
    make_skill(tmp_path / "repo" / "two")
    told = world.run("skills", "add", str(tmp_path / "repo"), "--yes", "--json")
    assert [json.loads(line)["name"] for line in told.stdout.splitlines()] == ["one", "two"]


def test_where_one_is_there_already_none_is_added(tmp_path: Path) -> None:
    world = World(tmp_path)
    make_skill(tmp_path / "repo" / "one")
    make_skill(tmp_path / "repo" / "two")
    assert world.run("skills", "add", str(tmp_path / "repo" / "two"), "--yes").returncode == 0
    again = world.run("skills", "add", str(tmp_path / "repo"), "--yes")
    assert again.returncode == 2 and "two is installed already" in again.stderr
    assert world.run("skills", "show", "one").returncode == 5


def test_what_lies_about_is_not_installed_and_counts_when_it_comes_later(tmp_path: Path) -> None:
    folder = make_skill(tmp_path / "mine")
    (folder / "scripts" / "__pycache__").mkdir()
    (folder / "scripts" / "__pycache__" / "shout.cpython-311.pyc").write_bytes(b"other code")
    library = SkillLibrary(tmp_path / "none", tmp_path / "skills")
    with staged(str(folder), tmp_path / "skills") as found:
        library.install(found.skills[0])
    installed = tmp_path / "skills" / "mine"
    assert not (installed / "scripts" / "__pycache__").exists()
    before = fingerprint(installed)
    (installed / "scripts" / "__pycache__").mkdir()
    (installed / "scripts" / "__pycache__" / "shout.cpython-311.pyc").write_bytes(b"other code")
    with_code = fingerprint(installed)
    (installed / "link").symlink_to("/etc")
    assert len({before, with_code, fingerprint(installed)}) == 3


@pytest.mark.parametrize("name", ["skills.lock", ".hidden", "n" * 200])
def test_a_name_that_cannot_be_a_folder_among_the_skills_is_refused(tmp_path: Path, name: str) -> None:
    odd(tmp_path / "repo" / name, "---\nname: Not A Name\ndescription: x\n---\nGo.")
    with pytest.raises(SkillError, match="name cannot be used"), staged(str(tmp_path / "repo" / name), tmp_path / "to"):
        pass


def test_a_source_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    for source in ("~nobody-here/skill", str(tmp_path / "none"), str(tmp_path / ("n" * 300))):
        with pytest.raises(NotFound, match="does not exist"), staged(source, tmp_path / "skills"):
            pass


# --- using them -----------------------------------------------------------------------------------------------------


def test_texts_of_a_skill_are_read_by_name_and_nothing_else_is(runtime: Runtime, tmp_path: Path) -> None:
    folder = make_skill(tmp_path / "guide")
    (folder / "references").mkdir()
    (folder / "references" / "more.md").write_text("Look in {baseDir}/assets.")
    install(runtime, folder)
    run = one_run(
        runtime,
        tmp_path,
        "guide",
        ToolCall("load_skill", {"name": "guide"}),
        ToolCall("load_skill", {"name": "guide", "file": "references/more.md"}),
        ToolCall("load_skill", {"name": "guide", "file": "../../skills.lock"}),
        ToolCall("load_skill", {"name": "guide", "file": "/etc/passwd"}),
    )
    told = [step.result for step in run.steps if step.kind == "tool"]
    assert "More to read, by name and file: references/more.md" in told[0]
    assert told[1] == "Look in ./assets."
    assert all("has no text" in text and "references/more.md" in text for text in told[2:])


def test_a_skill_that_requires_a_secret_is_ready_when_it_is_set_and_gets_it_where_granted(
    runtime: Runtime, tmp_path: Path
) -> None:
    folder = tmp_path / "keyed"
    make_skill(folder, "name: keyed\ndescription: x\nmetadata: {openclaw: {requires: {env: [API_KEY]}}}")
    (folder / "scripts" / "shout.py").write_text(
        "import os, sys\nkey = os.environ.get('API_KEY', '')\nprint(len(key), key[::-1], *sys.argv[1:])\n"
    )
    install(runtime, folder)
    assert runtime.skills.find("keyed").reason == "this machine lacks the secret API_KEY"
    assert runtime.skills.find("keyed").hint == "edgeagent secrets set API_KEY"
    runtime.environ = dict(runtime.environ) | {"EDGEAGENT_SECRET_API_KEY": 'it\'s $HOME "x"'}
    runtime.reload_config()
    assert runtime.skills.find("keyed").state == "ready"
    call = ToolCall("run_skill_script", {"skill": "keyed", "script": "shout.py", "arguments": ["a b", "$HOME"]})
    named = "tools: [run_skill_script]\n"
    run = one_run(runtime, tmp_path, "keyed", call, more=named)
    assert run.steps[1].result == "0  a b $HOME"
    granted = one_run(runtime, tmp_path, "keyed", call, more=named, secrets="{run_skill_script: [API_KEY, OTHER]}")
    told = explained(runtime, runtime.agent("tester"))
    assert [tool["secrets"] for tool in told["tools"] if tool["name"] == "run_skill_script"] == [["API_KEY"]]
    assert granted.steps[1].result == '14 "x" EMOH$ s\'ti a b $HOME'


def test_a_script_runs_by_its_ending_its_mark_or_its_first_line(runtime: Runtime, tmp_path: Path) -> None:
    folder = make_skill(tmp_path / "plain")
    (folder / "scripts" / "tool").write_text("#!/usr/bin/env -S python3 -u\nprint('ran')\n")
    (folder / "scripts" / "tool.sh").write_text("#!/usr/bin/env bash\n[[ a == a ]] && echo bash\n")
    (folder / "scripts" / "uses.py").write_text("from scripts.shared import WORD\nprint(WORD)\n")
    (folder / "scripts" / "shared.py").write_text("WORD = 'shared'\n")
    (folder / "scripts" / "old").write_text("#!/usr/bin/env python\nprint('old')\n")
    (folder / "scripts" / "old").chmod(0o755)
    (folder / "scripts" / "wrong").write_text("#!/no/such/program\n")
    (folder / "scripts" / "wrong").chmod(0o755)
    install(runtime, folder)
    calls = [
        ToolCall("run_skill_script", {"skill": "plain", "script": name, "arguments": []})
        for name in ("tool", "tool.sh", "uses.py", "old", "wrong")
    ]
    run = one_run(runtime, tmp_path, "plain", *calls, more="tools: [run_skill_script]\n")
    told = [step.result for step in run.steps if step.kind == "tool"]
    assert told[:4] == ["ran", "bash", "shared", "old"]
    assert "/no/such/program" in told[4] and "there is no" in told[4]
