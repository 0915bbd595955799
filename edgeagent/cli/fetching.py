"""What `models pull` and `models remove` do, between the catalog, the hub and the agents. Prints nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from edgeagent.cli.app import App
from edgeagent.errors import ModelError, NotFound, UsageError
from edgeagent.model.adding import check_model
from edgeagent.model.catalog import Catalog, CatalogEntry, Record, parse_source
from edgeagent.model.fetch import Progress, fetch, locate
from edgeagent.schema import format_time


def pull_model(app: App, name: str, chosen: str | None, progress: Progress) -> tuple[CatalogEntry, bool]:
    """The model as it is here now, and whether it was here before, the same as on the hub."""
    catalog = app.runtime.catalog
    entry = catalog.lookup(name)
    if not entry.source.startswith("hf:"):
        raise UsageError(f"{name} is {_how_it_is_here(entry)}; there is nothing to pull", "edgeagent models list")
    local = chosen or entry.name
    target = catalog.path_of(local)
    source = parse_source(entry.source)
    _check_free(catalog, local, entry.source)
    remote = locate(source, app.environ)
    known = catalog.record(local)
    if target.is_file() and known and known.sha256 == remote.sha256 and target.stat().st_size == remote.size:
        return catalog.lookup(local), True
    digest = fetch(remote, target, app.environ, progress, check_model)
    licence = entry.licence or check_model(target).text("general.license")
    record = Record(entry.source, digest, remote.size, licence, entry.description, format_time(datetime.now(UTC)))
    catalog.write_record(local, record)
    return catalog.lookup(local), False


def _how_it_is_here(entry: CatalogEntry) -> str:
    return {"bundled": "bundled with edgeagent", "added": "a file that was added by hand"}.get(entry.origin, "a file")


def _check_free(catalog: Catalog, name: str, source: str) -> None:
    """Another model of that name is not overwritten."""
    for entry in catalog.entries():
        if entry.name == name and entry.origin != "catalog" and entry.source != source:
            raise UsageError(
                f"there is another model named {name}, from {entry.source or entry.origin}",
                "give this one a name: --name NAME",
            )


def check_removable(app: App, name: str, force: bool) -> CatalogEntry:
    """The model, if nothing speaks against deleting it.

    Raises:
        NotFound: it is not here. UsageError: it is bundled, or a path. ModelError: an agent uses it.
    """
    entry = app.runtime.catalog.lookup(name)
    if entry.origin == "bundled":
        raise UsageError(f"{name} is bundled with edgeagent and cannot be removed", "edgeagent models list")
    if entry.origin == "path":
        raise UsageError(f"{name} does not lie in the models folder", f"rm {entry.path}")
    if not entry.is_here and not entry.path.is_symlink():
        raise NotFound(f"model {name} is not on this device", "edgeagent models list")
    users = _users(app, entry.path)
    if users and not force:
        raise ModelError(f"{entry.name} is used by {', '.join(users)}", "give them another model, or add --force")
    return entry


def _users(app: App, path: Path) -> list[str]:
    """The agents that name the model in this file, and the settings where they do."""
    runtime = app.runtime
    loaded = runtime.load_agents()
    names = [name for name, agent in loaded.agents.items() if agent.model is not None and _uses(app, name, path)]
    default = runtime.catalog.lookup(runtime.config.model.default)
    if default.path == path:
        names += ["the setting model.default"]
    return sorted(names)


def _uses(app: App, name: str, path: Path) -> bool:
    try:
        return app.runtime.models.entry(app.runtime.load_agents().agents[name]).path == path
    except (NotFound, UsageError):  # it names nothing that is here
        return False
