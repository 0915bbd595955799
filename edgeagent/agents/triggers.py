"""What may start an agent, as written in its file (SPEC section 4): one frozen model a kind, told apart by `trigger`.

Only parsed and validated here; watching the world is the business of `edgeagent.triggers`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, BeforeValidator, Field, Strict, ValidationInfo, field_validator

from edgeagent.agents.grants import check_watch, resolve
from edgeagent.fields import Duration, Flag, Model, Text, Whole, Words, not_empty
from edgeagent.words import did_you_mean

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_BROKER = re.compile(
    r"(?:(?P<scheme>mqtts?)://)?(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+))(?::(?P<port>\d{1,5}))?/?"
)
_TOPIC_WILDCARD = re.compile(r"[+#]")
_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}

Change = Literal["created", "modified", "deleted"]
RowChange = Literal["insert", "update", "delete"]
FinalStatus = Literal["ok", "failed", "cancelled", "interrupted", "skipped"]
Missed = Literal["run_once", "skip", "run_all"]


def as_list(value: Any) -> Any:
    """`change: insert` means `change: [insert]`."""
    return [value] if isinstance(value, str) else value


class BaseTrigger(Model):
    """`id` names the trigger within its agent; where none is written it is the kind and position, such as `file-1`."""

    id: Text = ""

    @field_validator("id")
    @classmethod
    def _id_is_a_word(cls, value: str) -> str:
        if value and not _ID.fullmatch(value):
            raise ValueError(f'"{value}" is not an id; use letters, digits, - and _, 1 to 64 of them')
        return value


class FileTrigger(BaseTrigger):
    """A file appears, changes or goes. `preview` is in characters of text, `settle` in seconds."""

    trigger: Literal["file"]
    recursive: Flag = True  # before `path`, whose check looks at it
    path: Annotated[Text, AfterValidator(check_watch)]
    patterns: Annotated[tuple[Words, ...], AfterValidator(not_empty)] = ("**/*",)
    ignore: tuple[Words, ...] = ()
    changes: Annotated[tuple[Change, ...], AfterValidator(not_empty), BeforeValidator(as_list)] = (
        "created",
        "modified",
    )
    settle: Duration = 1.0
    process_existing: Flag = False
    preview: Whole = 400
    poll: bool | Literal["auto"] = "auto"

    @field_validator("poll", mode="before")
    @classmethod
    def _poll_is_a_choice(cls, value: Any) -> Any:
        if not isinstance(value, bool) and value != "auto":
            raise ValueError("must be auto, true or false")
        return value

    def folder(self, home_dir: Path) -> Path:
        """The watched path with `~` expanded and symlinks resolved."""
        return resolve(self.path, home_dir)


class CronTrigger(BaseTrigger):
    """At the times of a cron schedule. Without `timezone` the clock of this machine counts; `jitter` in seconds."""

    trigger: Literal["cron"]
    schedule: Text
    timezone: Text | None = None
    missed: Missed = "run_once"
    jitter: Duration = 0.0

    @property
    def expression(self) -> str:
        """The five fields, with @hourly and its like written out."""
        return _MACROS.get(self.schedule.strip().lower(), self.schedule)

    @field_validator("schedule")
    @classmethod
    def _schedule_happens(cls, value: str) -> str:
        word = value.strip().lower()
        if word.startswith("@") and word not in _MACROS:
            raise ValueError(f'unknown schedule "{value}"{did_you_mean(word, _MACROS)}')
        _check_cron(_MACROS.get(word, value))
        return value

    @field_validator("timezone")
    @classmethod
    def _timezone_exists(cls, value: str | None) -> str | None:
        try:
            if value is not None:
                ZoneInfo(value)
        except (KeyError, ValueError, OSError) as error:  # OSError: the name of a folder, or one that is too long
            near = did_you_mean(value, available_timezones())
            raise ValueError(f'unknown timezone "{value}"{near or "; write one such as Europe/Berlin"}') from error
        return value


def _check_cron(expression: str) -> None:
    if len(expression) > 200 or len(expression.split()) != 5:
        raise ValueError(f'"{expression[:40]}" is not a schedule; write five fields, such as 0 9 * * 1-5, or @hourly')
    try:
        next(CronSim(expression, datetime(2024, 1, 1, tzinfo=UTC)))
    except StopIteration as error:
        raise ValueError(f'impossible schedule "{expression}": it never happens') from error
    except (CronSimError, ValueError, TypeError, AssertionError) as error:  # cronsim asserts on odd input
        raise ValueError(f'impossible schedule "{expression}": {str(error).lower() or "it never happens"}') from error


class EveryTrigger(BaseTrigger):
    """Again and again, `interval` seconds apart."""

    trigger: Literal["every"]
    interval: Duration
    missed: Missed = "run_once"

    @field_validator("interval")
    @classmethod
    def _interval_is_bearable(cls, value: float) -> float:
        if value < 0.1:
            raise ValueError("must be at least 100ms")
        return value


class AtTrigger(BaseTrigger):
    """Once. `time` is aware: one written without an offset is the local time of this machine."""

    trigger: Literal["at"]
    time: Annotated[datetime, Strict()]
    missed: Missed = "run_once"

    @field_validator("time", mode="before")
    @classmethod
    def _time_is_a_moment(cls, value: Any) -> Any:
        if isinstance(value, datetime):
            return value.astimezone() if value.tzinfo is None else value
        try:
            if not isinstance(value, str) or ":" not in value:
                raise ValueError("no time of day")
            moment = datetime.fromisoformat(value)
            moment.astimezone(UTC)  # the first and last days of the calendar overflow here rather than in the scheduler
            return moment.astimezone() if moment.tzinfo is None else moment
        except (ValueError, OverflowError) as error:
            raise ValueError(f'"{value}" is not a time; write 2026-12-24T18:00 or 2026-12-24T18:00+01:00') from error


class WebhookTrigger(BaseTrigger):
    """An HTTP request to /hooks/PATH. `secret` names the secret that signs the body."""

    trigger: Literal["webhook"]
    path: Text
    secret: Words | None = None

    @field_validator("path")
    @classmethod
    def _path_is_plain(cls, value: str) -> str:
        parts = value.removeprefix("/").split("/")
        if not all(re.fullmatch(r"[A-Za-z0-9._~-]+", part) and part.strip(".") for part in parts):
            raise ValueError(f'"{value}" is not a webhook path; write letters, digits and - between slashes')
        return "/".join(parts)


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    host: str
    port: int
    uses_tls: bool


def broker_address(written: str) -> BrokerAddress:
    """From `host`, `host:port`, `mqtt://host:port` or `mqtts://host:port`. Port 8883 is TLS. Raises ValueError."""
    found = _BROKER.fullmatch(written)
    if not found or (found["port"] and not 1 <= int(found["port"]) <= 65535):
        raise ValueError(f'"{written}" is not a broker; write one such as mqtts://broker.example.org:8883')
    uses_tls = found["scheme"] == "mqtts" or (found["scheme"] is None and found["port"] == "8883")
    port = int(found["port"] or (8883 if uses_tls else 1883))
    return BrokerAddress(found["six"] or found["host"], port, uses_tls)


class MqttTrigger(BaseTrigger):
    """A message on a broker. `share` is a group that shares the work; `secret` names the password."""

    trigger: Literal["mqtt"]
    broker: Words
    topic: Words
    qos: Annotated[int, Strict(), Field(ge=0, le=2)] = 1
    username: Words | None = None
    secret: Words | None = None
    share: Words | None = None

    @property
    def address(self) -> BrokerAddress:
        return broker_address(self.broker)

    @field_validator("broker")
    @classmethod
    def _broker_is_an_address(cls, value: str) -> str:
        broker_address(value)
        return value

    @field_validator("share")
    @classmethod
    def _share_is_a_group(cls, value: str | None) -> str | None:
        if value is not None and re.search(r"[+#/]", value):
            raise ValueError(f'"{value}" is not a group; write a name without + # and /')
        return value

    @field_validator("secret")
    @classmethod
    def _secret_is_of_somebody(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("username") is None:
            raise ValueError("a secret is the password of a `username`; give that too")
        return value

    @field_validator("topic")
    @classmethod
    def _topic_is_a_filter(cls, value: str) -> str:
        levels = value.split("/")
        if any(_TOPIC_WILDCARD.search(level) and len(level) > 1 for level in levels) or "#" in levels[:-1]:
            raise ValueError(f'"{value}" is not a topic; + stands for one whole level and # for all that follow')
        return value


class SqliteTrigger(BaseTrigger):
    """A row in a table of a SQLite file; `cursor` is the column that grows."""

    trigger: Literal["sqlite"]
    database: Annotated[Text, AfterValidator(check_watch)]
    table: Words
    change: Annotated[tuple[RowChange, ...], AfterValidator(not_empty), BeforeValidator(as_list)] = ("insert",)
    cursor: Words = "rowid"

    def file(self, home_dir: Path) -> Path:
        """The database with `~` expanded and symlinks resolved."""
        return resolve(self.database, home_dir)

    @property
    def needs_outbox(self) -> bool:
        """Whether SQLite must note the changes: without a note, only a new row leaves a trace."""
        return set(self.change) != {"insert"}


class AgentTrigger(BaseTrigger):
    """Another agent's run ended with one of these statuses."""

    trigger: Literal["agent"]
    agent: Words
    status: Annotated[tuple[FinalStatus, ...], AfterValidator(not_empty), BeforeValidator(as_list)] = ("ok",)


