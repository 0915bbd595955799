"""Agent files: what is read, what is refused and where, and what one broken file does to the others."""

from __future__ import annotations

import os
import stat
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from edgeagent.agents import (
    Agent,
    AtTrigger,
    Condition,
    CronTrigger,
    FileTrigger,
    MqttTrigger,
    StartupTrigger,
    load_agent,
    load_agents,
    parse_agent,
)
from edgeagent.errors import AgentFileError, NotFound
from edgeagent.home import Home, home_from_environment

TOOLS = ("read_file", "write_file", "move_file", "delete_file", "http_request")
MODELS = ("pocket", "qwen3-4b")
DATA = Path(__file__).parent / "data" / "agents"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return home_from_environment({"HOME": str(tmp_path), "EDGEAGENT_HOME": str(tmp_path / "edge" / "agent")})


def parse(frontmatter: str, *, body: str = "Do it.", home: Home | None = None) -> Agent:
    text = f"---\n{frontmatter}\n---\n{body}\n".encode()
    return parse_agent(Path("a.md"), text, known_tools=TOOLS, known_models=MODELS, home=home)


def faults(frontmatter: str | bytes, *, body: str = "Do it.", home: Home | None = None) -> list[str]:
    """The problems of a file that must have some, as FILE:LINE: message."""
    raw = frontmatter if isinstance(frontmatter, bytes) else f"---\n{frontmatter}\n---\n{body}\n".encode()
    with pytest.raises(AgentFileError) as caught:
        parse_agent(Path("a.md"), raw, known_tools=TOOLS, known_models=MODELS, home=home)
    return [str(problem) for problem in caught.value.problems]


# What is read


def test_every_key_of_the_contract_is_read() -> None:
    agent = load_agent(DATA / "full.md", known_tools=TOOLS, known_models=("pocket",))
    assert (agent.name, agent.model, agent.approval, agent.enabled) == ("inbox", "pocket", "never", True)
    assert [trigger.id for trigger in agent.triggers] == [
        "file-1",
        "cron-2",
        "every-3",
        "at-4",
        "webhook-5",
        "mqtt-6",
        "sqlite-7",
        "agent-8",
        "boot",
    ]
    assert agent.limits.steps == 5
    assert agent.grants.secrets == {"http_request": ("NTFY_TOKEN",)}
    assert agent.when[0].below == 1_000_000
    assert agent.memory is not None
    assert agent.memory.turns == 4
    assert agent.power.on == "any"
    assert agent.output is not None
    assert agent.output["required"] == ["folder"]
    assert agent.body == "You file documents.\n\n---\nInvoices go to ~/Documents/invoices."
    assert agent.path == DATA / "full.md"


def test_an_agent_needs_a_body_and_nothing_else() -> None:
    agent = parse_agent(Path("x/note-1.md"), b"---\n---\nSay hello.\n", known_tools=TOOLS)
    assert agent.name == "note-1"
    assert agent.tools == ()
    assert agent.triggers == ()
    assert agent.grants.read == ()
    assert agent.approval == "on-write"
    assert agent.model is None
    limits = agent.limits
    assert (limits.steps, limits.seconds, limits.output_tokens, limits.prompt_tokens) == (8, 120, 1000, 2000)
    assert (limits.actions_per_hour, limits.attempts) == (60, 3)


def test_the_file_trigger_has_the_defaults_of_the_contract() -> None:
    (trigger,) = parse("triggers: [{trigger: file, path: ~/Inbox}]").triggers
    assert isinstance(trigger, FileTrigger)
    assert trigger.patterns == ("**/*",)
    assert trigger.changes == ("created", "modified")
    assert (trigger.settle, trigger.process_existing, trigger.preview) == (1.0, False, 400)
    assert (trigger.recursive, trigger.poll, trigger.ignore) == (True, "auto", ())
    assert trigger.folder(Path("/home/ann")) == Path("/home/ann/Inbox")


def test_windows_line_ends_and_a_byte_order_mark_are_read() -> None:
    raw = "---\r\nname: a\r\n---\r\nCafé.\r\n".encode("utf-8-sig")
    assert parse_agent(Path("b.md"), raw, known_tools=()).body == "Café."


