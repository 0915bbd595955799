"""What servers do wrong, and what comes of it: a line that the model sees, and nothing else."""

from __future__ import annotations

import http.server
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from mcp_world import McpWorld, gone, reload, serve

from edgeagent.mcp.servers import Reach
from edgeagent.schema import ToolCall


@pytest.fixture
def world(tmp_path: Path) -> Iterator[McpWorld]:
    made = McpWorld(tmp_path)
    made.agent()
    with made.opened():
        yield made


SHORT = 'timeout = "2s"\nstart_timeout = "5s"'


@pytest.mark.parametrize(
    ("manner", "told"),
    [
        ("hangs", "took longer than 2 s"),
        ("progress", "took longer than 2 s; it was at 2 of 9 half\\u001b way"),
        ("dies", "ended with exit code 3: Traceback: it broke"),
        ("floods", "printed more than 32 MB"),
        ("floods_errors", "printed more than 8 MB on standard error"),
        ("endless_line", "printed a message of more than 8 MB"),
        ("only_rubbish", "prints what is no MCP message: no message at all"),
        ("eats", "emory"),
        ("is_error", "no such thing"),
        ("refuses", "I will not\\u0007, \\u202eever"),
        ("nonsense", "no answer that can be read"),
    ],
)
def test_a_call_that_goes_wrong_is_one_line_and_the_run_goes_on(world: McpWorld, manner: str, told: str) -> None:
    serve(world, manner, more=SHORT.replace("2s", "2s" if "2 s" in told else "60s") + '\nmemory = "300MB"')
    began = time.monotonic()
    run = world.run(ToolCall("plain/echo", {"text": "hi"}))
    step = run.steps[1]
    assert step.status == "error" and told in step.result, step.result
    assert run.steps[-1].result == "Done."
    assert time.monotonic() - began < 60


@pytest.mark.parametrize(
    ("manner", "told"),
    [
        ("mute", "did not start within 5 s"),
        ("dies_at_start", "ended with exit code 7: cannot find \\u001b[31mthe thing"),
        ("old", "Unsupported protocol version from the server: 1999-01-01"),
        ("list_for_arguments", "what it says is no MCP: tools.0.inputSchema.type: Input should be 'object'"),
        ("too_many", "5001 tools"),
        ("endless_list", "more than 200 pages"),
    ],
)
def test_a_server_that_does_not_start_fails_the_run_with_the_reason(world: McpWorld, manner: str, told: str) -> None:
    serve(world, manner, more=SHORT)
    run = world.run("Done.")
    assert run.status == "failed" and told in str(run.error), run.error
    assert gone(world)


def test_a_word_on_standard_output_is_passed_over(world: McpWorld) -> None:
    serve(world, "rubbish")
    assert world.step().result == "hi"


def test_a_server_that_died_is_started_again_and_one_that_dies_each_time_waits(world: McpWorld) -> None:
    serve(world, "dies")
    calls = [ToolCall("plain/echo", {"text": str(number)}) for number in range(7)]
    world.agent("mcp: [plain]\nlimits: {steps: 20}")
    run = world.run(*calls)
    results = [step.result for step in run.steps if step.kind == "tool"]
    assert all("exit code 3" in result for result in results), results
    assert "times and is started again in" in results[-1], results


def test_a_server_that_died_once_serves_the_next_call(world: McpWorld) -> None:
    serve(world, "good")
    assert world.step().result == "hi"
    for one in psutil.process_iter(["cmdline"]):
        if (one.info["cmdline"] or [])[1:2] == [str(world.program)]:
            one.kill()
    assert world.step(text="again").result == "again"


def test_a_run_that_is_stopped_ends_the_server_in_the_middle_of_a_call(world: McpWorld) -> None:
    serve(world, "hangs")
    stop = threading.Event()
    ends: list[float] = []

    def end() -> None:
        time.sleep(2)
        ends.append(time.monotonic())
        stop.set()

    world.step("read", "/nowhere")  # it runs by now
    thread = threading.Thread(target=end)
    thread.start()
    run = world.run(ToolCall("plain/echo", {"text": "hi"}), stop=stop)
    thread.join()
    assert time.monotonic() - ends[0] < 20
    assert run.status == "cancelled" or "stopped" in run.steps[1].result
    world.runtime.close()
    assert gone(world)


def test_a_server_is_told_that_its_call_was_cancelled(world: McpWorld) -> None:
    heard = world.shared / "heard"
    serve(world, "is_told", str(heard))
    world.step("variables")
    stop = threading.Event()
    threading.Timer(2, stop.set).start()
    world.run(ToolCall("plain/echo", {"text": "hi"}), stop=stop)
    world.runtime.mcp.close()
    assert json.loads(heard.read_text())["method"] == "notifications/cancelled"