class StartupTrigger(BaseTrigger):
    """Once after each boot of the machine."""

    trigger: Literal["startup"]


AnyTrigger = (
    FileTrigger
    | CronTrigger
    | EveryTrigger
    | AtTrigger
    | WebhookTrigger
    | MqttTrigger
    | SqliteTrigger
    | AgentTrigger
    | StartupTrigger
)
Trigger = Annotated[AnyTrigger, Field(discriminator="trigger")]

TRIGGER_KINDS: dict[str, type[BaseTrigger]] = {
    get_args(kind.model_fields["trigger"].annotation)[0]: kind for kind in get_args(AnyTrigger)
}


def with_ids(triggers: Any) -> Any:
    """Gives every trigger without an `id` one made of its kind and position. Leaves what is malformed to validation."""
    if not isinstance(triggers, list | tuple):
        return triggers
    return [
        {**item, "id": f"{item['trigger']}-{position}"}
        if isinstance(item, dict) and "id" not in item and isinstance(item.get("trigger"), str)
        else item
        for position, item in enumerate(triggers, start=1)
    ]


def check_ids_differ(triggers: tuple[BaseTrigger, ...]) -> tuple[BaseTrigger, ...]:
    ids = [trigger.id for trigger in triggers]
    for name in ids:
        if ids.count(name) > 1:
            raise ValueError(f'two triggers have the id "{name}"')
    return triggers