def test_scalars_follow_yaml_1_2() -> None:
    assert parse("description: yes").description == "yes"
    assert parse("description: 12:30").description == "12:30"
    assert parse("description: 2026-12-24").description == "2026-12-24"


def test_a_cron_schedule_may_be_a_word_and_a_time_without_offset_is_local() -> None:
    cron, at = parse("triggers: [{trigger: cron, schedule: '@daily'}, {trigger: at, time: 2026-12-24T18:00}]").triggers
    assert isinstance(cron, CronTrigger)
    assert cron.expression == "0 0 * * *"
    assert isinstance(at, AtTrigger)
    assert at.time == datetime(2026, 12, 24, 18).astimezone()
    with_offset = AtTrigger.model_validate({"trigger": "at", "time": "2026-12-24T18:00+02:00"})
    assert with_offset.time == datetime(2026, 12, 24, 16, tzinfo=UTC)
    assert with_offset.time.tzinfo == timezone(timedelta(hours=2))


def test_code_may_give_plain_seconds_where_a_person_needs_a_unit() -> None:
    assert FileTrigger(trigger="file", path="/in", settle=0.05).settle == 0.05


def test_an_agent_survives_being_written_and_read_as_json() -> None:
    agent = load_agent(DATA / "full.md", known_tools=TOOLS)
    assert Agent.model_validate(agent.model_dump()) == agent


def test_a_model_may_be_a_name_a_file_or_a_table() -> None:
    assert parse("model: qwen3-4b").model == "qwen3-4b"
    assert parse("model: ~/models/x.gguf").model == "~/models/x.gguf"
    table = parse("model: {endpoint: 'http://localhost:8080/v1', name: big, temperature: 0.5, api_key: KEY}").model
    assert not isinstance(table, str | None)
    assert (table.name, table.temperature, table.api_key) == ("big", 0.5, "KEY")


def test_grants_resolve_home_and_links_and_write_implies_read(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    agent = parse("grants: {read: [~/link, ~/link/../a], write: [~/b]}")
    assert agent.grants.read == ("~/link", "~/link/../a")
    assert agent.write_roots(tmp_path) == (tmp_path / "b",)
    assert agent.read_roots(tmp_path) == (tmp_path / "real", tmp_path / "a", tmp_path / "b")


def test_a_condition_says_why_it_does_not_hold() -> None:
    event = {"event": {"size": 2000, "name": "a.txt"}}
    assert Condition(field="event.size", below=5000, above=10).miss(event) is None
    assert Condition(field="event.name", matches="*.txt", contains="a", equals="a.txt").miss(event) is None
    assert "2000" in str(Condition(field="event.size", below=1000).miss(event))
    assert "not known" in str(Condition(field="event.nope", below=1).miss(event))
    assert Condition(field="event.name", above=1).miss(event) is not None


# What is refused, and where


def test_every_fault_is_told_at_once_in_the_order_of_the_lines() -> None:
    with pytest.raises(AgentFileError) as caught:
        load_agent(DATA / "broken.md", known_tools=TOOLS)
    name = str(DATA / "broken.md")
    lines = caught.value.message.splitlines()
    assert [line.split(":")[1] for line in lines] == ["2", "3", "4", "7", "8", "9", "11", "12"]
    assert lines[0] == (
        f'{name}:2: name: "Broken Agent" is not a name for an agent; use a-z, 0-9 and -, 1 to 64 of them'
    )
    assert lines[1] == f'{name}:3: unknown key "descripton"; did you mean "description"?'
    assert lines[2] == f'{name}:4: unknown tool "read_fil"; did you mean "read_file"?'
    assert lines[5] == f'{name}:9: unknown key "on"; the key is "trigger"'
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (b"", "a.md:1: no frontmatter"),
        (b"Just words.\n", "a.md:1: no frontmatter"),
        (b"---\nname: a\nWords.\n", "a.md:1: the frontmatter has no end"),
        (b"---\nname: a\n---\nCaf\xe9\n", "a.md:4: not UTF-8 text"),
        (b"---\nname: a\n---\n\n  \n", "a.md:3: empty body"),
        (b"---\nname: a\n---\na\0b", "a.md:4: a NUL character"),
        (b"---\nname: a\n---\n" + b"x" * 256_000, "a.md:1: larger than 256 KB"),
        (b"---\nname: a\x07\n---\nx", "a.md:2: broken YAML: character U+0007"),
    ],
)
def test_a_file_that_is_no_agent_file_is_refused(raw: bytes, fault: str) -> None:
    assert faults(raw)[0].startswith(fault)