def test_a_server_that_wants_its_secret_at_the_start_gets_it(world: McpWorld) -> None:
    world.runtime.environ = {**world.runtime.environ, "EDGEAGENT_SECRET_KEY": "hush-hush-value"}
    serve(world, "wants_key", more='secrets = ["KEY"]')
    assert "KEY is not set" in str(world.run("Done.").error)
    world.runtime.mcp.close()
    world.agent(grants="{secrets: {plain: [KEY]}}")
    assert world.step().result == "hi"
    assert world.runtime.mcp.running("plain") == 1, "the one that listed its tools serves them"


def test_an_idle_server_is_ended_and_comes_back(world: McpWorld) -> None:
    serve(world, "good", more='idle = "1s"')
    assert world.step().result == "hi"
    until = time.monotonic() + 30
    while not gone(world):
        assert time.monotonic() < until
        time.sleep(0.1)
    assert world.step(text="back").result == "back"


def test_what_it_starts_goes_with_it(world: McpWorld) -> None:
    serve(world, "leaves")
    world.step()
    world.runtime.close()
    assert gone(world)


def test_a_result_is_cut_to_the_budget(world: McpWorld) -> None:
    serve(world, "large")
    result = world.step().result
    assert len(result) < 4000 and "more characters]" in result


def test_what_is_no_text_is_named_and_not_shown(world: McpWorld) -> None:
    serve(world, "media")
    assert world.step().result.splitlines() == [
        "see",
        "[image image/png, 300 bytes, not shown]",
        "[audio audio/wav \\u001b[2J, 3 bytes, not shown]",
        "[resource file:///etc/passwd a b]",
        "[resource demo://1]",
        "inside",
        "[resource demo://2, 3 bytes, not shown]",
    ]


def test_a_result_must_be_what_the_server_declares(world: McpWorld) -> None:
    serve(world, "declares")
    assert json.loads(world.step(text="right").result) == {"n": 5}
    wrong = world.step(text="wrong")
    assert wrong.status == "error" and "does not match what it declares: n: 'five'" in wrong.result


def test_arguments_are_checked_before_the_server_sees_them(world: McpWorld) -> None:
    serve(world, "good")
    run = world.run(ToolCall("plain/echo", {"text": 5}), ToolCall("plain/echo", {}))
    assert [step.result for step in run.steps if step.kind == "tool"] == [
        "error: text: 5 is not of type 'string'",
        "error: 'text' is a required property",
    ]


@pytest.mark.parametrize("method", ["sampling/createMessage", "elicitation/create"])
def test_what_a_server_asks_for_is_refused_but_for_its_roots(world: McpWorld, method: str) -> None:
    serve(world, "good")
    roots, refused = json.loads(world.step("asks", method).result)
    assert [root["uri"] for root in roots["roots"]] == [world.shared.as_uri()]
    assert refused["code"] < 0 and "not supported" in refused["message"]


# --- what it may touch ------------------------------------------------------------------------------------------------


def test_it_sees_its_own_folder_what_is_granted_and_nothing_else(world: McpWorld) -> None:
    (world.root / "secret.txt").write_text("secret")
    (world.shared / "a.txt").write_text("shared")
    serve(world, "good")
    assert world.step("read", str(world.shared / "a.txt")).result == "shared"
    assert world.step("write", str(world.shared / "b.txt")).result == "written"
    assert (world.shared / "b.txt").read_text() == "written\n"
    for path in (world.root / "secret.txt", world.home / "config.toml", Path("/etc/shadow"), Path("/root/.bashrc")):
        assert "FileNotFoundError" in world.step("read", str(path)).result, path
    assert "Read-only" in world.step("write", str(world.program)).result


def test_what_may_be_read_cannot_be_written(world: McpWorld) -> None:
    world.agent(grants=f"{{read: ['{world.shared}']}}")
    (world.shared / "a.txt").write_text("shared")
    serve(world, "good")
    assert world.step("read", str(world.shared / "a.txt")).result == "shared"
    assert "Read-only" in world.step("write", str(world.shared / "a.txt")).result


def test_settings_can_give_a_server_less_than_the_agent_has(world: McpWorld) -> None:
    (world.shared / "in").mkdir()
    (world.shared / "a.txt").write_text("shared")
    serve(world, "good", more=f"read = ['{world.shared}/in']\nwrite = []")
    assert "FileNotFoundError" in world.step("read", str(world.shared / "a.txt")).result
    assert "Read-only" in world.step("write", str(world.shared / "in" / "b.txt")).result


def test_its_environment_is_its_own(world: McpWorld) -> None:
    os.environ["EDGEAGENT_TEST_SECRET"] = "inherited"
    try:
        serve(world, "good", more='env = {GREETING = "hello"}')
        told = json.loads(world.step("variables").result)
    finally:
        del os.environ["EDGEAGENT_TEST_SECRET"]
    assert told["environment"]["GREETING"] == "hello"
    own = {"PATH", "HOME", "TMPDIR", "LANG", "GIT_CONFIG_NOSYSTEM"}
    assert own <= set(told["environment"]) <= {*own, "GREETING", "PWD", "LC_CTYPE"}
    assert told["folder"] == str(world.folder)


