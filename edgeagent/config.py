"""config.toml and the EDGEAGENT_ variables: the settings of the daemon (SPEC section 11), parsed once.

Each setting is declared here only, with its default, and its unit in the description; help and documentation come from
these fields. The folders themselves are in `edgeagent.home`.
"""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any, Literal, get_origin

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from edgeagent.errors import ConfigError
from edgeagent.fields import Count, Duration, Flag, Model, Number, Size, Text, Whole, Words, describe
from edgeagent.home import Home, home_from_environment
from edgeagent.words import did_you_mean

__all__ = ["Config", "Home", "home_from_environment", "load_config"]

_PREFIX = "EDGEAGENT_"
_LISTEN = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:]+)\]|(?P<host>[A-Za-z0-9.-]+)):(?P<port>[0-9]{1,5})", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)
_MCP_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


class ModelSettings(Model):
    default: Words = Field(default="pocket", description="Model of agents that name none: a catalog name or a .gguf.")
    idle_unload: Duration = Field(
        default=300.0, description="Duration after which an unused model leaves memory; 0s keeps it."
    )
    threads: Whole = Field(default=0, le=1024, description="Threads for the model; 0 takes what suits the machine.")
    context: Count = Field(default=4096, ge=256, description="Length of the model's context, in tokens.")
    memory_reserve: Size = Field(
        default=256_000_000, description="Size of memory to leave free when a model is loaded."
    )
    slots: Count = Field(
        default=4,
        le=64,
        description="Conversations that a loaded model goes on with at a time; they share its context.",
    )
    kv_type: Literal["f16", "q8_0"] = Field(
        default="f16", description="Precision of the model's state: q8_0 takes half the memory."
    )
    flash_attention: Literal["auto", "on", "off"] = Field(
        default="auto", description="llama.cpp's faster attention; auto: where the model can."
    )
    mmap: Flag = Field(default=True, description="Whether a model file is mapped into memory rather than read.")
    mlock: Flag = Field(default=False, description="Whether a loaded model is kept from being swapped out.")
    temperature: Number = Field(
        default=0.0, ge=0, le=5, description="How freely tokens are picked; 0 always takes the likeliest."
    )
    seed: Whole = Field(default=0, description="Where chance begins, with a temperature above 0.")
    top_k: Whole = Field(default=40, description="Only so many of the likeliest tokens are picked from; 0: all.")
    top_p: Number = Field(
        default=0.95, gt=0, le=1, description="Only the likeliest tokens that make up this share are picked from."
    )
    min_p: Number = Field(
        default=0.05, ge=0, le=1, description="Only tokens at least so likely, as a share of the likeliest, are picked."
    )
    repetition_penalty: Number = Field(
        default=1.0, ge=0.5, le=2, description="How much tokens written lately are held back; 1 does not."
    )
    constrained: Flag = Field(
        default=True,
        description="Whether calls are held to tools and schemas while they are written; false is for measuring.",
    )


class JournalSettings(Model):
    retention: Duration = Field(
        default=30 * 86400.0, description="Duration for which finished runs and trash are kept."
    )
    max_size: Size = Field(
        default=500_000_000, description="Size that the journal may reach before the oldest runs go."
    )
    synchronous: Literal["full", "normal"] = Field(
        default="full",
        description="full: a power cut loses nothing; normal: spares SD cards, may lose the last moments.",
    )
    damaged: Literal["quarantine", "refuse"] = Field(
        default="quarantine",
        description="With a damaged journal the daemon puts it aside and begins a new one, or does not start.",
    )


class DaemonSettings(Model):
    stop_timeout: Duration = Field(
        default=10.0, description="Duration that runs in hand get to end when the daemon stops."
    )
    scan_interval: Duration = Field(
        default=300.0, ge=1, description="Duration between two full scans of watched folders."
    )
    workers: Whole = Field(
        default=0, le=64, description="Runs worked at a time; 0: two, and up to four on a machine of many cores."
    )


