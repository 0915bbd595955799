"""What command line a Python script takes, read from its source and never by running it.

Looks for `add_argument` of argparse wherever it stands: in functions, in methods, for subcommands, and in a module
beside the script where the script itself has none. Names, choices and types that are literals, or constants of the
module, are known; for whatever else is handed over, nothing is claimed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

MAX_SOURCE = 500_000
_NO_VALUE = frozenset({"store_true", "store_false", "store_const", "append_const", "count", "help", "version"})


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a script. `names` of a positional one is its single name, without dashes."""

    names: tuple[str, ...]
    is_required: bool
    choices: tuple[str, ...] = ()
    kind: str = ""
    """`int` or `float` where it is one of them."""
    takes_value: bool = True
    nargs: str = ""
    command: str = ""
    """The subcommand that it belongs to; empty: all."""

    @property
    def is_option(self) -> bool:
        return self.names[0].startswith("-")

    @property
    def takes_many(self) -> bool:
        return self.nargs not in ("", "?")


@dataclass(frozen=True, slots=True)
class CommandLine:
    """`is_whole`: every argument could be read, and an unknown one is an error of the script."""

    arguments: tuple[Argument, ...]
    commands: frozenset[str]
    is_whole: bool


def command_line(script: Path) -> CommandLine | None:
    """What a script takes; None where it does not use argparse. OSError, SyntaxError, ValueError where it is no Python.

    RecursionError and MemoryError, which deep nesting gives, come as ValueError.
    """
    tree = _parsed(script)
    found = _read(tree)
    if found is not None:
        return found
    beside = [_read(_parsed(path)) for path in _imported(tree, script.parent)]
    return next((one for one in beside if one is not None), None)


def _parsed(script: Path) -> ast.Module:
    with script.open("rb") as file:
        source = file.read(MAX_SOURCE + 1)
    if len(source) > MAX_SOURCE:
        raise ValueError("it is too large to be read")
    try:
        return ast.parse(source)
    except (RecursionError, MemoryError) as error:
        raise ValueError("it is nested too deep to be read") from error


def _imported(tree: ast.Module, folder: Path) -> Iterator[Path]:
    """The modules that lie beside a script and that it imports."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        for name in names:
            path = folder / f"{name.rpartition('.')[2]}.py"
            if path.is_file() and not path.is_symlink():
                yield path


def _read(tree: ast.Module) -> CommandLine | None:
    constants = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    named = [(_method(call), call) for call in calls]
    if not any(name == "ArgumentParser" or name == "add_argument" for name, _ in named):
        return None
    owners = _commands(tree)
    arguments = [_argument(call, constants, owners) for name, call in named if name == "add_argument"]
    known = tuple(argument for argument in arguments if argument is not None)
    is_loose = any(name in ("parse_known_args", "parse_known_intermixed_args") for name, _ in named)
    return CommandLine(known, frozenset(owners.values()), len(known) == len(arguments) and not is_loose)


def _method(call: ast.Call) -> str:
    function = call.func
    return (
        function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""
    )


def _commands(tree: ast.Module) -> dict[str, str]:
    """The subcommand that each variable stands for: `add = commands.add_parser("add")`."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and _method(node.value) == "add_parser":
            name = next(iter(_literals(node.value.args[0], {})), "") if node.value.args else ""
            found |= {target.id: name for target in node.targets if isinstance(target, ast.Name)}
    return found


def _argument(call: ast.Call, constants: Mapping[str, ast.expr], owners: Mapping[str, str]) -> Argument | None:
    names = [value for node in call.args for value in _literals(node, constants)]
    settings = {keyword.arg: keyword.value for keyword in call.keywords}
    if not names or len(names) != len(call.args) or None in settings:
        return None
    action = next(iter(_literals(settings.get("action"), constants)), "")
    nargs = next(iter(_literals(settings.get("nargs"), constants)), "")
    kind = settings.get("type")
    owner = call.func.value if isinstance(call.func, ast.Attribute) else None
    is_option = names[0].startswith("-")
    required = settings.get("required")
    return Argument(
        names=tuple(names),
        is_required=isinstance(required, ast.Constant) and bool(required.value)
        if is_option
        else nargs not in ("?", "*") and "default" not in settings,
        choices=tuple(_literals(settings.get("choices"), constants)),
        kind=kind.id if isinstance(kind, ast.Name) and kind.id in ("int", "float") else "",
        takes_value=action not in _NO_VALUE and not action.endswith("BooleanOptionalAction"),
        nargs="+" if action in ("append", "extend") and not nargs else nargs,
        command=owners.get(owner.id, "") if isinstance(owner, ast.Name) else "",
    )


def _literals(node: ast.expr | None, constants: Mapping[str, ast.expr]) -> Iterator[str]:
    """The values that an expression stands for, as text, where they can be told."""
    match node:
        case ast.Constant(value=str() | int() | float() as value):
            yield str(value)
        case ast.List(elts=items) | ast.Tuple(elts=items) | ast.Set(elts=items):
            for item in items:
                yield from _literals(item, constants)
        case ast.Dict(keys=keys):
            for key in keys:
                yield from _literals(key, constants)
        case ast.Name(id=name) if name in constants:
            yield from _literals(constants[name], {other: value for other, value in constants.items() if other != name})
        case ast.Call(func=ast.Name(id="list" | "sorted" | "tuple" | "set"), args=[inner]):
            yield from _literals(inner, constants)
        case ast.Call(func=ast.Attribute(attr="keys", value=inner), args=[]):
            yield from _literals(inner, constants)
        case ast.Attribute(attr=name):
            yield name
