"""The tools of the benchmark: eight whose calls are all but given, and eight that leave much open."""

from __future__ import annotations

import json

from edgeagent.schema import Json, ToolSpec

COUNT = 8
_FREE = {"type": "string", "pattern": "^[a-z]{4}$"}


def _object(**properties: Json) -> Json:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def given_tools() -> tuple[ToolSpec, ...]:
    """Of each call only the name and two words of four letters are open."""
    return tuple(
        ToolSpec(
            f"archive_document_{letter}",
            f"Moves the document into archive {letter.upper()} and notes why. Use it for papers of that archive only.",
            _object(
                source={"const": "/home/clerk/Inbox/letter-0417.txt"},
                destination={"const": f"/home/clerk/Documents/archive/{letter}/letter-0417.txt"},
                overwrite={"const": False},
                label=_FREE,
                reason=_FREE,
            ),
        )
        for letter in "abcdefgh"
    )


def given_grammar() -> str:
    """The same calls in llama.cpp's own grammar language: what its peers are given."""
    calls = []
    for tool in given_tools():
        parts = [_quoted('<tool_call>\n{"name": "' + tool.name + '", "arguments": {')]
        for number, (name, schema) in enumerate(tool.parameters["properties"].items()):
            lead = f'{", " if number else ""}"{name}": '
            value = (
                _quoted(lead + json.dumps(schema["const"]))
                if "const" in schema
                else f"{_quoted(lead + chr(34))} word {_quoted(chr(34))}"
            )
            parts.append(value)
        parts.append(_quoted("}}\n</tool_call>"))
        calls.append(" ".join(parts))
    return "root ::= " + " | ".join(calls) + "\nword ::= [a-z] [a-z] [a-z] [a-z]\n"


def _quoted(text: str) -> str:
    return json.dumps(text)


def open_tools() -> tuple[ToolSpec, ...]:
    """Tools with much to choose: kinds, numbers, lists, optional and nested values. All of bounded length."""
    word = {"type": "string", "maxLength": 8}
    size = {"type": "integer", "minimum": -40, "maximum": 4000}
    kinds = {"enum": ["bill", "letter", "recipe", None, 7]}
    nested = _object(x={"type": "integer", "minimum": 0, "maximum": 9}, on={"type": "boolean"})
    schemas = [
        _object(path=word),
        _object(path=word, size=size),
        _object(kind=kinds),
        _object(words={"type": "array", "items": word, "maxItems": 3}),
        _object(place=nested, kind=kinds),
        {**_object(path=word, note=word), "required": ["path"]},
        _object(id={"type": "string", "pattern": "^[A-F0-9]{6}$"}),
        _object(either={"anyOf": [size, {"type": "boolean"}, {"type": "null"}]}),
    ]
    assert len(schemas) == COUNT
    return tuple(ToolSpec(f"tool_{n}", f"Does thing number {n}.", schema) for n, schema in enumerate(schemas))
