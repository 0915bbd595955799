"""The models in use: which one an agent means, and which of them are loaded at a time.

Each local model has a process of its own. When another one is to be loaded and the memory does not hold both, the one
used longest ago goes first; one with turns in hand is waited for. A model behind an endpoint takes no memory here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeagent.agents import Agent
from edgeagent.agents.agent import ModelTable
from edgeagent.config import Config
from edgeagent.errors import EdgeagentError, ModelCancelled, NotEnoughMemory
from edgeagent.model.catalog import Catalog, CatalogEntry, elsewhere
from edgeagent.model.client import HostModel, HostOptions
from edgeagent.model.endpoint import Address, EndpointModel, Server
from edgeagent.model.memory import Need, available, check_fits
from edgeagent.model.protocol import SAMPLING, Model, Sampling
from edgeagent.model.script import ScriptModel, is_script

WAIT_SECONDS = 0.1
"""Pause before looking again whether a model has no turn in hand any more."""


@dataclass
class Models:
    """The models that agents use, each loaded in a process of its own when first asked. Thread-safe."""

    catalog: Catalog
    config: Config
    cache: Path
    secret: Callable[[str], str] = str
    _known: dict[tuple[str, Path, HostOptions], HostModel] = field(default_factory=dict)
    _elsewhere: dict[tuple[str, str, str, int], EndpointModel] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _loading: threading.Lock = field(default_factory=threading.Lock)

    def entry(self, agent: Agent | None) -> CatalogEntry:
        """The model that the agent names, or the default one. Raises NotFound or UsageError."""
        chosen = self._chosen(agent)
        base = agent.path.parent if agent else None
        if isinstance(chosen, str):
            return self.catalog.find(chosen, base)
        if chosen.endpoint is not None:
            address = Address.parse(chosen.endpoint)
            return elsewhere(address, chosen.name or address.place)
        return self.catalog.find(chosen.file or chosen.name or "", base)

    def _chosen(self, agent: Agent | None) -> str | ModelTable:
        """What the agent or the settings say; an address is a table of nothing else."""
        chosen = agent.model if agent and agent.model is not None else self.config.model.default
        if isinstance(chosen, str) and chosen.startswith(("http://", "https://")):
            Address.parse(chosen)
            return ModelTable(endpoint=chosen)
        return chosen

    def of(self, agent: Agent | None) -> Model:
        """The agent's model. Nothing is loaded yet."""
        chosen = self._chosen(agent)
        table = chosen if isinstance(chosen, ModelTable) else None
        if table and table.endpoint is not None:
            return self.behind(table)
        entry = self.entry(agent)
        if is_script(entry.path):
            return ScriptModel(entry.path)
        return self.of_entry(entry, table)

    def behind(self, table: ModelTable) -> EndpointModel:
        """The model of a server, as a table names it. Nothing is asked yet. Raises UsageError."""
        endpoint = table.endpoint or ""
        key = (endpoint, table.name or "", table.api_key or "", table.context or 0)
        with self._lock:
            if key not in self._elsewhere:
                server = Server(Address.parse(endpoint), table.api_key or "", lambda name: self.secret(name))
                self._elsewhere[key] = EndpointModel(server, table.name or "", table.context or 0)
            self._elsewhere[key].sampling = self._sampling()
            return self._elsewhere[key]

    def of_entry(self, entry: CatalogEntry, table: ModelTable | None = None) -> HostModel:
        """That model, with the settings of an agent's table where there is one."""
        key = (entry.name, entry.path, self._options(table))
        with self._lock:
            if key not in self._known:
                self._known[key] = HostModel(*key, room=self._room)
            self._known[key].sampling = self._sampling()  # the settings may have been read again
            return self._known[key]

    def _sampling(self) -> Sampling:
        return Sampling(**{name: getattr(self.config.model, name) for name in SAMPLING})

    def _options(self, table: ModelTable | None) -> HostOptions:
        settings = self.config.model
        given = {} if table is None else table.model_dump(exclude_none=True)

        def chosen(name: str) -> Any:
            return given.get(name, getattr(settings, name))

        return HostOptions(
            context=chosen("context"),
            threads=chosen("threads"),
            memory_reserve=settings.memory_reserve,
            slots=settings.slots,
            kv_type=chosen("kv_type"),
            flash_attention=chosen("flash_attention"),
            mmap=settings.mmap,
            mlock=settings.mlock,
            cache=str(self.cache),
            states_disk=self.config.prefix_cache.max_size,
            states_memory=self.config.prefix_cache.memory,
            constrained=settings.constrained,
        )

    # --- memory -------------------------------------------------------------------------------------------------

    @contextmanager
    def _room(self, model: HostModel, need: Need, stop: threading.Event) -> Iterator[None]:
        """While a model is loaded: no other one is, and there is room for it.

        Raises:
            NotEnoughMemory: there is too little even when all others are unloaded.
            ModelCancelled: `stop` was set while another load, or a turn of another model, was waited for.
        """
        while not self._loading.acquire(timeout=WAIT_SECONDS):
            if stop.is_set():
                raise ModelCancelled("cancelled")
        try:
            self._make_room(model, need, stop)
            yield
        finally:
            self._loading.release()

    def _make_room(self, model: HostModel, need: Need, stop: threading.Event) -> None:
        """Unloads other models, those used longest ago first, until there is room for this one."""
        while True:
            try:
                return check_fits(model.path.name, need, model.options.memory_reserve, available())
            except NotEnoughMemory:
                others = [other for other in self.loaded() if other is not model]
                if not others:
                    raise
            others.sort(key=lambda other: other.used_at)
            if not any(other.close_if_idle(0) for other in others) and stop.wait(WAIT_SECONDS):
                raise ModelCancelled("cancelled")

    def shortage(self, agent: Agent) -> str | None:
        """What the agent's model lacks to be loaded now, in words; None where it is loaded, or would fit once the
        others were unloaded."""
        try:
            model = self.of(agent)
            if isinstance(model, HostModel) and model.process_id is None:
                free = available() + sum(other.need().total for other in self.loaded())
                check_fits(model.path.name, model.need(), model.options.memory_reserve, free)
        except NotEnoughMemory as error:
            return error.message
        except EdgeagentError:
            return None  # the run will say what is wrong
        return None

    def fits_beside(self, agent: Agent, others: Collection[Agent]) -> bool:
        """Whether the agent's model can be in memory together with those of the others, whose runs go on."""
        if all(other.model == agent.model for other in others):
            return True
        try:
            model = self.of(agent)
            if not isinstance(model, HostModel) or model.process_id is not None:
                return True
            kept = [other for other in map(self.of, others) if isinstance(other, HostModel)]
            coming = sum(other.need().total for other in set(kept) if other.process_id is None)
            going = sum(other.need().total for other in self.loaded() if other not in kept)
            check_fits(model.path.name, model.need(), model.options.memory_reserve, available() + going - coming)
        except NotEnoughMemory:
            return False
        except EdgeagentError:
            return True  # the run will say what is wrong
        return True

    def loaded(self) -> list[HostModel]:
        with self._lock:
            return [model for model in self._known.values() if model.process_id is not None]

    def close(self) -> None:
        for model in self.loaded():
            model.close()

    def close_idle(self) -> None:
        """Unloads what has not been used for `model.idle_unload`."""
        if self.config.model.idle_unload:
            for model in self.loaded():
                model.close_if_idle(self.config.model.idle_unload)
