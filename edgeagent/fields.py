"""Building blocks for parsing what people wrote (agent files, config.toml) into frozen pydantic models.

Owns strict field types, the base model, and the wording of validation errors. It knows no file format: a caller maps
the location of a fault to a line or a key. Values are strict, so that `steps: "8"` is a wrong type and not eight.

Validate with a `context` when a person wrote the input: then durations and sizes must carry their unit. Code that
builds a model without a context may give plain numbers (seconds, bytes).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any

from pydantic import AllowInfNan, BaseModel, BeforeValidator, ConfigDict, Field, Strict, ValidationInfo
from pydantic_core import ErrorDetails

from edgeagent.units import parse_duration, parse_size
from edgeagent.words import did_you_mean, one_of

Location = tuple[str | int, ...]
"""Where a value stands: keys and positions from the top, such as `("triggers", 0, "path")`."""


class Model(BaseModel):
    """Frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _duration(value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, str):
        return parse_duration(value)
    if _is_number(value) and info.context is not None:
        raise ValueError(f"a duration needs a unit, such as {value}s or {value}m")
    return value


def _size(value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, str):
        return parse_size(value)
    if _is_number(value) and info.context is not None:
        raise ValueError(f"a size needs a unit, such as {value}B or {value}MB")
    return value


def not_empty(items: tuple[Any, ...]) -> tuple[Any, ...]:
    """For lists that need an item. Runs after the items were checked, so a bad item is not also called missing."""
    if not items:
        raise ValueError("must not be empty")
    return items


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


Text = Annotated[str, Strict()]
Words = Annotated[str, Strict(), Field(min_length=1, pattern=r"\S")]
Flag = Annotated[bool, Strict()]
Whole = Annotated[int, Strict(), Field(ge=0, le=10**12)]
Count = Annotated[int, Strict(), Field(ge=1, le=10**12)]
Number = Annotated[float, Strict(), AllowInfNan(False)]
Duration = Annotated[float, BeforeValidator(_duration), Strict(), Field(ge=0, allow_inf_nan=False)]
Size = Annotated[int, BeforeValidator(_size), Strict(), Field(ge=0)]

_EXPECTED = {
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a number",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must be a table of keys and values",
    "model_type": "must be a table of keys and values",
    "model_attributes_type": "must be a table of keys and values",
}


def describe(error: ErrorDetails, known_keys: Collection[str]) -> str:
    """One validation error in plain words, without the location.

    `known_keys` are the keys that may stand where an unknown one was found.
    """
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "extra_forbidden":
        key = error["loc"][-1]
        return f'unknown key "{key}"{did_you_mean(key, known_keys)}'
    if kind == "missing":
        return f'missing key "{error["loc"][-1]}"'
    if kind == "literal_error":
        return _not_one_of(value, str(context["expected"]))
    if kind in _EXPECTED:
        return f"{_EXPECTED[kind]}, not {kind_of(value)}"
    if kind == "value_error":
        return str(context["error"])
    return _limit(kind, context) or error["msg"].replace("Input should", "should")


def _limit(kind: str, context: Mapping[str, Any]) -> str:
    match kind:
        case "greater_than_equal":
            return f"must be at least {context['ge']:g}"
        case "greater_than":
            return f"must be more than {context['gt']:g}"
        case "less_than_equal":
            return f"must be at most {context['le']:g}"
        case "string_too_short" | "too_short" | "string_pattern_mismatch":
            return "must not be empty"
    return ""


def _not_one_of(value: object, expected: str) -> str:
    allowed = [word.strip("'") for word in expected.replace(" or ", ", ").split(", ")]
    shown = f'"{value}"' if isinstance(value, str) else kind_of(value)
    return f"must be {one_of(allowed)}, not {shown}{did_you_mean(value, allowed) if isinstance(value, str) else ''}"


def kind_of(value: object) -> str:
    """What a value is, in the words of somebody who writes YAML or TOML."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true or false"
        case str():
            return "text"
        case int():
            return "a number"
        case float():
            return "a number with decimals"
        case list() | tuple():
            return "a list"
        case dict():
            return "a table"
    return type(value).__name__
