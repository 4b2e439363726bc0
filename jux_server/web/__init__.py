"""The pages: what is broken, since when, and whether to believe it. Rendered here, readable without JavaScript."""

from __future__ import annotations

from jux_server.web import evidence, files, projects, report, runs

PAGES = (
    files.router,
    projects.router,
    runs.router,
    evidence.router,
    report.router,
)
