"""`edgeagent models`: the models on this device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edgeagent.cli.app import App, pass_app
from edgeagent.cli.command import Group, json_option
from edgeagent.cli.screen import Column
from edgeagent.cli.words import size
from edgeagent.schema import Json

if TYPE_CHECKING:
    from edgeagent.model.catalog import CatalogEntry


@click.group(cls=Group)
def models() -> None:
    """The models on this device.

    A .gguf file in the models folder is a model by the name of the file; `models list` says where that is.
    """


@models.command("list")
@json_option
@pass_app
def list_models(app: App, as_json: bool) -> None:
    """Bundled models, and those in the models folder."""
    entries = app.runtime.catalog.entries()
    default = app.runtime.config.model.default
    if as_json:
        app.screen.json([_as_json(entry, default) for entry in entries])
        return
    columns = [Column("NAME"), Column("SIZE", right=True), Column("FROM"), Column("ABOUT", flexible=True)]
    rows = [
        [_name(entry, default), size(entry.size) or "missing", entry.origin, entry.description] for entry in entries
    ]
    app.screen.table(columns, rows, {"missing": "red"})
    app.note(f"add one: put a .gguf file into {app.home.models}")


def _name(entry: CatalogEntry, default: str) -> str:
    return f"{entry.name} (default)" if entry.name == default else entry.name


def _as_json(entry: CatalogEntry, default: str) -> Json:
    return {
        "name": entry.name,
        "path": str(entry.path),
        "size": entry.size,
        "origin": entry.origin,
        "description": entry.description,
        "licence": entry.licence,
        "default": entry.name == default,
    }


@models.command()
@click.argument("name", metavar="MODEL")
@json_option
@pass_app
def show(app: App, name: str, as_json: bool) -> None:
    """One model: its file, and what it says of itself once loaded.

    MODEL is a name, or a path to a .gguf file. Loads it for a moment.
    """
    entry = app.runtime.catalog.find(name)
    settings = app.runtime.config.model
    model = app.runtime.models.of_entry(entry)
    try:
        facts = model.facts()
    finally:
        model.close()
    if as_json:
        app.screen.json({**_as_json(entry, settings.default), "facts": facts})
        return
    app.screen.pairs(
        [
            ("name", _name(entry, settings.default)),
            ("about", entry.description),
            ("licence", entry.licence),
            ("from", entry.origin),
            ("file", str(entry.path)),
            ("size", size(entry.size)),
            *((str(key).replace("_", " "), str(value)) for key, value in facts.items()),
        ]
    )
