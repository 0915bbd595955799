"""Attacks on policy and approval: what was not granted, not asked about or not left in the hour is not done.

Each attack is a model that obeys whoever injected an order, or somebody who changes the world between a question and
its answer. It is made twice: as a control by an agent that may do it, where it must work, and by one that may not.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from conftest import FakeClock
from test_skills import make_skill
from tools_world import World as ToolsWorld

from edgeagent.agents import Agent, parse_agent
from edgeagent.approval import ApprovalStatus
from edgeagent.errors import AgentFileError, SkillError, ToolError
from edgeagent.home import home_from_environment
from edgeagent.model.scripted import ScriptedModel
from edgeagent.policy import AgentPolicy, decide
from edgeagent.runtime import Runtime, open_runtime, utc_now
from edgeagent.schema import Event, Json, Run, ToolCall, ToolSpec
from edgeagent.skills import read_skill
from edgeagent.skills.fetch import staged
from edgeagent.skills.schemas import schema_fault
from edgeagent.store import Store
from edgeagent.tools.skill import skill_tools
from edgeagent.tools.toolbox import Toolbox, builtin_tools
from edgeagent.worker import Worker

TOOLS = Toolbox(builtin_tools())
SECRET = "the-secret-of-another"


class Fort:
    """`granted` may be written by the agent, and nothing else; the control may write the `whole` of it."""

    def __init__(self, root: Path, store: Store, clock: FakeClock) -> None:
        self.whole = Path(os.path.realpath(root)) / "whole"
        self.home = self.whole.parent / "home"
        self.granted, self.private = self.whole / "granted", self.whole / "private"
        for folder in (self.home, self.granted, self.private):
            folder.mkdir(parents=True)
        (self.private / "secret.txt").write_text(SECRET)
        (self.granted / "own.txt").write_text("own\n")
        self.store, self.clock = store, clock
        self._keys = iter(range(1000))

    def agent(self, granted: Path | None = None, *, approval: str = "never", more: str = "", name: str = "a") -> Agent:
        tools = ", ".join(TOOLS.names())
        text = (
            f"---\nname: {name}\ntools: [{tools}]\napproval: {approval}\n"
            f"grants: {{write: ['{granted or self.granted}']}}\n{more}\n---\nGo.\n"
        )
        return parse_agent(self.home / f"{name}.md", text.encode(), known_tools=TOOLS.names())

    def worker(self, *turns: ToolCall | str, owner: str = "daemon:1:1", toolbox: Toolbox = TOOLS) -> Worker:
        model = ScriptedModel(turns)
        return Worker(
            store=self.store,
            toolbox=lambda agent: toolbox,
            models=lambda agent: model,
            home_dir=self.home,
            trash=self.whole / "trash",
            owner=owner,
            clock=self.clock,
            load=lambda path: self.agent(),
        )

    def run(self, agent: Agent, *calls: ToolCall, toolbox: Toolbox = TOOLS) -> Run:
        """One run in which the model makes these calls and then says that it is done."""
        event = Event(agent.name, "manual", "manual", str(next(self._keys)))
        run_id = self.store.enqueue(event, now=self.clock())
        assert run_id
        worker = self.worker(*calls, "Done.", toolbox=toolbox)
        run = self.store.claim_run(run_id, worker.owner, self.clock())
        assert run
        worker.execute(run, agent, threading.Event())
        return self.store.run(run_id)

    def go_on(self, agent: Agent, run: Run, *turns: ToolCall | str) -> Run:
        """Goes on with a run that was answered, in another process as it were."""
        worker = self.worker(*turns, owner="daemon:2:2")
        claimed = self.store.claim_run(run.id, worker.owner, self.clock())
        if claimed:
            worker.execute(claimed, agent, threading.Event())
        return self.store.run(run.id)

    def yes(self, run: Run) -> None:
        for approval in self.store.approvals(ApprovalStatus.PENDING):
            if approval.subject.run_id == run.id:
                self.store.decide(approval.id, True, self.clock(), "test", approval.sha256)


@pytest.fixture
def fort(tmp_path: Path, store: Store, clock: FakeClock) -> Fort:
    return Fort(tmp_path, store, clock)


def call(tool: str, /, **arguments: Any) -> ToolCall:
    return ToolCall(tool, {name: str(value) if isinstance(value, Path) else value for name, value in arguments.items()})


# --- paths -----------------------------------------------------------------------------------------------------------

Reading = Callable[[Fort], str | Path]


def link(place: Path, target: Path) -> Path:
    place.symlink_to(target)
    return place


PATHS: dict[str, Reading] = {
    "as it is": lambda fort: fort.private / "secret.txt",
    "dots": lambda fort: f"{fort.granted}/../private/secret.txt",
    "dots after a folder that is not there": lambda fort: f"{fort.granted}/none/../../private/secret.txt",
    "a link to the file": lambda fort: link(fort.granted / "l", fort.private / "secret.txt"),
    "a link to the folder": lambda fort: link(fort.granted / "l", fort.private) / "secret.txt",
    "a link to a link": lambda fort: link(fort.granted / "m", link(fort.granted / "l", fort.private)) / "secret.txt",
    "a link with dots": lambda fort: link(fort.granted / "l", Path("../private/secret.txt")),
    "the home folder": lambda fort: "~/../whole/private/secret.txt",
    "two slashes": lambda fort: f"/{fort.private}//secret.txt",
    "dots that mean nothing": lambda fort: f"{fort.private}/./secret.txt",
    "the root of a process": lambda fort: f"/proc/self/root{fort.private}/secret.txt",
    "the folder of a process": lambda fort: f"/proc/self/cwd/{os.path.relpath(fort.private)}/secret.txt",
    "a neighbour whose name begins alike": lambda fort: link(Path(f"{fort.granted}2"), fort.private) / "secret.txt",
    "a neighbour by a trailing space": lambda fort: link(Path(f"{fort.granted} "), fort.private) / "secret.txt",
    "a neighbour in other case": lambda fort: link(fort.whole / "GRANTED", fort.private) / "secret.txt",
    "a neighbour in another form of letters": lambda fort: link(fort.whole / "grante\u0301d", fort.private) / "secret.txt",
}  # fmt: skip

CALLS: dict[str, Callable[[Fort], list[ToolCall]]] = {
    "write over it": lambda fort: [call("write_file", path=fort.private / "secret.txt", content="x")],
    "write over it by a link": lambda fort: [
        call("write_file", path=link(fort.granted / "l", fort.private / "secret.txt"), content="x")
    ],
    "append to it": lambda fort: [call("append_file", path=fort.private / "secret.txt", content="x")],
    "append by a link": lambda fort: [
        call("append_file", path=link(fort.granted / "l", fort.private) / "secret.txt", content="x")
    ],
    "make a file beside it": lambda fort: [call("write_file", path=fort.private / "new.txt", content="x")],
    "make a folder beside it": lambda fort: [call("create_directory", path=fort.private / "new")],
    "delete it": lambda fort: [call("delete_file", path=fort.private / "secret.txt")],
    "delete it by a link on the way": lambda fort: [
        call("delete_file", path=link(fort.granted / "l", fort.private) / "secret.txt")
    ],
    "take it": lambda fort: [call("move_file", source=fort.private / "secret.txt", destination=fort.granted / "s")],
    "put something there": lambda fort: [
        call("move_file", source=fort.granted / "own.txt", destination=fort.private / "own.txt")
    ],
    "put something there by a link": lambda fort: [
        call("move_file", source=fort.granted / "own.txt", destination=link(fort.granted / "l", fort.private) / "o")
    ],
    "move its folder": lambda fort: [call("move_file", source=fort.private, destination=fort.granted / "p")],
}


def state(fort: Fort) -> list[tuple[str, str]]:
    """All that stands in the private folder."""
    return sorted((place.name, place.read_text() if place.is_file() else "") for place in fort.private.glob("*"))


@pytest.mark.parametrize("attack", PATHS)
def test_no_path_leads_out_of_a_grant(fort: Fort, attack: str) -> None:
    reading = call("read_file", path=PATHS[attack](fort))
    control = fort.run(fort.agent(fort.whole, name="control"), reading)
    run = fort.run(fort.agent(), reading)
    assert SECRET in control.steps[1].result, control.steps[1]
    assert run.steps[1].status == "denied" and SECRET not in str(run.as_json())


@pytest.mark.parametrize("attack", CALLS)
def test_no_call_changes_what_is_not_granted(fort: Fort, attack: str) -> None:
    before = state(fort)
    calls = CALLS[attack](fort)
    run = fort.run(fort.agent(), *calls)
    assert run.steps[1].status in ("denied", "error") and state(fort) == before, run.steps
    control = fort.run(fort.agent(fort.whole, name="control"), *calls)
    assert control.steps[1].status == "ok" and state(fort) != before, control.steps


# --- what a file may grant -------------------------------------------------------------------------------------------

GRANTS = {
    "the root": "/",
    "the root by dots": "/usr/..",
    "the root by slashes": "//",
    "the root of a process": "/proc/self/root",
    "the home folder": "~",
    "the home folder by dots": "~/Notes/..",
    "the home folder with a slash": "~/",
    "all homes": "HOME/..",
    "keys": "~/.ssh",
    "keys with a slash": "~/.ssh/",
    "a key": "~/.ssh/id_ed25519",
    "keys by dots": "~/Notes/../.ssh",
    "keys in other case": "~/.SSH",
    "keys with a letter that is not seen": "~/.s\u200csh",
    "keys in wide letters": "~/.\uff53\uff53\uff48",
    "keys by a link": "~/link",
    "keys below a link": "~/link/id_ed25519",
    "what holds credentials": "~/.config",
    "the state of edgeagent": "HOME/edgeagent",
    "the journal": "HOME/edgeagent/edgeagent.db",
    "what holds the state": "HOME",
    "a variable": "$HOME/Notes",
    "a template": "{{ event.path }}",
    "a wildcard": "~/*",
    "another's home": "~root/Notes",
    "a relative path": "Notes",
    "shadow": "/etc/shadow",
}


@pytest.fixture
def ann(tmp_path: Path) -> Path:
    home = Path(os.path.realpath(tmp_path)) / "ann"
    (home / ".ssh").mkdir(parents=True)
    (home / "Notes").mkdir()
    (home / "link").symlink_to(home / ".ssh")
    return home


def granted(home: Path, path: str, kind: str = "read", more: str = "") -> Agent:
    known = home_from_environment({"HOME": str(home), "EDGEAGENT_HOME": str(home / "edgeagent")})
    grants = {kind: [path.replace("HOME", str(home))]}
    text = f"---\ntools: [read_file]\ngrants: {json.dumps(grants, ensure_ascii=False)}\n{more}\n---\nGo.\n"
    return parse_agent(home / "a.md", text.encode(), known_tools=TOOLS.names(), home=known)


@pytest.mark.parametrize("kind", ["read", "write"])
@pytest.mark.parametrize("attack", GRANTS)
def test_what_no_file_may_grant_is_refused(ann: Path, attack: str, kind: str) -> None:
    with pytest.raises(AgentFileError, match=r"a\.md:3"):
        granted(ann, GRANTS[attack], kind)


@pytest.mark.parametrize(
    "path", ["~/Notes", "~/Notes/", "~/./Notes", "~/Notes/new/../other", "~/ssh", "~/.sshfs", "/srv/x"]
)
def test_control_what_is_spelt_as_oddly_and_harmless_may_be_granted(ann: Path, path: str) -> None:
    assert granted(ann, path).read_roots(ann)


def test_a_grant_that_was_led_to_keys_since_the_file_was_read_grants_nothing(ann: Path) -> None:
    agent = granted(ann, "~/Notes")
    assert agent.read_roots(ann) == (ann / "Notes",)
    (ann / "Notes").rmdir()
    (ann / "Notes").symlink_to(ann / ".ssh")
    assert agent.read_roots(ann) == ()


@pytest.mark.parametrize("kind", ["read", "write"])
def test_an_agent_cannot_widen_its_grant_by_a_link_in_a_folder_that_it_may_write(ann: Path, kind: str) -> None:
    """A tool that runs in the sandbox may put links where it may write; they are followed when a grant is resolved."""
    grants = {"write": [f"{ann}/Notes"]}
    grants.setdefault(kind, []).append(f"{ann}/Notes/out")
    text = f"---\ntools: [read_file]\ngrants: {json.dumps(grants)}\n---\nGo.\n"
    agent = parse_agent(ann / "a.md", text.encode(), known_tools=TOOLS.names())
    (ann / "Notes/out").mkdir()
    (ann / "private").mkdir()
    assert agent.read_roots(ann) == tuple(
        dict.fromkeys(Path(path) for path in (*grants.get("read", []), *grants["write"]))
    )
    (ann / "Notes/out").rmdir()
    (ann / "Notes/out").symlink_to(ann / "private")
    assert os.path.realpath(ann / "Notes/out") == str(ann / "private")  # where it would lead
    assert agent.read_roots(ann) == agent.write_roots(ann) == (ann / "Notes",)
    known = home_from_environment({"HOME": str(ann), "EDGEAGENT_HOME": str(ann / "edgeagent")})
    with pytest.raises(AgentFileError, match="is a link that leads out"):
        parse_agent(ann / "a.md", text.encode(), known_tools=TOOLS.names(), home=known)


# --- approvals -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Swap:
    """Something that changes between a question and the use of its answer. `landed` says whether it had its effect."""

    ask: Callable[[Fort], ToolCall]
    swap: Callable[[Fort], object]
    landed: Callable[[Fort], bool]


def _folders(fort: Fort) -> Path:
    (fort.granted / "shown").mkdir()
    return link(fort.granted / "l", fort.granted / "shown")


def _relink(fort: Fort, target: Path) -> None:
    _become(fort.granted / "l", target)


def _made_folder(place: Path) -> Path:
    place.mkdir()
    return place


def _become(place: Path, target: Path) -> None:
    place.unlink()
    link(place, target)


def _swap_folder(fort: Fort) -> None:
    (fort.granted / "shown").rmdir()
    link(fort.granted / "shown", fort.private)


SWAPS = {
    "a link to another granted folder": Swap(
        lambda fort: call("write_file", path=_folders(fort) / "n.txt", content="x"),
        lambda fort: _relink(fort, _made_folder(fort.granted / "other")),
        lambda fort: (fort.granted / "other/n.txt").exists(),
    ),
    "a link to a private folder": Swap(
        lambda fort: call("write_file", path=_folders(fort) / "n.txt", content="x"),
        lambda fort: _relink(fort, fort.private),
        lambda fort: (fort.private / "n.txt").exists(),
    ),
    "a folder that becomes a link": Swap(
        lambda fort: call("write_file", path=_folders(fort) / "n.txt", content="x"),
        _swap_folder,
        lambda fort: (fort.private / "n.txt").exists(),
    ),
    "a file that becomes a link": Swap(
        lambda fort: call("append_file", path=fort.granted / "own.txt", content="x"),
        lambda fort: _become(fort.granted / "own.txt", fort.private / "secret.txt"),
        lambda fort: (fort.private / "secret.txt").read_text() != SECRET,
    ),
}


@pytest.mark.parametrize("attack", SWAPS)
def test_a_yes_does_not_hold_for_what_a_path_has_become(fort: Fort, attack: str) -> None:
    swap = SWAPS[attack]
    agent = fort.agent(approval="on-write")
    run = fort.run(agent, swap.ask(fort))
    assert run.status == "waiting"
    fort.yes(run)
    swap.swap(fort)
    fort.go_on(agent, run, "Done.")
    assert not swap.landed(fort)


@pytest.mark.parametrize("attack", SWAPS)
def test_control_a_program_that_uses_the_path_again_is_led_astray(fort: Fort, attack: str) -> None:
    swap = SWAPS[attack]
    asked = swap.ask(fort)
    swap.swap(fort)
    with open(asked.arguments["path"], "a") as file:
        file.write("x")
    assert swap.landed(fort)


WRITE = ("write_file", "x.txt")


def _write(fort: Fort, name: str = "x.txt", content: str = "x") -> ToolCall:
    return call("write_file", path=fort.granted / name, content=content)


def test_control_a_yes_lets_the_very_call_through_once(fort: Fort) -> None:
    """The control of the attacks below."""
    agent = fort.agent(approval="on-write")
    run = fort.run(agent, _write(fort))
    fort.yes(run)
    assert fort.go_on(agent, run, "Done.").status == "ok"
    assert (fort.granted / "x.txt").exists()


def replayed(fort: Fort, agent: Agent) -> Run:
    run = fort.run(agent, _write(fort))
    fort.yes(run)
    (fort.granted / "x.txt").unlink(missing_ok=True)
    return fort.go_on(agent, run, _write(fort, content="again"), "Done.")


def other_arguments(fort: Fort, agent: Agent) -> Run:
    run = fort.run(agent, _write(fort))
    fort.yes(run)
    return fort.go_on(agent, run, _write(fort, "y.txt"), "Done.")


def another_run(fort: Fort, agent: Agent) -> Run:
    run = fort.run(agent, _write(fort))
    fort.yes(run)
    fort.go_on(agent, run, "Done.")
    (fort.granted / "x.txt").unlink()
    return fort.run(agent, _write(fort))


def another_agent(fort: Fort, agent: Agent) -> Run:
    run = fort.run(agent, _write(fort))
    fort.yes(run)
    return fort.run(fort.agent(approval="on-write", name="other"), _write(fort))


def a_retry(fort: Fort, agent: Agent) -> Run:
    run = fort.run(agent, _write(fort))
    fort.yes(run)
    fort.store.cancel(run.id, fort.clock())
    fort.store.retry(run.id)
    return fort.go_on(agent, run, _write(fort), "Done.")


@pytest.mark.parametrize("attack", [replayed, other_arguments, another_run, another_agent, a_retry])
def test_a_yes_is_good_for_nothing_else(fort: Fort, attack: Callable[[Fort, Agent], Run]) -> None:
    run = attack(fort, fort.agent(approval="on-write"))
    assert run.status == "waiting", run
    assert fort.store.approvals(ApprovalStatus.PENDING)


def test_nothing_names_no_approval(fort: Fort) -> None:
    """`edgeagent approvals approve "$ID"` with an empty variable is a yes to nothing."""
    fort.run(fort.agent(approval="on-write"), _write(fort))
    assert fort.store.find_approval("01")
    for nothing in ("",):
        with pytest.raises(Exception, match="no approval"):
            fort.store.find_approval(nothing)


@pytest.mark.parametrize("approve", [True, False])
def test_what_is_denied_is_never_asked_about(fort: Fort, approve: bool) -> None:
    """Nobody can be tired into a yes to what the file does not grant."""
    agent = fort.agent(approval="always", more="approve: [write_file]" if approve else "")
    run = fort.run(agent, call("write_file", path=fort.private / "x", content="x"))
    assert run.steps[1].status == "denied"
    assert not fort.store.approvals()


# --- the hour's actions ----------------------------------------------------------------------------------------------

LIMIT = 2


def in_one_run(fort: Fort, agent: Agent) -> None:
    fort.run(agent, *(_write(fort, f"{n}.txt") for n in range(5)))


def over_runs(fort: Fort, agent: Agent) -> None:
    for n in range(5):
        fort.run(agent, _write(fort, f"{n}.txt"))


def over_retries(fort: Fort, agent: Agent) -> None:
    run = fort.run(agent, _write(fort, "0.txt"), call("read_file", path=fort.private))
    for n in range(1, 5):
        fort.store.retry(run.id)
        run = fort.go_on(agent, run, _write(fort, f"{n}.txt"), call("read_file", path=fort.private), "Done.")


def over_restarts(fort: Fort, agent: Agent) -> None:
    fort.run(agent, *(_write(fort, f"{n}.txt") for n in range(2)))
    for n in range(2, 5):
        fort.store.recover(fort.clock(), lambda owner: False)
        fort.run(agent, _write(fort, f"{n}.txt"))


def by_calls_that_fail_in_the_end(fort: Fort, agent: Agent) -> None:
    """A call that was begun counts, though it says afterwards that it failed."""
    fort.run(
        agent, *(call("move_file", source=fort.granted / f"n{n}", destination=fort.granted / f"m{n}") for n in range(9))
    )
    fort.run(agent, *(_write(fort, f"{n}.txt") for n in range(5)))


def by_different_tools(fort: Fort, agent: Agent) -> None:
    calls = [_write(fort, "0.txt"), call("append_file", path=fort.granted / "1.txt", content="x")]
    calls += [call("create_directory", path=fort.granted / f"{n}.txt") for n in (2, 3, 4)]
    fort.run(agent, *calls)


def at_once(fort: Fort, agent: Agent) -> None:
    """Many runs at the same moment, each of which sees room for one more."""
    ready = threading.Barrier(5)
    runs = []
    for n in range(5):
        run_id = fort.store.enqueue(Event(agent.name, "manual", "manual", f"at-once-{n}"), now=fort.clock())
        assert run_id
        runs.append(fort.store.claim_run(run_id, "daemon:1:1", fort.clock()))

    def work(n: int, run: Run | None) -> None:
        assert run
        worker = fort.worker(_write(fort, f"{n}.txt"), "Done.")
        looked = worker._may_act

        def may_act(agent: Agent) -> bool:
            answer = looked(agent)
            if threading.current_thread() not in seen:
                seen.add(threading.current_thread())
                ready.wait(30)
            return answer

        with mock.patch.object(worker, "_may_act", may_act):
            worker.execute(run, agent, threading.Event())

    seen: set[threading.Thread] = set()
    threads = [threading.Thread(target=work, args=(n, run)) for n, run in enumerate(runs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)


BUDGETS = [
    in_one_run,
    over_runs,
    over_retries,
    over_restarts,
    by_calls_that_fail_in_the_end,
    by_different_tools,
    at_once,
]


def _made(fort: Fort) -> int:
    return len([place for place in fort.granted.iterdir() if place.name != "own.txt"])


@pytest.mark.parametrize("attack", BUDGETS)
def test_no_more_is_changed_in_an_hour_than_the_file_says(fort: Fort, attack: Callable[[Fort, Agent], None]) -> None:
    attack(fort, fort.agent(more=f"limits: {{actions_per_hour: {LIMIT}, steps: 20}}"))
    assert _made(fort) <= LIMIT


@pytest.mark.parametrize("attack", BUDGETS)
def test_control_without_the_limit_all_of_it_is_done(fort: Fort, attack: Callable[[Fort, Agent], None]) -> None:
    attack(fort, fort.agent(more="limits: {actions_per_hour: 100, steps: 20}"))
    assert _made(fort) == 5


# --- what a skill says of itself -------------------------------------------------------------------------------------


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    opened = open_runtime({"EDGEAGENT_HOME": str(tmp_path / "edgeagent"), "HOME": str(tmp_path)})
    opened.home.create()
    return opened


def sidecar(name: str = "shout", needs: str = "{}", schema: str = "{type: object}", more: str = "") -> str:
    return (
        f"version: 1\ntools:\n  - name: {name}\n    description: x\n    run: [cat]\n    needs: {needs}\n"
        f"    input_schema: {schema}\n    annotations: {{read_only: true, idempotent: true}}\n{more}"
    )


@pytest.mark.parametrize("name", ["shout", "notify", "remember", "recall", "read_file", "load_skill"])
def test_a_tool_of_a_skill_asks_before_it_writes_whatever_it_is_called(name: str) -> None:
    said = ToolSpec(name, "", {}, read_only=True, idempotent=True, origin="skill x")
    policy = AgentPolicy(write_roots=(Path("/in"),), approval="on-write")
    assert decide(said, (), (Path("/in/a"),), policy).verdict == "ask"
    assert decide(replace(said, origin=""), (), (), policy).verdict == "allow"  # the control: ours, as it says


@pytest.mark.parametrize("name", [*sorted(TOOLS.names()), "load_skill", "run_skill_script", "github"])
def test_a_skill_cannot_pass_its_tool_for_a_built_in_one(tmp_path: Path, runtime: Runtime, name: str) -> None:
    """It would get the secrets that are bound to ours, and count as the evidence of `expect`."""

    def tools(called: str) -> object:
        folder = make_skill(tmp_path / called.replace("_", "-"), sidecar=sidecar(called))
        return skill_tools([runtime.skills.look(folder)], runtime.skills.find, runtime.sandbox.require, ["github"])

    assert tools("shout")
    with pytest.raises(SkillError, match=name):
        tools(name)


WRITER = (
    "version: 1\ntools:\n  - name: save\n    description: x\n    run: [touch, '{out}']\n    needs: {write: [out]}\n"
    "    input_schema: {type: object, required: [out], properties: {out: {type: string}}}\n"
)


def test_a_tool_gets_no_more_of_a_folder_than_was_asked_about(tmp_path: Path, runtime: Runtime) -> None:
    """A file that is gone since it was asked about would need its whole folder, which nobody was shown."""
    world = ToolsWorld(tmp_path / "world")
    folder = make_skill(tmp_path / "saving", sidecar=WRITER)
    with staged(str(folder), runtime.home.skills) as found:
        runtime.skills.install(found.skills[0])
    runtime.skills.trust("saving", utc_now())

    class Reached(Exception):
        """The command would be carried out."""

    def sandbox() -> Any:
        raise Reached

    save = skill_tools([runtime.skills.find("saving")], runtime.skills.find, sandbox)[0]
    new = save.plan({"out": f"{world.granted}/new.txt"}, world.context)
    assert new.writes == (world.granted / "new.txt", world.granted)
    (world.granted / "there.txt").write_text("x")
    there = save.plan({"out": f"{world.granted}/there.txt"}, world.context)
    assert there.writes == (world.granted / "there.txt",)
    for plan in (new, there):  # the control
        with pytest.raises(Reached):
            save.apply(plan, world.context)
    (world.granted / "there.txt").unlink()
    with pytest.raises(ToolError, match="does not exist, and only itself may be written"):
        save.apply(there, world.context)


DOUBLING = {"$defs": {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)} | {"d40": {}}}
SCHEMAS: dict[str, Json] = {
    "a schema from elsewhere": {"properties": {"a": {"$ref": "http://127.0.0.1:9/schema.json"}}},
    "a schema from a file": {"properties": {"a": {"$ref": "file:///etc/passwd"}}},
    "a schema by its own address": {"properties": {"a": {"$dynamicRef": "http://127.0.0.1:9/"}}},
    "parts that double": {"properties": {"a": {"$ref": "#/$defs/d0"}}, **DOUBLING},
    "patterns of names": {"patternProperties": {"^(a+)+$": {}}, "additionalProperties": False},
    "a part that is not there": {"properties": {"a": {"$ref": "#/$defs/none"}}},
}


@pytest.mark.parametrize("attack", SCHEMAS)
def test_a_schema_that_takes_for_ever_or_fetches_something_is_refused(tmp_path: Path, attack: str) -> None:
    fine = json.dumps(
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"type": "string"}}}
    )
    assert read_skill(make_skill(tmp_path / "fine", sidecar=sidecar(schema=fine))).tools
    hostile = json.dumps({"type": "object", **SCHEMAS[attack]})
    with pytest.raises(SkillError, match=r"tools\.yaml:\d+: "):
        read_skill(make_skill(tmp_path / "hostile", sidecar=sidecar(schema=hostile)))


def test_a_pattern_that_takes_for_ever_takes_none_of_our_time() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}}
    began = time.monotonic()
    assert schema_fault({"a": "a" * 60 + "!"}, schema) == ""
    assert time.monotonic() - began < 5
    assert "is not of type" in schema_fault({"a": 1}, schema)


# --- three things at once --------------------------------------------------------------------------------------------

HOOK = "{trigger: webhook, path: in}"
RISKS: dict[str, Json] = {
    "tools of ours": {"tools": ["read_file", "http_request"]},
    "a database": {"tools": ["query_database", "http_request"]},
    "a skill that reads": {"tools": ["http_request"], "skills": ["x"]},
    "a skill that does all": {"skills": ["x"]},
    "a server that does all": {"mcp": ["x"]},
    "one tool of a server": {"tools": ["x/read"]},
    "what may be written": {"tools": ["read_file", "http_request"], "write": True},
    "a host in capitals": {"tools": ["read_file", "http_request"], "host": "EVIL.example:443"},
    "an address": {"tools": ["read_file", "http_request"], "host": "[::1]:443"},
    "a message": {"tools": ["read_file", "http_request"], "trigger": "{trigger: mqtt, broker: 'h', topic: t}"},
    "a row": {"tools": ["read_file", "http_request"], "trigger": "{trigger: sqlite, database: /d, table: t}"},
    "a file": {"tools": ["read_file", "http_request"], "trigger": "{trigger: file, path: /in}"},
    "another agent": {"tools": ["read_file", "http_request"], "trigger": "{trigger: agent, agent: b}"},
    "nothing but answers": {"tools": ["read_file", "http_request"], "trigger": "{trigger: every, interval: 1h}"},
    "asking for some": {"tools": ["read_file", "http_request"], "more": "approve: [http_request]\napproval: on-write"},
    "a risk that is not accepted": {"tools": ["read_file", "http_request"], "more": "accept_risk: false"},
}


def _risky(settings: Json, *, network: bool = True, more: str = "") -> Agent:
    kind = "write" if settings.get("write") else "read"
    hosts = json.dumps([settings.get("host", "evil.example:443")] if network else [])
    lists = "".join(f"{key}: {json.dumps(settings[key])}\n" for key in ("tools", "skills", "mcp") if key in settings)
    text = (
        f"---\n{lists}triggers: [{settings.get('trigger', HOOK)}]\n"
        f"grants: {{{kind}: [/data], network: {hosts}}}\n{more or settings.get('more', '')}\n---\nGo.\n"
    )
    return parse_agent(Path("a.md"), text.encode(), known_tools=TOOLS.names())


@pytest.mark.parametrize("attack", RISKS)
def test_the_three_at_once_are_found_however_they_are_put(attack: str) -> None:
    assert _risky(RISKS[attack], network=False)
    assert _risky(RISKS[attack], more="approval: always")
    with pytest.raises(AgentFileError, match="at once"):
        _risky(RISKS[attack])
