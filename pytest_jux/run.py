"""One enabled test run: what was asked for, what becomes of its report, and the lines that say so."""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _pytest.junitxml import LogXML, xml_key

from pytest_jux import errors
from pytest_jux.addresses import without_secrets
from pytest_jux.config import unpublished
from pytest_jux.credentials import read_passphrase
from pytest_jux.delivery import Delivery, storage_mode
from pytest_jux.keys import load_certificate, load_private_key
from pytest_jux.metadata import refused_names, unknown_exclusions
from pytest_jux.notices import Notices
from pytest_jux.pipeline import Credentials, configured_metadata, process_report
from pytest_jux.retention import tend
from pytest_jux.storage import ReportStorage
from pytest_jux.text import plural, show_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pytest

    from pytest_jux.config import Settings
    from pytest_jux.metadata import EnvironmentMetadata
    from pytest_jux.pipeline import Outcome

_TITLES = {"read": "Report not processed", "sign": "Report not signed", "store": "Report not stored"}


class Run:
    """A test run that the plugin is enabled for. `notices` are what pytest's summary says about it.

    `environ` is the environment from before the tests and their conftest.py, which may have changed it since.
    `if_interrupted` is the line for somebody who interrupts at this moment.
    """

    def __init__(self, settings: Settings, config: pytest.Config, environ: Mapping[str, str]) -> None:
        self.settings = settings
        self.config = config
        self.notices = Notices()
        self.if_interrupted = ("✗", "Interrupted before the report was signed and stored")
        self.xml: LogXML | None = None
        self.metadata: EnvironmentMetadata | None = None
        self.is_private = False  # nobody asked for a report file
        self.is_lost = False
        self._mode = storage_mode(settings)
        self._is_safe = True  # the private report is not the only copy
        self.temporary: Path | None = None  # the directory that a private report is in, from when pytest writes it
        self._environ = environ
        self._home = os.path.expanduser("~")  # noqa: PTH111 - Path.home() raises where there is none
        self._process = os.getpid()
        self._storage: ReportStorage | errors.JuxError
        try:
            self._storage = ReportStorage(settings["jux_storage_path"])
        except errors.JuxError as error:
            self._storage = error
        for warning in (*settings.warnings, *unpublished(settings), *_metadata_warnings(settings)):
            self.notices.say("⚠", str(warning))
        if config.pluginmanager.hasplugin("junitxml") and not config.option.xmlpath:
            self._write_report_anyway()

    @property
    def intention(self) -> str:
        """What will be done at the end, for the header of pytest's output."""
        steps = [f"sign with {self.settings['jux_key_path']}"] if self.settings["jux_sign"] else []
        steps += ["store"] if self._mode != "api" else []
        steps += [f"publish to {without_secrets(self.settings['jux_api_url'])}"] if self._mode != "local" else []
        *first, last = steps
        return f"{', '.join(first)} and {last}" if first else last

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
        """Sign, store, queue and publish the report that pytest has written, as far as asked for."""
        if self.is_lost or os.getpid() != self._process:  # a test forked, and its child came back to pytest
            return
        if self.xml is None:
            if not self.notices.has_failed:
                self.notices.say("✗", "No report: pytest writes none (is its junitxml plugin switched off?)")
            return
        storage = self._storage if isinstance(self._storage, ReportStorage) else None
        problem = self._storage if isinstance(self._storage, errors.JuxError) else None
        credentials: Credentials | None = None
        if self.settings["jux_sign"]:
            try:
                credentials = self._load_credentials()
            except errors.JuxError as error:
                self.notices.say_failure("Report not signed", error)
        metadata = self.metadata.to_dict() if self.metadata else {}
        outcome = process_report(
            Path(self.xml.logfile),
            credentials=credentials,
            storage=storage,
            metadata=metadata,
            keep=self._mode != "api",
            queue_for=self.settings["jux_api_url"] if self._mode != "local" else "",
            mark=self.metadata.timestamp if self.metadata else "",
        )
        self._is_safe = outcome.stored is not None or outcome.is_queued
        self._say_outcome(outcome, Path(self.xml.logfile))
        if problem is not None and self._mode != "api":
            self.notices.say_failure("Report not stored", problem)
        if self._mode != "local" and outcome.signed is not None:
            self._publish(outcome, metadata, Delivery(self.settings, self._environ, storage, self.notices, problem))
        if storage is not None and (outcome.stored or outcome.is_queued):
            self.if_interrupted = ("⚠", "Interrupted while the report store was tidied")
            self._tend(storage)

    def close(self) -> None:
        """Remove what was only needed during the run."""
        if self.temporary is not None and self._is_safe:
            shutil.rmtree(self.temporary, ignore_errors=True)

    def lose_report(self, reason: Exception | str) -> None:
        """Say once that pytest could not write the private report."""
        if not self.is_lost:
            self.notices.say("✗", f"No report: {reason}")
        self.is_lost = True

    def keep_private_report(self) -> None:
        """Say where the report is, if nobody asked for a file and it could not be stored."""
        path = None if self.temporary is None else self.temporary / "report.xml"
        if not self._is_safe and path is not None and path.is_file():
            self.notices.say("⚠", f"The report is kept in {path}")
        else:
            self._is_safe = True

    def _tend(self, storage: ReportStorage) -> None:
        """Clear away what killed processes left and what is older than asked for, and say if the store is large."""
        limit = self.settings["jux_storage_max_size"]
        try:
            tended = tend(storage, days=self.settings["jux_storage_retention_days"] or None)
        except errors.JuxError as error:
            self.notices.say("⚠", f"The report store could not be tidied: {error}")
            return
        if tended.removed.reports:
            what = plural(tended.removed.reports, "old report")
            self.notices.say("✓", f"Removed {what} ({show_size(tended.removed.size)}, jux_storage_retention_days)")
        if limit and tended.size > limit:
            held = f"{show_size(tended.size)}, more than {show_size(limit)} (jux_storage_max_size)"
            where = f" --storage-path {shlex.quote(str(storage.root))}"
            self.notices.say(
                "⚠", f"The report store holds {held}; to make room: jux-cache clean --max-size {limit}{where}"
            )

    def _say_outcome(self, outcome: Outcome, path: Path) -> None:
        if outcome.signed is not None:
            where = "" if self.is_private else f": {self._short(path)}"
            self.notices.say("✓", f"Report signed{where}")
        for failure in outcome.failures:
            if failure.step in _TITLES:  # a report that does not wait may be published all the same
                self.notices.say_failure(_TITLES[failure.step], failure.error)
        if outcome.stored is not None:
            failed = self.settings["jux_sign"] and outcome.signed is None
            unsigned = " (unsigned)" if failed else ""
            self.notices.say("⚠" if failed else "✓", f"Stored locally{unsigned}: {self._short(outcome.stored.path)}")

    def _publish(self, outcome: Outcome, metadata: dict[str, Any], delivery: Delivery) -> None:
        try:
            self._is_safe |= delivery.publish(outcome, metadata)
        except KeyboardInterrupt:
            self.if_interrupted = delivery.if_interrupted
            raise

    def _load_credentials(self) -> Credentials:
        settings = self.settings
        variable, file = settings["jux_key_passphrase_env"], settings["jux_key_passphrase_file"]
        passphrase = read_passphrase(variable, file, self._environ)
        certificate = settings["jux_cert_path"]
        key = load_private_key(settings["jux_key_path"], passphrase)
        return Credentials(key, load_certificate(certificate) if certificate else None)

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


def _metadata_warnings(settings: Settings) -> Iterator[str]:
    """Say what the metadata options ask for that will not be done."""
    extra, excluded = (settings.explain(f"jux_metadata_{name}") for name in ("extra", "exclude"))
    for name in refused_names([name for name, _ in extra.value]):
        what = f"{name} looks like the name of a secret and is not recorded"
        yield f"{extra.origin}: {extra.option.name}: {what}"
    for pattern in unknown_exclusions(excluded.value):
        yield f"{excluded.origin}: {excluded.option.name}: there is no field {pattern}"
