"""The OpenAPI document, made from the endpoints themselves. Knows no endpoint."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from edgeagent.schema import Json

_PARAMETER = re.compile(r"\{([a-z_]+)\}")
_ERROR: Json = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "hint": {"type": "string", "description": "The next thing to try."},
            },
        }
    },
}


@dataclass(frozen=True, slots=True)
class Described:
    """One endpoint as the document shows it."""

    method: str
    path: str
    summary: str
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    status: int = 200
    media: str = "application/json"


def openapi(endpoints: Iterable[Described], version: str) -> Json:
    """OpenAPI 3.1."""
    paths: dict[str, Json] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {"title": "edgeagent", "version": version, "description": "The control socket of the daemon."},
        "paths": paths,
        "components": {"schemas": {"Error": _ERROR}},
    }


def _operation(endpoint: Described) -> Json:
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    operation: Json = {
        "operationId": re.sub(r"[^a-z]+", "_", f"{endpoint.method} {endpoint.path}".lower()).strip("_"),
        "summary": endpoint.summary,
        "parameters": [*_in_path(endpoint.path), *_in_query(endpoint.query)],
        "responses": {
            str(endpoint.status): {"description": "Done.", "content": {endpoint.media: {}}},
            "default": {"description": "An error.", "content": error},
        },
    }
    if endpoint.body:
        schema = endpoint.body.model_json_schema()
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return operation


def _in_path(path: str) -> list[Json]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PARAMETER.findall(path)
    ]


def _in_query(model: type[BaseModel] | None) -> list[Json]:
    if model is None:
        return []
    schema = model.model_json_schema()
    properties: dict[str, Any] = schema["properties"]
    return [
        {"name": name, "in": "query", "required": False, "schema": _resolved(given, schema.get("$defs", {}))}
        for name, given in properties.items()
    ]


def _resolved(schema: Any, definitions: dict[str, Any]) -> Any:
    """The schema with its references filled in: a parameter has no place for definitions of its own."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            return definitions[schema["$ref"].rsplit("/", 1)[1]]
        return {key: _resolved(value, definitions) for key, value in schema.items()}
    return [_resolved(item, definitions) for item in schema] if isinstance(schema, list) else schema
