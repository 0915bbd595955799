"""What the daemon and the commands are put together from: settings, agents, tools, models, and one run on its own.

The place that picks concrete classes. Opens nothing until asked.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import psutil
from ulid import ULID

from edgeagent.agents import Agent, LoadedAgents, load_agent, load_agents
from edgeagent.approval import Approval
from edgeagent.approver import Ask
from edgeagent.bundled import bundled
from edgeagent.config import Config, load_config
from edgeagent.errors import EdgeagentError, NotFound, SecretError, UsageError
from edgeagent.home import Home, home_from_environment
from edgeagent.mcp.pins import Pins
from edgeagent.mcp.places import Finder
from edgeagent.mcp.servers import Servers
from edgeagent.mcp.tools import mcp_tools
from edgeagent.model.catalog import Catalog, CatalogEntry
from edgeagent.models import Models
from edgeagent.redaction import Redactor
from edgeagent.sandbox import OpenedSandbox, open_sandbox
from edgeagent.schema import Event, Json, Run, Step, Terms
from edgeagent.secrets import NO_BACKEND, EncryptedFile, GivenSecrets, Keyring, Place, SecretChain
from edgeagent.skills import SkillLibrary
from edgeagent.store import Opened, Store, open_checked, open_read_only, open_store
from edgeagent.tools.skill import skill_tools
from edgeagent.tools.skill_loading import LOAD_SKILL
from edgeagent.tools.skill_script import RUN_SKILL_SCRIPT
from edgeagent.tools.toolbox import Toolbox, builtin_tools
from edgeagent.worker import Worker


def utc_now() -> datetime:
    return datetime.now(UTC)


def open_runtime(environ: Mapping[str, str]) -> Runtime:
    """Reads the settings; makes no folder and opens no database. Raises ConfigError."""
    home = home_from_environment(environ)
    return Runtime(home, load_config(home, environ), Catalog(home.models), Toolbox(builtin_tools()), environ)


def open_secrets(home: Home, config: Config, environ: Mapping[str, str], redactor: Redactor) -> SecretChain:
    """The places where secrets are, as the settings say. Looks into none of them."""
    given = GivenSecrets(environ)
    place: Place | None = None
    if config.secrets.backend == "keyring":
        place = Keyring(f"edgeagent ({home.database.parent})", home.secret_names, environ)
    elif config.secrets.backend != NO_BACKEND:
        place = EncryptedFile(home.secrets_file, home.secrets_key, given)
    return SecretChain(given, place, redactor)


def owner_name(kind: str) -> str:
    """Who holds a run: `daemon:PID:START` or `cli:PID:START`. A reused process id has another start."""
    return f"{kind}:{os.getpid()}:{psutil.Process().create_time():.2f}"


def is_alive(owner: str) -> bool:
    """Whether the process that `owner_name` named still runs."""
    try:
        _, pid, start = owner.split(":")
        return f"{psutil.Process(int(pid)).create_time():.2f}" == start
    except (ValueError, psutil.Error):
        return False


@dataclass
class Runtime:
    home: Home
    config: Config
    catalog: Catalog
    toolbox: Toolbox
    environ: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.models = Models(self.catalog, self.config, self.home.cache, lambda name: self.secrets.secret(name))
        self.redactor = Redactor()
        self.secrets = open_secrets(self.home, self.config, self.environ, self.redactor)
        self.skills = SkillLibrary(bundled("skills"), self.home.skills, self._secret_names)
        self.mcp = Servers(
            lambda: self.config.mcp,
            Finder(
                self.home.user, self.environ.get("PATH", os.defpath), self.home.state(), self.home.cache / "mcp-start"
            ),
            Pins(self.home.mcp),
            lambda: self.sandbox.require(),
            utc_now,
            self.home.cache / "mcp-files.json",
            lambda name: self.secrets.secret(name),
        )

    def _secret_names(self) -> frozenset[str]:
        try:
            return frozenset(one.name for one in self.secrets.stored())
        except SecretError:
            return frozenset(self.secrets.given.names())

    @cached_property
    def sandbox(self) -> OpenedSandbox:
        """Where skills run, proved the first time that it is asked for."""
        return open_sandbox(self.home.state(), self.home.cache / "scratch", self.config.sandbox.minimum)

    def close(self) -> None:
        """Ends the processes of models and servers."""
        self.models.close()
        self.mcp.close()

    def reload_config(self) -> None:
        """Reads the settings again. Raises ConfigError; then those before stay."""
        self.config = self.models.config = load_config(self.home, self.environ)
        self.__dict__.pop("sandbox", None)  # the least level may be another
        self.secrets = open_secrets(self.home, self.config, self.environ, self.redactor)

    def load_agents(self, disabled: frozenset[str] | None = None) -> LoadedAgents:
        """The agents of the home. `disabled` are those that a person switched off; None: as the journal has it."""
        loaded = load_agents(
            self.home.agents,
            known_tools=self.tool_names(),
            known_skills=self.skills.names(),
            known_servers=self.mcp.names(),
            known_models=self.catalog.names(),
            home=self.home,
        )
        off = self._disabled() if disabled is None else disabled
        for name in off & loaded.agents.keys():
            loaded.agents[name] = loaded.agents[name].model_copy(update={"enabled": False})
        return loaded

    def tool_names(self) -> tuple[str, ...]:
        """Every tool that an agent's file may name: built in, or of a skill."""
        readable = [one.skill for one in self.skills.all() if one.skill]
        of_skills = [tool.name for skill in readable for tool in skill.tools]
        return (*self.toolbox.names(), *dict.fromkeys([*of_skills, LOAD_SKILL, RUN_SKILL_SCRIPT]))

    def toolbox_of(self, agent: Agent) -> Toolbox:
        """The tools that exist for an agent: the built-in ones that its file names, and all of its skills
        and MCP servers. A server that was never started is started.

        Raises NotFound for a skill or server that is not there, SkillError for two tools of one name, McpError for a
        server that cannot be used.
        """
        skills = [self.skills.find(name) for name in agent.skills]
        own = self.toolbox.limited_to([name for name in agent.tools if name in self.toolbox.names()])
        servers = (*agent.mcp, *(name.partition("/")[0] for name in agent.tools if "/" in name))
        of_skills = skill_tools(skills, self.skills.find, lambda: self.sandbox.require(), servers)
        return own.joined([*of_skills, *mcp_tools(agent, self.mcp, self.home.user)])

    def _disabled(self) -> frozenset[str]:
        try:
            with self.reader() as store:
                return store.disabled_agents()
        except EdgeagentError:
            return frozenset()  # no journal yet, or one that `doctor` and the daemon have more to say about

    def agent(self, name_or_path: str) -> Agent:
        """The agent of that name, or in that file. Raises NotFound or AgentFileError."""
        if name_or_path.endswith(".md") or "/" in name_or_path:
            return load_agent(
                Path(name_or_path),
                known_tools=self.tool_names(),
                known_skills=self.skills.names(),
                known_servers=self.mcp.names(),
                known_models=self.catalog.names(),
                home=self.home,
            )
        loaded = self.load_agents()
        if name_or_path in loaded.agents:
            return loaded.agents[name_or_path]
        file = self.home.agents / f"{name_or_path}.md"
        if file.exists():
            return self.agent(str(file))  # it is there and broken: say how
        raise NotFound(f"no agent named {name_or_path}", "edgeagent agents list")

    def reader(self) -> Store:
        """The journal for reading. NotFound where there is none."""
        return open_read_only(self.home.database)

    def writer(self) -> Store:
        """The journal for writing; makes the home where it is missing."""
        self.home.create()
        return open_store(self.home.database, clock=utc_now, synchronous=self.config.journal.synchronous)

    def checked_writer(self) -> Opened:
        """As `writer`, for the daemon: reads the journal whole first, and a damaged one is put aside or refused."""
        self.home.create()
        settings = self.config.journal
        return open_checked(
            self.home.database, clock=utc_now, synchronous=settings.synchronous, damaged=settings.damaged
        )

    def worker(
        self,
        store: Store,
        kind: str,
        obstacle: Callable[[Agent], str | None] = lambda agent: None,
        announce: Callable[[Approval], object] = lambda approval: None,
    ) -> Worker:
        return Worker(
            store=store,
            toolbox=self.toolbox_of,
            models=self.models.of,
            home_dir=self.home.user,
            trash=self.home.trash,
            owner=owner_name(kind),
            clock=utc_now,
            load=lambda path: self.agent(str(path)),
            obstacle=obstacle,
            approval_seconds=lambda: self.config.approvals.timeout,
            announce=announce,
            secret=lambda name: self.secrets.secret(name),
            redactor=self.redactor,
        )

    def check_model(self, agent: Agent) -> CatalogEntry:
        """The agent's model, without loading it."""
        return self.models.entry(agent)

    def run_once(
        self,
        agent: Agent,
        trigger: str,
        data: Json,
        *,
        ask: Ask,
        dry_run: bool,
        on_step: Callable[[Step], None],
        stop: threading.Event,
    ) -> Run:
        """One run in this process, from event to end, or to where it waits for a person, without a daemon."""
        with self.writer() as store:
            store.recover(utc_now(), is_alive)
            run_id = enqueue_manual(store, agent, trigger, data, dry_run=dry_run)
            return self._run_here(store, run_id, agent, ask, on_step, stop)

    def resume(self, run_id: str, *, ask: Ask, on_step: Callable[[Step], None], stop: threading.Event) -> Run:
        """Goes on in this process with a run that is queued. UsageError where it is not."""
        with self.writer() as store:
            store.recover(utc_now(), is_alive)
            store.expire_approvals(utc_now())
            terms = store.terms(run_id)
            agent = self.agent(terms.agent_path or store.run(run_id).agent)
            return self._run_here(store, run_id, agent, ask, on_step, stop)

    def _run_here(
        self,
        store: Store,
        run_id: str,
        agent: Agent,
        ask: Ask,
        on_step: Callable[[Step], None],
        stop: threading.Event,
    ) -> Run:
        worker = self.worker(store, "cli")
        run = store.claim_run(run_id, worker.owner, utc_now())
        if run is None:
            status = store.run(run_id).status.value
            raise UsageError(f"run {run_id} is {status}, not queued", f"edgeagent runs show {run_id}")
        try:
            worker.execute(run, agent, stop, ask=ask, dry_run=store.terms(run_id).dry_run, on_step=on_step)
        finally:
            self.close()
        return store.run(run_id)


def enqueue_manual(store: Store, agent: Agent, trigger: str, data: Json, *, dry_run: bool = False) -> str:
    """Queues an event that a person gave, under a fresh key."""
    event = Event(agent.name, trigger, trigger, str(ULID()), data)
    terms = Terms(os.path.abspath(agent.path), dry_run)
    run_id = store.enqueue(event, now=utc_now(), terms=terms)
    assert run_id is not None, "the key is fresh"
    return run_id
