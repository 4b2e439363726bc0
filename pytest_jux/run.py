"""One enabled test run: what was asked for, what becomes of its report, and the lines that say so."""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from _pytest.junitxml import LogXML, xml_key

from pytest_jux import errors
from pytest_jux.config import Layer
from pytest_jux.config_values import without_userinfo
from pytest_jux.credentials import read_passphrase
from pytest_jux.keys import load_certificate, load_private_key
from pytest_jux.metadata import refused_names, unknown_exclusions
from pytest_jux.outcomes import Duplicate, Published, Rejected, Unauthorized, Unavailable
from pytest_jux.pipeline import Credentials, configured_metadata, process_report
from pytest_jux.retention import tend
from pytest_jux.storage import ReportStorage
from pytest_jux.text import plural, show_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

    from pytest_jux.api_client import JuxAPIClient
    from pytest_jux.config import Settings
    from pytest_jux.metadata import EnvironmentMetadata
    from pytest_jux.outcomes import Outcome as Delivery
    from pytest_jux.pipeline import Outcome

_TITLES = {
    "read": "Report not processed",
    "sign": "Report not signed",
    "store": "Report not stored",
    "queue": "Report not queued",
    "publish": "Not published",
}


class Run:
    """A test run that the plugin is enabled for. `lines` are marks and texts for pytest's summary."""

    def __init__(self, settings: Settings, config: pytest.Config) -> None:
        self.settings = settings
        self.config = config
        self.lines: list[tuple[str, str]] = []
        self.xml: LogXML | None = None
        self.metadata: EnvironmentMetadata | None = None
        self.is_private = False  # nobody asked for a report file
        self.is_lost = False
        self._mode = _storage_mode(settings)
        self._is_safe = True  # the private report is not the only copy
        self.temporary: Path | None = None  # the directory that a private report is in, from when pytest writes it
        # Now, before a test or its conftest.py changes the environment.
        self._environ = dict(os.environ)
        self._home = os.path.expanduser("~")  # noqa: PTH111 - Path.home() raises where there is none
        self._storage: ReportStorage | errors.JuxError
        try:
            self._storage = ReportStorage(settings["jux_storage_path"])
        except errors.JuxError as error:
            self._storage = error
        for warning in (*settings.warnings, *_metadata_warnings(settings)):
            self.say("⚠", str(warning))
        if config.pluginmanager.hasplugin("junitxml") and not config.option.xmlpath:
            self._write_report_anyway()

    @property
    def has_failed(self) -> bool:
        """Whether something that was asked for was not done."""
        return any(mark == "✗" for mark, _ in self.lines)

    @property
    def intention(self) -> str:
        """What will be done at the end, for the header of pytest's output."""
        steps = [f"sign with {self.settings['jux_key_path']}"] if self.settings["jux_sign"] else []
        mode = self._mode
        steps += ["store"] if mode != "api" else []
        steps += [f"publish to {without_userinfo(self.settings['jux_api_url'])}"] if mode != "local" else []
        return " and ".join(steps)

    def say(self, mark: str, text: str) -> None:
        """Add a line to the summary."""
        self.lines.append((mark, text))

    def say_unexpected(self, error: Exception) -> None:
        """Report a defect of ours."""
        _show_traceback(error)
        self.say("✗", f"pytest-jux failed: {type(error).__name__}: {error} (JUX_DEBUG=1 shows where)")

    def add_properties(self, exit_status: int) -> None:
        """Put the metadata into the report that pytest is about to write: an interrupted run looks like a whole one."""
        self.xml = self.config.stash.get(xml_key, None)
        if self.xml is None:
            return
        self.metadata = configured_metadata(self.settings, self.config.rootpath, exit_status)
        for name, value in self.metadata.to_properties():
            self.xml.add_global_property(name, value)
        self._is_safe = False

    def finish(self) -> None:
        """Sign, store and queue the report that pytest has written, as far as asked for."""
        if self.is_lost:
            return
        if self.xml is None:
            if not self.has_failed:
                self.say("✗", "No report: pytest writes none (is its junitxml plugin switched off?)")
            return
        storage = self._storage if isinstance(self._storage, ReportStorage) else None
        credentials: Credentials | None = None
        if self.settings["jux_sign"]:
            try:
                credentials = self._load_credentials()
            except errors.JuxError as error:
                self._say_failure("Report not signed", error)
        started = time.monotonic()
        client = self._make_client() if self._mode != "local" and credentials is not None else None
        try:
            outcome = process_report(
                Path(self.xml.logfile),
                credentials=credentials,
                storage=storage,
                metadata=self.metadata.to_dict() if self.metadata else {},
                keep=self._mode != "api",
                queue_for=self.settings["jux_api_url"] if self._mode != "local" else "",
                client=client,
                mark=self.metadata.timestamp if self.metadata else "",
            )
            self._say_outcome(outcome, Path(self.xml.logfile))
            is_delivered = isinstance(outcome.delivery, (Published, Duplicate))
            if client is not None and storage is not None and is_delivered and self._mode == "cache":
                self._drain(storage, client, started + client.deadline)
        finally:
            if client is not None:
                client.close()
        self._is_safe = outcome.stored is not None or outcome.is_queued or is_delivered
        if isinstance(self._storage, errors.JuxError):
            self._say_failure("Report not stored", self._storage)
        elif storage is not None and (outcome.stored or outcome.is_queued):
            self._tend(storage)

    def close(self) -> None:
        """Remove what was only needed during the run."""
        if self.temporary is not None and self._is_safe:
            shutil.rmtree(self.temporary, ignore_errors=True)

    def lose_report(self, reason: Exception | str) -> None:
        """Say once that pytest could not write the private report."""
        if not self.is_lost:
            self.say("✗", f"No report: {reason}")
        self.is_lost = True

    def keep_private_report(self) -> None:
        """Say where the report is, if nobody asked for a file and it could not be stored."""
        path = None if self.temporary is None else self.temporary / "report.xml"
        if not self._is_safe and path is not None and path.is_file():
            self.say("⚠", f"The report is kept in {path}")
        else:
            self._is_safe = True

    def _tend(self, storage: ReportStorage) -> None:
        """Clear away what killed processes left and what is older than asked for, and say if the store is large."""
        limit = self.settings["jux_storage_max_size"]
        try:
            tended = tend(storage, days=self.settings["jux_storage_retention_days"] or None)
        except errors.JuxError as error:
            self.say("⚠", f"The report store could not be tidied: {error}")
            return
        if tended.removed.reports:
            what = plural(tended.removed.reports, "old report")
            self.say("✓", f"Removed {what} ({show_size(tended.removed.size)}, jux_storage_retention_days)")
        if limit and tended.size > limit:
            held = f"{show_size(tended.size)}, more than {show_size(limit)} (jux_storage_max_size)"
            where = f" --storage-path {shlex.quote(str(storage.root))}"
            self.say("⚠", f"The report store holds {held}; to make room: jux-cache clean --max-size {limit}{where}")

    def _say_outcome(self, outcome: Outcome, path: Path) -> None:
        if outcome.signed is not None:
            where = "" if self.is_private else f": {self._short(path)}"
            self.say("✓", f"Report signed{where}")
        for failure in outcome.failures:
            self._say_failure(_TITLES[failure.step], failure.error)
        if outcome.stored is not None:
            failed = self.settings["jux_sign"] and outcome.signed is None
            unsigned = " (unsigned)" if failed else ""
            self.say("⚠" if failed else "✓", f"Stored locally{unsigned}: {self._short(outcome.stored.path)}")
        if outcome.delivery is not None:
            self._say_delivery(outcome.delivery, outcome)
        elif outcome.is_queued:
            self.say("⚠", "Queued for publishing (jux-cache push)")

    def _say_delivery(self, delivery: Delivery, outcome: Outcome) -> None:
        waits = "queued for retry" if outcome.is_queued else "not queued"
        match delivery:
            case Published() | Duplicate():
                known = f"{delivery.url or delivery.id or self.settings['jux_api_url']}"
                self.say("✓", f"Published to API: {known}")
            case Rejected():
                kept = " (kept: jux-cache list --status rejected)" if outcome.stored or self._mode == "api" else ""
                self.say("✗", f"Not published: the server refuses the report: {delivery.reason}{kept}")
            case Unauthorized():
                self.say("✗", f"Not published: {delivery.reason}; {waits} ({delivery.hint.removesuffix('.')})")
            case Unavailable():
                hint = f" ({delivery.hint.removesuffix('.')})" if delivery.hint else ""
                if self._mode == "cache" and outcome.is_queued:
                    self.say("⚠", f"API unavailable, {waits}: {delivery.reason}{hint}")
                else:
                    self.say("✗", f"Not published: {delivery.reason}; {waits}{hint}")

    def _drain(self, storage: ReportStorage, client: JuxAPIClient, until: float) -> None:
        """Send what older runs could not, in the time that is left."""
        from pytest_jux.publishing import drain  # noqa: PLC0415 - as in _make_client

        try:
            published, left = drain(storage, client, until=until, clock=time.monotonic)
        except errors.JuxError as error:
            self.say("⚠", f"The queue could not be read: {error}")
            return
        if published:
            self.say("✓", f"Published {plural(published, 'report')} of earlier runs")
        if left:
            self.say("⚠", f"{plural(left, 'report')} of earlier runs still queued (jux-cache push)")

    def _make_client(self) -> JuxAPIClient | None:
        from pytest_jux.publishing import configured_client  # noqa: PLC0415 - the HTTP library, only for who publishes

        try:
            client = configured_client(self.settings, self._environ)
        except errors.JuxError as error:
            self._say_failure("Not published", error)
            return None
        if client.is_exposed:
            self.say("⚠", "jux_api_url is plain http:// to another machine: everybody on the way can read the key")
        return client

    def _load_credentials(self) -> Credentials:
        settings = self.settings
        variable, file = settings["jux_key_passphrase_env"], settings["jux_key_passphrase_file"]
        passphrase = read_passphrase(variable, file, self._environ)
        certificate = settings["jux_cert_path"]
        key = load_private_key(settings["jux_key_path"], passphrase)
        return Credentials(key, load_certificate(certificate) if certificate else None)

    def _say_failure(self, title: str, error: Exception) -> None:
        _show_traceback(error)
        hint = _hint(error)
        self.say("✗", f"{title}: {error}" + (f" ({hint})" if hint else ""))

    def _short(self, path: Path) -> str:
        """Show a path below the working directory or the home directory without that part."""
        start = self.config.invocation_params.dir
        if path.is_relative_to(start):
            return str(path.relative_to(start))
        home = self._home
        return f"~{os.sep}{path.relative_to(home)}" if home != "~" and path.is_relative_to(home) else str(path)

    def _write_report_anyway(self) -> None:
        """Let pytest write a report, as with --junit-xml, but privately: not announced, and no harm if it fails."""
        self.is_private = True
        option, getini = self.config.option, self.config.getini
        self.config.stash[xml_key] = _PrivateReport(
            self,
            "report.xml",  # not written there, but in a directory of its own
            option.junitprefix,
            getini("junit_suite_name"),
            getini("junit_logging"),
            getini("junit_duration_report"),
            "xunit1",  # in which all of pytest's fixtures for reports work without a warning
            getini("junit_log_passing_tests"),
        )
        self.config.pluginmanager.register(self.config.stash[xml_key])


