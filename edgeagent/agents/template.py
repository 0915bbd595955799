"""Templates know `{{ dotted.path }}` and nothing more: no filters, no expressions, no second pass."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from edgeagent.errors import UsageError
from edgeagent.schema import lookup

_FIELD = re.compile(r"\{\{\s*([A-Za-z_]\w*(?:\.\w+)*)\s*\}\}", re.ASCII)


def check_template(template: str) -> str:
    """The template as it is. Raises ValueError where it is malformed."""
    rest = _FIELD.sub("", template)
    if "{{" in rest or "}}" in rest:
        raise ValueError(f'"{template}" is not a template; write {{{{ dotted.path }}}}, such as {{{{ event.path }}}}')
    return template


def render(template: str, data: Mapping[str, Any]) -> str:
    """The template with each `{{ dotted.path }}` replaced by its value in `data`. UsageError where there is none."""
    try:
        check_template(template)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return _FIELD.sub(lambda found: _value(data, found[1]), template)


def _value(data: Mapping[str, Any], dotted: str) -> str:
    value = lookup(data, dotted)
    if value is None:
        raise UsageError(f"nothing is known as {{{{ {dotted} }}}}", "edgeagent runs show ID --json")
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