@pytest.mark.parametrize(
    ("frontmatter", "fault"),
    [
        ("name: a\n  b: c", "a.md:3: broken YAML: mapping values"),
        ("tools: [read_file", "a.md:3: broken YAML: expected ',' or ']'"),
        ("\tname: a", "a.md:2: broken YAML"),
        ("name: a\nmodel: *x", "a.md:3: YAML aliases are not allowed"),
        ("name: a\nmodel: &x pocket", 'a.md:3: YAML anchors are not allowed: remove "&x"'),
        ("name: a\nmodel: !!python/name:os.system x", "a.md:3: YAML tags are not allowed"),
        ("name: !!str a", 'a.md:2: YAML tags are not allowed: remove "!!str"'),
        ("name: a\nname: b", 'a.md:3: key "name" appears twice; it is on line 2 already'),
        ("limits:\n  steps: 1\n  steps: 2", 'a.md:4: key "steps" appears twice'),
        ("- a", "a.md:2: the frontmatter must be keys and values"),
        ("? [a]\n: b", "a.md:2: a key must be a word"),
        ("x: " + "[" * 100_000, "a.md:2: nested more than 16 levels deep"),
        ("x: [" + "a," * 60_000 + "]", "a.md:2: more than 10,000 values"),
        ('name: "a\\ud800"', "a.md:2: text with a NUL or half of a surrogate pair"),
        ("name: " + "9" * 5000, "a.md:2: a number with more than 30 digits"),
        ("name: a\n--- !x\nb: c", "a.md:3:"),
    ],
)
def test_yaml_that_cannot_be_trusted_is_refused(frontmatter: str, fault: str) -> None:
    assert faults(frontmatter)[0].startswith(fault)


def test_a_billion_laughs_is_refused_before_anything_is_built() -> None:
    bomb = "a: &a [x, x]\n" + "\n".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]" for n in range(20)
    )
    assert "YAML anchors are not allowed" in faults(bomb)[0]


@pytest.mark.parametrize(
    ("frontmatter", "fault"),
    [
        ("nmae: a", '2: unknown key "nmae"; did you mean "name"?'),
        ("on: file", '2: unknown key "on"; what starts an agent is listed under "triggers"'),
        ("trigger: file", '2: unknown key "trigger"; did you mean "triggers"?'),
        ("body: x", '2: unknown key "body"'),
        ("enabled: false", '2: unknown key "enabled"'),
        ("name: 5", "2: name: must be text, not a number"),
        ("name: null", "2: name: must be text, not nothing"),
        ("name: " + "a" * 65, "2: name:"),
        ("name: ../a", "2: name:"),
        ("tools: read_file", "2: tools: must be a list, not text"),
        ("tools:\n  - read_file\n  - {a: b}", "4: tools: must be text, not a table"),
        ("tools: [read_file, read_file]", '2: tools: "read_file" is listed twice'),
        ("skills: [../x]", "2: skills:"),
        ("approve: [delete_fil]", '2: unknown tool "delete_fil"; did you mean "delete_file"?'),
        ("model: poket", '2: unknown model "poket"; did you mean "pocket"?'),
        ("model: {name: poket}", '2: unknown model "poket"; did you mean "pocket"?'),
        ("model: {}", "2: missing key"),
        ("model: {file: a, endpoint: 'http://b/v1'}", "2: model: a model is a file or an endpoint"),
        ("model:\n  file: a\n  sede: 1", '4: unknown key "sede"; did you mean "seed"?'),
        (
            "approval: on-writ",
            '2: approval: must be never, on-write or always, not "on-writ"; did you mean "on-write"?',
        ),
        ("limits:\n  step: 5", '3: unknown key "step"; did you mean "steps"?'),
        ("limits: {steps: '8'}", "2: limits.steps: must be a whole number, not text"),
        ("limits: {steps: 1.5}", "2: limits.steps: must be a whole number"),
        ("limits: {steps: true}", "2: limits.steps: must be a whole number, not true or false"),
        ("limits: {steps: 0}", "2: limits.steps: must be at least 1"),
        ("limits: {seconds: .nan}", '2: ".nan" is not a number'),
        ("limits:", "2: limits: must be a table of keys and values, not nothing"),
        ("concurrency: {mode: queue}", "2: concurrency.mode: must be"),
        ("memory: {thread: '{{ event.path'}", "2: memory.thread:"),
        ("when: [{field: event.size}]", "2: when: nothing to compare with"),
        ("when: [{field: event.size, below: big}]", '2: when.below: "big" is not a number'),
        ("power: {battery_above: 101}", "2: power.battery_above: must be at most 100"),
        (
            "tools: [move_file]\nexpect: [{tool: move_fil}]",
            '3: "move_fil" is not among the tools of this agent; did you',
        ),
        ("expect: [{gone: a, exists: b}]", "2: expect: one expectation is one of tool, gone or exists"),
        ("expect: [{gone: '{{ x | y }}'}]", "2: expect.gone:"),
    ],
)
def test_a_wrong_key_or_value_is_told_with_its_line(frontmatter: str, fault: str) -> None:
    (found,) = faults(frontmatter)
    assert found.startswith(f"a.md:{fault}")


