"""The style sheet, the scripts and the icon."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from jux_server.api.problems import not_found
from jux_server.web.rendering import static_files

router = APIRouter()

_FOR_EVER = "public, max-age=31536000, immutable"  # the address has the version of the content in it


@router.get("/static/{name}", include_in_schema=False)
def static_file(name: str, v: str = "") -> Response:
    """Return a file that pages need; it holds nothing of any report and is for everybody."""
    file = static_files().get(name)
    if file is None:
        raise not_found("file", name)
    # While servers of two versions run, either may be asked for the other's.
    headers = {"Cache-Control": _FOR_EVER if v == file.version else "no-cache", "X-Content-Type-Options": "nosniff"}
    return Response(file.content, media_type=file.media_type, headers=headers)


@router.get("/favicon.ico", include_in_schema=False)
def favicon() -> Response:
    """Return the icon for those who do not ask for the one that pages name."""
    file = static_files()["favicon.svg"]
    return Response(file.content, media_type=file.media_type, headers={"Cache-Control": "public, max-age=86400"})