def test_a_secret_is_in_the_environment_of_the_tool_that_is_granted_it_and_in_no_argument(world: McpWorld) -> None:
    world.runtime.environ = {**world.runtime.environ, "EDGEAGENT_SECRET_TOKEN": "hush-hush-value"}
    reload(world)
    world.agent(grants="{secrets: {plain/variables: [TOKEN]}}")
    serve(world, "good", more='secrets = ["TOKEN"]')
    result = world.step("variables").result
    told = json.loads(result)
    assert told["environment"]["TOKEN"] == "[secret TOKEN]", "it is there, and taken out of the result"
    assert not [one for one in psutil.process_iter(["cmdline"]) if "hush-hush" in str(one.info["cmdline"])]
    world.agent(grants="{}")
    assert "TOKEN" not in json.loads(world.step("variables").result)["environment"]


def test_a_server_without_grants_reaches_no_network(world: McpWorld) -> None:
    serve(world, "good")
    result = world.step("fetch", "http://127.0.0.1:9/").result
    assert "URLError" in result


# --- approval ---------------------------------------------------------------------------------------------------------


def test_a_call_that_may_write_asks_whatever_the_server_says_of_it(world: McpWorld) -> None:
    world.agent(approval="on-write")
    serve(world, "declares")  # it says that it only reads
    run = world.run(ToolCall("plain/echo", {"text": "right"}))
    assert run.status == "waiting"
    with world.runtime.reader() as store:
        (asked,) = store.approvals()
    fingerprint = world.runtime.mcp.find("plain").fingerprint
    assert asked.subject.origin == "mcp plain" and asked.subject.fingerprint == fingerprint
    assert asked.subject.writes == (str(world.shared),)


def test_a_server_that_can_change_nothing_does_not_ask(world: McpWorld) -> None:
    world.agent(grants=f"{{read: ['{world.shared}']}}", approval="on-write")
    serve(world, "good")
    assert world.step().result == "hi"


# --- hosts, levels and stopping ---------------------------------------------------------------------------------------


class Answering(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"answered")

    def log_message(self, *told: object) -> None: ...


@pytest.fixture
def host() -> Iterator[str]:
    """A server of the machine itself, which must be granted by number."""
    with http.server.HTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_a_granted_host_is_reached_through_the_proxy_and_no_other(world: McpWorld, host: str) -> None:
    serve(world, "good")
    world.agent(grants=f"{{network: ['{host}']}}")
    assert world.step("fetch", f"http://{host}/").result == "answered"
    assert "403" in world.step("fetch", "http://127.0.0.1:9/").result
    serve(world, "good", more="network = []")
    assert "URLError" in world.step("fetch", f"http://{host}/").result


def test_the_same_holds_at_the_level_reduced(world: McpWorld, host: str) -> None:
    serve(world, "leaves")
    world.reduce()
    (world.root / "secret.txt").write_text("secret")
    assert world.step("write", str(world.shared / "b.txt")).result == "written"
    assert "PermissionError" in world.step("read", str(world.root / "secret.txt")).result
    assert "URLError" in world.step("fetch", f"http://{host}/").result
    assert world.step().status == "ok"
    world.runtime.close()
    assert gone(world)
    world.agent(grants=f"{{network: ['{host}']}}")
    assert "needs the sandbox at level full" in world.step().result


def test_a_start_can_be_stopped(world: McpWorld) -> None:
    serve(world, "good")
    assert world.step().result == "hi"
    world.runtime.mcp.close()
    serve(world, "mute")
    (world.runtime.home.mcp / "plain.json").write_text(  # as if it had been started before
        json.dumps(json.loads((world.runtime.home.mcp / "plain.json").read_text()) | declared(world))
    )
    stop = threading.Event()
    threading.Timer(1, stop.set).start()
    began = time.monotonic()
    run = world.run(ToolCall("plain/echo", {"text": "hi"}), stop=stop)
    assert time.monotonic() - began < 20
    assert run.status == "cancelled" or "the run was stopped" in run.steps[1].result


def declared(world: McpWorld) -> dict[str, str]:
    server = world.runtime.mcp.find("plain")
    return {"declared": server.declared, "files": server.files}


def test_two_agents_have_a_process_each(world: McpWorld) -> None:
    serve(world, "good")
    world.step()
    server = world.runtime.mcp.find("plain")
    for name in ("one", "two"):
        reach = Reach(name, (), (world.shared,))
        world.runtime.mcp.call(server, reach, {}, "echo", {"text": "hi"}, lambda: False)
    assert world.runtime.mcp.running("plain") == 3