@pytest.mark.parametrize(
    ("trigger", "fault"),
    [
        ("trigger: fil", 'unknown trigger "fil"; did you mean "file"?'),
        ("path: ~/a", 'missing key "trigger"; it is one of file, cron'),
        ("on: file", 'unknown key "on"; the key is "trigger"'),
        ("trigger: file", 'missing key "path"'),
        ("trigger: file, path: ~/a, settel: 1s", 'unknown key "settel"; did you mean "settle"?'),
        ("trigger: file, path: Inbox", 'triggers.path: "Inbox" is a relative path'),
        ("trigger: file, path: /", 'triggers.path: "/" is the whole file system'),
        ("trigger: file, path: ~/a, settle: 1", "triggers.settle: a duration needs a unit, such as 1s"),
        (
            "trigger: file, path: ~/a, changes: [create]",
            'triggers.changes: must be created, modified or deleted, not "cr',
        ),
        ("trigger: file, path: ~/a, patterns: []", "triggers.patterns: must not be empty"),
        ("trigger: file, path: ~/a, poll: 3", "triggers.poll: must be auto, true or false"),
        ("trigger: file, path: ~/a, id: a b", 'triggers.id: "a b" is not an id'),
        ("trigger: cron", 'missing key "schedule"'),
        ("trigger: cron, schedule: '61 * * * *'", "triggers.schedule: impossible schedule"),
        ("trigger: cron, schedule: '0 0 30 2 *'", "triggers.schedule: impossible schedule"),
        (
            "trigger: cron, schedule: '* * * * * *'",
            'triggers.schedule: "* * * * * *" is not a schedule; write five fields',
        ),
        ("trigger: cron, schedule: '@hourli'", 'unknown schedule "@hourli"; did you mean "@hourly"?'),
        ("trigger: cron, schedule: '@daily', timezone: Europe/Berln", 'unknown timezone "Europe/Berln"; did you mean'),
        ("trigger: cron, schedule: '@daily', timezone: ../etc", 'unknown timezone "../etc"'),
        ("trigger: every, interval: 10", "triggers.interval: a duration needs a unit"),
        ("trigger: every, interval: 0s", "triggers.interval: must be at least 100ms"),
        ("trigger: every, interval: soon", 'triggers.interval: "soon" is not a duration'),
        ("trigger: every, interval: 1m, missed: later", "triggers.missed: must be run_once, skip or run_all"),
        ("trigger: at, time: 2026-12-24", 'triggers.time: "2026-12-24" is not a time'),
        ("trigger: at, time: tomorrow", 'triggers.time: "tomorrow" is not a time'),
        ("trigger: webhook, path: ../x", "triggers.path:"),
        ("trigger: mqtt, broker: b, topic: 'a/#/b'", "triggers.topic:"),
        ("trigger: mqtt, broker: b, topic: a, qos: 3", "triggers.qos: must be at most 2"),
        ("trigger: agent, agent: a", "an agent cannot start itself"),
        ("trigger: agent, agent: b, status: fine", "triggers.status: must be ok"),
    ],
)
def test_a_wrong_trigger_is_told_with_its_line(trigger: str, fault: str) -> None:
    (found,) = faults("name: a\ntriggers:\n  - {trigger: startup}\n  - {" + trigger + "}")
    assert found.startswith(f"a.md:5: {fault}")


