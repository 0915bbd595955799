"""Skills: what loads, what is refused, what is pinned, and that nothing gets out of an archive."""

from __future__ import annotations

import io
import json
import os
import stat
import subprocess
import tarfile
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cli_world import World

from edgeagent.bundled import bundled
from edgeagent.errors import NotFound, SkillError, UsageError
from edgeagent.skills import SkillLibrary, read_skill
from edgeagent.skills.drift import drift
from edgeagent.skills.fetch import staged
from edgeagent.skills.files import fingerprint, skill_files

NOW = datetime(2026, 11, 25, tzinfo=UTC)
SIDECAR = """\
version: 1
tools:
  - name: shout
    description: Says it louder.
    run: [python3, scripts/shout.py, --text, "{text}", --times, "{times}"]
    input_schema:
      type: object
      required: [text]
      properties: {text: {type: string}, times: {type: integer}, quick: {type: boolean}}
"""


def make_skill(folder: Path, front: str = "name: NAME\ndescription: Does a thing.", sidecar: str = "") -> Path:
    (folder / "scripts").mkdir(parents=True)
    front = front.replace("NAME", folder.name)
    if sidecar:
        front += "\nmetadata:\n  edgeagent-tools: tools.yaml"
        (folder / "tools.yaml").write_text(sidecar)
    (folder / "SKILL.md").write_text(f"---\n{front}\n---\nUse it well.\n")
    (folder / "scripts" / "shout.py").write_text("import sys\nprint(sys.argv[-1].upper())\n")
    return folder


@pytest.fixture
def library(tmp_path: Path) -> SkillLibrary:
    return SkillLibrary(tmp_path / "bundled", tmp_path / "skills")


# --- SKILL.md -------------------------------------------------------------------------------------------------------


def test_a_skill_loads_with_its_instructions_and_scripts(tmp_path: Path) -> None:
    skill = read_skill(make_skill(tmp_path / "shouting"))
    assert (skill.name, skill.description) == ("shouting", "Does a thing.")
    assert skill.instructions == "Use it well."
    assert skill.scripts == ("scripts/shout.py",)
    assert skill.warnings == ()


@pytest.mark.parametrize(
    ("front", "warning"),
    [
        ("name: Other\ndescription: x", "not a name of the specification"),
        ("name: other\ndescription: x", 'its folder "odd"'),
        ("description: x", "no name"),
        ("name: odd\ndescription: x\nauthor: me", "author"),
        ("name: odd\ndescription: x\nmetadata: [a]", "metadata is no table"),
        (f"name: odd\ndescription: {'x' * 1100}", "1100 characters"),
    ],
)
def test_what_is_odd_is_a_warning_and_the_skill_loads(tmp_path: Path, front: str, warning: str) -> None:
    assert any(warning in told for told in read_skill(make_skill(tmp_path / "odd", front)).warnings)


def test_a_description_with_a_colon_is_read_as_it_was_meant(tmp_path: Path) -> None:
    skill = read_skill(make_skill(tmp_path / "colon", 'name: colon\ndescription: Use when: a "file" comes'))
    assert skill.description == 'Use when: a "file" comes'


@pytest.mark.parametrize("front", ["name: bad", "name: bad\ndescription: ''", "name: [\ndescription: x", "- a\n- b"])
def test_no_description_or_no_yaml_is_refused_with_its_line(tmp_path: Path, front: str) -> None:
    with pytest.raises(SkillError, match=r"SKILL\.md:\d+: "):
        read_skill(make_skill(tmp_path / "bad", front))


def test_a_folder_without_a_manifest_is_no_skill(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"SKILL\.md"):
        read_skill(tmp_path)


def test_a_manifest_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("---\nname: a\ndescription: b\n---\n")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "SKILL.md").symlink_to(tmp_path / "secret")
    with pytest.raises(NotFound):
        read_skill(tmp_path / "linked")


def test_requirements_of_public_skills_are_read_and_installers_are_not(tmp_path: Path) -> None:
    metadata = (
        '{"openclaw": {"requires": {"bins": ["no-such-program"], "env": ["KEY"]}, "os": ["darwin"], "install": 1}}'
    )
    skill = read_skill(make_skill(tmp_path / "gated", f"name: gated\ndescription: x\nmetadata: {metadata}"))
    missing = skill.requirements.missing(system="linux")
    assert missing == ("the program no-such-program", "the secret KEY", "another system (darwin)")
    assert skill.requirements.missing({"KEY"}, lambda name: "/bin/it", "darwin") == ()


