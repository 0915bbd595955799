"""The frozen model of one agent file: the keys of SPEC section 3, their types and defaults.

Checks that need no other agent are here, as validators, so that every fault has its place in the file. What depends
on this installation (its tools, models and folders) comes with the validation context, a `Known`.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Strict,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from edgeagent.agents.conditions import Condition
from edgeagent.agents.grants import check_grant, check_host, led_out, roots
from edgeagent.agents.output import check_output
from edgeagent.agents.template import check_template
from edgeagent.agents.triggers import Trigger, check_ids_differ, with_ids
from edgeagent.fields import Count, Flag, Model, Number, Text, Whole, Words
from edgeagent.home import Home
from edgeagent.schema import Json
from edgeagent.words import did_you_mean, one_of

NAME = re.compile(r"[a-z0-9-]{1,64}", re.ASCII)
_WORD = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
_MCP_TOOL = re.compile(r"[A-Za-z0-9_-]+/[A-Za-z0-9_./-]+", re.ASCII)
_SECRET = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Known:
    """What this installation has, to check names against. None: not known, so any name may be one."""

    tools: Collection[str]
    models: Collection[str] | None = None
    skills: Collection[str] | None = None
    home: Home | None = None
    servers: Collection[str] | None = None


def _known_tool(name: str, info: ValidationInfo) -> str:
    known: Known | None = info.context
    if known is None or name in known.tools:
        return name
    if _MCP_TOOL.fullmatch(name):
        _known_server(name.partition("/")[0], info)
        return name
    near = did_you_mean(name, known.tools)
    raise ValueError(f'unknown tool "{name}"{near or "; see edgeagent tools list"}')


def _word(name: str) -> str:
    if not _WORD.fullmatch(name):
        raise ValueError(f'"{name}" is not a name')
    return name


def _known_skill(name: str, info: ValidationInfo) -> str:
    known: Known | None = info.context
    if known is None or known.skills is None or name in known.skills:
        return _word(name)
    near = did_you_mean(name, known.skills)
    raise ValueError(f'unknown skill "{name}"{near or "; see edgeagent skills list"}')


def _known_server(name: str, info: ValidationInfo) -> str:
    known: Known | None = info.context
    if known is None or known.servers is None or name in known.servers:
        return _word(name)
    near = did_you_mean(name, known.servers)
    raise ValueError(f'unknown MCP server "{name}"{near or f"; config.toml has no [mcp.{name}]"}')


def _holder(name: str, info: ValidationInfo) -> str:
    """What a secret is bound to: a tool, or an MCP server with all of its tools."""
    known: Known | None = info.context
    is_server = known is not None and known.servers is not None and name in known.servers
    return name if is_server else _known_tool(name, info)


def _secret(name: str) -> str:
    if not _SECRET.fullmatch(name):
        raise ValueError(f'"{name}" is not the name of a secret; write one such as NTFY_TOKEN')
    return name


def check_name(name: str) -> str:
    if not NAME.fullmatch(name):
        raise ValueError(f'"{name}" is not a name for an agent; use a-z, 0-9 and -, 1 to 64 of them')
    return name


def _all_differ(names: tuple[str, ...]) -> tuple[str, ...]:
    for position, name in enumerate(names):
        if name in names[:position]:
            raise ValueError(f'"{name}" is listed twice')
    return names


Template = Annotated[Words, AfterValidator(check_template)]
ToolName = Annotated[Text, AfterValidator(_known_tool)]
ServerName = Annotated[Text, AfterValidator(_known_server)]
Holder = Annotated[Text, AfterValidator(_holder)]
SkillName = Annotated[Text, AfterValidator(_known_skill)]
GrantPath = Annotated[Text, AfterValidator(check_grant)]
Host = Annotated[Text, AfterValidator(check_host)]
Secret = Annotated[Text, AfterValidator(_secret)]
Percent = Annotated[int, Strict(), Field(ge=0, le=100)]


class ModelTable(Model):
    """A local `file`, or an `endpoint` that speaks the OpenAI protocol. `api_key` is the name of a secret."""

    file: Words | None = None
    endpoint: Words | None = None
    name: Words | None = None
    context: Count | None = None
    temperature: Annotated[Number, Field(ge=0, le=5)] | None = None
    seed: Whole | None = None
    threads: Whole | None = None
    kv_type: Literal["f16", "q8_0"] | None = None
    flash_attention: Literal["auto", "on", "off"] | None = None
    top_k: Whole | None = None
    top_p: Annotated[Number, Field(gt=0, le=1)] | None = None
    min_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[Number, Field(ge=0.5, le=2)] | None = None
    api_key: Secret | None = None

    @model_validator(mode="after")
    def _names_one_model(self, info: ValidationInfo) -> Self:
        if self.file is not None and self.endpoint is not None:
            raise ValueError("a model is a file or an endpoint, not both")
        if self.file is None and self.endpoint is None:
            if self.name is None:
                raise ValueError("missing key: name the model by file, endpoint or name")
            _known_model(self.name, info)
        return self

    @field_validator("endpoint")
    @classmethod
    def _endpoint_is_http(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"https?://[^\s/]+\S*", value):
            raise ValueError(f'"{value}" is not an address; write one such as http://localhost:8080/v1')
        return value


class Grants(Model):
    """What the agent may touch: nothing by default. Paths are kept as written; `write` implies `read`."""

    read: tuple[GrantPath, ...] = ()
    write: tuple[GrantPath, ...] = ()
    network: tuple[Host, ...] = ()
    secrets: dict[Holder, tuple[Secret, ...]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _lead_where_they_say(self, info: ValidationInfo) -> Self:
        home = info.context.home if info.context is not None else None
        for written in (*self.read, *self.write):
            if home and led_out(written, self.write, home.user):
                told = "is a link that leads out of a folder that the agent may write; grant the place itself"
                raise ValueError(f'"{written}" {told}')
        return self


class Limits(Model):
    """Of one run: model calls, seconds, tokens; of one hour: tool calls; of one event: attempts."""

    steps: Count = 8
    seconds: Annotated[Number, Field(gt=0, le=7 * 86400)] = 120.0
    output_tokens: Count = 1000
    prompt_tokens: Count = 2000
    actions_per_hour: Count = 60
    attempts: Count = 3


class Concurrency(Model):
    mode: Literal["queued", "single", "restart", "parallel"] = "queued"
    max: Count = 100


class Memory(Model):
    thread: Template
    turns: Count = 6


class Power(Model):
    """When the machine may be worked: `battery_above` in percent, `temperature_below` in degrees Celsius."""

    on: Literal["any", "mains", "battery"] = "any"
    battery_above: Percent | None = None
    temperature_below: Number | None = None


class Expectation(Model):
    """One piece of evidence: a tool that succeeded, a path that is gone, or a path that exists."""

    tool: Text | None = None
    gone: Template | None = None
    exists: Template | None = None

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        if sum(value is not None for value in (self.tool, self.gone, self.exists)) != 1:
            raise ValueError(f"one expectation is one of {one_of(type(self).model_fields)}")
        return self


def _model_form(value: Any) -> str:
    return "table" if isinstance(value, dict | ModelTable) else "name"


def _known_model(name: str, info: ValidationInfo) -> str:
    if not name.strip():
        raise ValueError("must not be empty")
    known: Known | None = info.context
    is_file = "/" in name or name.lower().endswith(".gguf") or name.startswith("hf:")
    if known is None or known.models is None or is_file or name in known.models:
        return name
    near = did_you_mean(name, known.models)
    raise ValueError(f'unknown model "{name}"{near or "; see edgeagent models list"}')


ModelChoice = Annotated[
    Annotated[str, Strict(), AfterValidator(_known_model), Tag("name")] | Annotated[ModelTable, Tag("table")],
    Discriminator(_model_form),
]


class Frontmatter(Model):
    """The keys that may be written between the two `---` lines. `model` None: the default of config.toml."""

    name: Annotated[Text, AfterValidator(check_name)]
    description: Text = ""
    model: ModelChoice | None = None
    triggers: Annotated[tuple[Trigger, ...], BeforeValidator(with_ids), AfterValidator(check_ids_differ)] = ()
    tools: Annotated[tuple[ToolName, ...], AfterValidator(_all_differ)] = ()
    skills: Annotated[tuple[SkillName, ...], AfterValidator(_all_differ)] = ()
    mcp: Annotated[tuple[ServerName, ...], AfterValidator(_all_differ)] = ()
    grants: Grants = Grants()
    approval: Literal["never", "on-write", "always"] = "on-write"
    approve: Annotated[tuple[ToolName, ...], AfterValidator(_all_differ)] = ()
    accept_risk: Flag = False
    limits: Limits = Limits()
    concurrency: Concurrency = Concurrency()
    memory: Memory | None = None
    when: tuple[Condition, ...] = ()
    power: Power = Power()
    expect: tuple[Expectation, ...] = ()
    output: Annotated[Json, AfterValidator(check_output)] | None = None


class Agent(Frontmatter):
    """One agent: its frontmatter, the instructions (`body`) and the file they come from."""

    body: Words
    path: Path = Path()
    enabled: Flag = True

    @property
    def model_words(self) -> str | None:
        """The model that it asks for; None: the default one."""
        if isinstance(self.model, ModelTable):
            return self.model.name or self.model.file or self.model.endpoint
        return self.model

    def secret_names(self) -> set[str]:
        """The secrets that it uses: those of its grants, and the key of its model."""
        granted = {name for names in self.grants.secrets.values() for name in names}
        key = self.model.api_key if isinstance(self.model, ModelTable) else None
        return granted | ({key} if key else set())

    def read_roots(self, home_dir: Path) -> tuple[Path, ...]:
        """What may be read, with `~` expanded and symlinks resolved. What may be written may be read."""
        return roots((*self.grants.read, *self.grants.write), self.grants.write, home_dir)

    def write_roots(self, home_dir: Path) -> tuple[Path, ...]:
        """What may be written, with `~` expanded and symlinks resolved."""
        return roots(self.grants.write, self.grants.write, home_dir)
