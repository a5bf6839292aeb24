"""The OpenAPI document: FastAPI's, with what it cannot know (problems, tokens, the event stream)."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api.problems import MEDIA_TYPE, Problem
from api.schemas.alerts import AlertSnapshot
from api.schemas.ingest import MetricIn, PlayIn

_MODELS = (Problem, PlayIn, MetricIn, AlertSnapshot)
_TEMPLATE = "#/components/schemas/{model}"
_PROBLEM = {"$ref": _TEMPLATE.format(model=Problem.__name__)}
_TAG_PARAMETER = {
    "name": "tag.NAME",
    "in": "query",
    "required": False,
    "description": "Any number of these, such as `tag.country=FR`: every one must match.",
    "schema": {"type": "string"},
}
_TAGGED = ("/api/v1/alerts", "/api/v1/series")
_OPEN = ("/health/", "/metrics")
_OPEN_CALLS = {("delete", "/api/v1/session")}
"""Signing out only has the browser forget its cookie."""


def install(app: FastAPI) -> None:
    """Give the application this document, made once when it is first asked for."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _build(app)
        return app.openapi_schema

    # FastAPI's documented way of extending it.
    app.openapi = document  # type: ignore[method-assign]


def _build(app: FastAPI) -> dict[str, Any]:
    found = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
        tags=app.openapi_tags,
    )
    components = found["components"]
    schemas = components["schemas"]
    for model in _MODELS:
        schema = model.model_json_schema(ref_template=_TEMPLATE)
        schemas.update(schema.pop("$defs", {}))
        schemas[model.__name__] = schema
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    components["schemas"] = dict(sorted(schemas.items()))
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "session": {"type": "apiKey", "in": "cookie", "name": "backbeat_session"},
    }
    for path, operations in found["paths"].items():
        for method, operation in operations.items():
            _complete(path, method, operation)
    return found


def _complete(path: str, method: str, operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    responses.pop("422", None)
    responses["default"] = {
        "description": "A problem document (RFC 9457).",
        "content": {MEDIA_TYPE: {"schema": _PROBLEM}},
    }
    if not path.startswith(_OPEN) and (method, path) not in _OPEN_CALLS:
        reading: list[dict[str, list[str]]] = [{"bearer": []}, {"session": []}]
        operation["security"] = reading if method == "get" else reading[:1]
    if path in _TAGGED:
        operation["parameters"].append(_TAG_PARAMETER)
    if path.endswith("/stream"):
        responses["200"]["content"] = {"text/event-stream": {"schema": {"type": "string"}}}
    elif path == "/metrics":
        responses["200"]["content"] = {"text/plain": {"schema": {"type": "string"}}}
