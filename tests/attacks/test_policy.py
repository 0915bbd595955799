"""Attacks on policy: what was not granted or not left in the hour is not done.

Each attack is a model that obeys whoever injected an order. It is made twice: as a control by an agent that may do it,
where it must work, and by one that may not.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

from attacks.fort import SECRET, TOOLS, Fort, call, link, write
from edgeagent.agents import Agent, parse_agent
from edgeagent.errors import AgentFileError
from edgeagent.home import home_from_environment
from edgeagent.schema import Event, Json, Run, ToolCall

# --- paths -----------------------------------------------------------------------------------------------------------

Reading = Callable[[Fort], str | Path]


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


# --- the hour's actions ----------------------------------------------------------------------------------------------

LIMIT = 2


def in_one_run(fort: Fort, agent: Agent) -> None:
    fort.run(agent, *(write(fort, f"{n}.txt") for n in range(5)))


def over_runs(fort: Fort, agent: Agent) -> None:
    for n in range(5):
        fort.run(agent, write(fort, f"{n}.txt"))


def over_retries(fort: Fort, agent: Agent) -> None:
    run = fort.run(agent, write(fort, "0.txt"), call("read_file", path=fort.private))
    for n in range(1, 5):
        fort.store.retry(run.id)
        run = fort.go_on(agent, run, write(fort, f"{n}.txt"), call("read_file", path=fort.private), "Done.")


def over_restarts(fort: Fort, agent: Agent) -> None:
    fort.run(agent, *(write(fort, f"{n}.txt") for n in range(2)))
    for n in range(2, 5):
        fort.store.recover(fort.clock(), lambda owner: False)
        fort.run(agent, write(fort, f"{n}.txt"))


def by_calls_that_fail_in_the_end(fort: Fort, agent: Agent) -> None:
    """A call that was begun counts, though it says afterwards that it failed."""
    fort.run(
        agent, *(call("move_file", source=fort.granted / f"n{n}", destination=fort.granted / f"m{n}") for n in range(9))
    )
    fort.run(agent, *(write(fort, f"{n}.txt") for n in range(5)))


def by_different_tools(fort: Fort, agent: Agent) -> None:
    calls = [write(fort, "0.txt"), call("append_file", path=fort.granted / "1.txt", content="x")]
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
        worker = fort.worker(write(fort, f"{n}.txt"), "Done.")
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
