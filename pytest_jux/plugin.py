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

    from _pytest.terminal import TerminalReporter

    from pytest_jux.run import Run

RUN: pytest.StashKey[Run] = pytest.StashKey()
DEFECT: pytest.StashKey[str] = pytest.StashKey()
ENVIRONMENT: pytest.StashKey[dict[str, str]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register every option of the table, for the command line and for pytest's files."""
    group = parser.getgroup("jux", "signed test reports (pytest-jux)")
    for option in OPTIONS.values():
        for flag, arguments in option.arguments():
            group.addoption(flag, **arguments)
        parser.addini(option.name, f"{option.help} [{option.type}]", default=None)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Remember the environment as it is before a conftest.py changes it for its tests."""
    early_config.stash[ENVIRONMENT] = dict(os.environ)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Read the configuration and, if it says so, make sure that pytest writes a report."""
    if hasattr(config, "workerinput") or _only_collects(config):  # pytest-xdist: the controller does it once for all
        return
    try:
        run = _enabled_run(config)
    except pytest.UsageError:
        raise
    except KeyboardInterrupt:
        raise KeyboardInterrupt from None  # without our frames, whose variables pytest may show
    except Exception as error:  # noqa: BLE001 - the border: no bug of ours breaks a test run
        config.stash[DEFECT] = f"pytest-jux failed: {type(error).__name__}: {error} (JUX_DEBUG=1 shows where)"
        if os.environ.get("JUX_DEBUG") == "1":
            import traceback

            traceback.print_exception(error)
        return
    if run is not None:
        config.stash[RUN] = run


def _enabled_run(config: pytest.Config) -> Run | None:
    """Return the run that is asked for, if one is; raises pytest.UsageError for a configuration that cannot be used."""
    command_line = given(config.option)
    start = config.invocation_params.dir
    before = config.stash.get(ENVIRONMENT, os.environ)
    is_changed = any(before.get(name) != os.environ.get(name) for name in ("HOME", "JUX_ENABLED"))
    try:
        written = config.getini("jux_enabled")
    except (TypeError, ValueError, pytest.UsageError):  # not a string: TOML has booleans, which our own loader reads
        written = True
    if not (is_changed or may_be_enabled(command_line, written, (str(start), str(config.rootpath)))):
        return None
    from pytest_jux import config as jux_config
    from pytest_jux.credentials import Environment

    source = jux_config.PytestSource.from_pytest_config(config)
    environ = Environment.at_start(before, os.environ)
    home = Path(environ["HOME"]) if os.name == "posix" and environ.get("HOME") else None
    if not jux_config.is_enabled(
        start=start, command_line=command_line, environ=environ, pytest_source=source, home=home
    ):
        return None
    from pytest_jux.errors import ConfigError

    try:
        settings = jux_config.load(
            start=start, command_line=command_line, environ=environ, pytest_source=source, home=home
        )
    except ConfigError as error:
        raise pytest.UsageError(f"jux: {error}") from None
    for problem in jux_config.check(settings):
        raise pytest.UsageError(f"jux: {problem}")
    from pytest_jux.run import Run

    return Run(settings, config, environ)


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say at the start what will be done at the end."""
    run = config.stash.get(RUN, None)
    if run is None:
        return None
    from pytest_jux.text import visible

    return visible(f"jux: {run.intention}")


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, object, object]:
    """Put the metadata into the report before pytest writes it; sign and store the file after that.

    The innermost wrapper: pytest writes the report inside it and prints the summary outside.
    """
    run = session.config.stash.get(RUN, None)
    if run is None:
        return (yield)
    try:
        run.add_properties(int(session.exitstatus))
    except KeyboardInterrupt:
        run.notices.say("✗", "Interrupted: the report has no metadata")
        session.exitstatus = pytest.ExitCode.INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the border: no bug of ours breaks a test run
        run.notices.say_unexpected(error)
    result = yield
    try:
        run.finish()
    except KeyboardInterrupt:
        run.notices.say(*run.if_interrupted)
        session.exitstatus = pytest.ExitCode.INTERRUPTED
    except Exception as error:  # noqa: BLE001 - as above
        run.notices.say_unexpected(error)
    run.keep_private_report()
    if run.settings["jux_on_error"] == "fail" and session.exitstatus == 0 and run.notices.has_failed:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    return result


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    """Print what happened, in one section."""
    run = config.stash.get(RUN, None)
    lines = [] if run is None else run.notices.lines
    if DEFECT in config.stash:
        lines = [("✗", config.stash[DEFECT])]
    if not lines:
        return
    from pytest_jux.text import encodable, visible

    encoding = getattr(sys.stdout, "encoding", None)
    terminalreporter.section("jux", "-")
    for mark, text in lines:
        colour = {"✓": {"green": True}, "⚠": {"yellow": True}}.get(mark, {"red": True})
        terminalreporter.write_line(encodable(f"{mark} {visible(text)}", encoding), **colour)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove what was only needed during the run."""
    run = config.stash.get(RUN, None)
    if run is not None:
        run.close()


def _only_collects(config: pytest.Config) -> bool:
    """Tell whether pytest was asked for information instead of a test run."""
    plans = ("collectonly", "setuponly", "setupplan")  # of which the last two report tests as passed that did not run
    others = ("help", "version", "showfixtures", "show_fixtures_per_test", "markers")
    return any(getattr(config.option, name, False) for name in (*plans, *others))
