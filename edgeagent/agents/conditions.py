"""The `when` gate of an agent: conditions on the event that are checked without a model."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, model_validator

from edgeagent.fields import Model, Number, Text, kind_of
from edgeagent.schema import lookup
from edgeagent.units import parse_duration, parse_size


def _amount(value: Any) -> Any:
    """A bound: a number, a size (in bytes) or a duration (in seconds)."""
    if not isinstance(value, str):
        return value
    for parse in (parse_size, parse_duration):
        try:
            return parse(value)
        except ValueError:
            continue
    raise ValueError(f'"{value}" is not a number, a size such as 1MB or a duration such as 5m')


def _scalar(value: Any) -> Any:
    if value is not None and not isinstance(value, str | int | float):
        raise ValueError(f"must be text, a number, true or false, not {kind_of(value)}")
    return value


Amount = Annotated[Number, BeforeValidator(_amount)]


class Condition(Model):
    """`field` is a dotted path such as `event.size`; all comparisons that are given must hold."""

    field: Text
    below: Amount | None = None
    above: Amount | None = None
    equals: Annotated[Any, BeforeValidator(_scalar)] = None
    contains: Text | None = None
    matches: Text | None = None

    @model_validator(mode="after")
    def _compares_something(self) -> Self:
        if all(getattr(self, name) is None for name in type(self).model_fields if name != "field"):
            raise ValueError("nothing to compare with; add below, above, equals, contains or matches")
        return self

    def miss(self, data: Mapping[str, Any]) -> str | None:
        """Why the condition does not hold for this event, in words; None where it holds."""
        value = lookup(data, self.field)
        if value is None:
            return f"{self.field} is not known"
        for name, holds in self._comparisons(value):
            if not holds:
                return f"{self.field} is {value!r}, not {name} {getattr(self, name)!r}"
        return None

    def _comparisons(self, value: Any) -> list[tuple[str, bool]]:
        number = value if isinstance(value, int | float) else None
        text = value if isinstance(value, str) else str(value)
        made: dict[str, bool] = {
            "below": number is not None and self.below is not None and number < self.below,
            "above": number is not None and self.above is not None and number > self.above,
            "equals": value == self.equals,
            "contains": self.contains is not None and self.contains in text,
            "matches": self.matches is not None and fnmatch.fnmatchcase(text, self.matches),
        }
        return [(name, holds) for name, holds in made.items() if getattr(self, name) is not None]
