"""Publishing at the end of a run: its own report, what older runs left, and the lines that say what came of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from pytest_jux import errors
from pytest_jux.addresses import EXPOSED, without_secrets
from pytest_jux.config import Layer
from pytest_jux.outcomes import Duplicate, Published, Rejected, Unauthorized, Unavailable
from pytest_jux.pipeline import deliver
from pytest_jux.text import plural

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_jux.api_client import JuxAPIClient
    from pytest_jux.config import Settings
    from pytest_jux.notices import Notices
    from pytest_jux.pipeline import Outcome
    from pytest_jux.storage import ReportStorage


def storage_mode(settings: Settings) -> str:
    """Return where the report goes: without publishing only into the store, with it by default there and to the API."""
    if not settings["jux_publish"]:
        return "local"
    setting = settings.explain("jux_storage_mode")
    return "both" if setting.origin.layer is Layer.DEFAULT else str(setting.value)


class Delivery:
    """Publishes a run's report and, in mode `cache`, what older runs left for the same server, within one deadline.

    `storage` is None if there is none that could be used, for the reason `problem`. `environ` is where variables are
    looked up. A server costs no more than `jux_publish_deadline`, however many reports there are. Nothing is raised for
    what a server, a network or the store does.
    """

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str],
        storage: ReportStorage | None,
        notices: Notices,
        problem: errors.JuxError | None = None,
    ) -> None:
        self.mode = storage_mode(settings)
        #: The line for somebody who interrupts at this moment.
        self.if_interrupted = ("✗", "Not published: interrupted")
        self._settings = settings
        self._environ = environ
        self._storage = storage
        self._notices = notices
        self._problem = problem

    def publish(self, processed: Outcome, metadata: Mapping[str, Any]) -> bool:
        """Send a signed report and say what came of it; tell whether the server has it."""
        until = time.monotonic() + self._settings["jux_publish_deadline"]
        waits = self._waits(processed)
        self.if_interrupted = ("✗", f"Not published: interrupted; {waits}")
        client = self._make_client(waits)
        if client is None:
            return False
        try:
            remaining = max(until - time.monotonic(), 0.0)
            outcome = deliver(processed, client, self._storage, metadata, deadline=remaining)
            self._say(outcome, waits, is_kept=processed.is_queued)
            if not isinstance(outcome.delivery, (Published, Duplicate)):
                return False
            if self.mode == "cache" and self._storage is not None and processed.is_queued:
                self.if_interrupted = ("⚠", "Interrupted while reports of earlier runs were published")
                self._drain(self._storage, client, until)
            return True
        finally:
            client.close()

    def _waits(self, processed: Outcome) -> str:
        """Say what becomes of a report that cannot be published."""
        if processed.is_queued:
            return "queued for retry"
        problems = [failure.error for failure in processed.failures if failure.step == "queue"]
        reason = problems[0] if problems else self._problem
        return f"not queued: {reason}" if reason else "not queued"

    def _make_client(self, waits: str) -> JuxAPIClient | None:
        from pytest_jux.publishing import configured_client  # noqa: PLC0415 - the HTTP library, only for who publishes

        try:
            client = configured_client(self._settings, self._environ)
        except errors.JuxError as error:
            self._notices.say_failure("Not published", error, waits)
            return None
        if client.is_exposed:
            text = f"jux_api_url is {EXPOSED}"
            self._notices.say("⚠", text)
        return client

    def _say(self, outcome: Outcome, waits: str, *, is_kept: bool) -> None:
        for failure in outcome.failures:
            if failure.step == "publish":
                self._notices.say_failure("Not published", failure.error, waits)
                return
        unrecorded = [failure.error for failure in outcome.failures if failure.step == "record"]
        delivery = outcome.delivery
        if isinstance(delivery, (Published, Duplicate)):
            before = " (the server had it already)" if isinstance(delivery, Duplicate) else ""
            where = delivery.url or delivery.id or without_secrets(self._settings["jux_api_url"])
            self._notices.say("✓", f"Published to API: {where}{before}")
            for error in unrecorded:
                self._notices.say("⚠", f"The report stays queued: {error}")
        elif unrecorded:
            self._notices.say_failure("Not published", unrecorded[0], waits)
        elif delivery is None:
            self._notices.say("⚠", "The report is being published by another process (jux-cache list)")
        else:
            self._say_failed(delivery, waits, is_kept=is_kept)

    def _say_failed(self, delivery: Rejected | Unauthorized | Unavailable, waits: str, *, is_kept: bool) -> None:
        if isinstance(delivery, Rejected):
            kept = " (kept: jux-cache list --status rejected)" if is_kept else ""
            self._notices.say("✗", f"Not published: the server refuses the report: {delivery.reason}{kept}")
            return
        hint = f" ({delivery.hint.removesuffix('.')})" if delivery.hint else ""
        if isinstance(delivery, Unavailable) and self.mode == "cache" and waits == "queued for retry":
            self._notices.say("⚠", f"API unavailable, {waits}: {delivery.reason}{hint}")
        else:
            self._notices.say("✗", f"Not published: {delivery.reason}; {waits}{hint}")

    def _drain(self, storage: ReportStorage, client: JuxAPIClient, until: float) -> None:
        """Send what older runs could not, in the time that is left."""
        from pytest_jux.publishing import drain  # noqa: PLC0415 - as in _make_client

        try:
            published, left, refused = drain(storage, client, until=until, clock=time.monotonic)
        except errors.JuxError as error:
            self._notices.say("⚠", f"The queue could not be read: {error}")
            return
        if published:
            self._notices.say("✓", f"Published {plural(published, 'report')} of earlier runs")
        if refused:
            what = plural(refused, "report")
            self._notices.say("⚠", f"The server refuses {what} of earlier runs (jux-cache list --status rejected)")
        if left:
            self._notices.say("⚠", f"{plural(left, 'report')} of earlier runs still queued (jux-cache push)")
