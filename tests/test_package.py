"""The wheel: what is in it, what is not, and what it says of itself."""

from __future__ import annotations

import email
import subprocess
import sys
import tomllib
from email.message import Message
from pathlib import Path
from zipfile import ZipFile

import pytest

import edgeagent

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    """Built as pip builds it, with the build backend of this environment, so that no network is needed."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*build, "--wheel-dir", str(folder), str(ROOT)], check=True, timeout=300)
    (built,) = folder.glob("*.whl")
    return ZipFile(built)


@pytest.fixture(scope="module")
def metadata(wheel: ZipFile) -> Message:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return email.message_from_bytes(wheel.read(name))


def bundled(wheel: ZipFile) -> set[str]:
    prefix = "edgeagent/bundled/"
    return {name.removeprefix(prefix) for name in wheel.namelist() if name.startswith(prefix)}


def test_it_carries_the_model_the_catalog_and_the_examples(wheel: ZipFile) -> None:
    examples = {f"examples/{path.name}" for path in (ROOT / "examples").glob("*.md")}
    assert examples
    assert bundled(wheel) >= examples | {"models/catalog.toml", "models/pocket/pocket.gguf"}
    assert wheel.read("edgeagent/bundled/models/pocket/pocket.gguf").startswith(b"GGUF")


def test_every_bundled_model_of_the_catalog_is_inside(wheel: ZipFile) -> None:
    catalog = tomllib.loads(wheel.read("edgeagent/bundled/models/catalog.toml").decode())
    inside = [model for model in catalog.values() if "repository" not in model]
    assert inside
    assert all(f"models/{model['file']}" in bundled(wheel) for model in inside)


def test_it_carries_every_skill(wheel: ZipFile) -> None:
    skills = (path for path in (ROOT / "skills").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    assert {path.relative_to(ROOT).as_posix() for path in skills} <= bundled(wheel)


def test_the_recipe_of_the_model_stays_outside(wheel: ZipFile) -> None:
    models = {name for name in bundled(wheel) if name.startswith("models/")}
    wanted = {"catalog.toml", "README.md", "pocket/pocket.gguf", "pocket/chat_template.jinja", "pocket/README.md"}
    assert models <= {f"models/{name}" for name in wanted}


def test_the_package_itself_is_complete_and_typed(wheel: ZipFile) -> None:
    sources = {
        f"edgeagent/{path.relative_to(ROOT / 'edgeagent').as_posix()}" for path in (ROOT / "edgeagent").rglob("*.py")
    }
    inside = {name for name in wheel.namelist() if ".dist-info/" not in name and "/bundled/" not in name}
    assert inside == sources | {"edgeagent/py.typed"}


def test_it_says_what_it_is_and_what_it_needs(metadata: Message) -> None:
    assert metadata["Name"] == "edgeagent"
    assert metadata["Version"] == edgeagent.__version__
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "Apache-2.0"
    needed = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert any(line.startswith("llama-cpp-python") for line in needed)
    assert all(">=" in line for line in needed), "every dependency has a lower bound"


def test_the_command_is_installed(wheel: ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert wheel.read(name).decode().split() == ["[console_scripts]", "edgeagent", "=", "edgeagent.cli.main:main"]


def test_every_dependency_is_pinned_for_set_up(metadata: Message) -> None:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = {line.split("==")[0].lower().replace("_", "-") for line in lines if "==" in line}
    needed = {
        line.split(";")[0].split("[")[0].split(">")[0].split("<")[0].strip().lower()
        for line in metadata.get_all("Requires-Dist", [])
    }
    assert needed <= pins


def test_trained_again_or_not_the_model_fits_its_limit(wheel: ZipFile) -> None:
    assert wheel.getinfo("edgeagent/bundled/models/pocket/pocket.gguf").file_size <= 20_000_000
