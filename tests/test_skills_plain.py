"""Schemas of tools: what is plain to see is a schema, and jsonschema is asked of the rest alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeagent.bundled import bundled
from edgeagent.skills import SkillLibrary
from edgeagent.skills.plain import _PLAIN, check_schema, is_plain

KEYWORDS = [*sorted(_PLAIN), "$ref", "format", "prefixItems", "unheard-of"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | st.floats(-1, 1) | st.sampled_from(["object", "[", "a+"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYWORDS), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(KEYWORDS), VALUES, max_size=4))
@settings(max_examples=500, deadline=None)
def test_what_looks_like_a_schema_at_a_glance_is_one(schema: dict[str, Any]) -> None:
    if is_plain(schema):
        jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("schema", [{"type": "text"}, {"required": "a"}, {"pattern": "["}, {"properties": {"a": 1}}])
def test_what_is_no_schema_is_told(schema: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="is no JSON Schema: "):
        check_schema(schema)


def test_the_schemas_of_bundled_skills_are_seen_at_a_glance() -> None:
    """So that a daemon does not load jsonschema for them."""
    found = [one.skill for one in SkillLibrary(bundled("skills"), Path("/nowhere")).all() if one.skill]
    schemas = [schema for skill in found for tool in skill.tools for schema in (tool.input_schema, tool.output_schema)]
    assert len(schemas) > 10
    assert all(schema is None or is_plain(schema) for schema in schemas)
