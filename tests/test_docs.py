"""The documentation against the code: commands, settings, agent files, keys, tests and links that it names."""

from __future__ import annotations

import re
import runpy
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from edgeagent.agents import parse_agent
from edgeagent.agents.agent import Frontmatter, Limits
from edgeagent.agents.triggers import TRIGGER_KINDS
from edgeagent.cli.main import Commands
from edgeagent.tools.specs import BUILTIN_SPECS

ROOT = Path(__file__).parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "models").rglob("*.md")),
]
TEXTS = {str(page.relative_to(ROOT)): page.read_text("utf-8") for page in PAGES}

FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True)
class Quoted:
    """A line of code in a page."""

    page: str
    line: str

    def __str__(self) -> str:
        return f"{self.page}: {self.line}"


def blocks(language: str) -> Iterator[Quoted]:
    for page, text in TEXTS.items():
        yield from (Quoted(page, body) for found, body in FENCE.findall(text) if found == language)


def shell_lines() -> Iterator[Quoted]:
    """Every line of a shell block, and every inline piece of code that begins like a command."""
    for block in blocks("sh"):
        yield from (Quoted(block.page, line) for line in block.line.splitlines() if line.strip())
    for page, text in TEXTS.items():
        for code in INLINE.findall(FENCE.sub("", text)):
            if code.startswith(("edgeagent ", "make ", ".venv/bin/", "unshare ")):
                yield Quoted(page, code)


def commands(program: str) -> Iterator[tuple[Quoted, list[str]]]:
    """The arguments of every call of a program that the pages show."""
    for quoted in shell_lines():
        words = [
            Path(word).name if word.startswith(".venv/bin/") else word
            for word in shlex.split(quoted.line, comments=True)
        ]
        if program in words:
            yield quoted, words[words.index(program) + 1 :]


def checked(command: click.Command, words: list[str], context: click.Context) -> None:
    """Fails where a word is no subcommand or option of the command, or a value is missing."""
    options = {
        name: option for option in command.get_params(context) for name in (*option.opts, *option.secondary_opts)
    }
    rest = list(words)
    while rest:
        word, *rest = rest
        if word.startswith("-"):
            option = options.get(word)
            assert isinstance(option, click.Option), f"{command.name} has no option {word}"
            assert option.is_flag or rest, f"{word} needs a value"
            rest = rest if option.is_flag else rest[1:]
        elif isinstance(command, click.Group):
            found = command.get_command(context, word)
            assert found, f"{command.name or 'edgeagent'} has no command {word}"
            return checked(found, rest, click.Context(found, parent=context))
    assert not isinstance(command, click.Group) or not words, f"{command.name}: which of its commands?"
    return None


SHOWN = list(commands("edgeagent"))


def test_the_pages_show_commands() -> None:
    assert {words[0] for _, words in SHOWN} >= {"demo", "run", "daemon", "status", "runs", "agents", "models", "doctor"}


@pytest.mark.parametrize(("quoted", "words"), SHOWN, ids=lambda value: str(value) if isinstance(value, Quoted) else "")
def test_every_command_that_is_shown_exists_with_its_options(quoted: Quoted, words: list[str]) -> None:
    group = Commands(name="edgeagent")
    checked(group, words, click.Context(group))


@pytest.mark.parametrize(("quoted", "words"), list(commands("make")), ids=str)
def test_every_target_that_is_shown_exists(quoted: Quoted, words: list[str]) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert set(words) <= targets | {"make"}  # of "apt install ... make" nothing follows


@pytest.mark.parametrize(("quoted", "words"), list(commands("pytest")), ids=str)
def test_every_file_of_tests_that_is_shown_exists(quoted: Quoted, words: list[str]) -> None:
    assert words
    assert all((ROOT / word).is_file() for word in words)


@pytest.mark.parametrize("block", list(blocks("markdown")), ids=lambda block: block.page)
def test_every_agent_file_that_is_shown_is_valid(block: Quoted) -> None:
    parse_agent(Path("shown.md"), block.line.encode(), known_tools=BUILTIN_SPECS)


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.md")), ids=lambda path: path.stem)
def test_every_example_is_valid_and_runs_on_the_bundled_model(path: Path) -> None:
    agent = parse_agent(path, path.read_bytes(), known_tools=BUILTIN_SPECS, known_models=["pocket"])
    assert agent.name == path.stem
    assert agent.description


def test_the_settings_page_is_what_the_settings_are() -> None:
    page = runpy.run_path(str(ROOT / "docs" / "configuration.py"))["page"]
    assert TEXTS["docs/configuration.md"] == page(), "write it again: make fix"


def first_cells(title: str) -> list[str]:
    """The names in the first column of a table in docs/agents.md, the mark for keys without effect left out."""
    table = TEXTS["docs/agents.md"].partition(f"\n| {title} |")[2].partition("\n\n")[0]
    return re.findall(r"^\| `(\w+)`\*? \|", table, re.MULTILINE)


def test_the_page_on_agent_files_names_every_key_limit_trigger_and_tool() -> None:
    assert first_cells("key") == list(Frontmatter.model_fields)
    assert first_cells("limit") == list(Limits.model_fields)
    assert first_cells("trigger") == list(TRIGGER_KINDS)
    assert first_cells("tool") == list(BUILTIN_SPECS)


@pytest.mark.parametrize("kind", TRIGGER_KINDS)
def test_the_page_on_agent_files_names_every_key_of_a_trigger(kind: str) -> None:
    row = next(line for line in TEXTS["docs/agents.md"].splitlines() if line.startswith(f"| `{kind}`"))
    fields = set(TRIGGER_KINDS[kind].model_fields) - {"id", "trigger"}
    assert fields <= set(INLINE.findall(row.split("|")[2]))


def test_every_limit_is_shown_with_its_default() -> None:
    for name, value in Limits().model_dump().items():
        assert f"| `{name}` | {value:g} |" in TEXTS["docs/agents.md"]


@pytest.mark.parametrize("page", TEXTS)
def test_every_test_that_is_named_exists(page: str) -> None:
    written = "\n".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    for name in re.findall(r"`(test_\w+)`", TEXTS[page]):
        assert f"def {name}(" in written, f"{page} names {name}"


@pytest.mark.parametrize("page", TEXTS)
def test_every_link_and_file_that_is_named_leads_somewhere(page: str) -> None:
    text = FENCE.sub("", TEXTS[page])
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert ((ROOT / page).parent / target).exists(), f"{page} links to {target}"
    for name in re.findall(r"(?<![\w/.~-])((?:tests|docs|models|examples|packaging)/[\w./-]*\w)", text):
        assert (ROOT / name).exists(), f"{page} names {name}"


def test_the_packages_to_install_are_those_that_set_up_looks_for() -> None:
    needed = (ROOT / "packaging" / "debian-packages.txt").read_text("utf-8").split()
    line = next(quoted.line for quoted in shell_lines() if "apt install" in quoted.line)
    for_tests = re.findall(r"printf '([\w-]+)\\n'", _function("missing_test_packages"))
    assert sorted([*line.split()[3:], *for_tests]) == needed


def _function(name: str) -> str:
    """The text of a function of packaging/setup.sh."""
    return (ROOT / "packaging" / "setup.sh").read_text("utf-8").partition(f"\n{name}() {{\n")[2].partition("\n}\n")[0]
