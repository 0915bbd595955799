"""Commands, and a whole run, with a model behind an endpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_world import World
from endpoint_world import PEERS, completion, free_port, http, peer, puppet

LISTING = http('{"data": [{"id": "big"}, {"id": "small"}]}')


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def agent(world: World, url: str, more: str = "", name: str = "big") -> Path:
    """The agent `far`, which moves files and asks the model behind an address."""
    return world.agent(
        "far",
        f"---\nmodel: {{endpoint: '{url}', name: {name}{more}}}\ntools: [move_file]\n"
        f"grants: {{write: [~/Inbox, ~/Documents]}}\napproval: never\nlimits: {{attempts: 1}}\n"
        "expect: [{tool: move_file}]\n---\nFile it.\n",
    )


def move(world: World) -> bytes:
    arguments = {"source": str(world.inbox / "bill.txt"), "destination": str(world.user / "Documents" / "bill.txt")}
    usage = {"prompt_tokens": 90, "completion_tokens": 11, "prompt_tokens_details": {"cached_tokens": 40}}
    return completion(None, ("move_file", json.dumps(arguments)), usage=usage)


def test_a_run_with_a_model_behind_an_endpoint_tells_its_tokens(world: World) -> None:
    world.file()
    with puppet(move(world), completion("filed")) as server:
        agent(world, server.url, ", api_key: FAR_KEY")
        world.variables["EDGEAGENT_SECRET_FAR_KEY"] = "sk-very-secret"
        done = world.call("run", "far", "--file", str(world.inbox / "bill.txt"), "--json")
    run = json.loads(done.stdout)
    assert (run["status"], run["model"], run["output"]) == ("ok", "big", "filed")
    assert (world.user / "Documents" / "bill.txt").exists()
    first = run["steps"][0]
    assert (first["input_tokens"], first["cached_tokens"], first["output_tokens"]) == (90, 40, 11)
    assert run["usage"]["input_tokens"] == 90
    assert server.heads[0][1]["authorization"] == "Bearer sk-very-secret"
    assert "sk-very-secret" not in done.stdout + done.stderr
    shown = world.call("runs", "show", run["id"]).stdout
    assert "big" in shown and "90 tokens in (40 from memory, 50 read), 11 out" in shown


def test_a_key_that_the_server_repeats_is_on_no_record(world: World) -> None:
    refusal = http('{"error": {"message": "Incorrect API key provided: sk-very-secret"}}', status="401 Unauthorized")
    with puppet(refusal) as server:
        agent(world, server.url, ", api_key: FAR_KEY")
        world.variables["EDGEAGENT_SECRET_FAR_KEY"] = "sk-very-secret"
        done = world.call("run", "far", "--json")
    run = json.loads(done.stdout)
    assert done.exit_code == 1 and (run["status"], run["reason"]) == ("failed", "model_error")
    assert "refuses the key (401)" in run["error"] and "[secret FAR_KEY]" in run["error"]
    assert "sk-very-secret" not in done.stdout
    assert b"sk-very-secret" not in (world.home / "edgeagent.db").read_bytes()


def test_a_server_that_is_not_there_fails_the_run_in_words(world: World) -> None:
    agent(world, f"http://127.0.0.1:{free_port()}/v1")
    done = world.call("run", "far")
    assert done.exit_code == 1 and "cannot be reached: Connection refused" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_key_that_is_not_set_is_told_with_what_to_do(world: World) -> None:
    world.variables["EDGEAGENT_SECRETS_BACKEND"] = "none"
    with puppet(completion()) as server:
        agent(world, server.url, ", api_key: FAR_KEY")
        done = world.call("run", "far", "--json")
    assert json.loads(done.stdout)["error"] == "the secret FAR_KEY is not set" and not server.asked


def test_an_answer_that_does_not_match_its_output_is_an_invalid_output(world: World) -> None:
    with puppet(completion("no JSON")) as server:
        schema = "output: {type: object, properties: {a: {type: integer}}, required: [a]}"
        world.agent("far", f"---\nmodel: {{endpoint: '{server.url}', name: big}}\n{schema}\n---\nSay it.\n")
        run = json.loads(world.call("run", "far", "--json").stdout)
    assert (run["status"], run["reason"]) == ("failed", "invalid_output") and len(server.asked) == 2


def listed(world: World) -> Any:
    return next(entry for entry in world.json("models", "list", "--json") if entry["origin"] == "endpoint")


def test_models_list_and_show_name_what_is_behind_an_endpoint(world: World) -> None:
    with puppet(LISTING) as server:
        agent(world, server.url)
        assert (listed(world)["name"], listed(world)["source"], listed(world)["path"]) == ("big", server.url, "")
        assert "endpoint" in world.call("models", "list").stdout and not server.heads, "nobody is asked for a list"
        for name in ("big", server.url):
            shown = world.json("models", "show", name, "--json")
            assert shown["facts"] == {"endpoint": server.url, "models": ["big", "small"], "agents": ["far"]}
    assert "cannot be reached" in world.call("models", "show", server.url).stderr


def test_an_address_alone_is_a_model_too(world: World) -> None:
    with puppet(http('{"data": [{"id": "only"}]}'), completion("hello")) as server:
        world.agent("plain", f"---\nmodel: {server.url}\n---\nSay it.\n")
        run = json.loads(world.call("run", "plain", "--json").stdout)
    assert (run["status"], run["output"]) == ("ok", "hello")
    world.variables["EDGEAGENT_MODEL_DEFAULT"] = server.url
    assert world.json("models", "list", "--json")[-1]["origin"] == "endpoint"


def test_doctor_asks_the_servers_and_looks_for_their_keys(world: World) -> None:
    with puppet(LISTING) as server:
        agent(world, server.url, ", api_key: FAR_KEY")
        told = doctor(world)
        assert told["endpoints"]["state"] == "fail" and "the secret FAR_KEY is not set" in told["endpoints"]["text"]
        assert "FAR_KEY" in told["secrets"]["text"]
        world.variables["EDGEAGENT_SECRET_FAR_KEY"] = "sk-very-secret"
        assert doctor(world)["endpoints"]["text"] == f"big behind {server.url}, which has big, small"
    assert "cannot be reached" in doctor(world)["endpoints"]["text"]


def doctor(world: World) -> Any:
    world.variables["EDGEAGENT_SECRETS_BACKEND"] = "none"
    return {found["part"]: found for found in world.json("doctor", "--json")["checks"]}


def test_validate_looks_at_what_can_be_seen_from_here(world: World) -> None:
    path = agent(world, f"http://127.0.0.1:{free_port()}/v1")
    assert world.call("agents", "validate", "far").exit_code == 0, "a server that is down is no fault of the file"
    agent(world, "http://me:pw@127.0.0.1/v1")
    done = world.call("agents", "validate", "far")
    assert done.exit_code == 2 and done.stdout.startswith(f"{path}:2: a key does not belong into the address")


def test_explain_names_who_is_told_what_the_agent_reads(world: World) -> None:
    agent(world, "http://127.0.0.1:9/v1")
    assert world.json("agents", "explain", "far", "--json")["model"] == {
        "name": "big",
        "endpoint": "http://127.0.0.1:9/v1",
    }
    assert "http://127.0.0.1:9/v1: all that it reads and does" in world.call("agents", "explain", "far").stdout
    assert world.json("agents", "explain", "inbox", "--json")["model"] == {"name": "pocket", "endpoint": ""}
    assert "told to" not in world.call("agents", "explain", "inbox").stdout


def test_bench_tells_how_fast_it_answers_from_here(world: World) -> None:
    usage = {"prompt_tokens": 300, "completion_tokens": 48}
    with puppet(completion("word " * 48, usage=usage)) as server:
        agent(world, server.url)
        told = world.json("models", "bench", "big", "--tokens", "300", "--json")
        assert told["endpoint"] == server.url and told["prompt_tokens"] == 300 and told["first_token_warm"] > 0
        assert "first token" in world.call("models", "bench", server.url, "--tokens", "100").stdout


@pytest.fixture(scope="module", params=PEERS)
def real(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    with peer(request.param, key="sk-very-secret") as address:
        yield request.param, address


def test_real_servers_want_their_key_and_name_their_models(world: World, real: tuple[str, str]) -> None:
    agent(world, real[1], ", api_key: FAR_KEY")
    world.variables["EDGEAGENT_SECRET_FAR_KEY"] = "sk-another"
    run = json.loads(world.call("run", "far", "--json").stdout)
    assert "refuses the key (401)" in run["error"]
    world.variables["EDGEAGENT_SECRET_FAR_KEY"] = "sk-very-secret"
    assert world.json("models", "show", "big", "--json")["facts"]["models"]


def test_pocket_behind_a_real_server_says_what_it_says_here(world: World, real: tuple[str, str]) -> None:
    """llama-server reads calls off what a model writes; the server of llama-cpp-python leaves them in the text."""
    kind, address = real
    far = f"{{endpoint: '{address}', name: pocket, api_key: FAR_KEY}}"
    world.variables["EDGEAGENT_SECRET_FAR_KEY"] = "sk-very-secret"
    file = world.file("a.txt", "Dear Ann,\nthank you.\nBo\n")
    runs = []
    for model in (far, "pocket"):
        world.agent(
            "far",
            f"---\nmodel: {model}\ntools: [move_file]\napproval: never\n"
            "grants: {write: [~/Inbox, ~/Letters]}\ntriggers: [{trigger: file, path: ~/Inbox, preview: 400}]\n"
            "---\nLetters go to ~/Letters.\nBills go to ~/Bills.\n",
        )
        runs.append(json.loads(world.call("run", "far", "--file", str(file), "--dry-run", "--json").stdout))
    there, here = runs
    assert there["status"] == here["status"] == "ok", there["error"]
    assert there["steps"][0]["output_tokens"] > 5
    if kind == "llama-server":
        assert there["output"] == here["output"] and there["usage"]["input_tokens"] == here["usage"]["input_tokens"]
        assert there["steps"][0]["reasoning"] == here["steps"][0]["reasoning"]