# --- tools.yaml -----------------------------------------------------------------------------------------------------


def test_typed_tools_come_from_the_announced_sidecar_only(tmp_path: Path) -> None:
    assert [tool.name for tool in read_skill(make_skill(tmp_path / "a", sidecar=SIDECAR)).tools] == ["shout"]
    silent = make_skill(tmp_path / "b")
    (silent / "tools.yaml").write_text(SIDECAR)
    skill = read_skill(silent)
    assert skill.tools == () and any("does not announce" in told for told in skill.warnings)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("scripts/shout.py", "scripts/none.py"), "scripts/none.py is not in the skill"),
        (("{text}", "{txt}"), "{txt}"),
        (("run: [python3", 'run: ["{text}"'), "fixed program"),
        (("name: shout", "name: Shout!"), "not a name for a tool"),
        (("type: object", "type: array"), "type: object"),
        (("description: Says it louder.", "descripton: x"), 'did you mean "description"'),
        (("version: 1", "version: 2"), "version"),
        (("required: [text]", "required: [txet]"), '"txet", which is not among its properties'),
        (("type: string", "type: strong"), "JSON Schema"),
    ],
)
def test_a_faulty_sidecar_is_refused_with_file_and_line(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    folder = make_skill(tmp_path / "faulty", sidecar=SIDECAR.replace(*change))
    with pytest.raises(SkillError, match=r"tools\.yaml:\d+: ") as caught:
        read_skill(folder)
    assert message in str(caught.value)


def test_two_tools_of_one_name_are_refused(tmp_path: Path) -> None:
    twice = SIDECAR + SIDECAR.split("tools:\n")[1]
    with pytest.raises(SkillError, match='two tools are named "shout"'):
        read_skill(make_skill(tmp_path / "twice", sidecar=twice))


def test_an_argument_is_one_word_whatever_is_in_it(tmp_path: Path) -> None:
    tool = read_skill(make_skill(tmp_path / "a", sidecar=SIDECAR)).tools[0]
    evil = "x; rm -rf / $(id) `id` --flag\n"
    assert tool.argv({"text": evil, "times": 2})[3:] == [evil, "--times", "2"]
    assert tool.argv({"text": "a"})[2:] == ["--text", "a"]


def drifts(folder: Path, script: str, tool: str) -> list[str]:
    """What drift is found between a script and a tool that is written as the rest of a tools.yaml."""
    make_skill(folder, sidecar=f"version: 1\ntools:\n  - name: t\n    description: x\n{tool}")
    (folder / "scripts" / "shout.py").write_text(script)
    return [line.partition(": ")[2] for line in drift(read_skill(folder))]


TWO = """\
    run: [python3, scripts/shout.py, --text, "{text}", --times, "{times}"]
    input_schema:
      type: object
      required: [text]
      properties: {text: {type: string}, times: {type: integer}}
"""


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("p.add_argument('--text'); p.add_argument('--times', type=int)", []),
        ("p.add_argument('--text')", ["the option --times, which it does not take"]),
        ("p.add_argument('--te'); p.add_argument('--times')", ["the option --text, which it does not take"]),
        ("p.add_argument('--text'); p.add_argument('--times-of-day')", []),
        ("p.add_argument('--text'); p.add_argument('--times', required=True)", ["times is not required"]),
        ("p.add_argument('--text', type=int); p.add_argument('--times')", ["--text takes int, and text is string"]),
        ("p.add_argument('--text', choices=['a']); p.add_argument('--times')", ["takes a alone", "no enum"]),
        ("p.add_argument('--text', choices=sorted(KINDS)); p.add_argument('--times')", ["takes a, b alone"]),
        ("p.add_argument('--text', action='store_true'); p.add_argument('--times')", ["takes no value"]),
        (
            "p.add_argument('--text'); p.add_argument('--times'); p.add_argument('--volume', required=True)",
            ["needs the option --volume"],
        ),
        ("p.add_argument('--text'); p.add_argument('--times'); p.add_argument('file')", ["needs the argument file"]),
        ("p.add_argument('--text'); p.add_argument('--times'); p.add_argument('file', nargs='?')", []),
        ("p.add_argument('--text'); p.add_argument(*other)", []),
        ("p.add_argument('--text'); p.parse_known_args()", []),
        (
            "s = p.add_subparsers(); a = s.add_parser('go'); a.add_argument('--text')",
            ["it wants one of the commands go"],
        ),
    ],
)
@pytest.mark.parametrize(
    "place", ["{}", "def make(p):\n    {}\n    return p", "class A:\n  def make(self, p):\n    {}"]
)
def test_drift_between_a_schema_and_a_script_is_found(tmp_path: Path, script: str, told: list[str], place: str) -> None:
    lines = "import argparse\nKINDS = {'a': 1, 'b': 2}\nother = ['--times']\np = argparse.ArgumentParser()\n"
    found = drifts(tmp_path / "drifting", lines + place.format(script) + "\n", TWO)
    assert found == [] if not told else all(any(part in line for line in found) for part in told), found


