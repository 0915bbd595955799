"""The built-in tools as the model sees them. The text is short on purpose: it is read again at every prompt.

Names follow the MCP reference servers. `pocket` is trained on exactly these texts (and on others), so a change here
wants `make pocket`.
"""

from __future__ import annotations

from edgeagent.schema import Json, ToolSpec


def _object(required: dict[str, Json], optional: dict[str, Json] | None = None) -> Json:
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
        "additionalProperties": False,
    }


_TEXT: Json = {"type": "string"}
HTTP_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_LINES: Json = {"type": "integer", "minimum": 1}

BUILTIN_SPECS: dict[str, ToolSpec] = {
    spec.name: spec
    for spec in (
        ToolSpec(
            "read_file",
            "Read a text file.",
            _object({"path": _TEXT}, {"head": _LINES, "tail": _LINES}),
            read_only=True,
            idempotent=True,
        ),
        ToolSpec(
            "write_file",
            "Write a text file, replacing what was there.",
            _object({"path": _TEXT, "content": _TEXT}),
            destructive=True,
            idempotent=True,
        ),
        ToolSpec(
            "append_file",
            "Add a line at the end of a text file.",
            _object({"path": _TEXT, "content": _TEXT}),
            idempotent=True,
        ),
        ToolSpec(
            "list_directory",
            "List what is in a folder.",
            _object({"path": _TEXT}),
            read_only=True,
            idempotent=True,
        ),
        ToolSpec(
            "search_files",
            "Find files below a folder by name pattern.",
            _object({"path": _TEXT, "pattern": _TEXT}),
            read_only=True,
            idempotent=True,
        ),
        ToolSpec(
            "get_file_info",
            "Size, kind and times of a file.",
            _object({"path": _TEXT}),
            read_only=True,
            idempotent=True,
        ),
        ToolSpec("create_directory", "Make a folder.", _object({"path": _TEXT}), idempotent=True),
        ToolSpec(
            "move_file",
            "Move or rename a file.",
            _object({"source": _TEXT, "destination": _TEXT}),
            idempotent=True,
        ),
        ToolSpec(
            "delete_file",
            "Put a file in the trash.",
            _object({"path": _TEXT}),
            destructive=True,
            idempotent=True,
        ),
        ToolSpec("remember", "Keep a note for later runs.", _object({"text": _TEXT}), idempotent=True),
        ToolSpec(
            "recall",
            "Find kept notes by words.",
            _object({"query": _TEXT}),
            read_only=True,
            idempotent=True,
        ),
        ToolSpec(
            "query_database",
            "Run one SELECT on a SQLite file.",
            _object({"database": _TEXT, "sql": _TEXT}),
            read_only=True,
            idempotent=True,
        ),
        ToolSpec(
            "http_request",
            "Send one HTTP request.",
            _object(
                {"url": _TEXT},
                {
                    "method": {"type": "string", "enum": list(HTTP_METHODS)},
                    "headers": {"type": "object", "additionalProperties": _TEXT},
                    "body": _TEXT,
                },
            ),
        ),
        ToolSpec("notify", "Show a message to the person.", _object({"message": _TEXT}, {"title": _TEXT})),
    )
}
