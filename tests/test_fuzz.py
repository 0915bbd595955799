"""Whatever bytes come from outside: a value or one of the errors that are meant for it, in bounded time and memory.

`make test` tries a few of each; `make fuzz` many (EXAMPLES says how many).
"""

from __future__ import annotations

import io
import json
import os
import resource
import signal
import socket
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from api_world import served
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from test_skills import SIDECAR, make_skill

from edgeagent.agents import parse_agent
from edgeagent.bundled import bundled
from edgeagent.config import load_config
from edgeagent.errors import (
    AgentFileError,
    ConfigError,
    ModelError,
    NotFound,
    SkillError,
    ToolError,
    UsageError,
)
from edgeagent.home import home_from_environment
from edgeagent.mcp.listing import ListFault, listing
from edgeagent.mcp.results import text_of
from edgeagent.mcp.schemas import SchemaFault, held
from edgeagent.model.header import read_header
from edgeagent.model.template import ChatTemplate
from edgeagent.schema import Message, ToolSpec
from edgeagent.skills import read_skill
from edgeagent.skills.fetch import staged
from edgeagent.tools.base import cut
from edgeagent.tools.fetching import parse_url
from edgeagent.triggers.occurrences import Cron
from edgeagent.triggers.webhook import Request, _parsed
from edgeagent.visible import exact, one_line, printable

EXAMPLES = int(os.environ.get("EXAMPLES", "25"))
SECONDS = 20
"""Of processor time that one input may take, on a slow machine."""
ROOM = 1_500_000_000
"""Bytes of address space that one input may add."""
FULL = (Path(__file__).parent / "data" / "agents" / "full.md").read_bytes()
HOME = home_from_environment({"HOME": "/home/ann", "EDGEAGENT_HOME": "/home/ann/edgeagent"})
NOW = datetime(2026, 11, 25, tzinfo=UTC)

fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=None,  # `bounded` counts the processor's time, which does not depend on what else runs
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],  # what fails is shown as it was found; making it smaller takes for ever
    derandomize="EXAMPLES" not in os.environ,
)


class Hang(BaseException):
    """Nobody catches it."""


@contextmanager
def bounded(*meant: type[BaseException]) -> Iterator[None]:
    """Only what is `meant` may be raised, within limits."""

    def ended(number: int, frame: object) -> None:
        raise Hang

    pages = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    signal.signal(signal.SIGPROF, ended)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (pages + ROOM, before[1]))
    try:
        with suppress(*meant):
            yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, before)


def test_control_a_hang_and_a_blow_up_and_another_error_are_noticed() -> None:
    with pytest.raises(Hang), bounded(ValueError):
        signal.setitimer(signal.ITIMER_PROF, 0.05)
        while True:
            pass
    with pytest.raises(MemoryError), bounded(ValueError):
        bytearray(2 * ROOM)
    with pytest.raises(KeyError), bounded(ValueError):
        raise KeyError


_ODD = [
    b"\0",
    b"'",
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b": ",
    b"- ",
    b"&a ",
    b"*a ",
    b"!!python/object:os.system ",
    b"| ",
    b"%",
]
_ODD += [
    b"\xff",
    "\u2028".encode(),
    b"{{ x }}",
    b"null",
    b"1e999",
    b"9" * 400,
    b"\n",
    b"\t",
    b"---\n",
    b"<<: ",
    b"\\",
    b"#",
]
_ODD += [b"(" * 300, b"[" * 3000, b"{a: " * 500, b"-1", b"0x7fffffffffffffff", b"true", b"~", b"../", "\u202e".encode()]


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """The bytes with some of them replaced."""
    raw = bytearray(whole)
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, len(raw)))
        gone = draw(st.integers(0, 8))
        raw[at : at + gone] = draw(st.one_of(st.sampled_from(_ODD), st.binary(max_size=6)))
    return bytes(raw)


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(3000)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(damaged(FULL) | st.binary(max_size=300).map(lambda raw: b"---\n" + raw + b"\n---\nGo.\n"))
@fuzzed
def test_an_agent_file(raw: bytes) -> None:
    with bounded(AgentFileError):
        parse_agent(Path("a.md"), raw, known_tools=("read_file",), known_models=("pocket",), home=HOME)


MANIFEST = b"---\nname: NAME\ndescription: Does a thing.\nmetadata:\n  edgeagent-tools: tools.yaml\n---\nUse it well.\n"