def test_drift_is_found_of_places_switches_lists_and_commands(tmp_path: Path) -> None:
    script = (
        "import argparse\np = argparse.ArgumentParser()\ns = p.add_subparsers()\n"
        "a = s.add_parser('add')\na.add_argument('files', nargs='+')\na.add_argument('--quick', action='store_true')\n"
        "b = s.add_parser('drop')\nb.add_argument('--name', required=True)\n"
    )
    good = (
        '    run: [python3, scripts/shout.py, add, --quick, "{quick}", "{files}"]\n'
        "    input_schema:\n      type: object\n"
        "      required: [files]\n      properties: {files: {type: array}, quick: {type: boolean}}\n"
    )
    assert drifts(tmp_path / "a", script, good) == []
    assert any("--name" in line for line in drifts(tmp_path / "b", script, good.replace("add,", "drop,")))
    assert any("array" in line for line in drifts(tmp_path / "c", script.replace(", nargs='+'", ""), good))
    unused = good.replace("quick: {type", "more: {type: string}, quick: {type")
    assert any("more" in line and "never arrives" in line for line in drifts(tmp_path / "d", script, unused))


def test_drift_is_found_in_a_module_beside_the_script_and_nothing_is_run(tmp_path: Path) -> None:
    folder = make_skill(tmp_path / "split", sidecar=SIDECAR)
    mark = tmp_path / "ran"
    (folder / "scripts" / "shout.py").write_text(f"open({str(mark)!r}, 'w')\nfrom common import parser\n")
    (folder / "scripts" / "common.py").write_text("import argparse\ndef parser(p):\n    p.add_argument('--loud')\n")
    assert any("--text" in line for line in drift(read_skill(folder)))
    assert not mark.exists()


@pytest.mark.parametrize("source", ["def (", "x" + "(" * 5000, "\0", "#" * 600_000])
def test_a_script_that_is_no_python_is_one_line(tmp_path: Path, source: str) -> None:
    folder = make_skill(tmp_path / "broken", sidecar=SIDECAR)
    (folder / "scripts" / "shout.py").write_text(source)
    (told,) = [line for line in drift(read_skill(folder)) if "Python" in line]
    assert "\n" not in told


@pytest.mark.parametrize(
    ("text", "mode", "told"),
    [
        ("#!/bin/sh\necho ok\n", 0o644, "may not be executed: chmod +x"),
        ("echo ok\n", 0o755, "does not say what runs it"),
        ("#!/bin/sh\r\necho ok\r\n", 0o755, "carriage return"),
        ("#!/no/such/program\n", 0o755, "/no/such/program, which is not on this machine"),
        ("#!/bin/sh\necho ok\n", 0o755, ""),
    ],
)
def test_a_script_that_cannot_be_started_is_found(tmp_path: Path, text: str, mode: int, told: str) -> None:
    sidecar = SIDECAR.replace("[python3, scripts/shout.py, --text", "[scripts/tool, --text")
    folder = make_skill(tmp_path / "direct")
    (folder / "scripts" / "tool").write_text(text)
    (folder / "scripts" / "tool").chmod(mode)
    (folder / "SKILL.md").write_text(
        "---\nname: direct\ndescription: x\nmetadata:\n  edgeagent-tools: tools.yaml\n---\nGo.\n"
    )
    (folder / "tools.yaml").write_text(sidecar)
    found = drift(read_skill(folder))
    assert found == [] if not told else told in found[0]


