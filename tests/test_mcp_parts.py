"""Where a server's files are, what they add up to, schemas of strangers, and the texts that are made of results."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeagent.errors import McpError, SandboxError, ToolError
from edgeagent.mcp.files import FileDigests
from edgeagent.mcp.listing import ListFault, Listing, listing
from edgeagent.mcp.pins import Pin, Pins
from edgeagent.mcp.places import Finder, Places
from edgeagent.mcp.results import schema_fault, text_of
from edgeagent.mcp.schemas import SchemaFault, held
from edgeagent.policy import AgentPolicy, decide
from edgeagent.schema import ToolSpec

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=20,
)
FUZZ = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
KEYS = ["name", "description", "inputSchema", "outputSchema", "annotations", "title"]
WORDS = ["type", "properties", "items", "$ref", "anyOf", "allOf", "enum", "required", "minimum", "additionalProperties"]
SCHEMAS: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from(["object", "string", "array", "#", "#/x", [], {}, True, None, 5, -1, ["string", "null"]]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=5),
    max_leaves=25,
)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "user" / "edgeagent").mkdir(parents=True)
    return tmp_path / "user"


def found(home: Path, *command: str, folder: str = "", path: str = "/usr/bin:/bin") -> Places:
    return Finder(home, path, (home / "edgeagent" / "agents",), home / "edgeagent" / "empty").places(command, folder)


def file(path: Path, text: str = "", mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


# --- where its files are ----------------------------------------------------------------------------------------------


def test_a_program_of_the_system_needs_nothing(home: Path) -> None:
    places = found(home, "python3", "-c", "pass")
    assert (places.argv[0], places.own, places.borrowed) == ("/usr/bin/python3", (), ())
    assert places.folder == home / "edgeagent" / "empty"


def test_a_script_brings_its_folder_and_starts_there(home: Path) -> None:
    script = file(home / "servers" / "mine" / "server.py")
    places = found(home, "/usr/bin/python3", str(script), "--root", str(home / "Documents"))
    assert places.own == (script.parent,) and places.folder == script.parent


def test_a_script_in_the_home_folder_comes_alone(home: Path) -> None:
    script = file(home / "server.py")
    places = found(home, "/usr/bin/python3", "-u", "~/server.py")
    assert places.own == (script,) and places.folder == home / "edgeagent" / "empty"
    assert places.argv == ("/usr/bin/python3", "-u", str(script))


def test_a_script_brings_the_project_that_it_lies_in(home: Path) -> None:
    file(home / "git" / "mine" / "package.json")
    script = file(home / "git" / "mine" / "build" / "index.js")
    assert found(home, "/usr/bin/python3", str(script)).own == (home / "git" / "mine",)


def test_a_package_of_node_brings_what_it_was_installed_with(home: Path) -> None:
    script = file(home / "mcp" / "node_modules" / "@model" / "server" / "dist" / "index.js", "#!/usr/bin/env node\n")
    node = file(home / "nvm" / "v24" / "bin" / "node")
    file(home / "nvm" / "v24" / "lib" / "node_modules" / "npm" / "package.json")
    link = home / "mcp" / "node_modules" / ".bin" / "server"
    link.parent.mkdir()
    link.symlink_to(os.path.relpath(script, link.parent))
    for command in ((str(link),), (str(node), str(script))):
        places = found(home, *command, path=f"{node.parent}:/usr/bin")
        assert places.own == (home / "mcp" / "node_modules",), command
        assert places.borrowed == (home / "nvm" / "v24",), command
        assert str(node.parent) in places.path


def test_a_program_of_a_venv_brings_the_venv_and_the_python_below_it(home: Path) -> None:
    python = file(home / "pyenv" / "3.11" / "bin" / "python3.11")
    file(home / "pyenv" / "3.11" / "lib" / "python3.11" / "os.py")
    venv = home / "venv"
    file(venv / "pyvenv.cfg", f"home = {python.parent}\n")
    (venv / "bin").mkdir()
    (venv / "bin" / "python3").symlink_to(python)
    program = file(venv / "bin" / "server", f"#!{venv}/bin/python3\n")
    places = found(home, str(program))
    assert places.own == (venv,) and places.borrowed == (home / "pyenv" / "3.11",)


def test_a_program_in_a_folder_of_many_comes_alone(home: Path) -> None:
    program = file(home / ".local" / "bin" / "server")
    assert found(home, str(program)).own == (program,)


def test_a_folder_that_is_named_is_its_own(home: Path) -> None:
    file(home / "srv" / "run")
    places = found(home, "./run", folder="~/srv")
    assert places.argv == (str(home / "srv" / "run"),)
    assert places.own == (home / "srv",) and places.folder == home / "srv"


@pytest.mark.parametrize("command", [("nothing",), ("/no/thing",), ("~/x",)])
def test_a_program_that_is_not_there_is_told_of(home: Path, command: tuple[str]) -> None:
    with pytest.raises(SandboxError, match="no program"):
        found(home, *command)


# --- what they add up to ----------------------------------------------------------------------------------------------


def test_another_byte_name_or_link_is_another_digest(tmp_path: Path) -> None:
    folder = tmp_path / "server"
    first = file(folder / "a.py", "one")
    seen = [FileDigests(tmp_path / "kept").of((folder,))]

    def differs() -> bool:
        seen.append(FileDigests(tmp_path / "kept").of((folder,)))
        return seen[-1] not in seen[:-1]

    assert not differs(), "nothing has changed"
    times = first.stat()
    first.write_text("two")
    os.utime(first, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert differs(), "the same size and time of change"
    (folder / "b.py").symlink_to("/etc/passwd")
    assert differs()
    first.rename(folder / "c.py")
    assert differs()
    file(folder / "__pycache__" / "c.pyc")
    assert not differs(), "what Python compiles does not count"


def test_what_was_kept_of_digests_may_be_rubbish(tmp_path: Path) -> None:
    file(tmp_path / "server" / "a.py", "one")
    good = FileDigests(tmp_path / "none").of((tmp_path / "server",))
    for text in ("", "{", "[]", '{"a": 5}', '{"a": [1]}'):
        file(tmp_path / "kept", text)
        assert FileDigests(tmp_path / "kept").of((tmp_path / "server",)) == good


def test_a_fifo_among_the_files_is_not_opened(tmp_path: Path) -> None:
    file(tmp_path / "server" / "a.py", "one")
    os.mkfifo(tmp_path / "server" / "pipe")
    assert FileDigests(tmp_path / "kept").of((tmp_path / "server",))


# --- lists and schemas ------------------------------------------------------------------------------------------------


def test_a_list_in_another_order_is_the_same_list() -> None:
    tools = [{"name": name, "inputSchema": {"type": "object"}} for name in ("a", "b")]
    assert listing(tools).raw == listing(reversed(tools)).raw
    assert listing(tools).raw != listing(tools[:1]).raw


def test_what_changed_is_told_tool_by_tool() -> None:
    def one(name: str, description: str = "") -> dict[str, Any]:
        return {"name": name, "description": description, "inputSchema": {"type": "object"}}

    before, now = listing([one("a"), one("b"), one("c")]), listing([one("a", "other"), one("c"), one("d")])
    assert before.changes(now) == ["tool a is described otherwise", "tool b is gone", "tool d is new"]


def test_a_list_too_large_is_refused() -> None:
    with pytest.raises(ListFault, match="at most"):
        listing([{"name": "a", "description": "x" * 5_000_000, "inputSchema": {"type": "object"}}])


@FUZZ
@given(
    st.lists(st.dictionaries(st.sampled_from(["name", "description", "inputSchema", "annotations"]), JSON), max_size=4)
)
def test_no_list_breaks_the_reading_of_lists(told: list[dict[str, Any]]) -> None:
    made = listing(told)
    assert Listing.from_json(json.loads(json.dumps(made.as_json()))) == made


@FUZZ
@given(SCHEMAS, JSON)
def test_no_schema_breaks_the_checking_of_arguments(schema: Any, value: Any) -> None:
    try:
        kept = held(schema)
    except SchemaFault:
        return
    jsonschema.Draft202012Validator.check_schema(kept)
    assert isinstance(schema_fault(value, kept), str)


def test_a_schema_is_kept_as_it_is_where_it_can_be_held() -> None:
    schema = {
        "type": "object",
        "title": "Arguments",
        "properties": {
            "a": {"type": "integer", "minimum": 1, "default": 5, "description": "How many."},
            "b": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "c": {"type": "array", "items": {"enum": ["x", "y"]}, "maxItems": 3},
        },
        "required": ["a"],
        "additionalProperties": False,
    }
    assert held(schema, arguments=True) == schema


def test_references_are_written_out_and_a_schema_of_itself_ends() -> None:
    schema = held(
        {
            "type": "object",
            "properties": {"a": {"$ref": "#/$defs/n"}, "b": {"$ref": "https://example.org/x"}},
            "$defs": {"n": {"type": "object", "properties": {"next": {"$ref": "#/$defs/n"}}}},
        }
    )
    assert schema["properties"] == {"a": {"type": "object", "properties": {"next": {}}}, "b": {}}


def test_a_pattern_that_takes_for_ever_is_dropped() -> None:
    schema = held({"type": "object", "properties": {"pattern": {"type": "string", "pattern": "^(a+)+$"}}})
    assert schema["properties"] == {"pattern": {"type": "string"}}
    began = time.monotonic()
    assert schema_fault({"pattern": "a" * 60 + "b"}, schema) == ""
    assert time.monotonic() - began < 5


# --- results ----------------------------------------------------------------------------------------------------------


@FUZZ
@given(st.dictionaries(st.sampled_from(["content", "structuredContent"]), st.lists(st.dictionaries(st.text(), JSON))))
def test_every_result_has_a_text(result: dict[str, Any]) -> None:
    assert isinstance(text_of(result, None), str)


def test_an_error_of_a_server_is_an_error_of_the_call() -> None:
    with pytest.raises(ToolError, match="it failed and did not say why"):
        text_of({"content": [], "isError": True}, None)


def test_text_counts_before_structured_content() -> None:
    both = {"content": [{"type": "text", "text": "five"}], "structuredContent": {"n": 5}}
    assert text_of(both, None) == "five"
    assert text_of({"content": [], "structuredContent": {"n": 5}}, None) == '{"n": 5}'
    assert text_of({"content": []}, None) == "done"


# --- pins and policy --------------------------------------------------------------------------------------------------


def test_another_list_is_noted_until_it_is_the_first_again(tmp_path: Path) -> None:
    tools = [{"name": "a", "inputSchema": {"type": "object"}}]
    first, other = listing(tools), listing([*tools, {"name": "b", "inputSchema": {"type": "object"}}])
    pins = Pins(tmp_path / "mcp")
    assert pins.read("x") is None
    pins.write("x", Pin("declared", "files", first, "2026-11-25T12:00:00.000Z"))
    pins.note("x", other)
    noted = pins.read("x")
    assert noted and noted.found == other and noted.listing == first
    pins.note("x", first)
    assert pins.read("x") == Pin("declared", "files", first, "2026-11-25T12:00:00.000Z")
    assert os.stat(tmp_path / "mcp").st_mode & 0o077 == 0
    (tmp_path / "mcp" / "x.json").write_text('{"declared": 5}')
    with pytest.raises(McpError, match="cannot be read"):
        pins.read("x")


def test_a_secret_of_a_server_is_for_all_of_its_tools_and_for_no_other() -> None:
    policy = AgentPolicy(approval="never", secrets={"github": frozenset({"TOKEN"}), "time/now": frozenset({"KEY"})})

    def verdict(tool: str, secret: str) -> str:
        return decide(ToolSpec(tool, "", {}, origin="mcp x"), (), (), policy, (), (secret,)).verdict

    assert [verdict("github/issue", "TOKEN"), verdict("time/now", "KEY")] == ["allow", "allow"]
    denied = [("githubx/issue", "TOKEN"), ("github", "KEY"), ("time/then", "KEY"), ("read_file", "TOKEN")]
    assert [verdict(*each) for each in denied] == ["deny"] * 4


def test_the_sdk_is_imported_by_nothing_before_a_server_starts() -> None:
    import subprocess

    code = "import sys, edgeagent.runtime, edgeagent.daemon; print({'mcp', 'mcp_types'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
