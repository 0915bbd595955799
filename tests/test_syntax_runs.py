"""`edgeagent run` on tiny models with random weights, for each public template: every call on record is valid."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import jsonschema
import pytest
from cli_world import World
from templates_world import NAMES, needs_public, public, special_of
from tiny_models import ARCHITECTURES, TEMPLATE, make_model

from edgeagent.model.client import HostModel, HostOptions
from edgeagent.model.protocol import ChatRequest
from edgeagent.schema import Json, Message, ToolCall
from edgeagent.tools.specs import BUILTIN_SPECS

AGENT = """---
model: {{file: '{path}', temperature: 1, seed: {seed}, context: 8192}}
tools: [list_directory, get_file_info]
grants: {{read: [~/Inbox]}}
limits: {{steps: 3, output_tokens: 600, prompt_tokens: 7000, seconds: 600}}
output: {{type: object, properties: {{kind: {{enum: [a, b]}}}}, required: [kind], additionalProperties: false}}
---
File documents.
"""


def steps_of(world: World, path: Path, seed: int) -> list[Json]:
    world.agent("random", AGENT.format(path=path, seed=seed))
    done = world.run("run", "random", "--file", str(world.inbox / "bill.txt"), "--json")
    run = json.loads(done.stdout)
    # Random paths are no faults of a call: most are not there, and one may lie outside of the grants.
    ends = (None, "limit_steps", "limit_tokens", "tool_error", "denied")
    assert run["reason"] in ends, (run["reason"], run["error"])
    steps: list[Json] = run["steps"]
    broken = [step["error"] for step in steps if step["kind"] == "chat" and step["status"] != "ok"]
    assert steps and not broken, broken
    return steps


def assert_valid(steps: list[Json]) -> None:
    for step in steps:
        if step["kind"] == "tool":
            jsonschema.validate(step["arguments"], BUILTIN_SPECS[step["name"]].parameters)


@needs_public
@pytest.mark.parametrize("name", NAMES)
def test_a_run_works_with_the_template(name: str, tmp_path: Path) -> None:
    world = World(tmp_path)
    world.file()
    source = public(name)
    path = make_model(tmp_path / "tiny.gguf", template=source, special=special_of(source))
    assert_valid(steps_of(world, path, seed=3))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_run_works_with_the_architecture(architecture: str, tmp_path: Path) -> None:
    world = World(tmp_path)
    world.file()
    assert_valid(steps_of(world, make_model(tmp_path / "tiny.gguf", architecture, template=TEMPLATE), seed=3))


def test_a_result_that_is_too_long_is_cut_to_the_budget_by_tokens(tmp_path: Path) -> None:
    """Where the whole would not fit, the model still sees its beginning; and the next turn begins with the same."""
    model = HostModel("tiny", make_model(tmp_path / "tiny.gguf"), HostOptions(threads=1, context=2048))
    call = Message("assistant", "", "", (ToolCall("read_file", {"path": "/a"}),))
    talk = [Message("system", "You file."), Message("user", "event: file")]
    sizes = []
    try:
        for length in (100_000, 50_000, 10):
            talk += [call, Message("tool", "word " * length, name="read_file")]
            asked = ChatRequest(tuple(talk), max_tokens=8, max_prompt_tokens=600)
            result = model.chat(asked, threading.Event(), lambda text: None)
            sizes.append((result.input_tokens, result.cached_tokens))
    finally:
        model.close()
    assert all(300 < tokens <= 600 for tokens, _ in sizes)
    assert all(cached > 250 for _, cached in sizes[1:])
