"""JSON Schemas that skills bring: checked so that holding an argument or a result to one takes bounded time and fetches
nothing.

A schema is the word of a stranger. One that refers elsewhere would make the daemon fetch it, references within one can
double at each step, and a regular expression can take for ever: the first two are refused, the third is left to the
grammar that a model writes under, which takes linear time.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from edgeagent.schema import Json

MOST_PARTS = 2_000
"""With every reference written out."""
_REFERENCES = ("$ref", "$dynamicRef")


def check_bounded(schema: Json) -> Json:
    """The schema as it is. Raises ValueError where it cannot be held in bounded time."""
    left = MOST_PARTS
    waiting: list[tuple[Any, frozenset[str]]] = [(schema, frozenset())]
    while waiting:
        part, within = waiting.pop()
        left -= 1
        if left < 0:
            raise ValueError(f"is no schema that can be held: it comes to more than {MOST_PARTS} parts")
        if isinstance(part, list):
            waiting += [(inner, within) for inner in part]
        elif isinstance(part, dict):
            if "patternProperties" in part:
                raise ValueError("is no schema that can be held: patternProperties")
            waiting += [(inner, within) for key, inner in part.items() if key not in _REFERENCES]
            waiting += [(target, within | {name}) for name, target in _targets(schema, part) if name not in within]
    return schema


def schema_fault(value: Any, schema: Json) -> str:
    """The first fault of a value in one line; empty where there is none."""
    fault = next(iter(_validator()(schema, registry=_registry()).iter_errors(value)), None)
    if fault is None:
        return ""
    where = ".".join(str(part) for part in fault.absolute_path)
    return f"{where}: {fault.message}" if where else str(fault.message)


def _targets(schema: Json, part: Json) -> Iterator[tuple[str, Any]]:
    """What a part refers to, by reference."""
    for key in _REFERENCES:
        name = part.get(key)
        if name is None or isinstance(name, dict):
            continue
        if not isinstance(name, str) or not (name == "#" or name.startswith("#/")):
            raise ValueError(f"may refer to its own parts only (#/...), not to {name!r}")
        yield name, _resolved(schema, name)


def _resolved(schema: Any, name: str) -> Any:
    place = schema
    for step in name[2:].split("/") if name != "#" else ():
        key = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(place, dict) or key not in place:
            raise ValueError(f"refers to {name!r}, which is not in it")
        place = place[key]
    return place


@cache
def _validator() -> Any:
    import jsonschema  # heavy

    made: Any = jsonschema.validators.extend  # has no types
    return made(jsonschema.Draft202012Validator, {"pattern": _not_here})


@cache
def _registry() -> Any:
    from referencing import Registry

    return Registry()


def _not_here(*given: object) -> Iterator[Any]:
    return iter(())
