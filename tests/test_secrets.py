"""Where secrets are: given, in a keyring that may hang, in an encrypted file; and the commands on them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from cli_world import World

from edgeagent.errors import NotFound, SecretError, UsageError
from edgeagent.redaction import Redactor
from edgeagent.secrets import EncryptedFile, GivenSecrets, Keyring, SecretChain

VALUE = "tk_12345678"
UNLOCKED = "printf pw | gnome-keyring-daemon --unlock --components=secrets >/dev/null 2>&1"
LOCKED = "gnome-keyring-daemon --start --components=secrets >/dev/null 2>&1"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def encrypted(folder: Path, environ: dict[str, str] | None = None) -> EncryptedFile:
    return EncryptedFile(folder / "secrets.enc", folder / "secrets.key", GivenSecrets(environ or {}))


def chain(folder: Path, environ: dict[str, str] | None = None) -> SecretChain:
    return SecretChain(GivenSecrets(environ or {}), encrypted(folder, environ), Redactor())


# --- what the process was given --------------------------------------------------------------------------------------


def test_a_systemd_credential_goes_before_the_environment_and_that_before_what_is_kept(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    environ = {"CREDENTIALS_DIRECTORY": str(credentials), "EDGEAGENT_SECRET_TOKEN": "from-environment"}
    secrets = chain(tmp_path, environ)
    chain(tmp_path).set("TOKEN", "from-the-file")
    assert secrets.secret("TOKEN") == "from-environment"
    (credentials / "TOKEN").write_text("from-systemd\n")
    assert secrets.secret("TOKEN") == "from-systemd"
    assert [(one.name, one.place) for one in secrets.stored()] == [("TOKEN", "credentials")]
    assert chain(tmp_path).secret("TOKEN") == "from-the-file"


def test_a_secret_that_is_not_set_says_how_to_set_it(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        chain(tmp_path).secret("TOKEN")
    assert (caught.value.message, caught.value.hint) == ("the secret TOKEN is not set", "edgeagent secrets set TOKEN")


def test_what_was_looked_up_is_known_to_the_redactor(tmp_path: Path) -> None:
    secrets = chain(tmp_path, {"EDGEAGENT_SECRET_TOKEN": VALUE})
    assert secrets.redactor.text(VALUE) == VALUE
    secrets.secret("TOKEN")
    assert secrets.redactor.text(VALUE) == "[secret TOKEN]"


@pytest.mark.parametrize("name", ["", "../etc/passwd", "A-B", "1A", "A" * 200, "É"])
def test_a_name_that_is_none_is_refused_before_anything_is_looked_at(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError):
        chain(tmp_path, {"CREDENTIALS_DIRECTORY": str(tmp_path)}).secret(name)


@pytest.mark.parametrize("value", ["", "short", "with\0nul", "x" * 40_000])
def test_a_value_that_cannot_be_hidden_or_kept_is_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(UsageError):
        chain(tmp_path).set("TOKEN", value)


# --- the encrypted file ----------------------------------------------------------------------------------------------


def test_the_file_gives_back_what_it_was_given_and_shows_nothing(tmp_path: Path) -> None:
    place = encrypted(tmp_path)
    place.set("TOKEN", VALUE)
    place.set("OTHER", "ünïcödé\nand lines")
    assert encrypted(tmp_path).get("TOKEN") == VALUE
    assert encrypted(tmp_path).get("OTHER") == "ünïcödé\nand lines"
    assert place.names() == ["OTHER", "TOKEN"]
    stored = place.path.read_bytes()
    assert VALUE.encode() not in stored
    assert b"TOKEN" not in stored
    assert {place.path.stat().st_mode & 0o777, place.key_file.stat().st_mode & 0o777} == {0o600}


def test_a_removed_secret_is_gone(tmp_path: Path) -> None:
    place = encrypted(tmp_path)
    place.set("TOKEN", VALUE)
    assert place.remove("TOKEN")
    assert not place.remove("TOKEN")
    assert place.get("TOKEN") is None


@pytest.mark.parametrize("at", ["salt", "nonce", "data"])
def test_a_file_that_was_changed_is_told_and_not_used(tmp_path: Path, at: str) -> None:
    place = encrypted(tmp_path)
    place.set("TOKEN", VALUE)
    stored = json.loads(place.path.read_bytes())
    stored[at] = ("B" if stored[at][0] == "A" else "A") + stored[at][1:]
    place.path.write_text(json.dumps(stored))
    with pytest.raises(SecretError, match="cannot be opened with its key"):
        place.get("TOKEN")


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"salt": 1, "nonce": 2, "data": 3}', '{"salt": "é"}'])
def test_a_file_that_is_no_such_file_is_told(tmp_path: Path, content: str) -> None:
    place = encrypted(tmp_path)
    place.path.write_text(content)
    with pytest.raises(SecretError):
        place.get("TOKEN")


def test_without_its_key_the_file_tells_nothing_and_no_new_key_is_made(tmp_path: Path) -> None:
    place = encrypted(tmp_path)
    place.set("TOKEN", VALUE)
    place.key_file.unlink()
    with pytest.raises(SecretError, match="is gone"):
        place.get("TOKEN")
    assert not place.key_file.exists()


def test_the_key_may_come_from_systemd_and_then_lies_in_no_file(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "edgeagent-secrets-key").write_text("a key from the TPM\n")
    place = encrypted(tmp_path, {"CREDENTIALS_DIRECTORY": str(credentials)})
    place.set("TOKEN", VALUE)
    assert place.get("TOKEN") == VALUE
    assert not place.key_file.exists()
    assert "key from systemd" in place.about()


def test_the_file_says_what_it_does_not_protect_against(tmp_path: Path) -> None:
    assert "no protection against whoever can read both" in encrypted(tmp_path).about()


# --- the keyring -----------------------------------------------------------------------------------------------------


def keyring(folder: Path, *command: str, **environ: str) -> Keyring:
    place = Keyring("edgeagent test", folder / "secrets.names", os.environ | environ)
    return replace(place, command=command, seconds=0.5) if command else place


def test_a_keyring_that_hangs_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    hanging = (
        f"import os,subprocess,time;print('{{}}',flush=True);open('{mark}','w').write(str(os.getpid()));time.sleep(600)"
    )
    began = time.monotonic()
    with pytest.raises(SecretError, match="did not answer within") as caught:
        keyring(tmp_path, sys.executable, "-c", hanging).get("TOKEN")
    assert time.monotonic() - began < 30
    assert 'backend = "file"' in caught.value.hint
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)


def test_a_helper_that_cannot_start_is_told(tmp_path: Path) -> None:
    with pytest.raises(SecretError, match="did not start"):
        keyring(tmp_path, sys.executable, "-c", "raise SystemExit(1)").get("TOKEN")


@pytest.mark.parametrize("backend", ["keyring.backends.null.Keyring", "keyring.backends.fail.Keyring", "plain.Keyring"])
def test_a_keyring_that_forgets_fails_or_writes_plain_text_is_refused(tmp_path: Path, backend: str) -> None:
    (tmp_path / "plain.py").write_text(
        "from keyring.backend import KeyringBackend\n"
        "class Keyring(KeyringBackend):\n"
        "    priority = 20\n"
        "    def get_password(self, service, name): return 'plain'\n"
        "    def set_password(self, service, name, value): open('/tmp/plain', 'w').write(value)\n"
    )
    place = keyring(tmp_path, PYTHON_KEYRING_BACKEND=backend, PYTHONPATH=str(tmp_path))
    with pytest.raises(SecretError, match="no usable keyring: there is only") as caught:
        place.set("TOKEN", VALUE)
    assert VALUE not in str(caught.value)
    assert place.names() == []


def in_session(world: World, start: str, script: str) -> subprocess.CompletedProcess[str]:
    """A shell in a D-Bus session of its own, with a real Secret Service."""
    environment = world.environment | {
        "XDG_DATA_HOME": str(world.user / "data"),
        "XDG_RUNTIME_DIR": str(world.root / "runtime"),
        "EDGEAGENT": f"{sys.executable} -m edgeagent.cli",
    }
    environment.pop("DISPLAY", None)
    (world.root / "runtime").mkdir(mode=0o700)
    return subprocess.run(
        ["dbus-run-session", "--", "sh", "-c", f"{start}\n{script}"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_real_secret_service_keeps_lists_and_forgets(world: World) -> None:
    done = in_session(
        world,
        UNLOCKED,
        f"printf {VALUE} | $EDGEAGENT secrets set TOKEN && $EDGEAGENT secrets list --json && "
        "grep -c TOKEN $EDGEAGENT_HOME/secrets.names && "
        f"{sys.executable} -c 'import os; from edgeagent.runtime import open_runtime; "
        'print(open_runtime(os.environ).secrets.secret("TOKEN"))\' && '
        "$EDGEAGENT secrets remove TOKEN && $EDGEAGENT secrets list --json; $EDGEAGENT secrets remove TOKEN; echo $?",
    )
    lines = done.stdout.splitlines()
    assert json.loads("".join(lines[:6]) if lines[0] == "[" else lines[0]) == [{"name": "TOKEN", "place": "keyring"}]
    assert VALUE in lines, done.stderr
    assert lines[-1] == "5", done
    assert "error: the secret TOKEN is not set" in done.stderr


def test_a_locked_secret_service_is_an_error_in_seconds_that_names_the_alternatives(world: World) -> None:
    done = in_session(world, LOCKED, f"printf {VALUE} | $EDGEAGENT secrets set TOKEN; echo $?")
    assert done.stdout.strip() == "1", done
    assert 'backend = "file"' in done.stderr
    assert VALUE not in done.stderr


def test_without_a_secret_service_nothing_is_kept_anywhere_else(world: World) -> None:
    done = world.call("secrets", "set", "TOKEN", stdin=VALUE)
    assert done.exit_code == 1
    assert "error: no usable keyring" in done.stderr
    assert all(VALUE.encode() not in path.read_bytes() for path in world.root.rglob("*") if path.is_file())


# --- commands --------------------------------------------------------------------------------------------------------


def test_set_list_and_remove(world: World) -> None:
    world.variables["EDGEAGENT_SECRETS_BACKEND"] = "file"
    assert world.call("secrets", "set", "TOKEN", stdin=f"{VALUE}\n").exit_code == 0
    world.variables["EDGEAGENT_SECRET_GIVEN"] = VALUE
    assert world.json("secrets", "list", "--json") == [
        {"name": "GIVEN", "place": "environment"},
        {"name": "TOKEN", "place": "file"},
    ]
    shown = world.call("secrets", "list")
    assert VALUE not in shown.output
    assert world.call("secrets", "remove", "TOKEN").exit_code == 0
    assert world.call("secrets", "remove", "TOKEN").exit_code == 5
    given = world.call("secrets", "remove", "GIVEN")
    assert (given.exit_code, given.stderr.splitlines()[0]) == (
        2,
        "error: GIVEN is given by the environment, and not kept here",
    )


def test_a_value_on_the_command_line_is_refused(world: World) -> None:
    done = world.call("secrets", "set", "TOKEN", VALUE)
    assert done.exit_code == 2
    assert VALUE not in json.dumps([str(path) for path in world.root.rglob("*")])


def test_with_no_backend_set_says_which_there_are(world: World) -> None:
    world.variables["EDGEAGENT_SECRETS_BACKEND"] = "none"
    done = world.call("secrets", "set", "TOKEN", stdin=VALUE)
    assert done.exit_code == 1
    assert '[secrets] backend = "none"' in done.stderr


def test_at_a_terminal_the_value_is_asked_for_and_not_shown(world: World) -> None:
    from cli_world import Terminal

    world.variables["EDGEAGENT_SECRETS_BACKEND"] = "file"
    terminal = Terminal(world, "secrets", "set", "TOKEN")
    terminal.until("TOKEN:")
    terminal.type(f"{VALUE}\n")
    code, shown = terminal.end()
    assert code == 0
    assert VALUE not in shown
    assert world.json("secrets", "list", "--json") == [{"name": "TOKEN", "place": "file"}]
