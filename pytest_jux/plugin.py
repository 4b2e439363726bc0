"""pytest's hooks, and nothing else.

While the plugin is disabled, only this module, `options` and what pytest has loaded anyway are in memory.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_jux.options import OPTIONS, given, may_be_enabled

if TYPE_CHECKING:
    from collections.abc import Generator

    from _pytest.junitxml import LogXML
    from _pytest.terminal import TerminalReporter

    from pytest_jux.config import Settings
    from pytest_jux.metadata import EnvironmentMetadata
    from pytest_jux.pipeline import Credentials, Outcome


class Run:
    """One enabled test run: what was asked for, and what became of it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.xml: LogXML | None = None
        self.temporary: Path | None = None  # a directory of our own, where nobody asked for a report file
        self.metadata: EnvironmentMetadata | None = None
        self.is_lost = False
        self.lines: list[tuple[str, str]] = []  # mark, text

    def lose_report(self, error: Exception) -> None:
        """Say once that pytest could not write the private report."""
        if not self.is_lost:
            self.say("✗", f"No report: {error}")
        self.is_lost = True

    def say(self, mark: str, text: str) -> None:
        """Add a line for the terminal summary."""
        self.lines.append((mark, text))


RUN = pytest.StashKey[Run]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register every option of the table, for the command line and for pytest's files."""
    group = parser.getgroup("jux", "signed test reports (pytest-jux)")
    for option in OPTIONS.values():
        if option.plugin:
            for flag, arguments in option.arguments():
                group.addoption(flag, **arguments)
        parser.addini(option.name, f"{option.help} [{option.type}]", default=None)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Read the configuration and, if it says so, make sure that pytest writes a report."""
    if hasattr(config, "workerinput") or _only_collects(config):  # pytest-xdist: the controller does it once for all
        return
    command_line = given(config.option)
    start = config.invocation_params.dir
    try:
        written = config.getini("jux_enabled")
    except (TypeError, ValueError, pytest.UsageError):  # not a string: TOML has booleans, which our own loader reads
        written = True
    if not may_be_enabled(command_line, written, (str(start), str(config.rootpath))):
        return
    from pytest_jux import config as jux_config

    source = jux_config.PytestSource.from_pytest_config(config)
    if not jux_config.is_enabled(start=start, command_line=command_line, pytest_source=source):
        return
    from pytest_jux.errors import ConfigError

    try:
        settings = jux_config.load(start=start, command_line=command_line, pytest_source=source)
    except ConfigError as error:
        raise pytest.UsageError(f"jux: {error}") from None
    for problem in jux_config.check(settings):
        raise pytest.UsageError(f"jux: {problem}")
    run = config.stash[RUN] = Run(settings)
    for warning in settings.warnings:
        run.say("⚠", str(warning))
    if config.pluginmanager.hasplugin("junitxml") and not config.option.xmlpath:
        _write_report_anyway(config, run)


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say at the start what will be done at the end."""
    run = config.stash.get(RUN, None)
    if run is None:
        return None
    from pytest_jux.text import visible

    steps = [f"sign with {run.settings['jux_key_path']}"] if run.settings["jux_sign"] else []
    steps += ["store"]
    return visible(f"jux: {' and '.join(steps)}")


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, object, object]:
    """Put the metadata into the report before pytest writes it; sign and store the file after that.

    The innermost wrapper: pytest writes the report inside it and prints the summary outside.
    """
    run = session.config.stash.get(RUN, None)
    if run is None:
        return (yield)
    try:
        _add_properties(session.config, run)
    except Exception as error:  # noqa: BLE001 - the border: no bug of ours breaks a test run
        _say_unexpected(run, error)
    result = yield
    try:
        _finish(session, run)
    except Exception as error:  # noqa: BLE001 - as above
        _say_unexpected(run, error)
    if run.settings["jux_on_error"] == "fail" and session.exitstatus == 0 and _has_failed(run):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    return result


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    """Print what happened, in one section."""
    run = config.stash.get(RUN, None)
    if run is None or not run.lines:
        return
    from pytest_jux.text import encodable, visible

    encoding = getattr(sys.stdout, "encoding", None)
    terminalreporter.section("jux", "-")
    for mark, text in run.lines:
        colour = {"✓": {"green": True}, "⚠": {"yellow": True}}.get(mark, {"red": True})
        terminalreporter.write_line(encodable(f"{mark} {visible(text)}", encoding), **colour)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove what was only needed during the run."""
    run = config.stash.get(RUN, None)
    if run is not None and run.temporary is not None:
        import shutil

        shutil.rmtree(run.temporary, ignore_errors=True)


# --- the end of a run ------------------------------------------------------------------------------------------------


def _add_properties(config: pytest.Config, run: Run) -> None:
    from _pytest.junitxml import xml_key

    from pytest_jux.metadata import capture_metadata

    run.xml = config.stash.get(xml_key, None)
    if run.xml is None:
        return
    run.metadata = capture_metadata(
        config.rootpath,
        project=run.settings["jux_project"] or "",
        env_patterns=run.settings["jux_metadata_env"],
        exclude=(*run.settings["jux_metadata_exclude"], *_secret_variables(run.settings)),
    )
    for name, value in run.metadata.to_properties():
        run.xml.add_global_property(name, value)


def _finish(session: pytest.Session, run: Run) -> None:
    from pytest_jux.errors import JuxError
    from pytest_jux.pipeline import process_report
    from pytest_jux.storage import ReportStorage

    settings = run.settings
    if run.is_lost:
        return
    if run.xml is None:
        if not _has_failed(run):
            run.say("✗", "No report: pytest writes none (is its junitxml plugin switched off?)")
        return
    storage: ReportStorage | None = None
    homeless: JuxError | None = None
    try:
        storage = ReportStorage(settings["jux_storage_path"])
    except JuxError as error:
        homeless = error
    credentials: Credentials | None = None
    if settings["jux_sign"]:
        try:
            credentials = _load_credentials(settings)
        except JuxError as error:
            _say_failure(run, "Report not signed", error)
    metadata = run.metadata.to_dict() if run.metadata else {}
    outcome = process_report(Path(run.xml.logfile), credentials=credentials, storage=storage, metadata=metadata)
    _say_outcome(session.config, run, outcome)
    if homeless is not None:
        _say_failure(run, "Report not stored", homeless)


def _load_credentials(settings: Settings) -> Credentials:
    from pytest_jux.keys import load_certificate, load_private_key
    from pytest_jux.pipeline import Credentials, read_passphrase

    passphrase = read_passphrase(settings["jux_key_passphrase_env"], settings["jux_key_passphrase_file"])
    certificate = settings["jux_cert_path"]
    return Credentials(
        load_private_key(settings["jux_key_path"], passphrase),
        load_certificate(certificate) if certificate else None,
    )


def _say_outcome(config: pytest.Config, run: Run, outcome: Outcome) -> None:
    titles = {"read": "Report not processed", "sign": "Report not signed", "store": "Report not stored"}
    if outcome.signed is not None:
        where = "" if run.temporary or run.xml is None else f": {_short(Path(run.xml.logfile), config)}"
        run.say("✓", f"Report signed{where}")
    for failure in outcome.failures:
        _say_failure(run, titles[failure.step], failure.error)
    if outcome.stored is not None:
        failed = run.settings["jux_sign"] and outcome.signed is None
        unsigned = " (unsigned)" if failed else ""
        run.say("⚠" if failed else "✓", f"Stored locally{unsigned}: {_short(outcome.stored.path, config)}")
    if run.settings["jux_publish"] or run.settings["jux_storage_mode"] != "local":
        run.say("⚠", "Not published: this version of pytest-jux signs reports and stores them locally")


def _say_failure(run: Run, title: str, error: Exception) -> None:
    _show_traceback(error)
    run.say("✗", f"{title}: {error}")


def _show_traceback(error: Exception) -> None:
    if os.environ.get("JUX_DEBUG") == "1":
        import traceback

        traceback.print_exception(error)


def _say_unexpected(run: Run, error: Exception) -> None:
    _show_traceback(error)
    run.say("✗", f"pytest-jux failed: {type(error).__name__}: {error} (JUX_DEBUG=1 shows where)")


def _has_failed(run: Run) -> bool:
    return any(mark == "✗" for mark, _ in run.lines)


def _write_report_anyway(config: pytest.Config, run: Run) -> None:
    """Let pytest write a report, as with --junit-xml, but privately: it is not announced, and cannot break the run."""
    import tempfile

    from _pytest.junitxml import LogXML, xml_key

    class PrivateReport(LogXML):
        def pytest_sessionfinish(self) -> None:
            try:
                super().pytest_sessionfinish()
            except Exception as error:  # noqa: BLE001 - what nobody asked for must not break what they did ask for
                run.lose_report(error)

        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            try:
                super().pytest_runtest_logreport(report)
            except Exception as error:  # noqa: BLE001 - as above
                run.lose_report(error)

        def pytest_terminal_summary(self, *_: object, **__: object) -> None:
            """Announce nothing: the file is about to be removed."""

    try:
        run.temporary = Path(tempfile.mkdtemp(prefix="jux-"))
    except OSError as error:
        run.say("✗", f"No report: there is no directory for temporary files ({error})")
        return
    config.stash[xml_key] = PrivateReport(
        run.temporary / "report.xml",
        config.option.junitprefix,
        config.getini("junit_suite_name"),
        config.getini("junit_logging"),
        config.getini("junit_duration_report"),
        "xunit1",  # in which all of pytest's fixtures for reports work without a warning
        config.getini("junit_log_passing_tests"),
    )
    config.pluginmanager.register(config.stash[xml_key])


def _secret_variables(settings: Settings) -> list[str]:
    """Name the variables that hold secrets because the configuration says so, whatever they are called."""
    names = (settings["jux_key_passphrase_env"], settings["jux_api_key_env"])
    return [f"env:{name}" for name in names if name]


def _only_collects(config: pytest.Config) -> bool:
    """Tell whether pytest was asked for information instead of a test run."""
    wanted = ("collectonly", "help", "version", "showfixtures", "show_fixtures_per_test", "markers")
    return any(getattr(config.option, name, False) for name in wanted)


def _short(path: Path, config: pytest.Config) -> str:
    """Show a path below the working directory or the home directory without that part."""
    if path.is_relative_to(config.invocation_params.dir):
        return str(path.relative_to(config.invocation_params.dir))
    home = os.path.expanduser("~")  # noqa: PTH111 - Path.home() raises where there is none
    return f"~{os.sep}{path.relative_to(home)}" if home != "~" and path.is_relative_to(home) else str(path)
