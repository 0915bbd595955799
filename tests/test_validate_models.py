"""`agents validate` with the real vocabulary of models: tokens of the fixed prompt, schemas, hostile model files."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_world import World
from tiny_models import POCKET, make_model

from edgeagent.errors import ModelError
from edgeagent.model.client import HostModel, HostOptions
from edgeagent.model.inspecting import inspect
from edgeagent.model.protocol import ChatRequest
from edgeagent.schema import Message
from edgeagent.tools.specs import BUILTIN_SPECS

ALL = tuple(BUILTIN_SPECS.values())


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def told(world: World, name: str) -> dict[str, object]:
    found: dict[str, object] = world.json("agents", "validate", name, "--json")["files"][0]
    return found


def test_the_tokens_of_the_fixed_prompt_are_those_of_the_model(world: World) -> None:
    world.agent("short", "---\ntools: [move_file]\n---\nFile it.\n")
    world.agent("long", f"---\ntools: [move_file, read_file]\n---\n{'File it. ' * 50}\n")
    short, long = (told(world, name)["prompt_tokens"] for name in ("short", "long"))
    assert isinstance(short, int) and isinstance(long, int) and 10 < short < long - 100
    shown = world.call("agents", "validate", "short").stdout
    assert f"ok ({short} of 2000 prompt tokens are the same for every event)" in shown


def test_an_agent_whose_fixed_prompt_cannot_fit_is_refused_at_the_line_of_the_limit(world: World) -> None:
    path = world.agent("long", f"---\ntools: [move_file]\nlimits: {{prompt_tokens: 100}}\n---\n{'File it. ' * 200}\n")
    done = world.call("agents", "validate", "long")
    assert done.exit_code == 2
    assert done.stdout.startswith(f"{path}:3: limits.prompt_tokens: the instructions and the tools take ")


def test_an_agent_whose_fixed_prompt_is_over_the_context_is_refused(world: World) -> None:
    text = f"---\nmodel: {{file: '{POCKET / 'pocket.gguf'}', context: 256}}\nlimits: {{prompt_tokens: 9000}}\n---\n"
    path = world.agent("long", f"{text}{'File it. ' * 400}\n")
    done = world.call("agents", "validate", "long")
    assert done.exit_code == 2
    assert done.stdout.startswith(f"{path}:2: the instructions and the tools take ")
    assert "context holds 256" in done.stdout


@pytest.mark.parametrize("schema", ["{type: object, not: {}}", "{type: object, properties: {a: {pattern: '(?=x)y'}}}"])
def test_an_answer_that_no_model_can_be_held_to_is_a_fault_of_the_file(world: World, schema: str) -> None:
    path = world.agent("odd", f"---\ntools: []\noutput: {schema}\n---\nSay it.\n")
    done = world.call("agents", "validate", "odd")
    assert done.exit_code == 2
    assert done.stdout.startswith(f"{path}:3: output: ") and "cannot be held to it" in done.stdout


def test_without_its_model_an_agent_is_checked_all_the_same(world: World) -> None:
    world.agent("far", "---\nmodel: ~/nowhere.gguf\n---\nSay it.\n")
    assert told(world, "far")["prompt_tokens"] is None


HOSTILE = {
    "loops": "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
    "gigabytes": "{{ 'x' | center(30000000000) }}",
    "unknown function": "{{ no_such_function() }}",
    "no template": "{% for %}",
    "says nothing": "hello",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_template_is_one_named_error_wherever_it_is_met(kind: str, tmp_path: Path) -> None:
    path = make_model(tmp_path / "hostile.gguf", template=HOSTILE[kind])
    with pytest.raises(ModelError, match="chat template"):
        HostModel("hostile", path, HostOptions(threads=1)).facts()
    with pytest.raises(ModelError, match="chat template"):
        inspect(path, 4096, [ChatRequest((Message("user", "x"),), ALL)])


def test_a_damaged_model_is_a_fault_of_the_agents_that_name_it(world: World) -> None:
    broken = world.root / "broken.gguf"
    broken.write_bytes((POCKET / "pocket.gguf").read_bytes()[:100_000])
    path = world.agent("odd", f"---\nmodel: {broken}\n---\nSay it.\n")
    done = world.call("agents", "validate", "odd")
    assert done.exit_code == 2 and done.stdout.startswith(f"{path}:2: ")
