"""What a server gave back, as the text that a model reads. Pictures, sound and files are named, not shown."""

from __future__ import annotations

import json
from typing import Any

from edgeagent.errors import ToolError
from edgeagent.mcp.texts import visible
from edgeagent.schema import Json

_NAME = 200


def text_of(result: Json, output_schema: Json | None) -> str:
    """The text of a result. ToolError where it is an error, or is not what the server declares."""
    blocks = result.get("content") or []
    text = "\n".join(filter(None, map(_block, blocks)))
    structured = result.get("structuredContent")
    if result.get("isError"):
        raise ToolError(text or "it failed and did not say why")
    if structured is not None:
        if output_schema is not None and (fault := schema_fault(structured, output_schema)):
            raise ToolError(f"its result does not match what it declares: {fault}")
        if not any(block.get("type") == "text" for block in blocks):
            told = json.dumps(structured, ensure_ascii=False)
            text = f"{text}\n{told}" if text else told
    return text or "done"


def schema_fault(value: Any, schema: Json) -> str:
    """The first fault in one line; empty where there is none. Fetches nothing that a schema refers to."""
    import jsonschema  # heavy, and only for servers that declare schemas
    from referencing import Registry

    fault = next(iter(jsonschema.Draft202012Validator(schema, registry=Registry()).iter_errors(value)), None)
    if fault is None:
        return ""
    where = ".".join(str(part) for part in fault.absolute_path)
    return visible(f"{where}: {fault.message}" if where else fault.message, 300).replace("\n", " ")


def _block(block: Json) -> str:
    match block.get("type"):
        case "text":
            return str(block.get("text", ""))
        case "image" | "audio":
            return f"[{block['type']} {_shown(block.get('mimeType'))}, {_size(block.get('data'))}, not shown]"
        case "resource_link":
            return f"[resource {_shown(block.get('uri'))} {_shown(block.get('name'))}]"
        case "resource":
            resource = block.get("resource") or {}
            if "text" in resource:
                return f"[resource {_shown(resource.get('uri'))}]\n{resource['text']}"
            return f"[resource {_shown(resource.get('uri'))}, {_size(resource.get('blob'))}, not shown]"
    return f"[{_shown(block.get('type'))}, not shown]"


def _shown(value: object) -> str:
    return visible(str(value or ""), _NAME).replace("\n", " ")


def _size(data: object) -> str:
    """Of what comes in base64."""
    return f"{len(str(data or '')) * 3 // 4:,} bytes"