def test_two_triggers_of_one_id_are_refused() -> None:
    (found,) = faults("triggers: [{trigger: startup, id: x}, {trigger: startup, id: x}]")
    assert found == 'a.md:2: triggers: two triggers have the id "x"'


def test_an_mqtt_topic_may_hold_wildcards_for_whole_levels() -> None:
    assert MqttTrigger(trigger="mqtt", broker="b", topic="a/+/#").topic == "a/+/#"
    assert StartupTrigger(trigger="startup").id == ""


@pytest.mark.parametrize(
    ("schema", "fault"),
    [
        ("{type: string}", "output.type: must be the JSON Schema of an object"),
        ("{type: object, properties: {a: {type: strin}}}", "output.properties.a.type: not a valid JSON Schema"),
        ("{type: object, properties: {a: {pattern: '('}}}", "output.properties.a.pattern: not a valid JSON Schema"),
        (
            "{type: object, properties: {a: {$ref: 'http://x/y'}}}",
            "output.properties.a.$ref: a schema may only refer to",
        ),
        ("text", "output: must be a table"),
    ],
)
def test_an_output_that_is_no_schema_of_an_object_is_refused(schema: str, fault: str) -> None:
    assert faults(f"output: {schema}")[0].startswith(f"a.md:2: {fault}")


def test_a_fault_deep_in_a_schema_has_its_own_line() -> None:
    (found,) = faults("output:\n  type: object\n  properties:\n    a:\n      type: strin")
    assert found.startswith("a.md:6: ")


# Grants that are never given


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "//",
        "/tmp/..",
        "~",
        "~/",
        "~/x/..",
        "~/.ssh",
        "~/.ssh/config",
        "~/.gnupg",
        "~/.aws/credentials",
        "~/.config",
        "~/.config/gh",
        "~/.local/share/keyrings",
        "~/.local",
        "~/edge",
        "~/edge/agent",
        "~/edge/agent/agents",
        "~/edge/agent/edgeagent.db",
        "~/edge/agent/edgeagent.db-wal",
        "/etc",
        "/etc/shadow",
        "/proc",
        "/proc/self/environ",
        "/proc/self/root",
    ],
)
@pytest.mark.parametrize("kind", ["read", "write"])
def test_a_grant_of_a_protected_place_is_refused(home: Home, kind: str, path: str) -> None:
    (found,) = faults(f"grants:\n  {kind}:\n    - ~/Inbox\n    - {path}", home=home)
    assert found.startswith(f'a.md:5: grants.{kind}: "{path}"')


def test_a_grant_of_a_folder_above_home_is_refused(home: Home) -> None:
    assert "holds your home folder" in faults(f"grants: {{read: [{home.user.parent}]}}", home=home)[0]
    assert "your whole home folder" in faults(f"grants: {{read: [{home.user}]}}", home=home)[0]
    assert "credentials" in faults(f"grants: {{read: [/{home.user}/.ssh]}}", home=home)[0]


def test_a_grant_that_reaches_a_protected_place_through_a_link_is_refused(home: Home) -> None:
    (home.user / ".ssh").mkdir()
    (home.user / "innocent").symlink_to(home.user / ".ssh")
    assert "credentials" in faults("grants: {read: [~/innocent]}", home=home)[0]


def test_credentials_that_are_a_link_are_protected_where_they_lie(home: Home) -> None:
    (home.user / "vault").mkdir()
    (home.user / ".ssh").symlink_to(home.user / "vault")
    assert "credentials" in faults("grants: {read: [~/vault]}", home=home)[0]


def test_a_grant_that_is_a_loop_of_links_is_refused(home: Home) -> None:
    (home.user / "loop").symlink_to(home.user / "loop")
    if sys.version_info < (3, 13):  # later versions leave the loop as it is, and opening it fails
        assert "cannot be resolved" in faults("grants: {read: [~/loop/x]}", home=home)[0]