class PrefixCacheSettings(Model):
    max_size: Size = Field(
        default=512_000_000, description="Size that stored prompt states may take on disk; 0B stores none."
    )
    memory: Size = Field(
        default=256_000_000,
        description="Size of prompt states without a file that a loaded model keeps in memory beside its context.",
    )


class ApiSettings(Model):
    listen: Text = Field(
        default="", description="host:port of a loopback address for HTTP; empty: the control socket only."
    )

    @field_validator("listen")
    @classmethod
    def _listen_is_loopback(cls, value: str) -> str:
        found = _LISTEN.fullmatch(value)
        if value and (not found or not 1 <= int(found["port"]) <= 65535):
            raise ValueError(f'"{value}" is not an address; write one such as 127.0.0.1:8321')
        if found and not _is_loopback(found["six"] or found["host"]):
            raise ValueError(f'"{value}" is not a loopback address; write one such as 127.0.0.1:8321')
        return value


class PowerSettings(Model):
    on: Literal["any", "mains", "battery"] = Field(default="any", description="The power on which runs are worked.")
    battery_above: Whole | None = Field(
        default=None, le=100, description="Charge of the battery that is needed, in percent."
    )
    temperature_below: Number | None = Field(
        default=None, description="Warmest at which runs are worked, in degrees Celsius."
    )


class SandboxSettings(Model):
    minimum: Literal["reduced", "full"] = Field(
        default="reduced", description="Lowest level of the sandbox at which skills run."
    )


class McpServer(Model):
    """`read`, `write`, `network`: what of an agent's grants the server is given. None: all of them."""

    command: tuple[Words, ...] = Field(min_length=1, description="The program and its arguments, as a list.")
    folder: Text = Field(
        default="", description="Its own files, which it may read; empty: what its command shows to be its own."
    )
    env: dict[Text, Text] = Field(default_factory=dict, description="Variables of its environment.")
    secrets: tuple[Words, ...] = Field(
        default=(), description="Secrets that it finds in its environment, where an agent grants them."
    )
    read: tuple[Words, ...] | None = Field(
        default=None, description="Folders of an agent's grants that it may read; left out: all that are granted."
    )
    write: tuple[Words, ...] | None = Field(
        default=None, description="Folders of an agent's grants that it may write; left out: all that are granted."
    )
    network: tuple[Words, ...] | None = Field(
        default=None, description="host:port entries of an agent's grants that it may reach; left out: all."
    )
    start_timeout: Duration = Field(
        default=30.0, gt=0, description="Duration that it may take to start and to list its tools."
    )
    timeout: Duration = Field(default=60.0, gt=0, description="Duration that one call may take.")
    idle: Duration = Field(default=300.0, gt=0, description="Duration after which a server without calls is ended.")
    memory: Size = Field(default=1_000_000_000, gt=0, description="Size of memory that it may use.")

    @field_validator("env")
    @classmethod
    def _are_variables(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if not _VARIABLE.fullmatch(name):
                raise ValueError(f'"{name}" is not the name of a variable')
        return value


class TelemetrySettings(Model):
    otlp_endpoint: Text = Field(default="", description="Address of an OTLP collector; empty: nothing is sent.")
    metrics: Flag = Field(default=True, description="Whether /metrics is served.")


class ApprovalSettings(Model):
    timeout: Duration = Field(
        default=86400.0, gt=0, description="Duration for which a call waits for a person; then it counts as denied."
    )
    on_approval: Text | tuple[Words, ...] = Field(
        default="",
        description="Told of each call that waits, as JSON: an address (POST), or a program as a list (stdin).",
    )
    desktop: Flag = Field(default=True, description="Whether a desktop, where there is one, shows calls that wait.")

    @field_validator("on_approval")
    @classmethod
    def _is_an_address_or_a_program(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if value == () or (isinstance(value, str) and value and not re.fullmatch(r"https?://[^\s/]+\S*", value)):
            raise ValueError('must be an address such as https://ntfy.sh/me, or a list such as ["/usr/bin/notify-me"]')
        return value


class SecretsSettings(Model):
    backend: Literal["keyring", "file", "none"] = Field(
        default="keyring",
        description="Where `edgeagent secrets` keeps them: the desktop's keyring, an encrypted file, or nowhere.",
    )


def _mcp_names(value: Any) -> Any:
    for name in value if isinstance(value, dict) else ():
        if not _MCP_NAME.fullmatch(name):
            raise ValueError(f'"{name}" is not a name; use letters, digits, - and _')
    return value


class Config(Model):
    """Everything in config.toml, one field a section."""

    model: ModelSettings = ModelSettings()
    journal: JournalSettings = JournalSettings()
    daemon: DaemonSettings = DaemonSettings()
    prefix_cache: PrefixCacheSettings = PrefixCacheSettings()
    api: ApiSettings = ApiSettings()
    power: PowerSettings = PowerSettings()
    sandbox: SandboxSettings = SandboxSettings()
    mcp: Annotated[dict[str, McpServer], BeforeValidator(_mcp_names)] = Field(default_factory=dict)
    telemetry: TelemetrySettings = TelemetrySettings()
    approvals: ApprovalSettings = ApprovalSettings()
    secrets: SecretsSettings = SecretsSettings()


_SECTIONS: dict[str, type[BaseModel]] = {
    name: info.annotation
    for name, info in Config.model_fields.items()
    if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel)
}


def load_config(home: Home, environ: Mapping[str, str]) -> Config:
    """The settings: defaults, then config.toml where there is one, then EDGEAGENT_SECTION_KEY.

    Raises ConfigError with every fault, one a line.
    """
    data = _read(home)
    variables = dict(_variables(environ))
    for (section, key), (_, value) in variables.items():
        table = data.setdefault(section, {})
        if isinstance(table, dict):
            table[key] = value
    try:
        return Config.model_validate(data, context={})
    except ValidationError as error:
        faults = "\n".join(_line(home, variables, fault) for fault in error.errors())
        raise ConfigError(faults, f"edit {home.config_file}; edgeagent doctor checks it") from error


_Variables = dict[tuple[str, str], tuple[str, Any]]


def _read(home: Home) -> dict[str, Any]:
    file = home.config_file
    try:
        return tomllib.loads(file.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: not UTF-8 text", "save it as UTF-8") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{file}: broken TOML: {error}", f"edit {file}") from error
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}", f"ls -l {file}") from error


