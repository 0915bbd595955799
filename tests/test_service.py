"""The files that describe the service, judged by systemd's own programs and by plistlib; and what is refused, and how.

What a real systemd does with them is shown by `make service-test`.
"""

from __future__ import annotations

import os
import plistlib
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_world import World

from edgeagent.errors import NotFound, ServiceError, UsageError
from edgeagent.home import home_from_environment
from edgeagent.service import Program, Service, open_service, program_of
from edgeagent.service.launchd import LABEL, LaunchAgent, printed, property_list
from edgeagent.service.systemd import Systemd
from edgeagent.service.units import STATE, quoted, system_unit, user_unit
from edgeagent.service.written import look_at

ODD = "a b%n$HOME \"q\" 'x' \\t {é}"
"""A folder's name with everything in it that a unit file gives a meaning to."""


def program(root: Path, home: str = "/srv/home") -> Program:
    """With an interpreter in an oddly named folder, and a home in one too."""
    folder = root / ODD
    folder.mkdir(exist_ok=True)
    python = folder / "python"
    if not python.exists():
        python.symlink_to(sys.executable)
    argv = (str(python), "-P", "-m", "edgeagent.cli", "daemon")
    return Program(argv, (("EDGEAGENT_HOME", f"{home}/{ODD}"),), f"{home}/{ODD}", (str(folder), "/home/me/venv"))


