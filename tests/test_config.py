"""The home and config.toml: where things are, what is read, what is refused."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from edgeagent.config import Config, Home, home_from_environment, load_config
from edgeagent.errors import ConfigError, HomeError


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return home_from_environment({"EDGEAGENT_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)})


def write(home: Home, text: str) -> None:
    home.config_file.parent.mkdir(parents=True, exist_ok=True)
    home.config_file.write_text(text, encoding="utf-8")


def faults(home: Home, text: str, environ: dict[str, str] | None = None) -> list[str]:
    write(home, text)
    with pytest.raises(ConfigError) as caught:
        load_config(home, environ or {})
    assert caught.value.hint
    return caught.value.message.splitlines()


def test_edgeagent_home_holds_everything(home: Home, tmp_path: Path) -> None:
    root = tmp_path / "home"
    assert home.config_file == root / "config.toml"
    assert home.agents == root / "agents"
    assert home.skills == root / "skills"
    assert home.models == root / "models"
    assert home.database == root / "edgeagent.db"
    assert home.cache == root / "cache"
    assert home.socket == root / "run" / "edgeagent.sock"
    assert home.user == tmp_path


def test_without_edgeagent_home_the_folders_of_the_platform_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr("sys.platform", "linux")
    found = home_from_environment({"HOME": str(tmp_path), "EDGEAGENT_HOME": ""})
    assert found.config_file.name == "config.toml"
    assert found.config_file.parent.name == "edgeagent"
    assert found.config_file.parent != found.database.parent


def test_a_home_below_the_users_folder_and_a_relative_one_become_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert home_from_environment({"HOME": "/home/ann", "EDGEAGENT_HOME": "~/ea"}).agents == Path("/home/ann/ea/agents")
    assert home_from_environment({"HOME": "/home/ann", "EDGEAGENT_HOME": "ea"}).agents == tmp_path / "ea" / "agents"


def test_nothing_is_made_before_create_and_then_for_the_user_only(home: Home) -> None:
    assert not home.agents.exists()
    home.create()
    home.create()
    for folder in (home.agents, home.skills, home.models, home.cache, home.run, home.trash, home.database.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_run_folder_that_others_may_enter_is_closed(home: Home) -> None:
    home.run.mkdir(parents=True, mode=0o755)
    home.run.chmod(0o755)
    home.create()
    assert stat.S_IMODE(home.run.stat().st_mode) == 0o700


def test_a_home_that_is_a_file_is_an_error_that_names_it(home: Home) -> None:
    home.config_file.parent.write_text("")
    with pytest.raises(HomeError, match=str(home.config_file.parent)) as caught:
        home.create()
    assert "EDGEAGENT_HOME" in caught.value.hint


def test_a_run_folder_that_is_a_link_is_refused(home: Home, tmp_path: Path) -> None:
    home.run.parent.mkdir()
    (tmp_path / "elsewhere").mkdir()
    home.run.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HomeError, match="not yours"):
        home.create()


def test_without_a_file_the_defaults_hold(home: Home) -> None:
    config = load_config(home, {})
    assert config == Config()
    assert (config.model.default, config.model.idle_unload, config.model.threads) == ("pocket", 300, 0)
    assert (config.model.context, config.model.memory_reserve) == (4096, 256_000_000)
    assert (config.journal.retention, config.journal.max_size) == (30 * 86400, 500_000_000)
    assert config.journal.synchronous == "full"
    assert (config.daemon.stop_timeout, config.daemon.scan_interval, config.daemon.workers) == (10, 300, 0)


def test_every_section_of_the_contract_is_read(home: Home) -> None:
    write(
        home,
        """
        [model]
        default = "qwen3-4b"
        idle_unload = "10m"
        threads = 3
        [journal]
        synchronous = "normal"
        [prefix_cache]
        max_size = "1GB"
        [api]
        listen = "127.0.0.1:8321"
        [power]
        on = "mains"
        battery_above = 20
        [mcp.time]
        command = ["mcp-server-time"]
        [telemetry]
        metrics = false
        """,
    )
    config = load_config(home, {})
    assert (config.model.default, config.model.idle_unload, config.model.threads) == ("qwen3-4b", 600, 3)
    assert config.prefix_cache.max_size == 10**9
    assert config.api.listen == "127.0.0.1:8321"
    assert config.power.battery_above == 20
    assert config.mcp["time"].command == ("mcp-server-time",)
    assert not config.telemetry.metrics


def test_a_variable_overrides_the_file(home: Home) -> None:
    write(home, "[model]\nthreads = 3\n")
    environ = {
        "EDGEAGENT_MODEL_THREADS": "7",
        "EDGEAGENT_MODEL_DEFAULT": "123",
        "EDGEAGENT_JOURNAL_SYNCHRONOUS": "normal",
        "EDGEAGENT_PREFIX_CACHE_MAX_SIZE": "2MB",
        "EDGEAGENT_TELEMETRY_METRICS": "false",
        "EDGEAGENT_HOME": "/x",
        "EDGEAGENT_SOMETHING_ELSE": "y",
    }
    config = load_config(home, environ)
    assert (config.model.threads, config.model.default) == (7, "123")
    assert config.journal.synchronous == "normal"
    assert config.prefix_cache.max_size == 2_000_000
    assert not config.telemetry.metrics


def test_a_wrong_variable_is_named_and_not_the_file(home: Home) -> None:
    assert faults(home, "", {"EDGEAGENT_MODEL_THREADS": "many"}) == [
        "EDGEAGENT_MODEL_THREADS: must be a whole number, not text"
    ]
    assert faults(home, "", {"EDGEAGENT_MODEL_IDEL_UNLOAD": "5m"}) == [
        'EDGEAGENT_MODEL_IDEL_UNLOAD: unknown setting; did you mean "EDGEAGENT_MODEL_IDLE_UNLOAD"?'
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[modle]", 'modle: unknown key "modle"; did you mean "model"?'),
        ("[model]\nthread = 3", 'model.thread: unknown key "thread"; did you mean "threads"?'),
        ("[model]\nthreads = '3'", "model.threads: must be a whole number, not text"),
        ("[model]\nidle_unload = 5", "model.idle_unload: a duration needs a unit, such as 5s or 5m"),
        ("[journal]\nmax_size = '5 MB'", 'journal.max_size: "5 MB" is not a size'),
        ("[journal]\nsynchronous = 'ful'", 'journal.synchronous: must be full or normal, not "ful"'),
        ("model = 3", "model: must be a table of keys and values, not a number"),
        ("[api]\nlisten = '0.0.0.0:80'", 'api.listen: "0.0.0.0:80" is not a loopback address'),
        ("[api]\nlisten = '8080'", 'api.listen: "8080" is not an address'),
        ("[mcp.x]\ncommand = ['a']\ntimeout = 5", "mcp.x.timeout: a duration needs a unit, such as 5s or 5m"),
        ("[mcp.x]\ncommand = ['a']\nenv = {'A-B' = '1'}", 'mcp.x.env: "A-B" is not the name of a variable'),
        ("[mcp.x]\ncommand = ['a']\nargs = ['b']", 'unknown key "args"'),
        ("[mcp.x]\ncommand = 'run me'", "mcp.x.command: must be a list, not text"),
        ("[mcp.x]\ncomand = ['a']", "mcp.x.command: missing key"),
        ("[daemon]\nworkers = -1", "daemon.workers: must be at least 0"),
        ("[model", "broken TOML"),
    ],
)
def test_a_fault_names_file_and_key(home: Home, text: str, message: str) -> None:
    lines = faults(home, text)
    assert lines[0].startswith(f"{home.config_file}: ")
    assert message in lines[0]


def test_all_faults_are_told_at_once(home: Home) -> None:
    assert len(faults(home, "[model]\nthreads = -1\n[journal]\nretention = 'x'\n[bogus]\n")) == 3


def test_a_config_that_is_a_folder_or_no_utf8_is_an_error(home: Home) -> None:
    home.config_file.mkdir(parents=True)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(home, {})
    home.config_file.rmdir()
    home.config_file.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config(home, {})


def test_every_setting_says_what_it_is() -> None:
    for section in (type(getattr(Config(), name)) for name in Config.model_fields if name != "mcp"):
        for name, setting in section.model_fields.items():
            assert setting.description, name