def _variables(environ: Mapping[str, str]) -> Iterator[tuple[tuple[str, str], tuple[str, Any]]]:
    """The settings that the environment gives: section and key, then the variable and its value."""
    names = {
        f"{_PREFIX}{section}_{key}".upper(): (section, key)
        for section, table in _SECTIONS.items()
        for key in table.model_fields
    }
    sections = tuple(f"{_PREFIX}{section}_".upper() for section in _SECTIONS)
    for variable, written in environ.items():
        if variable in names:
            section, key = names[variable]
            yield (section, key), (variable, _from_text(_SECTIONS[section].model_fields[key], written))
            continue
        near = did_you_mean(variable, names)
        # A near miss in a section of ours is a slip; any other variable may belong to somebody else.
        if near and variable.startswith(sections):
            raise ConfigError(f"{variable}: unknown setting{near}", f"unset {variable}")


def _from_text(info: FieldInfo, written: str) -> Any:
    """A variable is text; where the setting is a number or a truth value, it is read as TOML reads it."""
    takes_units = any(isinstance(part, BeforeValidator) for part in info.metadata)
    if info.annotation is str or get_origin(info.annotation) is Literal or takes_units:
        return written
    try:
        return tomllib.loads(f"value = {written.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        return written


def _line(home: Home, variables: _Variables, fault: ErrorDetails) -> str:
    location = tuple(str(part) for part in fault["loc"] if part != "[key]")
    table = _SECTIONS.get(location[0]) if len(location) > 1 else Config
    keys: Collection[str] = table.model_fields if table else McpServer.model_fields
    message = describe(fault, keys)
    if len(location) > 1 and (location[0], location[1]) in variables:
        return f"{variables[location[0], location[1]][0]}: {message}"
    return f"{home.config_file}: {'.'.join(location)}: {message}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