def test_validate_asks_the_reference_validator_and_strict_makes_it_count(tmp_path: Path) -> None:
    world, folder = World(tmp_path), make_skill(tmp_path / "loud", "name: LOUD\ndescription: x\nauthor: me")
    told = json.loads(world.run("skills", "validate", str(folder), "--json").stdout)
    assert told["valid"] and any("must be lowercase" in line for line in told["reference"])
    assert any("author" in line for line in told["reference"]) and any("LOUD" in line for line in told["warnings"])
    strict = world.run("skills", "validate", str(folder), "--strict")
    assert strict.returncode == 2 and "reference validator: " in strict.stdout
    clean = world.run("skills", "validate", str(make_skill(tmp_path / "clean")), "--strict", "--json")
    assert clean.returncode == 0 and json.loads(clean.stdout)["reference"] == []


# --- pins -----------------------------------------------------------------------------------------------------------


def test_a_fingerprint_is_sha256_over_the_sorted_lines_of_path_and_digest(tmp_path: Path) -> None:
    import hashlib

    folder = make_skill(tmp_path / "a")
    lines = "".join(
        f"{name}:{hashlib.sha256((folder / name).read_bytes()).hexdigest()}\n" for name in skill_files(folder)
    )
    assert fingerprint(folder) == f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"


def test_a_skill_runs_only_when_trusted_and_unchanged(tmp_path: Path, library: SkillLibrary) -> None:
    with staged(str(make_skill(tmp_path / "mine")), tmp_path / "skills") as found:
        library.install(found.skills[0])
    assert library.find("mine").state == "untrusted"
    with pytest.raises(SkillError, match="nobody has trusted it"):
        library.find("mine").usable()
    assert library.trust("mine", NOW).state == "ready"
    (tmp_path / "skills" / "mine" / "scripts" / "shout.py").write_text("print('evil')")
    changed = library.find("mine")
    assert changed.state == "changed" and changed.hint == "edgeagent skills trust mine"
    with pytest.raises(SkillError, match="changed since it was trusted"):
        changed.usable()


def test_a_file_that_is_added_revokes_trust_too(tmp_path: Path, library: SkillLibrary) -> None:
    with staged(str(make_skill(tmp_path / "mine")), tmp_path / "skills") as found:
        library.install(found.skills[0])
    library.trust("mine", NOW)
    (tmp_path / "skills" / "mine" / "sitecustomize.py").write_text("")
    assert library.find("mine").state == "changed"


def test_the_lock_says_what_was_trusted_and_from_where(tmp_path: Path, library: SkillLibrary) -> None:
    with staged(str(make_skill(tmp_path / "mine", sidecar=SIDECAR)), tmp_path / "skills") as found:
        library.install(found.skills[0])
    library.trust("mine", NOW, source="somewhere")
    pin = json.loads(library.lock.read_text())["skills"]["mine"]
    assert pin["source"] == "somewhere" and pin["requested"] == {"shout": {}}
    assert pin["fingerprint"] == library.find("mine").fingerprint


def test_a_second_skill_of_a_name_needs_replace_and_bundled_ones_cannot_go(tmp_path: Path) -> None:
    make_skill(tmp_path / "bundled" / "mine")
    library = SkillLibrary(tmp_path / "bundled", tmp_path / "skills")
    with pytest.raises(UsageError, match="came with edgeagent"):
        library.remove("mine")
    for replace in (False, True):
        with staged(str(tmp_path / "bundled" / "mine"), tmp_path / "skills") as found:
            library.install(found.skills[0], replace=replace)
    with staged(str(tmp_path / "bundled" / "mine"), tmp_path / "skills") as found, pytest.raises(UsageError):
        library.install(found.skills[0])
    library.remove("mine")
    assert library.find("mine").origin == "bundled"


def test_adding_a_skill_anew_without_a_person_leaves_it_untrusted_and_says_so(tmp_path: Path) -> None:
    world, folder = World(tmp_path), make_skill(tmp_path / "mine")
    assert world.run("skills", "add", str(folder)).returncode == 4
    assert world.run("skills", "trust", "mine", "--yes").returncode == 0
    (folder / "scripts" / "shout.py").write_text("print('other')")
    again = world.run("skills", "add", str(folder), "--replace", "--json")
    assert again.returncode == 4 and json.loads(again.stdout)["state"] == "changed"
    assert world.run("skills", "add", str(folder)).returncode == 2


# --- fetching -------------------------------------------------------------------------------------------------------


def pack(folder: Path, archive: Path) -> Path:
    if archive.suffix in (".zip", ".skill"):
        with zipfile.ZipFile(archive, "w") as opened:
            for name in skill_files(folder):
                opened.write(folder / name, f"{folder.name}/{name}")
    else:
        with tarfile.open(archive, "w:gz") as opened:
            opened.add(folder, folder.name)
    return archive


