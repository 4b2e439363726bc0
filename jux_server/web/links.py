"""The addresses of the pages, made in one place."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

if TYPE_CHECKING:
    from uuid import UUID

    from fastapi import Request

_NEVER_IN_PATHS = {"", ".", ".."}  # browsers and proxies take these segments away


class Links:
    """Addresses on this server. `prefix` is the path below which a proxy shows it, "" for the root.

    What follows a page's own arguments are query parameters; those that are None or empty are left out.
    """

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix.rstrip("/")

    def start(self) -> str:
        """Return the address of the first page."""
        return f"{self.prefix}/"

    def static(self, name: str, version: str) -> str:
        """Return the address of a file that browsers may keep for ever, since its version is in the address."""
        return f"{self.prefix}/static/{name}?v={version}"

    def page(self, name: str, **query: object) -> str:
        """Return the address of a page that belongs to no project, such as `intake` or `admin/keys`."""
        return self._with(f"/{name}", query)

    def project(self, project: str, section: str = "projects", **query: object) -> str:
        """Return the address of a page of a project: `projects` (its runs), `trends`, `history`, `flaky`, `slowest`."""
        if any(segment in _NEVER_IN_PATHS for segment in project.split("/")) or "\\" in project:
            return self._with(f"/{section}/", {"project": project, **query})
        return self._with(f"/{section}/{quote(project, safe='/')}", query)

    def run(self, run: UUID | str, tab: str = "", **query: object) -> str:
        """Return the address of a run, or of one of its tabs."""
        return self._with(f"/reports/{quote(str(run), safe='')}" + (f"/{tab}" if tab else ""), query)

    def case(self, run: UUID | str, position: int) -> str:
        """Return the address of one case of a run."""
        return self.run(run, f"cases/{position}")

    def test(self, number: int, **query: object) -> str:
        """Return the address of a test."""
        return self._with(f"/tests/{number}", query)

    def badge(self, project: str, **query: object) -> str:
        """Return the address of a project's badge."""
        if any(segment in _NEVER_IN_PATHS for segment in project.split("/")) or "\\" in project:
            return self._with("/badge/.svg", {"project": project, **query})
        return self._with(f"/badge/{quote(project, safe='/')}.svg", query)

    def _with(self, path: str, query: dict[str, object]) -> str:
        said = {name.rstrip("_"): value for name, value in query.items() if value not in (None, "")}
        return f"{self.prefix}{path}" + (f"?{urlencode(said, doseq=True)}" if said else "")


def here(request: Request) -> str:
    """Return the address that was asked for, as the browser has it."""
    query = f"?{request.url.query}" if request.url.query else ""
    path = quote(request.scope["path"], safe="/!$&'()*+,;=:@~")  # `request.url` leaves a % of the name as it is
    return links_of(request).prefix + path + query


def links_of(request: Request) -> Links:
    """Return the addresses on the server that was asked."""
    links: Links = request.app.state.links
    return links
