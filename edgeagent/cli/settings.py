"""config.toml with every setting, its default and its meaning, made from the fields of `Config` themselves.

Everything is commented out, so that defaults of a later version take effect.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from edgeagent.cli.words import setting, size_setting
from edgeagent.config import Config, McpServer

_WIDTH = 100
_HEADER = """\
# Settings of edgeagent. A line that begins with "#" shows the default; take the "#" away to change it.
# Each can also be given as a variable of the environment: EDGEAGENT_SECTION_KEY, such as EDGEAGENT_MODEL_THREADS.
# Durations read 500ms 2s 5m 1h 7d, sizes 10KB 20MB 1GB. `edgeagent doctor` checks this file.
"""
_MCP = """\
# [mcp.NAME]
# {description}
# command = ["program", "argument"]
"""


def settings_file() -> str:
    """The text of config.toml as `init` writes it."""
    return "\n".join([_HEADER, *_sections()])


def _sections() -> Iterator[str]:
    defaults = Config()
    for name in Config.model_fields:
        section = getattr(defaults, name)
        if isinstance(section, BaseModel):
            lines = [f"[{name}]"]
            for key, field in type(section).model_fields.items():
                lines += _setting(key, field, getattr(section, key))
            yield "\n".join(lines) + "\n"
        else:
            yield _MCP.format(description=McpServer.model_fields["command"].description)


def _setting(key: str, field: FieldInfo, default: Any) -> Iterator[str]:
    yield from (f"# {line}" for line in textwrap.wrap(field.description or "", _WIDTH))
    # What has no default is left open: TOML has no word for nothing.
    yield f"# {key} = {_written(field, default) if default is not None else '...'}"


def _written(field: FieldInfo, default: Any) -> str:
    """The default as TOML, with the unit that the setting is read with."""
    units = {getattr(getattr(part, "func", None), "__name__", "") for part in field.metadata}
    if "_duration" in units:
        return f'"{setting(default)}"'
    if "_size" in units:
        return f'"{size_setting(default)}"'
    return json.dumps(default)