class _PrivateReport(LogXML):
    """pytest's report writer, for a report that nobody asked for: it must not break what they did ask for."""

    def __init__(self, run: Run, *arguments: str | bool | None) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self._run = run

    def pytest_sessionfinish(self) -> None:
        try:
            # Not earlier, so that a test that ends the process leaves nothing behind.
            self._run.temporary = Path(tempfile.mkdtemp(prefix="jux-"))
        except OSError as error:
            self._run.lose_report(f"there is no directory for temporary files ({error})")
            return
        self.logfile = str(self._run.temporary / "report.xml")
        try:
            super().pytest_sessionfinish()
        except Exception as error:  # noqa: BLE001 - pytest's own code, or a broken disk
            self._run.lose_report(error)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        try:
            super().pytest_runtest_logreport(report)
        except Exception as error:  # noqa: BLE001 - as above
            self._run.lose_report(error)

    def pytest_terminal_summary(self, *_: object, **__: object) -> None:
        """Announce nothing: the file is about to be removed."""


def _storage_mode(settings: Settings) -> str:
    """Return where the report goes: without publishing only into the store, with it by default there and to the API."""
    if not settings["jux_publish"]:
        return "local"
    setting = settings.explain("jux_storage_mode")
    is_default = setting.origin.layer is Layer.DEFAULT
    return "both" if is_default and settings["jux_api_url"] else str(setting.value)


