"""`edgeagent models`: what is here, what can be brought, bringing it, and taking it away."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_world import Terminal, World
from hub_world import Hub, serving

from edgeagent.bundled import bundled
from edgeagent.model import fetch

POCKET = (bundled("models") / "pocket" / "pocket.gguf").read_bytes()
SOURCE = "hf:org/repo/model.gguf"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def hub(world: World) -> Iterator[Hub]:
    with serving(Hub(POCKET)) as hub:
        world.variables["HF_ENDPOINT"] = hub.url
        yield hub


def models(world: World) -> set[str]:
    """Every file of the models folder."""
    folder = world.home / "models"
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def test_the_list_shows_what_is_here_first_and_then_what_can_be_pulled(world: World) -> None:
    (world.home / "models").mkdir()
    (world.home / "models" / "mine.gguf").write_bytes(POCKET)
    listed = world.json("models", "list", "--json")
    here = [model["name"] for model in listed if model["present"]]
    assert here == ["mine", "pocket"] == [model["name"] for model in listed[:2]]
    assert len(listed) >= 12, "ten that can be pulled"
    assert all(model["origin"] == "catalog" and model["source"].startswith("hf:") for model in listed[2:])
    assert "pocket (default)" in world.call("models", "list").stdout


def test_every_entry_of_the_catalog_says_what_a_person_asks_before_pulling(world: World) -> None:
    for model in world.json("models", "list", "--json"):
        if model["origin"] == "catalog":
            about = model["catalog"]
            assert model["licence"] and model["description"] and about["parameters"] and about["told_by"]
            assert about["size"] > 10**8
            shown = world.call("models", "show", model["name"])
            assert shown.exit_code == 0 and model["source"] in shown.stdout
            assert f"edgeagent models pull {model['name']}" in shown.stderr


def test_a_model_is_shown_without_being_loaded(world: World) -> None:
    facts = world.json("models", "show", "pocket", "--json")["facts"]
    assert facts["architecture"] == "qwen3" and facts["quantization"] == "F16"
    assert facts["parameters"] > 1_000_000 and facts["template"] and facts["memory"] > facts["bytes"]
    shown = world.call("models", "show", "pocket").stdout
    for label in ("architecture", "parameters", "quantization", "context", "template", "licence", "memory"):
        assert re.search(rf"^{label}\b", shown, re.MULTILINE)


def test_a_file_that_is_no_model_is_shown_as_that(world: World) -> None:
    (world.home / "models").mkdir()
    (world.home / "models" / "mine.gguf").write_bytes(b"GGUF")
    result = world.call("models", "show", "mine")
    assert result.exit_code == 2
    assert "mine.gguf is cut short or damaged: it ends within its header" in result.stderr
    assert world.call("models", "show", "nothing").exit_code == 5


# Pull.


def test_a_pull_brings_the_file_checks_it_and_makes_it_a_model_by_name(world: World, hub: Hub) -> None:
    result = world.run("models", "pull", SOURCE, "--json")
    assert result.returncode == 0, result.stderr
    pulled = json.loads(result.stdout)
    assert (pulled["name"], pulled["origin"], pulled["source"]) == ("model", "pulled", SOURCE)
    assert Path(pulled["path"]).read_bytes() == POCKET
    assert models(world) == {"model.gguf", "model.json"}
    assert world.json("models", "show", SOURCE, "--json")["facts"]["architecture"] == "qwen3"
    assert world.json("models", "list", "--json")[0]["licence"] == "Apache-2.0", "as the file says"


def test_a_second_pull_downloads_nothing(world: World, hub: Hub) -> None:
    assert world.call("models", "pull", SOURCE).exit_code == 0
    again = world.call("models", "pull", SOURCE)
    assert again.exit_code == 0 and "up to date" in again.stdout
    assert len(hub.ranges) == 1


def test_a_pull_that_is_killed_half_way_leaves_no_model_and_goes_on_from_there(world: World, hub: Hub) -> None:
    hub.pause = 0.02
    process = world.started("models", "pull", SOURCE)
    part = world.home / "models"
    until = time.monotonic() + 60
    while not any(path.stat().st_size > 500_000 for path in part.glob(".*.part")):
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not list(part.glob("*.gguf"))
    assert world.call("models", "show", SOURCE).exit_code == 0, "the catalog knows nothing, and nothing is half there"
    hub.pause = 0
    result = world.run("models", "pull", SOURCE)
    assert result.returncode == 0, result.stderr
    assert (part / "model.gguf").read_bytes() == POCKET
    assert hub.ranges[0] == "" and int(hub.ranges[1].removeprefix("bytes=").rstrip("-")) >= 500_000
    assert models(world) == {"model.gguf", "model.json"}


def test_a_broken_connection_is_taken_up_again(world: World, hub: Hub) -> None:
    hub.break_after, hub.breaks = 1_000_000, 3
    assert world.call("models", "pull", SOURCE).exit_code == 0
    assert len(hub.ranges) == 4
    assert (world.home / "models" / "model.gguf").read_bytes() == POCKET


def test_a_connection_that_never_brings_anything_ends_the_pull(
    world: World, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "ATTEMPTS", 2)
    hub.break_after, hub.breaks = 0, 99
    result = world.call("models", "pull", SOURCE)
    assert result.exit_code == 1 and "the connection broke 2 times" in result.stderr
    assert f"edgeagent models pull {SOURCE} goes on from there" in result.stderr


def test_a_hub_that_cannot_resume_sends_everything_again(world: World, hub: Hub) -> None:
    hub.break_after, hub.breaks, hub.no_ranges = 1_000_000, 1, True
    assert world.call("models", "pull", SOURCE).exit_code == 0
    assert (world.home / "models" / "model.gguf").read_bytes() == POCKET


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sha256": "a" * 64}, "arrived damaged"),
        ({"size": len(POCKET) - 5}, "sent more than"),
        ({"content": POCKET[:50_000]}, "is cut short"),
    ],
)
def test_what_is_not_what_the_hub_said_or_no_model_never_gets_its_name(
    world: World, hub: Hub, changes: dict[str, object], said: str
) -> None:
    for name, value in changes.items():
        setattr(hub, name, value)
    result = world.call("models", "pull", SOURCE)
    assert result.exit_code in (1, 2) and said in result.stderr
    assert not {name for name in models(world) if name.endswith(".gguf")}


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        ((403, "GatedRepo"), 1, "is gated"),
        ((401, "RepoNotFound"), 5, "no repository org/repo, or it is private"),
        ((404, "RepoNotFound"), 5, "no repository org/repo"),
        ((404, "EntryNotFound"), 5, "has no file model.gguf"),
        ((410, ""), 1, "answered 410"),
    ],
)
def test_a_hub_that_refuses_is_explained(world: World, hub: Hub, error: tuple[int, str], code: int, said: str) -> None:
    hub.error = error
    result = world.call("models", "pull", SOURCE)
    assert (result.exit_code, said in result.stderr) == (code, True), result.stderr
    assert "try:" in result.stderr and "Traceback" not in result.stderr


def test_a_token_opens_a_private_repository(world: World, hub: Hub) -> None:
    hub.token = "hf_secret"
    assert world.call("models", "pull", SOURCE).exit_code == 5
    world.variables["HF_TOKEN"] = "hf_secret"
    assert world.call("models", "pull", SOURCE).exit_code == 0


def test_without_a_network_the_hub_is_named(world: World) -> None:
    world.variables["HF_ENDPOINT"] = "http://127.0.0.1:9"
    result = world.run("models", "pull", SOURCE)
    assert result.returncode == 1 and "http://127.0.0.1:9 cannot be reached" in result.stderr


def test_a_disk_without_room_is_noticed_before_anything_is_downloaded(world: World, hub: Hub) -> None:
    hub.size = 10**15
    result = world.call("models", "pull", SOURCE)
    assert result.exit_code == 1 and "needs 1,000,000,000 MB more" in result.stderr
    assert not hub.ranges


@pytest.mark.parametrize("name", ["hf:org/model.gguf", "hf:org/repo/file.bin", "hf:org/repo/../x.gguf", "hf:"])
def test_a_source_that_is_none_is_a_usage_error(world: World, name: str) -> None:
    assert world.call("models", "pull", name).exit_code == 2


def test_one_part_of_several_is_not_pulled(world: World) -> None:
    result = world.call("models", "pull", "hf:org/repo/m-00001-of-00002.gguf")
    assert result.exit_code == 2 and "several files" in result.stderr


def test_another_model_of_that_name_is_not_overwritten(world: World, hub: Hub) -> None:
    (world.home / "models").mkdir()
    (world.home / "models" / "model.gguf").write_bytes(b"mine")
    result = world.call("models", "pull", SOURCE)
    assert result.exit_code == 2 and "another model named model" in result.stderr
    assert world.call("models", "pull", SOURCE, "--name", "theirs").exit_code == 0
    assert (world.home / "models" / "model.gguf").read_bytes() == b"mine"


def test_two_pulls_of_one_model_do_not_write_into_each_other(world: World, hub: Hub) -> None:
    hub.pause = 0.02
    first = world.started("models", "pull", SOURCE)
    until = time.monotonic() + 60
    while not list((world.home / "models").glob(".*.part")) and time.monotonic() < until:
        time.sleep(0.02)
    second = world.run("models", "pull", SOURCE)
    assert second.returncode == 1 and "being pulled by another process" in second.stderr
    assert first.wait(60) == 0
    first.communicate()


def test_a_terminal_sees_a_bar(world: World, hub: Hub) -> None:
    hub.pause = 0.005
    code, shown = Terminal(world, "models", "pull", SOURCE).end()
    assert code == 0
    assert "█" in shown and "100 %" in shown and "\x1b[K" in shown


# Add and remove.


def test_a_file_of_yours_is_copied_into_the_folder(world: World) -> None:
    mine = world.root / "Mine.gguf"
    mine.write_bytes(POCKET)
    added = world.json("models", "add", str(mine), "--json")
    assert (added["name"], added["origin"], added["licence"]) == ("Mine", "added", "Apache-2.0")
    mine.unlink()
    assert world.json("models", "show", "Mine", "--json")["facts"]["architecture"] == "qwen3"
    assert models(world) == {"Mine.gguf", "Mine.json"}


def test_a_link_leaves_the_file_where_it_is(world: World) -> None:
    mine = world.root / "mine.gguf"
    mine.write_bytes(POCKET)
    assert world.call("models", "add", str(mine), "--link", "--name", "linked").exit_code == 0
    assert (world.home / "models" / "linked.gguf").readlink() == mine
    assert world.call("models", "remove", "linked").exit_code == 0
    assert mine.exists()


@pytest.mark.parametrize("content", [b"", b"GGUF", POCKET[:100_000], b"\x7fELF" + bytes(99)])
def test_what_is_no_model_is_not_added(world: World, content: bytes) -> None:
    mine = world.root / "mine.gguf"
    mine.write_bytes(content)
    result = world.call("models", "add", str(mine))
    assert result.exit_code == 2 and len(result.stderr.splitlines()) == 2
    assert not models(world)


def test_a_name_that_is_taken_or_is_none_is_refused(world: World) -> None:
    mine = world.root / "pocket.gguf"
    mine.write_bytes(POCKET)
    assert "there is a model named pocket" in world.call("models", "add", str(mine)).stderr
    assert world.call("models", "add", str(mine), "--name", "../x").exit_code == 2
    assert world.call("models", "add", str(world.root / "none.gguf")).exit_code == 5
    assert not models(world)


def test_what_is_bundled_in_use_or_absent_is_not_removed(world: World) -> None:
    mine = world.root / "mine.gguf"
    mine.write_bytes(POCKET)
    world.call("models", "add", str(mine))
    world.agent("clerk", "---\nmodel: mine\n---\nFile.\n")
    assert "bundled" in world.call("models", "remove", "pocket").stderr
    result = world.call("models", "remove", "mine")
    assert result.exit_code == 1 and "mine is used by clerk" in result.stderr
    assert world.call("models", "remove", "nothing").exit_code == 5
    assert world.call("models", "remove", str(mine)).exit_code == 2
    assert world.call("models", "remove", "mine", "--force").exit_code == 0
    assert not models(world) and mine.exists()


def test_a_model_that_is_not_here_is_named_with_the_command_that_brings_it(world: World) -> None:
    absent = next(model["name"] for model in world.json("models", "list", "--json") if not model["present"])
    world.agent("clerk", f"---\nmodel: {absent}\n---\nFile.\n")
    result = world.call("run", "clerk")
    assert result.exit_code == 5 and f"edgeagent models pull {absent}" in result.stderr


# Bench.


def test_the_bench_measures_the_bundled_model_and_its_stored_prefix(world: World) -> None:
    result = world.run("models", "bench", "pocket", "--tokens", "300", "--within", "2", "--json")
    measured = json.loads(result.stdout)
    assert measured["prefill_rate"] > 0 and measured["decode_rate"] > 0 and measured["load_seconds"] > 0
    assert measured["memory"] > 10_000_000
    assert measured["stored_tokens"] > 200, "after the restart the prompt came from the disk"
    assert 0 < measured["agent_prompt_tokens"] <= measured["context"]
    assert "loading" in result.stderr
