"""The OpenAPI document: complete, with the ways to authenticate and without what the server never answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi.openapi.utils import get_openapi

if TYPE_CHECKING:
    from fastapi import FastAPI

_DESCRIPTION = """\
Receives signed JUnit XML reports, verifies them, keeps each once, and answers questions about them.

Times are RFC 3339 in UTC, durations seconds. Reports of projects that the API key is not for do not exist for its
holder. A caller on the server's own machine needs no key, unless the server is set up otherwise.
"""
_SCHEMES = {
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "bearer": {"type": "http", "scheme": "bearer", "description": "The API key as a bearer token."},
    "basic": {"type": "http", "scheme": "basic", "description": "The API key as the password; any user."},
}
_OPEN = {"/healthz", "/readyz"}
_NO_DESCRIPTION = "Successful Response"  # FastAPI's


def describe(app: FastAPI) -> None:
    """Let an application serve its OpenAPI document at /openapi.json."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(
                title=app.title,
                version=app.version,
                description=_DESCRIPTION,
                routes=app.routes,
                openapi_version="3.1.0",
            )
            made.setdefault("components", {})["securitySchemes"] = _SCHEMES
            for path, item in made["paths"].items():
                for operation in item.values():
                    # FastAPI's own answer to bad parameters; ours is 400, with the form of all errors.
                    operation["responses"].pop("422", None)
                    _name_success(operation["responses"], made["components"]["schemas"])
                    if path not in _OPEN:
                        operation["security"] = [{name: []} for name in _SCHEMES] + [{}]
            for name in ("HTTPValidationError", "ValidationError"):
                made["components"].get("schemas", {}).pop(name, None)
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign] # the way that FastAPI's documentation names


def _name_success(responses: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Say of answers what their schemas say of themselves."""
    for response in responses.values():
        if response["description"] == _NO_DESCRIPTION:
            (content,) = response["content"].values()
            name = content["schema"].get("$ref", "").rpartition("/")[2]
            response["description"] = schemas[name]["description"] if name else "The text itself."
