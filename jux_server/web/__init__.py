"""The pages: what is broken, since when, and whether to believe it. Rendered here, readable without JavaScript."""

from __future__ import annotations

from jux_server.web import (
    admin,
    admin_projects,
    badge,
    evidence,
    exports,
    files,
    intake_page,
    one_test,
    over_time,
    projects,
    report,
    runs,
    signing_in,
)

PAGES = (
    files.router,
    projects.router,
    runs.router,
    evidence.router,
    exports.router,
    intake_page.router,
    badge.router,
    report.router,
    one_test.router,
    over_time.router,
    signing_in.router,
    admin.router,
    admin_projects.router,
)
