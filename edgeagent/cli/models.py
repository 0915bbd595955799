"""`edgeagent models`: the models on this device, and those that can be brought here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeagent.cli.app import App, pass_app
from edgeagent.cli.command import Group, json_option
from edgeagent.cli.progress import Bar
from edgeagent.cli.screen import Column
from edgeagent.cli.words import seconds, size
from edgeagent.schema import Json

if TYPE_CHECKING:
    from edgeagent.model.catalog import CatalogEntry
    from edgeagent.model.endpoint import EndpointModel
    from edgeagent.model.header import Header
    from edgeagent.model.measure import Measured

MODEL = click.argument("name", metavar="MODEL")


@click.group(cls=Group)
def models() -> None:
    """The models on this device, and those that can be brought here.

    A .gguf file in the models folder is a model by the name of the file; `models list` says where that is.
    """


@models.command("list")
@json_option
@pass_app
def list_models(app: App, as_json: bool) -> None:
    """What is here, what `models pull` can bring, and what agents use behind an endpoint."""
    from edgeagent.cli.elsewhere import named_by_agents

    here = sorted(app.runtime.catalog.entries(), key=lambda entry: not entry.is_here)
    entries = [*here, *(one.entry for one in named_by_agents(app))]
    default = app.runtime.config.model.default
    if as_json:
        app.screen.json([_as_json(entry, default) for entry in entries])
        return
    columns = [
        Column("NAME"),
        Column("SIZE", right=True),
        Column("FROM"),
        Column("LICENCE"),
        Column("ABOUT", flexible=True),
    ]
    app.screen.table(columns, [_row(entry, default) for entry in entries], {"missing": "red"})
    app.note(f"bring one here: edgeagent models pull NAME, or models add PATH; they lie in {app.home.models}")


def _row(entry: CatalogEntry, default: str) -> list[str]:
    if entry.is_here or entry.origin == "endpoint":
        shown = size(entry.size)
    else:
        shown = size(entry.about.get("size")) if entry.origin == "catalog" else "missing"
    origin = "to pull" if entry.origin == "catalog" else entry.origin
    return [_name(entry, default), shown, origin, entry.licence, entry.description]


def _name(entry: CatalogEntry, default: str) -> str:
    return f"{entry.name} (default)" if entry.name == default else entry.name


def _as_json(entry: CatalogEntry, default: str) -> Json:
    return {
        "name": entry.name,
        "path": "" if entry.origin == "endpoint" else str(entry.path),
        "present": entry.is_here,
        "size": entry.size,
        "origin": entry.origin,
        "source": entry.source,
        "description": entry.description,
        "licence": entry.licence,
        "default": entry.name == default,
        "catalog": entry.about,
    }


@models.command()
@MODEL
@json_option
@pass_app
def show(app: App, name: str, as_json: bool) -> None:
    """One model: what its file says of itself, and what it needs. Loads nothing.

    MODEL is a name, hf:ORG/REPO/FILE.gguf, or a path to a .gguf file. Of one that is not here yet, the catalog tells.
    Behind an endpoint (its address, or the name that an agent gives it) the server is asked which models it has.
    """
    from edgeagent.cli import elsewhere
    from edgeagent.model.header import read_header

    settings = app.runtime.config.model
    if behind := elsewhere.find(app, name):
        told = elsewhere.facts(behind)
        if as_json:
            app.screen.json({**_as_json(behind.entry, settings.default), "facts": told})
        else:
            app.screen.pairs(elsewhere.fact_rows(behind, told))
        return
    entry = app.runtime.catalog.lookup(name)
    facts = _facts(app, entry, read_header(entry.path)) if entry.is_here or entry.origin != "catalog" else {}
    if as_json:
        app.screen.json({**_as_json(entry, settings.default), "facts": facts})
        return
    app.screen.pairs([*_head(entry, settings.default), *(_fact_rows(facts) if facts else _about_rows(entry.about))])
    if not facts:
        app.note(f"not on this device: edgeagent models pull {name}")


def _head(entry: CatalogEntry, default: str) -> list[tuple[str, str]]:
    return [
        ("name", _name(entry, default)),
        ("about", entry.description),
        ("licence", entry.licence),
        ("from", entry.source or entry.origin),
        ("file", str(entry.path) if entry.is_here else ""),
        ("size", size(entry.size)),
    ]


def _facts(app: App, entry: CatalogEntry, model: Header) -> Json:
    from edgeagent.model.memory import need_of

    options = app.runtime.models.of_entry(entry).options
    need = need_of(model, options)
    context = min(options.context, model.trained_context or options.context)
    return {
        "description": model.text("general.name"),
        "architecture": model.architecture,
        "parameters": model.parameters,
        "quantization": model.quantization,
        "bytes": model.path.stat().st_size,
        "vocabulary": model.vocabulary,
        "context": context,
        "trained_context": model.trained_context,
        "template": model.template,
        "licence": model.text("general.license"),
        "memory": need.total,
        "memory_of": {"weights": need.weights, "state": need.state, "work": need.work},
        "state_bytes_a_token": need.state // context,
    }


def _fact_rows(facts: Json) -> list[tuple[str, str]]:
    template = facts["template"]
    return [
        ("calls itself", facts["description"]),
        ("architecture", facts["architecture"]),
        ("parameters", f"{facts['parameters']:,}"),
        ("quantization", facts["quantization"]),
        ("vocabulary", f"{facts['vocabulary']:,} tokens"),
        ("context", f"{facts['context']:,} tokens here, trained for {facts['trained_context']:,}"),
        ("template", f"{len(template):,} characters" if template else "none: it cannot hold a conversation"),
        ("licence in file", facts["licence"]),
        (
            "memory",
            f"about {size(facts['memory'])}, of which {facts['state_bytes_a_token']:,} B for each token of context",
        ),
    ]


def _about_rows(about: Json) -> list[tuple[str, str]]:
    """What the catalog says of a model that is not here."""
    calls = about.get("tool_calls", {})
    score = f"{calls['benchmark']} {calls['score']} ({calls['source']})" if calls else ""
    return [
        ("parameters", about.get("parameters", "")),
        ("download", size(about.get("size"))),
        ("memory", f"about {size(about['memory'])} with 4,096 tokens of context" if "memory" in about else ""),
        ("trained context", f"{about['context']:,} tokens" if "context" in about else ""),
        ("tool calls", score),
        ("told by", about.get("told_by", "")),
    ]


@models.command()
@MODEL
@click.option("--name", "chosen", metavar="NAME", help="What to call it here; default: its name, or the file's.")
@json_option
@pass_app
def pull(app: App, name: str, chosen: str | None, as_json: bool) -> None:
    """Download a model, or go on with a download that was cut off.

    MODEL is a name of `models list`, or hf:ORG/REPO/FILE.gguf. HF_ENDPOINT names another hub, HF_TOKEN a token for it.
    """
    from edgeagent.cli.fetching import pull_model

    with Bar(app, chosen or name) as bar:
        entry, was_here = pull_model(app, name, chosen, bar)
    if as_json:
        app.screen.json(_as_json(entry, app.runtime.config.model.default))
    else:
        app.screen.line(f"{entry.name} is {'up to date' if was_here else 'here'}: {entry.path}")


@models.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--name", metavar="NAME", help="What to call it; default: the file's name.")
@click.option("--link", is_flag=True, help="Leave the file where it is and link to it.")
@json_option
@pass_app
def add(app: App, path: Path, name: str | None, link: bool, as_json: bool) -> None:
    """Take a .gguf file of yours into the models folder."""
    from datetime import UTC, datetime

    from edgeagent.model.adding import add_model

    with Bar(app, path.name) as bar:
        entry, model = add_model(app.runtime.catalog, path, name or path.stem, link, datetime.now(UTC), bar)
    if as_json:
        app.screen.json({**_as_json(entry, app.runtime.config.model.default), "facts": _facts(app, entry, model)})
        return
    app.screen.line(f"{entry.name} is here: {entry.path}")
    if not model.template:
        app.note("it has no chat template, so it cannot hold a conversation: agents need an instruction-tuned model")


@models.command()
@MODEL
@click.option("--force", is_flag=True, help="Even if an agent uses it.")
@pass_app
def remove(app: App, name: str, force: bool) -> None:
    """Delete a model that was pulled or added."""
    from edgeagent.cli.fetching import check_removable

    entry = check_removable(app, name, force)
    freed = size(entry.size)
    app.runtime.catalog.remove(entry)
    app.screen.line(f"removed {entry.name} ({freed})")


@models.command()
@MODEL
@click.option("--tokens", type=click.IntRange(32, 100_000), default=1000, help="Length of the prompt; default 1000.")
@click.option(
    "--within", type=click.FloatRange(0.1, 3600), default=30.0, metavar="SECONDS", help="Patience; default 30."
)
@json_option
@pass_app
def bench(app: App, name: str, tokens: int, within: float, as_json: bool) -> None:
    """Measure a model on this machine, and say how long an agent's prompt may be.

    Nothing else should run meanwhile. Of a model behind an endpoint: how fast it answers from here.
    """
    from edgeagent.cli import elsewhere
    from edgeagent.model.measure import measure

    if behind := elsewhere.find(app, name):
        _bench_endpoint(app, behind.model, tokens, as_json)
        return

    entry = app.runtime.catalog.find(name)
    options = app.runtime.models.of_entry(entry).options
    result = measure(entry.name, entry.path, options, tokens=tokens, patience=within, say=app.note)
    if as_json:
        app.screen.json(result.as_json())
    else:
        app.screen.pairs(_bench_rows(result))


def _bench_endpoint(app: App, model: EndpointModel, tokens: int, as_json: bool) -> None:
    from edgeagent.model.endpoint.measure import measure_endpoint

    result = measure_endpoint(model, tokens=tokens, say=app.note)
    if as_json:
        app.screen.json(result.as_json())
        return
    told = f", {result.prompt_tokens:,} tokens, as the server says" if result.prompt_tokens else ""
    again = f", {result.cached_tokens:,} of its tokens not read again" if result.cached_tokens else ""
    app.screen.pairs(
        [
            ("model", result.name),
            ("behind", result.endpoint),
            ("decode", f"{result.decode_rate:.0f} tokens/s" if result.decode_rate else "it wrote too little to tell"),
            ("first token", f"{seconds(result.first_token_cold)} with a prompt that is new{told}"),
            ("again", f"{seconds(result.first_token_warm)} with the same beginning{again}"),
        ]
    )


def _bench_rows(result: Measured) -> list[tuple[str, str]]:
    limit = ", all that its context holds" if result.agent_prompt_tokens >= result.context else ""
    return [
        ("model", result.name),
        ("load", seconds(result.load_seconds)),
        ("memory", size(result.memory)),
        ("prefill", f"{result.prefill_rate:.0f} tokens/s, with a prompt of {result.prompt_tokens:,}"),
        ("decode", f"{result.decode_rate:.0f} tokens/s" if result.decode_rate else "it wrote too little to tell"),
        ("first token", f"{seconds(result.first_token_cold)} when the prompt is new"),
        ("", ""),
        (
            "with stored prefix",
            f"{seconds(result.first_token_stored)} after a restart ({result.stored_tokens:,} tokens)",
        ),
        ("with it in memory", seconds(result.first_token_warm)),
        (
            "agent's prompt",
            f"up to {result.agent_prompt_tokens:,} tokens are read within {result.patience:g} s{limit}; once stored,"
            " they are not read again",
        ),
    ]