def _hint(error: Exception) -> str:
    """Return the next step after a failure, in words of the configuration, or ""."""
    for kind, hint in _HINTS:
        if isinstance(error, kind):
            full = isinstance(error, errors.StorageError) and error.reason == "no space left on device"
            return "jux-cache clean --days 30 makes room" if full else hint
    return error.hint.removesuffix(".") if isinstance(error, errors.ClientMisconfigured) else ""


_HINTS = (  # the first that fits
    (errors.PassphraseRequired, "set jux_key_passphrase_env or jux_key_passphrase_file"),
    (errors.PassphraseWrong, ""),
    (errors.KeyUnreadable, "jux-config explain jux_key_path shows where this path comes from"),
    (errors.CertificateUnreadable, "jux-config explain jux_cert_path shows where this path comes from"),
    (errors.KeyMismatch, "jux-config explain jux_cert_path shows where this path comes from"),
    (errors.StorageError, "jux_storage_path can name another place"),
)


def _show_traceback(error: Exception) -> None:
    if os.environ.get("JUX_DEBUG") == "1":
        traceback.print_exception(error)


def _metadata_warnings(settings: Settings) -> Iterator[str]:
    """Say what the metadata options ask for that will not be done."""
    extra, excluded = (settings.explain(f"jux_metadata_{name}") for name in ("extra", "exclude"))
    for name in refused_names([name for name, _ in extra.value]):
        what = f"{name} looks like the name of a secret and is not recorded"
        yield f"{extra.origin}: {extra.option.name}: {what}"
    for pattern in unknown_exclusions(excluded.value):
        yield f"{excluded.origin}: {excluded.option.name}: there is no field {pattern}"