@pytest.mark.parametrize("name", ["a.zip", "a.skill", "a.tar.gz"])
def test_an_archive_gives_the_same_skill_as_its_folder(tmp_path: Path, name: str) -> None:
    folder = make_skill(tmp_path / "packed")
    with staged(str(pack(folder, tmp_path / name)), tmp_path / "skills") as found:
        assert [skill.name for skill in found.skills] == ["packed"]
        assert fingerprint(found.skills[0].folder) == fingerprint(folder)
    assert os.listdir(tmp_path / "skills") == []


def test_a_git_repository_is_cloned_without_running_its_hooks(tmp_path: Path) -> None:
    repository = make_skill(tmp_path / "repo" / "skills" / "cloned").parent.parent
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(repository)]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-qm", "a"], check=True)
    with staged(f"file://{repository}", tmp_path / "skills") as found:
        assert [skill.name for skill in found.skills] == ["cloned"]
        assert not (found.skills[0].folder / ".git").exists()


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/a.git", "git://127.0.0.1:9/a", "ext::sh -c id.git"])
def test_other_protocols_than_https_ssh_and_files_are_refused(tmp_path: Path, address: str) -> None:
    with pytest.raises(SkillError, match="not allowed"), staged(address, tmp_path / "skills"):
        pass


@pytest.mark.parametrize("entry", ["../escaped", "/tmp/escaped", "a/../../escaped", "..\\escaped", "C:/escaped"])
@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_an_archive_cannot_name_a_place_outside(tmp_path: Path, entry: str, kind: str) -> None:
    archive = tmp_path / f"evil.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as opened:
            opened.writestr(entry, "x")
    else:
        with tarfile.open(archive, "w:gz") as packed:
            info = tarfile.TarInfo(entry)
            info.size = 1
            packed.addfile(info, io.BytesIO(b"x"))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SkillError, match="leads out of the skill"), staged(str(archive), tmp_path / "skills"):
        pass
    assert sorted(tmp_path.rglob("*")) == sorted([*before, tmp_path / "skills"])


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_an_archive_cannot_bring_links_or_devices(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "evil.tar.gz", "w:gz") as packed:
        info = tarfile.TarInfo("skill/SKILL.md")
        info.type, info.linkname = kind, "/etc/passwd"
        packed.addfile(info)
    with (
        pytest.raises(SkillError, match="no file but a link or device"),
        staged(str(tmp_path / "evil.tar.gz"), tmp_path / "skills"),
    ):
        pass


def test_a_zip_cannot_bring_a_link(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as opened:
        info = zipfile.ZipInfo("skill/SKILL.md")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        opened.writestr(info, "/etc/passwd")
    with pytest.raises(SkillError, match="link or device"), staged(str(tmp_path / "evil.zip"), tmp_path / "skills"):
        pass


def test_an_archive_cannot_unpack_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeagent.skills.unpack.MAX_BYTES", 1_000_000)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("skill/zeros", b"\0" * 5_000_000)
    with pytest.raises(SkillError, match="larger than 1 MB"), staged(str(tmp_path / "bomb.zip"), tmp_path / "skills"):
        pass
    assert os.listdir(tmp_path / "skills") == []


@pytest.mark.parametrize("name", ["broken.zip", "broken.tar.gz", "broken.skill"])
def test_a_broken_archive_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(SkillError, match="no archive that can be unpacked"), staged(str(tmp_path / name), tmp_path):
        pass


def test_a_link_in_a_folder_is_left_behind(tmp_path: Path) -> None:
    folder = make_skill(tmp_path / "linking")
    (folder / "scripts" / "secret").symlink_to("/etc/passwd")
    with staged(str(folder), tmp_path / "skills") as found:
        assert "scripts/secret" not in skill_files(found.skills[0].folder)
        assert not (found.skills[0].folder / "scripts" / "secret").exists()


# --- what comes with edgeagent --------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", sorted(bundled("skills").glob("*/SKILL.md")), ids=lambda path: path.parent.name)
def test_bundled_skills_keep_to_the_specification(folder: Path) -> None:
    skill = read_skill(folder.parent)
    assert skill.warnings == () and skill.tools and skill.instructions
    assert drift(skill) == []
    assert all(tool.tests for tool in skill.tools)
