"""The commands around a run: finding them, their errors, agents, models, settings, doctor."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from cli_world import AGENT, World, seeded
from click.testing import CliRunner

from edgeagent.cli.app import App
from edgeagent.cli.main import COMMANDS, cli
from edgeagent.config import Config, load_config
from edgeagent.home import home_from_environment

HEAVY = {"pydantic", "yaml", "starlette", "uvicorn", "jinja2", "watchdog", "apscheduler", "llama_cpp", "psutil"}

WRITTEN = [name for name in COMMANDS if name != "demo" or Path("edgeagent/cli/demo.py").exists()]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


# Finding commands.


def commands(group: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if not isinstance(group, click.Group):
        yield path, group
        return
    context = click.Context(group)
    for name in group.list_commands(context):
        if name in WRITTEN or path:
            command = group.get_command(context, name)
            assert command is not None
            yield from commands(command, (*path, name))


def test_every_command_has_help_on_80_columns_and_takes_quiet_and_verbose(world: World) -> None:
    for path, _ in commands(cli):
        shown = world.call(*path, "--help")
        assert shown.exit_code == 0, path
        assert "--quiet" in shown.stdout, path
        assert max(len(line) for line in shown.stdout.splitlines()) <= 80, path


@pytest.mark.parametrize("name", WRITTEN)
def test_the_list_of_commands_says_what_their_own_help_says(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert COMMANDS[name][1] == (command.help or "").split("\n\n")[0].replace("\n", " ").strip()


def test_help_and_the_list_of_runs_import_nothing_heavy(world: World) -> None:
    for arguments in (["--help"], ["runs", "list"]):
        code = (
            "import sys\n"
            "from edgeagent.cli.main import cli\n"
            f"try: cli.main({arguments!r}, 'edgeagent')\n"
            "except SystemExit: pass\n"
            f"print(sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], env=world.environment, capture_output=True, text=True, check=True
        )
        assert done.stderr.splitlines()[-1] == "[]"


def test_without_a_command_there_is_help(world: World) -> None:
    done = world.call()
    assert done.exit_code == 2
    assert "Commands:" in done.output


def test_the_version_is_told(world: World) -> None:
    from edgeagent import __version__

    assert world.call("--version").stdout == f"edgeagent {__version__}\n"


def test_a_slip_in_a_command_is_answered_with_the_nearest(world: World) -> None:
    done = world.call("agnets")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == 'error: no command "agnets"; did you mean "agents"?\ntry: edgeagent --help\n'


def test_a_shell_completes_commands_agents_and_statuses(world: World) -> None:
    def completed(*words: str) -> list[str]:
        asked = {
            "_EDGEAGENT_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(words),
            "COMP_CWORD": str(len(words) - 1),
        }
        world.variables |= asked
        return [line.partition(",")[2] for line in world.run().stdout.splitlines()]

    assert completed("edgeagent", "ru") == ["run", "runs"]
    assert completed("edgeagent", "run", "in") == ["inbox"]
    assert "failed" in completed("edgeagent", "runs", "list", "--status", "f")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell_asks_edgeagent(world: World, shell: str) -> None:
    done = world.call("completion", shell)
    assert done.exit_code == 0
    assert f"_EDGEAGENT_COMPLETE={shell}_complete" in done.stdout


# Errors.


def test_a_fault_of_ours_is_one_line_and_asks_for_a_report(world: World) -> None:
    app = App({**os.environ, **world.variables})
    app.runtime.load_agents = lambda disabled=None: 1 / 0  # type: ignore[method-assign,assignment,return-value]
    done = CliRunner().invoke(cli, ["agents", "list"], obj=app)
    assert done.exit_code == 1
    assert done.stderr.splitlines()[0] == "error: internal fault: ZeroDivisionError: division by zero"
    assert "bug report" in done.stderr
    assert "Traceback" not in done.stderr


def test_with_v_an_error_comes_with_its_traceback(world: World) -> None:
    (world.home / "config.toml").mkdir()  # nobody thinks of that
    plain = world.run("status")
    assert plain.returncode == 2
    assert plain.stderr.startswith("error: ")
    assert "Traceback" not in plain.stderr
    assert "Traceback" in world.run("status", "-v").stderr


def test_a_wrong_setting_is_told_with_its_key(world: World) -> None:
    (world.home / "config.toml").write_text("[model]\ncontex = 1\n")
    done = world.call("agents", "list")
    assert done.exit_code == 2
    assert 'model.contex: unknown key "contex"; did you mean "context"?' in done.stderr


def test_a_home_that_cannot_be_written_is_told(world: World) -> None:
    world.variables["EDGEAGENT_HOME"] = "/proc/nothing"
    done = world.run("init")
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot make the folder /proc/nothing")
    assert "try: " in done.stderr


def test_a_reader_that_has_seen_enough_gets_no_complaint(world: World) -> None:
    command = f"{sys.executable} -m edgeagent.cli tools list | head -1"
    done = subprocess.run(["bash", "-c", command], env=world.environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    with open("/dev/full", "w") as full:
        process = world.started("tools", "list", stdout=full)
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 1
    assert stderr.startswith("error: No space left")


def test_a_terminal_without_unicode_is_written_to_all_the_same(world: World) -> None:
    world.variables |= {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    world.agent("inbox", AGENT.replace("Files what", "Für dich, was"))
    done = world.run("agents", "list")
    assert done.returncode == 0, done.stderr
    assert "F?r dich" in done.stdout


# Agents.


def test_agents_are_listed_with_what_starts_them(world: World) -> None:
    world.agent("daily", AGENT.replace("file, path: ~/Inbox, preview: 20", "every, interval: 90s"))
    world.agent("plain", "---\ndescription: Waits.\n---\nDo nothing.\n")
    world.agent("broken", "---\ntools: [x]\n---\nhi\n")
    done = world.call("agents", "list")
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert lines[1:] == [
        "daily every 90s pocket (default) Files what lands in the inbox.",
        "inbox file ~/Inbox pocket (default) Files what lands in the inbox.",
        "plain demand pocket (default) Waits.",
    ]
    assert "broken.md:2:" in done.stderr
    assert [agent["name"] for agent in world.json("agents", "list", "--json")] == ["daily", "inbox", "plain"]


def test_an_agent_is_shown_whole(world: World) -> None:
    world.agent(
        "inbox", AGENT.replace("approval: never", 'approve: [delete_file]\nexpect: [{gone: "{{ event.path }}"}]')
    )
    shown = " ".join(world.call("agents", "show", "inbox").stdout.split())
    for text in ("runs on file ~/Inbox", "may write ~/Inbox, ~/Documents", "approval on-write, always for delete_file"):
        assert text in shown
    assert "expects {{ event.path }} is gone" in shown
    assert "You file documents." in shown
    assert world.json("agents", "show", "inbox", "--json")["grants"]["write"] == ["~/Inbox", "~/Documents"]


def test_a_new_agent_is_valid_as_it_stands_and_never_overwritten(world: World) -> None:
    done = world.call("agents", "new", "my-agent")
    assert done.stdout == f"{world.home}/agents/my-agent.md\n"
    assert world.call("agents", "validate", "my-agent").stdout.startswith(f"{world.home}/agents/my-agent.md: ok")
    again = world.call("agents", "new", "my-agent")
    assert again.exit_code == 2
    assert "exists already" in again.stderr
    assert world.call("agents", "new", "My Agent").exit_code == 2
    assert world.call("agents", "new", "../evil").exit_code == 2


def test_validate_names_each_file_and_exits_with_2_where_one_is_bad(world: World) -> None:
    assert world.call("agents", "validate").stdout.startswith(f"{world.home}/agents/inbox.md: ok")
    broken = world.agent("broken", '---\ntriger: x\nlimits: {steps: "8"}\n---\nhi\n')
    world.agent("twin", AGENT.replace("---\n", "---\nname: inbox\n", 1))
    done = world.call("agents", "validate")
    assert done.exit_code == 2
    assert [line.partition(" (")[0] for line in done.stdout.splitlines()] == [
        f'{broken}:2: unknown key "triger"; did you mean "triggers"?',
        f"{broken}:3: limits.steps: must be a whole number, not text",
        f"{world.home}/agents/inbox.md: ok",
        f'{world.home}/agents/twin.md:2: a second agent named "inbox"; the first is {world.home}/agents/inbox.md',
    ]
    told = world.json("agents", "validate", "--json")
    assert told["ok"] is False
    assert [file["ok"] for file in told["files"]] == [False, True, False]
    assert told["files"][0]["problems"][0]["line"] == 2


def test_validate_takes_names_and_paths(world: World) -> None:
    (world.root / "a.md").write_text(AGENT)
    told = world.run("agents", "validate", "a.md", "inbox").stdout.splitlines()
    assert [line.partition(" (")[0] for line in told] == [
        "a.md: ok",
        f"{world.home}/agents/inbox.md: ok",
    ]
    assert world.call("agents", "validate", "nobody").exit_code == 5


# Tools and models.


def test_tools_are_listed_all_or_those_of_an_agent(world: World) -> None:
    everything = world.json("tools", "list", "--json")
    assert {"read_file", "query_database"} <= {tool["name"] for tool in everything}
    assert everything[0]["input_schema"]["properties"]["path"] == {"type": "string"}
    assert set(everything[0]["annotations"]) == {"read_only", "destructive", "idempotent"}
    lines = world.call("tools", "list", "--agent", "inbox").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["TOOL", "read_file", "move_file"]
    assert "path, [head], [tail]" in lines[1]


# Settings, state, health.


def test_init_writes_settings_and_an_agent_and_nothing_twice(world: World) -> None:
    (world.home / "agents" / "inbox.md").unlink()
    done = world.call("init")
    assert done.stdout.splitlines() == [f"wrote  {world.home}/config.toml", f"wrote  {world.home}/agents/inbox.md"]
    assert world.call("agents", "validate").exit_code == 0
    (world.home / "config.toml").write_text("# mine\n")
    assert world.json("init", "--json")["kept"] == [f"{world.home}/config.toml", f"{world.home}/agents/inbox.md"]
    assert (world.home / "config.toml").read_text() == "# mine\n"


def test_the_settings_file_has_every_setting_with_its_default(world: World) -> None:
    world.call("init")
    text = (world.home / "config.toml").read_text()
    home = home_from_environment(world.variables)
    assert load_config(home, {}) == Config()
    written = [line.removeprefix("# ") for line in text.splitlines() if line.startswith("# ") and " = " in line]
    given = [line for line in written if not line.endswith("= ...") and not line.startswith("command")]
    sections = [line for line in text.splitlines() if line.startswith("[")]
    assert set(sections) == {f"[{name}]" for name in Config.model_fields if name != "mcp"}
    uncommented = "\n".join(
        line.removeprefix("# ") if line.removeprefix("# ") in given else line for line in text.splitlines()
    )
    parsed = tomllib.loads(uncommented)
    assert Config.model_validate(parsed, context={}) == Config()
    missing = {
        (section, key)
        for section, values in Config().model_dump().items()
        if section != "mcp"
        for key, value in values.items()
        if value is not None and key not in parsed[section]
    }
    assert not missing


def test_status_without_a_daemon_shows_the_files_and_exits_with_3(world: World) -> None:
    seeded(world)
    world.agent("broken", "---\ntools: [x]\n---\nhi\n")
    done = world.call("status")
    assert done.exit_code == 3
    shown = done.stdout
    for text in ("daemon  not running", "agents  inbox", "queue   1 queued", "model   pocket, not loaded"):
        assert text in shown
    assert "broken.md:2:" in shown
    assert world.json("status", "--json")["running"] is False


def test_status_of_a_daemon(world: World) -> None:
    process = world.started("daemon")
    try:
        until = time.monotonic() + 60
        while not (world.home / "run" / "edgeagent.sock").exists():
            assert time.monotonic() < until
            assert process.poll() is None
            time.sleep(0.1)
        time.sleep(0.5)
        done = world.run("status")
        assert done.returncode == 0, done.stderr
        assert "running for" in done.stdout
        assert "inbox  file-1   ok     watching" in done.stdout
        told = json.loads(world.run("status", "--json").stdout)
        assert (told["running"], told["pid"]) == (True, process.pid)
        second = world.run("daemon")
        assert second.returncode == 1
        assert f"process {process.pid}" in second.stderr
    finally:
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "INFO    ready: 1 agents" in log
    assert not (world.home / "run" / "edgeagent.sock").exists()
    assert world.run("status").returncode == 3


def test_doctor_finds_a_healthy_installation_and_proves_the_model(world: World) -> None:
    done = world.run("doctor", "--json")
    told = json.loads(done.stdout)
    states = {check["part"]: check["state"] for check in told["checks"]}
    assert states["answer"] == "ok", told
    assert states["daemon"] == "warn"
    assert {"home", "config", "sqlite", "agents", "models", "disk", "memory"} <= set(states)
    assert done.returncode == (0 if told["ok"] else 1)


def test_doctor_names_what_is_wrong_once_and_how_to_mend_it(world: World) -> None:
    world.agent("broken", "---\ntools: [x]\n---\nhi\n")
    world.agent("lost", AGENT.replace("---\n", "---\nmodel: /nowhere/m.gguf\n", 1).replace("~/Inbox,", "~/Missing,"))
    world.variables["EDGEAGENT_MODEL_DEFAULT"] = "/nowhere/default.gguf"
    done = world.call("doctor")
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert any(line.startswith("fail  agents") and "broken.md:2:" in line for line in lines)
    assert any(line.startswith("warn  folders") and "lost waits for" in line for line in lines)
    assert "/nowhere/m.gguf is not there" in done.stdout
    assert "try: mkdir -p" in done.stdout
    (world.home / "config.toml").write_text("[model]\nx = 1\n")
    assert world.call("doctor").stdout.count('unknown key "x"') == 1


def test_doctor_with_a_model_that_does_not_work_says_so(world: World) -> None:
    (world.root / "bad.gguf").write_bytes(b"GGUF" + b"\0" * 64)
    world.variables["EDGEAGENT_MODEL_DEFAULT"] = str(world.root / "bad.gguf")
    done = world.run("doctor")
    assert done.returncode == 1
    assert "fail  answer" in done.stdout


def test_every_hint_that_names_a_command_names_one_that_exists() -> None:
    """Looks through the whole package for texts that read like one of our commands."""
    known = {" ".join(path) for path, _ in commands(cli)}
    groups = {name.split()[0] for name in known if " " in name}
    unknown = []
    for file in Path("edgeagent").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
            for part in text.split("edgeagent ")[1:]:
                words = part.split()[:2]
                verb = words[1].rstrip(".,;:`)") if len(words) > 1 else ""
                if words and words[0] in groups and verb.isalpha() and f"{words[0]} {verb}" not in known:
                    unknown.append((file.name, *words))
    assert not unknown


def test_nothing_is_written_by_commands_that_only_look(world: World) -> None:
    world.variables["EDGEAGENT_HOME"] = str(world.root / "new")
    for arguments in (["status"], ["runs", "list"], ["agents", "list"], ["tools", "list"], ["models", "list"]):
        world.call(*arguments)
    assert not (world.root / "new").exists()
    assert os.listdir(world.user) == ["Inbox"]
