"""Writes docs/configuration.md from the fields of `Config`; tests/test_docs.py holds the page to them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from edgeagent.cli.words import setting, size_setting
from edgeagent.config import Config, McpServer

PAGE = Path(__file__).with_suffix(".md")
WITHOUT_EFFECT = {"telemetry.otlp_endpoint"}
"""Sections and keys that are checked and that nothing reads yet."""

HEAD = """\
# Settings

They stand in `config.toml`; `edgeagent init` writes one with every setting as a comment, and `edgeagent doctor` checks
it. Each can be given as a variable of the environment, which wins: `EDGEAGENT_SECTION_KEY`, such as
`EDGEAGENT_MODEL_THREADS=2`. Durations read `500ms 2s 5m 1h 7d`, sizes `10KB 20MB 1GB`. The daemon takes up a change of
the file a moment after it was saved, except for `daemon.scan_interval`; a broken file leaves the settings before in
place, and `edgeagent status` says so. `EDGEAGENT_HOME` names a folder that everything lies under, instead of the
platform's own folders.

What is marked * is checked, and this version does nothing with it.

This page is written by docs/configuration.py.
"""


def page() -> str:
    return HEAD + "".join(f"\n{section}" for section in _sections())


def _sections() -> Iterator[str]:
    defaults = Config()
    for name in Config.model_fields:
        section = getattr(defaults, name)
        title = f"## [{name}]" if isinstance(section, BaseModel) else f"## [{name}.NAME]"
        table = type(section) if isinstance(section, BaseModel) else McpServer
        shown = section if isinstance(section, BaseModel) else McpServer(command=("program",))
        rows = [
            _row(name, key, field, None if field.is_required() else getattr(shown, key))
            for key, field in table.model_fields.items()
        ]
        yield "\n".join([title, "", "| key | default | meaning |", "|---|---|---|", *rows]) + "\n"


def _row(section: str, key: str, field: FieldInfo, default: Any) -> str:
    mark = "*" if {section, f"{section}.{key}"} & WITHOUT_EFFECT else ""
    shown = f"`{_written(field, default)}`" if default is not None else ""
    return f"| `{key}`{mark} | {shown} | {field.description} |"


def _written(field: FieldInfo, default: Any) -> str:
    units = {getattr(getattr(part, "func", None), "__name__", "") for part in field.metadata}
    if "_duration" in units:
        return json.dumps(setting(default))
    return json.dumps(size_setting(default) if "_size" in units else default)


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
