"""Which files are a server's own: found from its command, so that a line copied from another program works here.

A program in the system's folders needs nothing. One elsewhere brings its environment (a Python venv and the Python that
it was made with, a node_modules folder, the prefix of node); a script brings the project that it lies in. What holds
more than a server (the home folder, edgeagent's own state) is never taken: then a script comes alone.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeagent.errors import SandboxError

_SYSTEM = tuple(map(Path, ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")))
_INTERPRETER = re.compile(r"(?:python|pypy|node|nodejs|deno|bun|sh|bash|ruby|perl|php|tsx|Rscript)[0-9.]*")
_PROJECT = ("package.json", "pyproject.toml", "setup.py", "Cargo.toml", "go.mod", "Gemfile")
_STANDARD = ("/usr/local/bin", "/usr/bin", "/bin")
_DEPTH = 4


@dataclass(frozen=True, slots=True)
class Places:
    """`argv` with its program in full. `own` is pinned by its content, `borrowed` (an interpreter) is only there."""

    argv: tuple[str, ...]
    folder: Path
    """Where it starts."""
    own: tuple[Path, ...]
    borrowed: tuple[Path, ...]
    path: tuple[str, ...]
    """Folders of programs, for PATH."""


@dataclass(frozen=True, slots=True)
class Finder:
    """Args:
    home_dir: what `~` stands for.
    path: where programs are looked for.
    protected: places that a server is not given, nor what holds them.
    empty: a folder with nothing in it, for a server that has none of its own.
    """

    home_dir: Path
    path: str
    protected: tuple[Path, ...]
    empty: Path

    def places(self, command: Sequence[str], folder: str) -> Places:
        """SandboxError where there is no such program."""
        argv = [self._expanded(part) for part in command]
        given = Path(os.path.realpath(self._expanded(folder))) if folder else None
        if given is not None and not given.is_dir():
            raise SandboxError(f"{given} is no folder", "mend `folder` in config.toml")
        program = self._program(argv[0], given)
        script = self._script(program, argv[1:], given)
        own, borrowed, programs = _Found(), _Found(), [str(program.parent)]
        for need in _needs_of(program, self):
            programs.append(str(need.parent))
            self._add(need, own, borrowed)
        if script is not None:
            own.add(self._project(script))
        if given is not None:
            own.add(given)
        start = given or (self._start(script) if script else None) or self.empty
        path = tuple(dict.fromkeys((*(each for each in programs if not _is_system(Path(each))), *_STANDARD)))
        return Places((str(program), *argv[1:]), start, own.outermost(), borrowed.outermost(), path)

    def which(self, name: str) -> Path | None:
        found = shutil.which(name, path=self.path)
        return _in_full(Path(found)) if found else None

    def _program(self, name: str, folder: Path | None) -> Path:
        if "/" not in name:
            found = self.which(name)
            if found is None:
                raise SandboxError(f"there is no program {name}", "install it, or give its full path")
            return found
        path = _in_full((folder or Path("/")) / name)
        if not path.is_file() or not os.access(path, os.X_OK):
            raise SandboxError(f"{path} is no program", f"ls -l '{path}'")
        return path

    def _script(self, program: Path, arguments: Sequence[str], folder: Path | None) -> Path | None:
        """What an interpreter is to run."""
        if not _INTERPRETER.fullmatch(program.name):
            return None
        for argument in arguments:
            if argument in ("-m", "-c", "-e"):
                return None
            if argument.startswith("-"):
                continue
            path = Path(os.path.realpath((folder or Path("/")) / argument))
            return path if path.is_file() else None
        return None

    def _add(self, program: Path, own: _Found, borrowed: _Found) -> None:
        """What a program outside of the system needs to be there."""
        if _is_system(program):
            return
        prefix = program.parent.parent
        if "node_modules" in program.parts:
            own.add(_node_modules(program))
        elif (prefix / "pyvenv.cfg").is_file():
            own.add(prefix)
        elif program.parent.name == "bin" and not self._is_too_much(prefix) and _is_prefix(prefix):
            borrowed.add(prefix)
        else:
            own.add(program)

    def _project(self, script: Path) -> Path:
        """The folder that is a script's own, or the script."""
        if _is_system(script):
            return script
        if "node_modules" in script.parts:
            return _node_modules(script)
        for folder in script.parents:
            if self._is_too_much(folder):
                break
            if any((folder / name).is_file() for name in _PROJECT):
                return folder
        return script if self._is_too_much(script.parent) else script.parent

    def _start(self, script: Path) -> Path | None:
        return None if self._is_too_much(script.parent) or _is_system(script) else script.parent

    def _is_too_much(self, folder: Path) -> bool:
        many = (Path("/"), Path("/tmp"), Path("/home"), Path("/root"), Path("/opt"), Path("/var"), Path("/etc"))
        held = (self.home_dir, Path(os.path.realpath(self.home_dir)), *self.protected)
        return folder in many or any(place == folder or folder in place.parents for place in held)

    def _expanded(self, written: str) -> str:
        return f"{self.home_dir}{written[1:]}" if written == "~" or written.startswith("~/") else written


class _Found:
    """Places, of which one within another is left out."""

    def __init__(self) -> None:
        self._places: list[Path] = []

    def add(self, place: Path) -> None:
        if not _is_system(place):
            self._places.append(Path(os.path.realpath(place)))

    def outermost(self) -> tuple[Path, ...]:
        kept = [one for one in self._places if not any(other in one.parents for other in self._places)]
        return tuple(dict.fromkeys(kept))


def _needs_of(program: Path, finder: Finder, depth: int = 0) -> Iterator[Path]:
    """The program, what it is a link to, the interpreters that it names, and the Python of its venv."""
    if depth > _DEPTH:
        return
    yield program
    target = Path(os.path.realpath(program))
    if target != program:
        yield target
    config = program.parent.parent / "pyvenv.cfg"
    if config.is_file() and (home := re.search(r"(?m)^home\s*=\s*(\S.*)$", config.read_text("utf-8", "replace"))):
        yield Path(os.path.realpath(Path(home[1].strip()) / "python3"))
    interpreter = _interpreter(target, finder)
    if interpreter is not None and interpreter != program:
        yield from _needs_of(interpreter, finder, depth + 1)


def _interpreter(program: Path, finder: Finder) -> Path | None:
    """What the first line of a script names."""
    with program.open("rb") as file:
        line = file.readline(512)
    if not line.startswith(b"#!"):
        return None
    words = line[2:].decode("utf-8", "replace").split()
    if not words:
        return None
    if Path(words[0]).name != "env":
        return Path(words[0]) if Path(words[0]).is_file() else None
    named = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
    return finder.which(named[0]) if named else None


def _node_modules(path: Path) -> Path:
    parts = path.parts
    return Path(*parts[: parts.index("node_modules") + 1])


def _is_prefix(folder: Path) -> bool:
    """Whether a program's folder was made for it: a Python, a node, and the like."""
    return any((folder / "lib").glob("python3*")) or (folder / "lib" / "node_modules").is_dir()


def _in_full(path: Path) -> Path:
    """The path with the links of its folders followed; that of the program itself stays, since a venv goes by it."""
    return Path(os.path.realpath(path.parent)) / path.name


def _is_system(path: Path) -> bool:
    return any(path.is_relative_to(folder) for folder in _SYSTEM)