@pytest.mark.parametrize("path", ["Documents", "./x", "$HOME/x", "~ann/x", "~/x*", "'{{ event.path }}'", "''", "5"])
def test_a_grant_that_is_no_full_path_is_refused(home: Home, path: str) -> None:
    assert faults(f"grants: {{write: [{path}]}}", home=home)[0].startswith("a.md:2: grants.write: ")


def test_folders_beside_the_protected_ones_may_be_granted(home: Home) -> None:
    written = ["~/Inbox", "~/.sshx", "~/edge/agent/Inbox", "/etc/hostname", "/sys/class/thermal", "/proc/loadavg"]
    assert parse(f"grants: {{read: {written}}}".replace("'", ""), home=home).grants.read == tuple(written)


def test_edgeagents_own_state_cannot_be_watched(home: Home) -> None:
    watch = "triggers: [{trigger: file, path: PATH}]"
    assert "own state" in faults(watch.replace("PATH", "~/edge/agent"), home=home)[0]
    assert "own state" in faults(watch.replace("PATH", "~/edge/agent/run"), home=home)[0]
    assert "own state" in faults(watch.replace("PATH", "~"), home=home)[0]
    assert parse(watch.replace("PATH", "~, recursive: false"), home=home).triggers


@pytest.mark.parametrize(
    ("entry", "is_fine"), [("a.org:443", True), ("a.org", False), ("a:b", False), ("a:70000", False)]
)
def test_a_network_grant_is_an_exact_host_and_port(entry: str, is_fine: bool) -> None:
    text = f"grants: {{network: ['{entry}']}}"
    if is_fine:
        assert parse(text).grants.network == (entry,)
    else:
        assert "is not a host and port" in faults(text)[0]


def test_a_message_is_one_line_whatever_the_file_holds() -> None:
    (found,) = faults('tools: ["read\\n\\e[31mfile"]')
    assert found.isprintable()
    assert len(faults("tools: [" + "x" * 100_000 + "]")[0]) < 500


# Folders of agents


def test_a_broken_file_does_not_hide_the_others(tmp_path: Path) -> None:
    (tmp_path / "good.md").write_text("---\ntools: [read_file]\n---\nGo.\n")
    (tmp_path / "bad.md").write_text("---\ntools: [nope]\n---\nGo.\n")
    (tmp_path / "folder.md").mkdir()
    (tmp_path / "gone.md").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "pipe.md")
    (tmp_path / "huge.md").write_bytes(b"x" * 3_000_000)
    (tmp_path / ".#good.md").write_text("an editor's lock")
    (tmp_path / "notes.txt").write_text("no agent")
    loaded = load_agents(tmp_path, known_tools=TOOLS)
    assert list(loaded.agents) == ["good"]
    assert [Path(problem.file).name for problem in loaded.problems] == [
        "bad.md",
        "folder.md",
        "gone.md",
        "huge.md",
        "pipe.md",
    ]


def test_of_two_agents_of_one_name_the_second_is_the_error_and_names_the_first(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("---\nname: same\n---\nFirst.\n")
    (tmp_path / "b.md").write_text("---\ndescription: x\nname: same\n---\nSecond.\n")
    (tmp_path / "same.md").write_text("---\n---\nThird.\n")
    loaded = load_agents(tmp_path, known_tools=TOOLS)
    assert loaded.agents["same"].body == "First."
    assert [(Path(problem.file).name, problem.line) for problem in loaded.problems] == [("b.md", 3), ("same.md", 2)]
    assert str(tmp_path / "a.md") in loaded.problems[0].message


def test_a_folder_that_is_missing_has_no_agents(tmp_path: Path) -> None:
    loaded = load_agents(tmp_path / "none", known_tools=TOOLS)
    assert (loaded.agents, loaded.problems) == ({}, [])


def test_a_single_file_that_is_missing_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        load_agent(tmp_path / "none.md", known_tools=TOOLS)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_is_a_problem_of_that_file(tmp_path: Path) -> None:
    file = tmp_path / "secret.md"
    file.write_text("---\n---\nGo.\n")
    file.chmod(stat.S_IWUSR)
    assert "cannot be read" in load_agents(tmp_path, known_tools=TOOLS).problems[0].message