@given(damaged(MANIFEST), damaged(SIDECAR.encode()))
@fuzzed
def test_a_skill_and_its_tools(manifest: bytes, sidecar: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = make_skill(Path(folder) / "shouting")
        for content, other in ((manifest, SIDECAR.encode()), (MANIFEST, sidecar)):
            (place / "SKILL.md").write_bytes(content)
            (place / "tools.yaml").write_bytes(other)
            with bounded(SkillError, NotFound):
                read_skill(place)


@cache
def archive(kind: str) -> bytes:
    made = io.BytesIO()
    names = ["one/SKILL.md", "one/scripts/a.py", "one/../two", "/three", "one/link"]
    if kind == "zip":
        with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as zipped:
            for name in names:
                zipped.writestr(name, MANIFEST.replace(b"NAME", b"one"))
    else:
        with tarfile.open(fileobj=made, mode="w:gz" if kind == "tar.gz" else "w:") as tarred:
            for name in names:
                entry = tarfile.TarInfo(name)
                entry.size = len(MANIFEST)
                tarred.addfile(entry, io.BytesIO(MANIFEST))
    return made.getvalue()


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
@given(data=st.data())
@fuzzed
def test_an_archive(kind: str, data: st.DataObject) -> None:
    raw = data.draw(damaged(archive(kind)))
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / f"x.{'skill' if kind == 'zip' else 'tar.gz'}"
        place.write_bytes(raw)
        with bounded(SkillError, NotFound, UsageError), staged(str(place), Path(folder) / "skills"):
            pass
        left = sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*"))
        assert left == sorted(["skills", place.name])


_JINJA = [
    "{{",
    "}}",
    "{%",
    "%}",
    "for x in messages",
    "endfor",
    "if",
    "endif",
    "messages",
    "m.content",
    "tools",
    "loop",
]
_JINJA += ["|tojson", "|length", "range(10**9)", "'a' * 10**9", "[0] * 10**9", "x.__class__", "set y = ", "macro f(a)"]
_JINJA += [
    "endmacro",
    "f(f)",
    "namespace()",
    "raise_exception('x')",
    "strftime_now('%Y')",
    "**",
    "~",
    "'",
    "1",
    " ",
    "[-1]",
]
_JINJA += ["|join('x' * 10**7)", "|batch(1)", "|map('upper')|list", "cycler", "include 'x'", "import os", "#}", "{#"]


@given(st.lists(st.sampled_from(_JINJA), max_size=14).map("".join))
@fuzzed
def test_a_chat_template(source: str) -> None:
    with bounded(ModelError):
        template = ChatTemplate(source, ("<|im_start|>",))
        template.render([Message("user", "hi <|im_start|>")], [ToolSpec("t", "", {"type": "object"})])


@given(damaged(b'[model]\ndefault = "pocket"\nthreads = 2\n[api]\nlisten = "127.0.0.1:80"\n[mcp.a]\ncommand = ["x"]\n'))
@fuzzed
def test_the_settings(raw: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.toml").write_bytes(raw)
        with bounded(ConfigError):
            load_config(home_from_environment({"EDGEAGENT_HOME": folder}), {"EDGEAGENT_MODEL_THREADS": "2"})


@given(
    st.text(alphabet="0123456789*/,-?LW#@ adfjMON", max_size=24),
    st.sampled_from(["UTC", "Europe/Berlin", "Asia/Tehran"]),
)
@fuzzed
def test_a_cron_schedule(schedule: str, zone: str) -> None:
    trigger = f"{{trigger: cron, schedule: {json.dumps(schedule)}, timezone: {zone}}}"
    with bounded(AgentFileError):
        agent = parse_agent(Path("a.md"), f"---\ntriggers: [{trigger}]\n---\nGo.\n".encode(), known_tools=())
        [parsed] = agent.triggers
        assert parsed.trigger == "cron"
        times = Cron(parsed.expression, ZoneInfo(zone))
        assert times.due(NOW - timedelta(days=30), NOW, 5).times <= [NOW]
        assert (times.following(NOW, NOW) or NOW) >= NOW


@given(damaged(_beginning(bundled("models") / "pocket" / "pocket.gguf")))
@fuzzed
def test_the_header_of_a_model(raw: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "a.gguf"
        place.write_bytes(raw)
        with bounded(ModelError):
            read_header(place)


_TOOL = {"name": "echo", "description": "x", "inputSchema": {"type": "object", "properties": {"a": {"type": "string"}}}}
TOOLS = st.lists(
    st.fixed_dictionaries(
        {}, optional={"name": JSON | st.just("echo"), "description": JSON}
        | {"inputSchema": JSON | st.just(_TOOL["inputSchema"])}
        | {"outputSchema": JSON, "annotations": st.dictionaries(st.text(max_size=5), JSON, max_size=2), "title": JSON}
    ), max_size=4,
)  # fmt: skip
_WORDS = [
    "type",
    "properties",
    "$ref",
    "$defs",
    "anyOf",
    "items",
    "enum",
    "pattern",
    "object",
    "string",
    "#",
    "#/$defs/a",
]
SCHEMAS = st.recursive(
    st.sampled_from([*_WORDS, 1, -1, None, True]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_WORDS), inner, max_size=4),
    max_leaves=20,
)


@given(TOOLS, SCHEMAS)
@fuzzed
def test_the_list_of_a_server(tools: list[dict[str, Any]], schema: Any) -> None:
    with bounded(ListFault):
        found = listing(tools)
        assert all(name.isascii() for name in found.tools)
    with bounded(SchemaFault):
        held(schema, arguments=True)


_KEYS = ["type", "text", "data", "uri", "resource", "mimeType"]
BLOCKS = st.lists(
    st.dictionaries(st.sampled_from(_KEYS), JSON | st.just("text"), max_size=4)
    .map(lambda block: {"type": "text", **block} if not isinstance(block.get("type"), str) else block)
    .map(lambda block: {**block, "resource": block["resource"] if isinstance(block.get("resource"), dict) else {}}),
    max_size=3,
)  # fmt: skip


@given(BLOCKS, JSON, st.booleans())
@fuzzed
def test_the_answer_of_a_server(blocks: list[dict[str, Any]], structured: Any, failed: bool) -> None:
    result = {"content": blocks, "structuredContent": structured, "isError": failed}
    with bounded(ToolError):
        assert isinstance(text_of(result, {"type": "object", "properties": {"a": {"type": "string"}}}), str)


@given(
    damaged(b'{"a": [1, 2, {"b": "c"}]}') | st.binary(max_size=100),
    st.sampled_from(["application/json", "text/x", "", "x+json"]),
)
@fuzzed
def test_the_body_of_a_webhook(body: bytes, kind: str) -> None:
    with bounded(UsageError):
        _parsed(Request("POST", {"content-type": kind}, {}, body, False))


@given(
    st.text(max_size=60)
    | st.text(max_size=20).map(lambda text: f"http://{text}")
    | st.sampled_from(["http://[::1", "http://a:b:c/"])
)
@fuzzed
def test_an_address(url: str) -> None:
    with bounded(ToolError):
        target = parse_url(url)
        assert target.scheme in ("http", "https") and target.host


@given(st.text(max_size=200))
@fuzzed
def test_a_text_that_is_shown(text: str) -> None:
    with bounded():
        assert "\n" not in one_line(text) + exact(text)
        assert not set(printable(text) + one_line(text) + exact(text)) & set("\x1b\x07\x9b\r\u202e\u200b")
        assert cut(text, 10).startswith(text[:10])


# --- the API over its socket -----------------------------------------------------------------------------------------

_REQUEST = b"POST /v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 40\r\n\r\n"
_REQUEST += b'{"agent": "inbox", "event": {"path": 1}}'
PATHS = [
    "/v1/runs",
    "/v1/runs/x",
    "/v1/runs/x/events",
    "/v1/approvals/x",
    "/hooks/x",
    "/v1/status",
    "/metrics",
    "/openapi.json",
]


_END = b"  "
"""Behind a body that is whole."""


def _answered(place: Path, raw: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(60)
        peer.connect(str(place))
        peer.sendall(raw)
        if not raw.endswith(_END):
            peer.shutdown(socket.SHUT_WR)  # what is cut off would be waited for
        got = b""
        with suppress(ConnectionError):
            while piece := peer.recv(65536):
                got += piece
        return got


def _request(method: str, path: str, body: bytes) -> bytes:
    body += _END
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.fixture(scope="module")
def api() -> Iterator[Callable[[bytes], bytes]]:
    with tempfile.TemporaryDirectory() as folder, served(Path(folder)):
        yield lambda raw: _answered(Path(folder) / "run/edgeagent.sock", raw)


@given(damaged(_REQUEST))
@fuzzed
def test_a_request_of_any_bytes_leaves_the_api_answering(api: Callable[[bytes], bytes], raw: bytes) -> None:
    got = api(raw)
    assert b"Traceback" not in got and not got.startswith(b"HTTP/1.1 5")
    assert api(_request("GET", "/v1/health", b"")).startswith(b"HTTP/1.1 200")


@given(
    st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
    st.sampled_from(PATHS),
    JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60),
)
@fuzzed
def test_a_request_of_any_body_has_an_answer_in_words(
    api: Callable[[bytes], bytes], method: str, path: str, body: bytes
) -> None:
    head, _, told = api(_request(method, path, body)).partition(b"\r\n\r\n")
    status = int(head.split()[1])
    assert status < 500, head
    if status >= 400:
        assert set(json.loads(told)["error"]) >= {"code", "message"}