def judged(path: Path, *words: str) -> str:
    """What systemd has to say of a unit, and not of those that the machine has besides."""
    command = ["systemd-analyze", *words, str(path)]
    environment = {**os.environ, "XDG_RUNTIME_DIR": "/run", "SYSTEMD_COLORS": "0"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    said = "".join(line for line in f"{done.stdout}{done.stderr}".splitlines(True) if "edgeagent" in line)
    return said + (f"exit code {done.returncode}" if done.returncode and said else "")


@pytest.mark.parametrize("scope", ["user", "system"])
def test_systemd_finds_nothing_wrong_with_a_unit_whatever_the_paths(tmp_path: Path, scope: str) -> None:
    path = tmp_path / "edgeagent.service"
    write = ["/srv/in box", "/home/me/In box", "/tmp/x%y"]
    path.write_text(user_unit(program(tmp_path)) if scope == "user" else system_unit(program(tmp_path), write))
    assert judged(path, f"--{scope}", "--man=no", "verify") == ""


def test_a_fault_in_a_unit_would_be_found(tmp_path: Path) -> None:
    path = tmp_path / "edgeagent.service"
    path.write_text(user_unit(program(tmp_path)).replace("Restart=on-failure", "Restart=perhaps"))
    assert "Failed to parse" in judged(path, "--user", "--man=no", "verify")


def test_the_unit_of_the_system_is_exposed_less_than_three(tmp_path: Path) -> None:
    path = tmp_path / "edgeagent.service"
    path.write_text(system_unit(program(tmp_path), ["/srv/inbox"]))
    said = judged(path, "security", "--no-pager", "--offline=true", "--threshold=29")
    assert "Overall exposure level" in said and "exit code" not in said


def test_every_option_that_is_left_open_is_named_with_its_reason(tmp_path: Path) -> None:
    text = system_unit(program(tmp_path), [])
    told = text.partition("# Left open on purpose:\n")[2]
    for (
        option
    ) in "ProtectKernelTunables ProtectHostname ProcSubset ProtectProc MemoryDenyWriteExecute PrivateNetwork".split():
        assert option in told
        assert f"\n{option}=" not in text


def test_only_what_is_hidden_otherwise_is_bound(tmp_path: Path) -> None:
    own = Program(("/usr/bin/python3",), (), STATE, ("/usr", "/opt/edgeagent"))
    assert "ProtectHome=yes" in system_unit(own, ["/srv/inbox"])
    assert "StateDirectory=edgeagent" in system_unit(own, [])
    assert "Bind" not in system_unit(own, ["/srv/inbox"])
    text = system_unit(
        Program(("/home/me/v/bin/python",), (), "/srv/e", ("/home/me/v", "/home/me/v/lib")), ["/home/me/in"]
    )
    assert "ProtectHome=tmpfs" in text
    assert [line for line in text.splitlines() if line.startswith(("Bind", "ReadWrite"))] == [
        "ReadWritePaths=-/srv/e",
        "BindPaths=-/home/me/in",
        "ReadWritePaths=-/home/me/in",
        "BindReadOnlyPaths=/home/me/v",
    ]


@pytest.mark.parametrize("word", ["a\nb", "a\0b", "\udcff"])
def test_what_no_unit_file_can_say_is_refused(word: str) -> None:
    with pytest.raises(ServiceError, match="cannot stand in a unit file"):
        quoted(word)


def test_the_service_runs_this_installation_on_the_home_of_the_shell(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "EDGEAGENT_HOME": "~/e", "XDG_RUNTIME_DIR": "/nowhere", "SECRET": "x"}
    made = program_of(environ, home_from_environment(environ), 10)
    assert made.argv == (sys.executable, "-P", "-m", "edgeagent.cli", "daemon")
    assert dict(made.environment).keys() == {"EDGEAGENT_HOME"}
    assert subprocess.run([*made.argv, "--help"], capture_output=True, cwd=tmp_path, timeout=60).returncode == 0


# --- the file, and who has changed it ---------------------------------------------------------------------------


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    # No systemd of this user is to be found here, wherever the tests run.
    world.variables |= {"XDG_RUNTIME_DIR": str(tmp_path), "XDG_CONFIG_HOME": "", "SUDO_UID": ""}
    return world


def unit(world: World) -> Path:
    return world.user / ".config" / "systemd" / "user" / "edgeagent.service"


def test_without_a_systemd_to_ask_the_unit_is_there_for_the_next_one(world: World) -> None:
    result = world.call("service", "install")
    assert result.exit_code == 1
    assert f"{unit(world)} is written, but it does not run yet: " in result.stderr.replace("\n", " ")
    assert "try: " in result.stderr
    assert (unit(world).parent / "default.target.wants" / unit(world).name).is_symlink()
    assert judged(unit(world), "--user", "--man=no", "verify") == ""
    status = world.json("service", "status", "--json")
    assert (status["installed"], status["running"], status["edited"]) == (True, False, False)
    assert status["home"] == str(world.home) and status["problem"]
    assert world.call("service", "uninstall").exit_code == 0
    assert not unit(world).exists() and not list(unit(world).parent.glob("*/*"))


def test_a_machine_without_systemctl_is_told_so_too(world: World) -> None:
    world.variables["PATH"] = str(world.root)
    result = world.call("service", "install")
    assert (result.exit_code, unit(world).exists()) == (1, True)
    assert "is written, but it does not run yet" in result.stderr.replace("\n", " ")
    assert world.call("service", "status").exit_code == 3
    assert world.call("service", "uninstall").exit_code == 0
    assert not unit(world).exists()


def test_what_is_not_installed_is_told_by_the_exit_code(world: World) -> None:
    for verb in ("start", "stop", "uninstall"):
        result = world.call("service", verb)
        assert (result.exit_code, "edgeagent service install" in result.stderr) == (5, True)
    result = world.call("service", "status")
    assert (result.exit_code, "not installed" in result.stdout) == (3, True)


def test_status_names_the_command_that_starts_this_very_daemon(world: World) -> None:
    assert "try: edgeagent daemon" in world.call("status").stderr
    world.call("service", "install")
    assert "try: edgeagent service start\n" in world.call("status").stderr
    world.variables["EDGEAGENT_HOME"] = str(world.root / "other")
    assert "try: edgeagent daemon" in world.call("status").stderr


def test_a_unit_that_was_changed_by_hand_is_not_overwritten(world: World) -> None:
    world.call("service", "install")
    mine = unit(world).read_text().replace("WatchdogSec=60s", "WatchdogSec=5min")
    unit(world).write_text(mine)
    for verb in ("install", "uninstall"):
        result = world.call("service", verb)
        assert (result.exit_code, unit(world).read_text()) == (1, mine)
        assert "has been changed by hand" in result.stderr and "systemctl --user edit" in result.stderr.replace(
            "\n", " "
        )
    assert world.json("service", "status", "--json")["edited"] is True
    world.call("service", "install", "--force")
    assert look_at(unit(world)).state == "sound"
    assert unit(world).with_name("edgeagent.service.before").read_text() == mine


def test_a_unit_of_somebody_else_is_not_overwritten(world: World) -> None:
    unit(world).parent.mkdir(parents=True)
    unit(world).write_text("[Service]\nExecStart=/bin/true\n")
    assert "was not written by edgeagent" in world.call("service", "install").stderr
    assert unit(world).read_text() == "[Service]\nExecStart=/bin/true\n"


def test_a_unit_of_another_home_is_not_overwritten(world: World) -> None:
    world.call("service", "install")
    written = unit(world).read_text()
    world.variables["EDGEAGENT_HOME"] = str(world.root / "other")
    assert f"serves another home, {world.home}" in world.call("service", "install").stderr.replace("\n", " ")
    assert unit(world).read_text() == written


def test_a_sound_unit_of_an_older_version_is_brought_up_to_date(world: World) -> None:
    world.call("service", "install")
    written = unit(world).read_text()
    older = Systemd(world.environment, "user").text(Program(("/old/python",), (), str(world.home)), ())
    unit(world).write_text(older)
    assert look_at(unit(world)).state == "sound"
    world.call("service", "install")
    assert unit(world).read_text() == written
    assert not unit(world).with_name("edgeagent.service.before").exists()


def test_a_dry_run_shows_the_unit_and_changes_nothing(world: World) -> None:
    shown = world.json("service", "install", "--dry-run", "--json")
    assert shown["path"] == str(unit(world)) and not unit(world).exists()
    assert shown["commands"] == [
        ["systemctl", "--user", *words.split()]
        for words in ("daemon-reload", "enable edgeagent.service", "start edgeagent.service")
    ]
    result = world.call("service", "install", "--dry-run")
    assert result.stdout == shown["text"]


def test_a_home_with_a_daemon_that_was_started_by_hand_is_not_taken(world: World) -> None:
    with world.started("daemon") as daemon:
        try:
            assert daemon.stderr
            while "ready" not in daemon.stderr.readline():
                assert daemon.poll() is None
            result = world.call("service", "install")
        finally:
            daemon.terminate()
            daemon.communicate(timeout=60)
    assert f"a daemon already runs in this home (process {daemon.pid})" in result.stderr
    assert not unit(world).exists()


def test_folders_to_write_are_for_the_system_and_must_be_there(world: World) -> None:
    assert world.call("service", "install", "--write", "/srv").exit_code == 2
    result = world.call("service", "install", "--system", "--dry-run", "--write", str(world.root / "none"))
    assert (result.exit_code, "is not a folder" in result.stderr) == (2, True)


def as_nobody(act: Callable[[], object]) -> str:
    """What an error says when an ordinary user does it."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setuid(65534)
            act()
            told = "done"
        except ServiceError as error:
            told = f"{error.message}; try: {error.hint}"
        os.write(writing, told.encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as pipe:
        return pipe.read()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_the_service_of_the_system_is_changed_by_root_alone() -> None:
    system = Systemd(os.environ, "system")
    told = as_nobody(lambda: system.install(Program(("/x",), (), STATE), (), force=False, start=True))
    assert told.startswith("the system's service is root's to change; try: sudo ")
    assert told.endswith(" service install --system")
    assert as_nobody(system.stop).endswith(" service stop --system")


@pytest.mark.skipif(os.geteuid() != 0, reason="sudo makes root of who calls it")
def test_with_sudo_nobody_gets_a_service_of_roots_own(world: World) -> None:
    world.variables["SUDO_UID"] = "1000"
    result = world.call("service", "install")
    assert (result.exit_code, unit(world).exists()) == (1, False)
    assert "--system" in result.stderr


# --- launchd ----------------------------------------------------------------------------------------------------


def mac(tmp_path: Path) -> LaunchAgent:
    return LaunchAgent({"HOME": str(tmp_path), "PATH": str(tmp_path)})


def test_the_agent_of_launchd_says_what_to_run_and_when_again(tmp_path: Path) -> None:
    made = program(tmp_path, "/Users/me--too")
    told = plistlib.loads(property_list(made, Path("/Users/me")).encode())
    assert told["Label"] == LABEL
    assert told["ProgramArguments"] == list(made.argv)
    assert told["EnvironmentVariables"] == dict(made.environment)
    assert (told["RunAtLoad"], told["KeepAlive"]) == (True, {"SuccessfulExit": False})
    assert told["LimitLoadToSessionType"] == "Aqua"
    assert told["ExitTimeOut"] > made.stop_seconds
    assert told["StandardErrorPath"] == "/Users/me/Library/Logs/edgeagent.log"


def test_the_commands_of_launchd_speak_of_the_session_of_this_user(tmp_path: Path) -> None:
    session = f"gui/{os.getuid()}"
    path = tmp_path / "Library" / "LaunchAgents" / "edgeagent.daemon.plist"
    assert mac(tmp_path).commands() == [
        ["launchctl", "enable", f"{session}/edgeagent.daemon"],
        ["launchctl", "bootstrap", session, str(path)],
    ]


def test_without_launchctl_the_file_is_there_and_the_next_step_told(tmp_path: Path) -> None:
    agent, made = mac(tmp_path), program(tmp_path)
    with pytest.raises(ServiceError, match="launchctl is not on this machine"):
        agent.install(made, (), force=False, start=True)
    assert plistlib.loads(agent.path.read_bytes())["ProgramArguments"] == list(made.argv)
    status = agent.status()
    assert (status.installed, status.edited, status.home) == (True, False, made.home)
    assert "launchctl" in status.problem
    assert agent.install(made, (), force=False, start=False).changed is False


def test_an_agent_of_launchd_that_was_changed_by_hand_is_not_overwritten(tmp_path: Path) -> None:
    agent = mac(tmp_path)
    agent.install(program(tmp_path), (), force=False, start=False)
    mine = agent.path.read_text().replace("<integer>10</integer>", "<integer>60</integer>")
    agent.path.write_text(mine)
    with pytest.raises(ServiceError, match="changed by hand"):
        agent.install(program(tmp_path), (), force=False, start=False)
    assert agent.path.read_text() == mine
    done = agent.install(program(tmp_path), (), force=True, start=False)
    assert done.changed and agent.path.with_name(f"{LABEL}.plist.before").read_text() == mine


def test_what_launchctl_prints_is_read() -> None:
    told = printed(
        "gui/501/edgeagent.daemon = {\n\tactive count = 1\n\tpath = /Users/me/x.plist\n\tstate = running\n\n"
        "\tprogram = /x\n\truns = 2\n\tpid = 4242\n\tlast exit code = 0\n\n\tendpoints = {\n\t\tstate = up\n\t}\n}\n"
    )
    assert (told.running, told.state, told.pid, told.detail) == (True, "running", 4242, "last exit code 0")
    assert (printed("").running, printed("").state) == (False, "not loaded")


def test_on_macos_there_is_no_service_of_the_system(tmp_path: Path) -> None:
    agent: Service = open_service({"HOME": str(tmp_path)}, system=False, platform="darwin")
    assert isinstance(agent, LaunchAgent)
    with pytest.raises(NotFound, match="not installed"):
        agent.start()
    with pytest.raises(UsageError):
        open_service({}, system=True, platform="darwin")


def test_the_hint_for_root_can_be_typed_as_it_is(tmp_path: Path) -> None:
    told = as_nobody(Systemd(os.environ, "system").start)
    assert shlex.split(told.partition("try: ")[2])[0] == "sudo"
