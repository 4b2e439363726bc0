"""The plugin in real pytest runs: what a run leaves behind, says, and returns."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from lxml import etree

from pytest_jux.canonicalizer import canonical_hash
from pytest_jux.errors import SignatureBroken, SignerUntrusted
from pytest_jux.files import replace_file  # noqa: F401 - loaded here, so that runs in this process share the module
from pytest_jux.keys import private_key_pem
from pytest_jux.pipeline import process_report  # noqa: F401 - as above
from pytest_jux.run import Run  # noqa: F401 - as above
from pytest_jux.signer import remove_signatures
from pytest_jux.verifier import Trust, verify_report

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="modes, signals and limits of POSIX"),
    pytest.mark.usefixtures("clean_environment"),
]

# Keeps the report as pytest wrote it: after pytest's own hook has written, before ours signs.
KEEP_ORIGINAL = """
import shutil
import pytest

@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    report = session.config.option.xmlpath
    if report:
        shutil.copy(report, str(session.config.rootpath / "as-pytest-wrote-it.xml"))
"""
TWO_TESTS = "def test_a(): pass\ndef test_b(): pass\n"
ONE_FAILS = "def test_a(): pass\ndef test_b(): assert not 'this'\n"


class Project:
    """A directory with tests, and the ways to run pytest in it with the installed plugin."""

    def __init__(self, pytester, monkeypatch, signer):
        self.pytester = pytester
        self.monkeypatch = monkeypatch
        self.signer = signer
        self.path = pytester.path
        self.report = self.path / "report.xml"
        self.store = self.path / "store"
        monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        monkeypatch.setenv("JUX_STORAGE_PATH", str(self.store))
        pytester.makepyfile(TWO_TESTS)

    @property
    def signing(self):
        return ("--junit-xml=report.xml", "--jux-sign", f"--jux-key={self.signer.key_path}", self.cert)

    @property
    def cert(self):
        return f"--jux-cert={self.signer.cert_path}"

    def run(self, *arguments):
        """Run pytest in this process."""
        return self.pytester.runpytest_inprocess("-p", "jux", "-p", "no:cacheprovider", *arguments)

    def run_apart(self, *arguments):
        """Run pytest in a process of its own."""
        return self.pytester.runpytest_subprocess("-p", "jux", "-p", "no:cacheprovider", *arguments)

    def stored(self):
        return sorted((self.store / "reports").glob("*"))

    def verify(self, data=None):
        return verify_report(self.report.read_bytes() if data is None else data, Trust([self.signer.certificate]))

    def properties(self):
        found = etree.fromstring(self.report.read_bytes()).iterfind("testsuite/properties/property")
        return {one.get("name"): one.get("value") for one in found}


@pytest.fixture
def project(pytester, monkeypatch, p256):
    return Project(pytester, monkeypatch, p256)


def section(result):
    """Return the lines of our section in pytest's output."""
    lines = result.outlines
    starts = [number for number, line in enumerate(lines) if re.fullmatch(r"-+ jux -+", line)]
    if not starts:
        return []
    assert len(starts) == 1, "said once"
    rest = lines[starts[0] + 1 :]
    ends = (number for number, line in enumerate(rest) if line.startswith("=") or re.match(r"\d+ \w+ in ", line))
    return [line for line in rest[: next(ends, len(rest))] if line]


def assert_unsigned_because(project, result, reason, *, title="Report not signed", original=True):
    """The report is as pytest wrote it, one line says why, and nothing looks like a crash."""
    failures = [line for line in section(result) if line.startswith("✗")]
    assert len(failures) == 1, result.outlines
    assert re.fullmatch(f"✗ {title}: {reason}", failures[0]), failures[0]
    assert "Traceback" not in result.stdout.str() + result.stderr.str()
    if original:
        assert project.report.read_bytes() == (project.path / "as-pytest-wrote-it.xml").read_bytes()
    assert not [*project.path.glob(".jux-*")]


# --- disabled --------------------------------------------------------------------------------------------------------

MODULES = """
import sys
def pytest_unconfigure(config):
    with open("modules.txt", "w") as file:
        file.write("\\n".join(sorted(sys.modules)))
"""


def modules_of_a_run(project, *arguments):
    result = project.pytester.runpytest_subprocess("--junit-xml=report.xml", "-p", "no:cacheprovider", *arguments)
    assert result.ret == 0
    return {*(project.path / "modules.txt").read_text().split("\n")}


def test_a_disabled_plugin_loads_nothing_but_pytest_and_the_standard_library(project):
    for name in [name for name in os.environ if name.startswith("COVERAGE_")]:
        project.monkeypatch.delenv(name)  # it would load modules of its own
    project.pytester.makeconftest(MODULES)
    more = modules_of_a_run(project, "-p", "jux") - modules_of_a_run(project)
    ours = {name.removeprefix("pytest_jux.") for name in more if name.startswith("pytest_jux.")}
    assert ours == {"options", "plugin"}
    allowed = sys.stdlib_module_names | {"_pytest", "pytest", "pytest_jux"}
    assert not {name for name in more if name.partition(".")[0] not in allowed}


def test_a_disabled_plugin_found_by_its_entry_point_changes_nothing(project):
    project.monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    result = project.pytester.runpytest_subprocess("--junit-xml=report.xml")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["plugins: *jux-*"])
    assert b"jux" not in project.report.read_bytes().replace(str(project.path).encode(), b"")
    assert not project.store.exists()


def test_a_disabled_plugin_writes_nothing_and_says_nothing(project):
    with_it = project.run("-q", "--durations=0", "--durations-min=9")
    without = project.pytester.runpytest_inprocess("-q", "-p", "no:cacheprovider", "--durations=0", "--durations-min=9")

    def without_time(result):
        return [re.sub(r"[\d.]+s", "", line) for line in result.outlines + result.errlines]

    assert without_time(with_it) == without_time(without)
    assert not project.store.exists()
    assert sorted(path.name for path in project.path.iterdir() if path.suffix not in {"", ".py"}) == []


@pytest.mark.parametrize(
    "broken", ["enabled = true", "[jux", "[jux]\n= 1", "[jux]\nenabled = perhaps", "\0", "[jux]\nx"]
)
def test_a_broken_configuration_file_does_not_disturb_a_run_that_did_not_ask_for_jux(project, broken):
    (project.path / ".jux.conf").write_text(broken)
    result = project.run()
    result.assert_outcomes(passed=2)
    assert not [
        line for line in result.outlines if "jux" in line and not line.startswith(("rootdir", "plugins", "test_"))
    ]
    assert result.errlines == []


def test_an_unreadable_configuration_file_does_not_disturb_a_run_that_did_not_ask_for_jux(project):
    (project.path / ".jux.conf").mkdir()
    result = project.run()
    assert (result.ret, result.errlines) == (0, [])


def test_options_without_enabling_do_nothing(project):
    result = project.run("--jux-key=nowhere.pem", "--jux-storage-mode=nonsense", "-o", "jux_sign=true")
    result.assert_outcomes(passed=2)
    assert not section(result)


# --- enabled ---------------------------------------------------------------------------------------------------------


def enable_by(project, how):
    match how:
        case "command line":
            return ["--jux-enabled"]
        case "override":
            return ["-o", "jux_enabled=true"]
        case "environment":
            project.monkeypatch.setenv("JUX_ENABLED", "true")
        case ".jux.conf":
            (project.path / ".jux.conf").write_text("[jux]\nenabled = true  # for everyone\n")
        case "user's file":
            (project.path / ".jux").mkdir()  # HOME is the project in these tests
            (project.path / ".jux" / "config").write_text("[jux]\njux_enabled = yes\n")
        case "pytest.ini":
            (project.path / "pytest.ini").write_text("[pytest]\njux_enabled = true\n")
        case "tox.ini":
            (project.path / "tox.ini").write_text("[pytest]\njux_enabled = true\n")
        case "setup.cfg":
            (project.path / "setup.cfg").write_text("[tool:pytest]\njux_enabled = true\n")
        case "pyproject.toml":
            (project.path / "pyproject.toml").write_text("[tool.pytest.ini_options]\njux_enabled = true\n")
    return []


WAYS = [
    *("command line", "override", "environment", ".jux.conf", "user's file"),
    *("pytest.ini", "tox.ini", "setup.cfg", "pyproject.toml"),
]


@pytest.mark.parametrize("how", WAYS)
def test_an_enabled_plugin_stores_the_report(project, how):
    result = project.run(*enable_by(project, how))
    result.assert_outcomes(passed=2)
    assert len(project.stored()) == 1
    result.stdout.fnmatch_lines(["jux: store", "✓ Stored locally: store/reports/sha256-*.xml"])


@pytest.mark.parametrize("how", WAYS[2:])
def test_no_jux_enabled_wins(project, how):
    result = project.run(*enable_by(project, how), "--no-jux-enabled", "--jux-sign")
    result.assert_outcomes(passed=2)
    assert not project.store.exists()
    assert not section(result)


def test_asking_for_a_signature_enables(project):
    result = project.run_apart(*project.signing)
    result.assert_outcomes(passed=2)
    assert section(result)[0] == "✓ Report signed: report.xml"
    assert project.verify().signer == "CN=p256 signer"
    result.stdout.fnmatch_lines([f"jux: sign with {project.signer.key_path} and store"])


@pytest.mark.parametrize("signer", ["rsa", "p384", "ed25519"])
def test_every_kind_of_key_signs(project, signer, request):
    project.signer = request.getfixturevalue(signer)
    assert project.run(*project.signing).ret == 0
    assert project.verify().trusted_by


def test_signing_can_be_configured_in_a_file_with_relative_paths(project):
    shutil.copy(project.signer.key_path, project.path / "signing.pem")
    lines = ["[pytest]", "jux_enabled = true", "jux_sign = true", "jux_key_path = signing.pem"]
    (project.path / "pytest.ini").write_text("\n".join(lines))
    (project.path / "sub").mkdir()
    project.pytester.chdir()
    assert project.run("--junit-xml=report.xml").ret == 0
    assert project.verify().canonical_hash


def test_a_key_without_a_certificate_signs(project):
    result = project.run("--junit-xml=report.xml", "--jux-sign", f"--jux-key={project.signer.key_path}")
    assert result.ret == 0
    assert b"X509Certificate" not in project.report.read_bytes()
    assert project.verify().trusted_by


# --- wrong settings --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--jux-sign"], "ERROR: jux: command line --jux-sign: jux_sign enabled but jux_key_path not set"),
        (["--jux-enabled", "--jux-storage-mode=cloud"], "ERROR: jux: command line --jux-storage-mode: *'cloud'*local*"),
        (["--jux-enabled", "-o", "jux_sign=maybe"], "ERROR: jux: command line -o: jux_sign *'maybe'*true|false*"),
        (["--jux-enabled", "--jux-key="], "ERROR: jux: command line --jux-key: jux_key_path *expected: a path*"),
    ],
)
def test_a_wrong_setting_is_a_usage_error_in_one_sentence(project, arguments, sentence):
    result = project.run_apart(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([sentence])
    assert len([line for line in result.errlines if line]) == 1
    assert "INTERNALERROR" not in result.stdout.str() + result.stderr.str()


@pytest.mark.parametrize("broken", ["[jux]\nsign = maybe\n", "[jux\n", "[jux]\nstorage_mode = cloud\n", "x = 1\n"])
def test_a_broken_file_is_a_usage_error_that_names_file_and_line(project, broken):
    (project.path / ".jux.conf").write_text(broken)
    result = project.run("--jux-enabled")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.re_match_lines([r"ERROR: jux: \.jux\.conf:\d: "])
    assert "INTERNALERROR" not in result.stdout.str() + result.stderr.str()


def test_an_unknown_option_in_a_file_is_a_warning(project):
    (project.path / ".jux.conf").write_text("[jux]\nenabled = true\nstorage_mod = local\n")
    result = project.run()
    assert result.ret == 0
    assert section(result)[0].startswith("⚠ .jux.conf:3: unknown option storage_mod, did you mean storage_mode?")


def test_a_metadata_field_that_does_not_exist_cannot_be_left_out(project):
    (project.path / "pytest.ini").write_text("[pytest]\njux_enabled = true\njux_metadata_exclude = git hostnme\n")
    result = project.run()
    assert result.ret == 0
    assert section(result)[0] == "⚠ pytest.ini:3: jux_metadata_exclude: there is no field hostnme"


def test_a_field_of_ones_own_that_looks_secret_is_not_recorded(project):
    lines = ["[pytest]", "jux_enabled = true", "jux_metadata_extra = team=payments, api_token=hunter2"]
    (project.path / "pytest.ini").write_text("\n".join(lines))
    result = project.run("--junit-xml=report.xml")
    assert section(result)[0] == (
        "⚠ pytest.ini:3: jux_metadata_extra: api_token looks like the name of a secret and is not recorded"
    )
    assert project.properties()["jux:extra:team"] == "payments"
    assert b"hunter2" not in project.report.read_bytes()
    assert "hunter2" not in result.stdout.str() + result.stderr.str()


# --- where it is kept ------------------------------------------------------------------------------------------------


@pytest.fixture
def refused():
    """A URL whose port nobody listens on, and nobody can take meanwhile."""
    with socket.socket() as kept:
        kept.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{kept.getsockname()[1]}/api/v1/reports"


def publishing(project, url, mode=None):
    lines = ["[jux]", "enabled = true", "sign = true", f"key_path = {project.signer.key_path}", "publish = true"]
    lines += [f"cert_path = {project.signer.cert_path}", f"api_url = {url}", "api_retries = 0"]
    lines += [f"storage_mode = {mode}"] if mode else []
    (project.path / ".jux.conf").write_text("\n".join(lines))


def entries(project, directory):
    return sorted(path.suffix for path in (project.store / directory).glob("sha256-*"))


@pytest.mark.parametrize(
    ("mode", "reports", "queue", "mark"),
    [
        (None, [".xml"], [".json", ".xml"], "✗ Not published: "),
        ("both", [".xml"], [".json", ".xml"], "✗ Not published: "),
        ("cache", [".xml"], [".json", ".xml"], "⚠ API unavailable, queued for retry: "),
        ("api", [], [".json", ".xml"], "✗ Not published: "),
        ("local", [".xml"], [], "⚠ .jux.conf:9: jux_storage_mode is 'local' though jux_publish is on: nothing is p"),
    ],
)
def test_every_storage_mode_has_its_places(project, refused, mode, reports, queue, mark):
    publishing(project, refused, mode)
    result = project.run("--junit-xml=report.xml")
    assert (entries(project, "reports"), entries(project, "queue")) == (reports, queue)
    kept = [path.read_bytes() for name in ("reports", "queue") for path in (project.store / name).glob("*.xml")]
    assert set(kept) == {project.report.read_bytes()}
    (line,) = [line for line in section(result) if not line.startswith("✓")]
    assert line.startswith(mark)
    assert result.ret == 0
    assert "✓ Published" not in result.stdout.str()


def test_what_could_not_be_signed_does_not_wait_to_be_published(project, refused):
    publishing(project, refused)
    (project.path / ".jux.conf").write_text(
        (project.path / ".jux.conf").read_text().replace(str(project.signer.key_path), "none.pem")
    )
    result = project.run("--junit-xml=report.xml")
    assert result.ret == 0
    assert (entries(project, "reports"), entries(project, "queue")) == ([".xml"], [])


def test_a_store_that_outgrows_its_limit_is_a_warning_with_the_command_that_helps(project):
    result = project.run("--jux-enabled", "--jux-storage-max-size=100")
    assert result.ret == 0
    (line,) = [line for line in section(result) if line.startswith("⚠")]
    assert re.fullmatch(
        r"⚠ The report store holds [\d.]+ k?B(ytes)?, more than 100 bytes \(jux_storage_max_size\); "
        r"to make room: jux-cache clean --max-size 100 --storage-path .*/store",
        line,
    )
    assert not [line for line in section(project.run("--jux-enabled", "--jux-storage-max-size=0")) if "holds" in line]


def test_old_reports_go_after_a_run_only_where_that_is_asked_for(project):
    project.run("--jux-enabled")
    (old,) = project.stored()
    os.utime(old, (time.time() - 3 * 86_400,) * 2)
    project.run("--jux-enabled")
    assert old.exists()
    result = project.run("--jux-enabled", "--jux-storage-retention-days=2")
    assert not old.exists()
    assert len(project.stored()) == 2
    assert [line for line in section(result) if line.startswith("✓ Removed 1 old report (")]


def test_what_a_killed_process_left_in_the_store_goes_with_the_next_run(project):
    project.run("--jux-enabled")
    (project.store / "reports" / ".jux-abc.tmp").write_bytes(b"half a rep")
    project.run("--jux-enabled")
    assert not [*project.store.rglob(".jux-*")]


# --- what is stored --------------------------------------------------------------------------------------------------


def test_the_stored_file_is_the_signed_report_under_its_canonical_hash(project):
    project.run(*project.signing)
    (stored,) = project.stored()
    assert stored.read_bytes() == project.report.read_bytes()
    assert stored.stem.replace("-", ":") == project.verify().canonical_hash == canonical_hash(stored.read_bytes())


def test_without_signing_the_report_is_stored_as_pytest_wrote_it(project):
    project.pytester.makeconftest(KEEP_ORIGINAL)
    project.run("--junit-xml=report.xml", "--jux-enabled", "--jux-storage-mode=local")
    (stored,) = project.stored()
    assert stored.read_bytes() == project.report.read_bytes()
    assert stored.read_bytes() == (project.path / "as-pytest-wrote-it.xml").read_bytes()


def test_nothing_but_the_signature_is_added_to_what_pytest_wrote(project):
    project.pytester.makeconftest(KEEP_ORIGINAL)
    project.run(*project.signing)
    assert remove_signatures(project.report.read_bytes()) == (project.path / "as-pytest-wrote-it.xml").read_bytes()
    assert project.report.read_bytes() != (project.path / "as-pytest-wrote-it.xml").read_bytes()


def test_the_report_keeps_its_mode(project):
    project.report.write_text("old")
    project.report.chmod(0o640)
    project.run(*project.signing)
    assert stat.S_IMODE(project.report.stat().st_mode) == 0o640


@pytest.mark.parametrize("mode", ["api", "both", "cache"])
def test_without_publishing_every_mode_stores_locally(project, mode):
    result = project.run(*project.signing, f"--jux-storage-mode={mode}")
    assert section(result)[0] == "✓ Report signed: report.xml"
    assert section(result)[-1].startswith("✓ Stored locally: ")
    assert [file.read_bytes() for file in project.stored()] == [project.report.read_bytes()]
    assert entries(project, "queue") == []


@pytest.mark.parametrize("sign", [False, True])
def test_no_report_file_is_needed_and_none_is_left(project, sign):
    (project.path / "tmp").mkdir()
    project.monkeypatch.setenv("TMPDIR", str(project.path / "tmp"))
    result = project.run_apart(*(project.signing[1:] if sign else ["--jux-enabled"]))
    result.assert_outcomes(passed=2)
    (stored,) = project.stored()
    assert sorted(etree.fromstring(stored.read_bytes()).xpath("//testcase/@name")) == ["test_a", "test_b"]
    assert not [*(project.path / "tmp").glob("jux-*")]
    assert "generated xml file" not in result.stdout.str()
    assert not project.report.exists()
    assert section(result)[0] == ("✓ Report signed" if sign else f"✓ Stored locally: store/reports/{stored.name}")


def test_a_report_file_that_was_asked_for_is_announced_as_ever(project):
    project.run("--jux-enabled", "--junit-xml=report.xml").stdout.fnmatch_lines(["*generated xml file: *report.xml*"])


def test_a_report_in_another_directory_is_signed_there(project):
    result = project.run("--junit-xml=out/deep/report.xml", *project.signing[1:])
    assert section(result)[0] == "✓ Report signed: out/deep/report.xml"
    assert project.verify((project.path / "out" / "deep" / "report.xml").read_bytes())


def test_a_link_in_place_of_the_report_stays_a_link(project):
    (project.path / "real.xml").write_text("")
    project.report.symlink_to("real.xml")
    project.run(*project.signing)
    assert project.report.is_symlink()
    assert project.verify()


def test_the_default_store_is_in_the_users_home(project, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    project.monkeypatch.delenv("JUX_STORAGE_PATH")
    project.monkeypatch.setenv("HOME", str(home))
    project.monkeypatch.setenv("XDG_DATA_HOME", str(home / "data"))
    result = project.run("--jux-enabled")
    assert re.fullmatch(r"✓ Stored locally: ~/.*/reports/sha256-[0-9a-f]{64}\.xml", section(result)[0])
    assert len([*home.rglob("reports/*.xml")]) == 1


def test_a_path_elsewhere_is_shown_in_full(project, tmp_path_factory):
    project.monkeypatch.setenv("JUX_STORAGE_PATH", str(tmp_path_factory.mktemp("elsewhere")))
    result = project.run("--jux-enabled")
    assert re.fullmatch(r"✓ Stored locally: /.*/elsewhere\d/reports/sha256-[0-9a-f]{64}\.xml", section(result)[0])


# --- kinds of runs ---------------------------------------------------------------------------------------------------


def test_a_failing_suite_is_signed_and_stays_failing(project):
    project.pytester.makepyfile(ONE_FAILS)
    result = project.run(*project.signing)
    result.assert_outcomes(passed=1, failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert project.verify().report.summary.failures == 1


def test_xdist_signs_once_in_the_controller(project):
    pytest.importorskip("xdist")
    result = project.run_apart("-p", "xdist", "-n", "2", *project.signing)
    result.assert_outcomes(passed=2)
    assert project.verify().report.summary.tests == 2
    assert len(project.stored()) == 1
    assert section(result)[0] == "✓ Report signed: report.xml"
    assert len(re.findall(b'name="jux:timestamp"', project.report.read_bytes())) == 1


def test_xdist_without_a_report_file_stores_and_leaves_nothing(project):
    pytest.importorskip("xdist")
    (project.path / "tmp").mkdir()
    project.monkeypatch.setenv("TMPDIR", str(project.path / "tmp"))
    project.run_apart("-p", "xdist", "-n", "2", "--jux-enabled").assert_outcomes(passed=2)
    assert len(project.stored()) == 1
    assert not [*(project.path / "tmp").glob("jux-*")]


def test_a_test_that_passes_when_tried_again_is_flaky_in_the_signed_report(project):
    pytest.importorskip("pytest_rerunfailures")
    project.pytester.makepyfile(
        """
        tries = []

        def test_flaky():
            tries.append(1)
            assert len(tries) > 1
        """
    )
    result = project.run_apart("-p", "rerunfailures", "--reruns", "2", *project.signing)
    assert result.ret == 0
    summary = project.verify().report.summary
    assert (summary.tests, summary.passed, summary.flaky) == (1, 1, 1)


def test_a_collection_error_is_signed(project):
    project.pytester.makepyfile("import nothing_of_this_name")
    result = project.run(*project.signing)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert project.verify().report.summary.errors == 1


def test_an_empty_run_is_signed_and_keeps_its_status(project):
    result = project.run(*project.signing, "-k", "nothing_matches")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert project.verify().report.summary.tests == 0


def test_a_run_that_stops_at_the_first_failure_is_signed(project):
    project.pytester.makepyfile("def test_a(): assert 0\ndef test_b(): pass")
    result = project.run(*project.signing, "-x")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert project.verify().report.summary.tests == 1


INTERRUPTED = "def test_a(): pass\ndef test_b(): raise KeyboardInterrupt"


def test_an_interrupted_run_is_signed_and_stays_interrupted(project):
    project.pytester.makepyfile(INTERRUPTED)
    result = project.run_apart(*project.signing)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert project.verify()


@pytest.mark.parametrize(
    ("body", "status"),
    [("pass", "0"), ("assert 0", "1"), ("raise KeyboardInterrupt", "2"), ("import pytest; pytest.exit('x', 7)", "7")],
)
def test_the_report_says_how_the_run_ended(project, body, status):
    project.pytester.makepyfile(f"def test_a(): pass\ndef test_b(): {body}\ndef test_c(): pass\n")
    result = project.run_apart(*project.signing)
    assert (result.ret, project.properties()["jux:pytest_exit_status"]) == (int(status), status)
    assert json.loads(next((project.store / "metadata").iterdir()).read_bytes())["pytest_exit_status"] == status


def test_a_test_that_was_interrupted_has_not_passed(project):
    project.pytester.makepyfile(INTERRUPTED)
    project.run_apart(*project.signing)
    assert project.verify().report.summary.passed == 1


def test_a_usage_error_of_pytest_is_pytests_own(project):
    result = project.run(*project.signing, "no-such-file.py")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "Traceback" not in result.stdout.str()


def test_without_pytests_junitxml_a_line_says_that_there_is_no_report(project):
    result = project.run("--jux-enabled", "-p", "no:junitxml")
    result.assert_outcomes(passed=2)
    assert section(result) == ["✗ No report: pytest writes none (is its junitxml plugin switched off?)"]


@pytest.mark.parametrize(
    "option", ["--collect-only", "--setup-plan", "--setup-only", "--help", "--version", "--fixtures", "--markers"]
)
def test_a_run_that_runs_nothing_stores_nothing(project, option):
    (project.path / "tmp").mkdir()
    project.monkeypatch.setenv("TMPDIR", str(project.path / "tmp"))
    result = project.run("--jux-enabled", option)
    assert result.ret == 0
    assert not section(result)
    assert not project.store.exists()
    assert not [*(project.path / "tmp").glob("jux-*")]


def test_collecting_into_a_report_that_was_asked_for_leaves_it_to_pytest(project):
    assert project.run(*project.signing, "--collect-only").ret == 0
    assert b"Signature" not in project.report.read_bytes()
    assert not project.store.exists()


def test_a_quiet_run_says_where_the_report_is(project):
    result = project.run("-q", *project.signing)
    assert section(result)[0] == "✓ Report signed: report.xml"
    assert not [line for line in result.outlines if line.startswith("jux:")]


@pytest.mark.parametrize("arguments", [["--no-summary"], ["-p", "no:terminal"], ["--no-header"], ["-qq"]])
def test_a_run_that_shows_less_signs_all_the_same(project, arguments):
    assert project.run_apart(*project.signing, *arguments).ret == 0
    assert project.verify()


def test_warnings_as_errors_find_none_of_ours(project):
    project.pytester.makepyfile(TWO_TESTS)
    command = [sys.executable, "-W", "error", "-m", "pytest", "-p", "jux", "-W", "error", *project.signing]
    done = subprocess.run(command, cwd=project.path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "warnings summary" not in done.stdout
    assert project.verify()


def test_a_git_whose_child_hangs_does_not_fail_a_run_with_warnings_as_errors(project):
    program = project.path / "bin" / "git"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nsleep 6; true\n")
    program.chmod(0o755)
    project.monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    start = time.monotonic()
    result = project.run_apart("-W", "error", *project.signing)
    assert time.monotonic() - start < 6
    assert result.ret == 0, result.stdout.str()
    assert "Warning" not in result.stdout.str() + result.stderr.str()


def test_a_run_inside_a_run_does_not_disturb_the_outer_report(project):
    project.pytester.makeconftest("pytest_plugins = ['pytester']")
    project.pytester.makepyfile(
        """
        def test_outer(pytester):
            pytester.makepyfile("def test_inner(): assert 0")
            result = pytester.runpytest_inprocess("-p", "jux", "--junit-xml=inner.xml", "--jux-enabled")
            result.assert_outcomes(failed=1)
            result.stdout.fnmatch_lines(["*Stored locally*"])
            pytester.runpytest_inprocess("-p", "jux").assert_outcomes(failed=1)
        """
    )
    result = project.run(*project.signing)
    result.assert_outcomes(passed=1)
    assert [case.name for suite in project.verify().report.suites for case in suite.cases] == ["test_outer"]
    assert len(project.stored()) == 2


# --- failures of ours change nothing ---------------------------------------------------------------------------------

ON_FINISH = KEEP_ORIGINAL + "    {}\n"


def test_a_missing_key_is_one_line(project):
    project.pytester.makeconftest(KEEP_ORIGINAL)
    result = project.run_apart("--junit-xml=report.xml", "--jux-sign", "--jux-key=none.pem")
    assert result.ret == 0
    assert_unsigned_because(
        project, result, r"cannot read the private key .*none.pem: no such .* \(jux-config explain .*\)"
    )


def test_a_report_that_could_not_be_signed_is_stored_unsigned_and_said_to_be(project):
    result = project.run("--junit-xml=report.xml", "--jux-sign", "--jux-key=none.pem")
    (stored,) = project.stored()
    assert section(result)[1:] == [f"⚠ Stored locally (unsigned): store/reports/{stored.name}"]
    assert stored.read_bytes() == project.report.read_bytes()


def test_a_failing_suite_stays_failing_when_signing_fails(project):
    project.pytester.makepyfile(ONE_FAILS)
    assert project.run(*project.signing, "--jux-key=none.pem").ret == pytest.ExitCode.TESTS_FAILED


def test_a_certificate_of_another_key_is_one_line(project, rsa):
    project.pytester.makeconftest(KEEP_ORIGINAL)
    result = project.run(*project.signing, f"--jux-cert={rsa.cert_path}")
    assert result.ret == 0
    assert_unsigned_because(project, result, r"the certificate CN=rsa signer does not belong to the private key \(.*\)")


def test_an_expired_certificate_is_one_line(project, make_signer):
    project.signer = make_signer("old", days=1, now=dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
    project.pytester.makeconftest(KEEP_ORIGINAL)
    result = project.run(*project.signing)
    assert result.ret == 0
    assert_unsigned_because(project, result, ".*expired.*")


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_a_damaged_key_is_one_line(project, content):
    project.pytester.makeconftest(KEEP_ORIGINAL)
    (project.path / "bad.pem").write_bytes(content)
    result = project.run(*project.signing, "--jux-key=bad.pem")
    assert result.ret == 0
    assert_unsigned_because(project, result, "cannot read the private key .*bad.pem: .*")


def test_a_vanished_report_is_one_line(project):
    project.pytester.makeconftest(ON_FINISH.format("__import__('os').unlink(report)"))
    result = project.run(*project.signing)
    assert result.ret == 0
    reason = r"cannot read .*report\.xml: no such file or directory"
    assert_unsigned_because(project, result, reason, title="Report not processed", original=False)
    assert not project.store.exists()


def test_a_report_that_something_else_has_overwritten_is_one_line(project):
    project.pytester.makeconftest(ON_FINISH.format("__import__('pathlib').Path(report).write_text('not xml')"))
    result = project.run(*project.signing)
    assert result.ret == 0
    assert "Traceback" not in result.stdout.str() + result.stderr.str()
    assert section(result)[0].startswith("✗ Report not processed: ")
    assert project.report.read_text() == "not xml"


def test_a_report_that_is_signed_already_is_not_signed_twice(project, rsa):
    program = "from pytest_jux.commands.sign import main; main()"
    sign = [sys.executable, "-c", program, "--key", str(rsa.key_path)]
    code = f"import subprocess; subprocess.run({sign!r} + [report], check=True)"
    project.pytester.makeconftest(ON_FINISH.format(code + "; shutil.copy(report, 'as-pytest-wrote-it.xml')"))
    result = project.run(*project.signing)
    assert result.ret == 0
    assert_unsigned_because(project, result, "already signed")


def run_without_rights(project, prefix, *arguments):
    command = [*prefix, sys.executable, "-m", "pytest", "-p", "jux", "-p", "no:cacheprovider", *arguments]
    return project.pytester.run(*command)


def test_a_read_only_report_is_one_line(project, without_root_rights):
    project.pytester.makeconftest(ON_FINISH.format("__import__('os').chmod(report, 0o444)"))
    result = run_without_rights(project, without_root_rights, *project.signing)
    assert result.ret == 0
    assert_unsigned_because(project, result, r"cannot replace .*report\.xml: it is read-only")


def test_a_report_in_a_read_only_directory_is_one_line(project, without_root_rights):
    (project.path / "out").mkdir()
    project.report = project.path / "out" / "report.xml"
    project.pytester.makeconftest(ON_FINISH.format("__import__('os').chmod('out', 0o555)"))
    try:
        result = run_without_rights(project, without_root_rights, *project.signing, "--junit-xml=out/report.xml")
    finally:
        (project.path / "out").chmod(0o755)
    assert result.ret == 0
    assert_unsigned_because(project, result, r"cannot replace .*report\.xml: permission denied")


def test_a_read_only_store_is_one_line_and_the_report_is_signed(project, without_root_rights):
    project.store.mkdir(mode=0o555)
    result = run_without_rights(project, without_root_rights, *project.signing)
    assert result.ret == 0
    first, second = section(result)
    assert first == "✓ Report signed: report.xml"
    assert re.fullmatch(
        r"✗ Report not stored: cannot store /.*\.xml: permission denied \(jux_storage_path .*\)", second
    )
    assert project.verify()


LIMIT = """import os, resource; session.limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (os.path.getsize(report) + 100, session.limit[1]))
def pytest_unconfigure(config):
    import resource
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))  # what measures coverage writes files, too
"""


def test_a_signed_report_that_would_be_too_large_for_the_system_is_one_line(project):
    project.pytester.makeconftest(ON_FINISH.format(LIMIT))
    result = project.run_apart(*project.signing)
    assert result.ret == 0
    assert_unsigned_because(project, result, r"cannot replace .*report\.xml: file too large")
    assert len(project.stored()) == 1


@pytest.fixture
def small_disk(project):
    disk = project.path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("only root mounts filesystems")
    command = [mount, "-t", "tmpfs", "-o", "size=64k", "none", str(disk)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("this root may not mount filesystems")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


FILL = """import os
    with open("disk/filler", "wb", buffering=0) as file:
        while True:
            try:
                file.write(b"x" * 4096)
            except OSError:
                break
"""


def test_a_full_disk_leaves_the_report_untouched(project, small_disk):
    project.report = small_disk / "report.xml"
    project.pytester.makeconftest(ON_FINISH.format(FILL))
    result = project.run(*project.signing, "--junit-xml=disk/report.xml")
    assert result.ret == 0
    assert_unsigned_because(project, result, r"cannot replace .*report\.xml: no space left on device")
    assert sorted(path.name for path in small_disk.iterdir()) == ["filler", "report.xml"]


def test_a_full_disk_under_the_store_leaves_no_litter_there(project, small_disk):
    project.pytester.makeconftest(ON_FINISH.format(FILL))
    result = project.run(*project.signing, "--jux-storage-path=disk/store")
    assert result.ret == 0
    assert section(result)[0] == "✓ Report signed: report.xml"
    assert re.fullmatch(r"✗ Report not stored: .*: no space left on device \(jux-cache clean .*\)", section(result)[1])
    assert not [path for path in small_disk.rglob("*.*") if path.is_file()]
    assert project.verify()


def test_no_directory_for_temporary_files_is_one_line(project):
    project.pytester.makeconftest(
        """
        import tempfile, pytest

        @pytest.hookimpl(tryfirst=True)
        def pytest_configure():
            tempfile.tempdir = "none"

        def pytest_unconfigure():
            tempfile.tempdir = None
        """
    )
    result = project.run_apart("--jux-enabled")
    assert result.ret == 0
    (line,) = section(result)
    assert line.startswith("✗ No report: there is no directory for temporary files (")


def test_a_report_that_nobody_asked_for_and_that_cannot_be_written_is_one_line(project):
    (project.path / "tmp").mkdir()
    project.monkeypatch.setenv("TMPDIR", str(project.path / "tmp"))
    project.pytester.makeconftest(
        """
        import os, tempfile

        def a_file_instead(prefix):
            descriptor, name = tempfile.mkstemp(prefix=prefix)
            os.close(descriptor)
            return name

        tempfile.mkdtemp = a_file_instead
        """
    )
    result = project.run_apart("--jux-enabled")
    assert result.ret == 0
    assert "Traceback" not in result.stdout.str() + result.stderr.str()
    lines = section(result)
    assert lines[0].startswith("✗ No report: ")
    assert len(lines) == 1


def test_a_test_that_ends_the_process_leaves_nothing_behind(project):
    (project.path / "tmp").mkdir()
    project.monkeypatch.setenv("TMPDIR", str(project.path / "tmp"))
    project.pytester.makepyfile("import os\ndef test_a(): os._exit(5)")
    result = project.run_apart("--jux-enabled", "--basetemp=base")
    assert result.ret == 5
    assert "Traceback" not in result.stdout.str() + result.stderr.str()
    assert not [*(project.path / "tmp").glob("jux-*")]
    assert not project.store.exists()


def test_a_read_only_home_is_one_line_and_the_report_is_signed(project, without_root_rights):
    home = project.path / "home"
    home.mkdir(mode=0o500)
    project.monkeypatch.setenv("HOME", str(home))
    project.monkeypatch.delenv("JUX_STORAGE_PATH")
    command = [*without_root_rights, sys.executable, "-m", "pytest", "-p", "jux", "-p", "no:cacheprovider"]
    result = project.pytester.run(*command, *project.signing)
    assert result.ret == 0
    assert section(result)[0] == "✓ Report signed: report.xml"
    (failure,) = section(result)[1:]
    assert re.fullmatch(r"✗ Report not stored: cannot store .*: permission denied \(jux_storage_path .*\)", failure)
    assert "Traceback" not in result.stdout.str() + result.stderr.str()
    assert project.verify()


def test_a_defect_of_ours_is_one_line_and_changes_nothing(project):
    project.pytester.makeconftest(
        KEEP_ORIGINAL + "\nimport pytest_jux.run as p\ndef broken(*a, **k): raise ZeroDivisionError('oops')\n"
        "@pytest.fixture(autouse=True, scope='session')\ndef _break():\n"
        "    p.process_report, saved = broken, p.process_report\n"
        "def pytest_unconfigure():\n    import importlib; importlib.reload(p)\n"
    )
    result = project.run_apart(*project.signing)
    assert result.ret == 0
    assert section(result) == ["✗ pytest-jux failed: ZeroDivisionError: oops (JUX_DEBUG=1 shows where)"]
    assert "Traceback" not in result.stdout.str() + result.stderr.str()
    project.monkeypatch.setenv("JUX_DEBUG", "1")
    result = project.run_apart(*project.signing)
    assert result.ret == 0
    result.stderr.fnmatch_lines(["Traceback (most recent call last):", "ZeroDivisionError: oops"])


def test_a_defect_of_ours_in_the_metadata_does_not_keep_the_report_from_being_signed(project):
    project.pytester.makeconftest(
        "import pytest_jux.metadata as m\n"
        "def broken(*a, **k): raise ZeroDivisionError('oops')\n"
        "m.capture_metadata = broken\n"
    )
    result = project.run_apart(*project.signing)
    assert result.ret == 0
    assert section(result)[:2] == [
        "✗ pytest-jux failed: ZeroDivisionError: oops (JUX_DEBUG=1 shows where)",
        "✓ Report signed: report.xml",
    ]
    assert project.verify()


# --- passphrases -----------------------------------------------------------------------------------------------------


@pytest.fixture
def encrypted(project):
    path = project.path / "encrypted.pem"
    path.write_bytes(private_key_pem(project.signer.key, b"correct horse"))
    return f"--jux-key={path}"


def test_a_passphrase_from_the_environment(project, encrypted):
    project.monkeypatch.setenv("SIGNING", "correct horse")
    assert project.run(*project.signing, encrypted, "--jux-key-passphrase-env=SIGNING").ret == 0
    assert project.verify()


@pytest.mark.parametrize("ending", ["", "\n", "\r\n", "\nmore"])
def test_a_passphrase_from_the_first_line_of_a_file(project, encrypted, ending):
    (project.path / "passphrase").write_bytes(b"correct horse" + ending.encode())
    (project.path / "passphrase").chmod(0o600)
    result = project.run(*project.signing, encrypted, "--jux-key-passphrase-file=passphrase")
    assert section(result)[0] == "✓ Report signed: report.xml"
    assert project.verify()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], ".*encrypted.pem: it is encrypted and no passphrase was given \\(set jux_key_passphrase_env or .*\\)"),
        (["--jux-key-passphrase-env=WRONG"], ".*encrypted.pem: the passphrase is wrong"),
        (["--jux-key-passphrase-env=NONE"], "the environment variable NONE .* is empty or not set"),
        (["--jux-key-passphrase-file=none"], "cannot read .*none: no such file or directory"),
    ],
)
def test_without_the_right_passphrase_the_report_is_not_signed_and_nobody_is_asked(
    project, encrypted, arguments, reason
):
    project.monkeypatch.setenv("WRONG", "hunter2")
    project.pytester.makeconftest(KEEP_ORIGINAL)
    result = project.run(*project.signing, encrypted, *arguments)
    assert result.ret == 0
    assert_unsigned_because(project, result, reason)
    assert "hunter2" not in result.stdout.str()


def test_a_passphrase_file_that_others_can_read_is_a_warning(project, encrypted):
    (project.path / "passphrase").write_text("correct horse")
    (project.path / "passphrase").chmod(0o644)
    result = project.run(*project.signing, encrypted, "--jux-key-passphrase-file=passphrase")
    assert section(result)[0].startswith("⚠ ")
    assert "other users can read" in section(result)[0]
    assert project.verify()


# --- failures of ours, where they are wanted to count ----------------------------------------------------------------


def test_on_error_fail_makes_a_passing_run_fail(project):
    result = project.run(*project.signing, "--jux-key=none.pem", "--jux-on-error=fail")
    result.assert_outcomes(passed=2)
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_on_error_fail_leaves_a_run_alone_in_which_nothing_of_ours_failed(project):
    assert project.run(*project.signing, "--jux-on-error=fail").ret == 0


@pytest.mark.parametrize(
    ("tests", "arguments", "status"),
    [
        (ONE_FAILS, [], pytest.ExitCode.TESTS_FAILED),
        (TWO_TESTS, ["-k", "nothing"], pytest.ExitCode.NO_TESTS_COLLECTED),
        ("import nothing_of_this_name", [], pytest.ExitCode.INTERRUPTED),
    ],
)
def test_on_error_fail_leaves_every_other_status(project, tests, arguments, status):
    project.pytester.makepyfile(tests)
    assert project.run(*project.signing, "--jux-key=none.pem", "--jux-on-error=fail", *arguments).ret == status


def test_on_error_fail_counts_a_report_that_could_not_be_stored(project):
    project.store.write_text("a file in the way")
    result = project.run(*project.signing, "--jux-on-error=fail")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert [line[0] for line in section(result)] == ["✓", "✗"]


def test_on_error_fail_counts_a_missing_report(project):
    result = project.run("--jux-enabled", "--jux-on-error=fail", "-p", "no:junitxml")
    assert result.ret == pytest.ExitCode.TESTS_FAILED


# --- metadata --------------------------------------------------------------------------------------------------------


def test_the_metadata_is_in_the_report_before_it_is_signed(project):
    project.run(*project.signing, "--jux-project=tool")
    found = project.properties()
    assert {"project", "jux:hostname", "jux:platform", "jux:python_version", "jux:timestamp"} <= {*found}
    assert found["project"] == "tool"
    assert found["jux:hostname"] == socket.gethostname()
    assert found["jux:pytest_version"] == pytest.__version__
    assert project.verify().report.properties == found


@pytest.mark.parametrize("name", ["project", "jux:hostname", "jux:timestamp"])
def test_changed_metadata_breaks_the_signature(project, name):
    project.run(*project.signing)
    value = project.properties()[name].encode()
    signed = project.report.read_bytes()
    changed = signed.replace(f'name="{name}" value="'.encode() + value, f'name="{name}" value="x'.encode() + value)
    assert changed != signed
    with pytest.raises(SignatureBroken):
        project.verify(changed)


def test_the_sidecar_says_what_the_report_says(project):
    project.monkeypatch.setenv("DEPLOY_TARGET", "staging")
    project.run(*project.signing, "--jux-metadata-env=DEPLOY_*", "--jux-project=tool")
    (sidecar,) = (project.store / "metadata").glob("*.json")
    facts = json.loads(sidecar.read_bytes())
    found = project.properties()
    assert facts["project"] == found["project"]
    assert facts["timestamp"] == found["jux:timestamp"]
    assert facts["env"]["DEPLOY_TARGET"] == found["env:DEPLOY_TARGET"] == "staging"
    assert facts["canonical_hash"] == canonical_hash(project.report.read_bytes())


def test_git_and_ci_are_in_the_report(project):
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"]
    for arguments in (
        ["init"],
        ["commit", "--allow-empty", "-m", "x"],
        ["remote", "add", "origin", "https://u:pw@h.example/tool.git"],
    ):
        subprocess.run(["git", *identity, *arguments], cwd=project.path, capture_output=True, check=True)
    for name, value in {"GITHUB_ACTIONS": "true", "GITHUB_RUN_ID": "99", "CI": "true", "GITHUB_TOKEN": "pw"}.items():
        project.monkeypatch.setenv(name, value)
    project.run(*project.signing)
    found = project.properties()
    assert found["project"] == "tool"
    assert (found["git:branch"], found["git:status"], found["git:remote"]) == (
        "main",
        "clean",
        "https://h.example/tool.git",
    )
    assert re.fullmatch("[0-9a-f]{40}", found["git:commit"])
    assert (found["ci:provider"], found["ci:build_id"], found["env:CI"]) == ("github", "99", "true")


def test_no_secret_gets_into_report_store_or_output(project, encrypted):
    secrets = {"SIGNING_PASSPHRASE": "correct horse", "DEPLOY_TOKEN": "t0ken-value", "JUX_API_KEY": "ap1-key-value"}
    for name, value in secrets.items():
        project.monkeypatch.setenv(name, value)
    arguments = ["--jux-key-passphrase-env=SIGNING_PASSPHRASE", "--jux-metadata-env=*", "-vv"]
    result = project.run(*project.signing, encrypted, *arguments)
    assert project.verify()
    everything = [path.read_text() for path in project.store.rglob("*") if path.is_file()]
    everything += [project.report.read_text(), result.stdout.str(), result.stderr.str()]
    assert not [value for value in secrets.values() if any(value in text for text in everything)]


def test_excluded_fields_are_neither_in_the_report_nor_beside_it(project):
    project.run(*project.signing, "--jux-metadata-exclude=username", "--jux-metadata-exclude=platform")
    (sidecar,) = (project.store / "metadata").glob("*.json")
    assert {"username", "platform"}.isdisjoint(json.loads(sidecar.read_bytes()))
    assert {"jux:username", "jux:platform"}.isdisjoint(project.properties())


def test_characters_that_xml_has_not_do_not_break_the_report(project):
    project.monkeypatch.setenv("DEPLOY_NOTE", "a\x1b[31m\x01b\udcff <&>\"' ü")
    result = project.run(*project.signing, "--jux-metadata-env=DEPLOY_*")
    assert section(result)[0] == "✓ Report signed: report.xml"
    assert project.properties()["env:DEPLOY_NOTE"].endswith(" <&>\"' ü")
    assert project.verify()


def test_the_users_own_suite_properties_stay(project):
    project.pytester.makepyfile(
        "def test_a(record_testsuite_property): record_testsuite_property('team', 'blue')\ndef test_b(): pass"
    )
    project.run(*project.signing)
    assert project.properties()["team"] == "blue"


# --- terminals and users ---------------------------------------------------------------------------------------------


def test_marks_are_ascii_where_the_terminal_shows_nothing_else(project):
    project.monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    result = project.run_apart(*project.signing)
    assert result.ret == 0
    assert [line[:2] for line in section(result)] == ["+ ", "+ "]
    result = project.run_apart(*project.signing, "--jux-key=schlüssel.pem")
    assert result.ret == 0
    assert section(result)[0].startswith("x Report not signed: ")


def test_terminal_escapes_in_paths_are_shown_as_text(project):
    result = project.run(*project.signing, "--jux-key=\x1b[2Jkey.pem")
    assert "\x1b[2J" not in "\n".join(section(result))
    assert "\\x1b[2Jkey.pem" in section(result)[0]


def test_terminal_escapes_in_paths_are_shown_as_text_in_the_header(project):
    result = project.run(*project.signing, "--jux-key=\x1b[2Jkey.pem")
    assert "\x1b[2J" not in result.stdout.str()


def test_colours_are_used_where_pytest_uses_them(project):
    assert "\x1b[32m✓ Report signed" in project.run(*project.signing, "--color=yes").stdout.str()


@pytest.fixture
def as_nobody_known(without_root_rights):
    """Return the start of a command that runs the rest as a user without a name, a home and an entry anywhere."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    rights = "+dac_override,+dac_read_search"
    command = [
        shutil.which("setpriv"),
        "--reuid=54321",
        "--clear-groups",
        f"--inh-caps={rights}",
        f"--ambient-caps={rights}",
    ]
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this root may not become somebody else")
    return command


@pytest.fixture
def homeless(project):
    """Move the project to where everybody may go, and forget who we are."""
    for name in ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME"):
        project.monkeypatch.delenv(name, raising=False)
    with tempfile.TemporaryDirectory() as directory:
        project.path = Path(directory)
        project.path.chmod(0o777)
        project.report, project.store = project.path / "report.xml", project.path / "store"
        (project.path / "test_it.py").write_text(TWO_TESTS)
        project.monkeypatch.setenv("JUX_STORAGE_PATH", str(project.store))
        project.monkeypatch.chdir(directory)
        yield project


def test_a_user_without_name_and_home_can_sign_and_store(homeless, as_nobody_known):
    project = homeless
    result = run_without_rights(project, as_nobody_known, *project.signing)
    assert result.ret == 0
    assert [line[0] for line in section(result)] == ["✓", "✓"]
    assert "jux:username" not in project.properties()
    assert project.verify()


def test_a_user_without_home_and_configured_store_signs_all_the_same(homeless, as_nobody_known):
    project = homeless
    project.monkeypatch.delenv("JUX_STORAGE_PATH")
    result = run_without_rights(project, as_nobody_known, *project.signing)
    assert result.ret == 0
    assert section(result)[0] == "✓ Report signed: report.xml"
    assert section(result)[1].startswith("✗ Report not stored: ")
    assert not (project.path / "~").exists()


def test_an_untrusted_signature_is_told_from_a_broken_one(project, rsa):
    project.run(*project.signing)
    with pytest.raises(SignerUntrusted):
        verify_report(project.report.read_bytes(), Trust([rsa.certificate]))


def test_a_relative_report_path_is_taken_from_where_pytest_started(project):
    (project.path / "sub").mkdir()
    (project.path / "sub" / "conftest.py").write_text("import os\ndef pytest_collection_finish(): os.chdir('sub')\n")
    shutil.move(next(project.path.glob("test_*.py")), project.path / "sub" / "test_it.py")
    assert project.run_apart(*project.signing, "sub").ret == 0
    assert project.verify()
    assert Path(project.path / "report.xml").exists()


@pytest.mark.parametrize(
    ("test", "arguments"),
    [
        ("def test_a(record_property):\n    record_property('a', 1)\n", ["-W", "error"]),
        ("def test_a(request):\n    request.node.user_properties.append('text')\n", []),
        ("def test_a():\n    pass\n", ["-o", "junit_family=xunit3"]),
        (
            "def test_a():\n    import sys\n    from unittest.mock import MagicMock\n    sys.stdout = MagicMock()\n",
            ["-s"],
        ),
    ],
)
def test_a_report_that_nobody_asked_for_breaks_nothing(project, test, arguments):
    project.pytester.makepyfile(test)
    assert project.run_apart(*arguments).ret == 0
    assert project.run_apart(*arguments, "--jux-enabled").ret == 0


def test_a_report_that_goes_into_a_pipe_is_not_waited_for(project):
    command = f"{sys.executable} -m pytest -q -p jux -p no:cacheprovider --junit-xml=/dev/stdout --jux-enabled | cat"
    done = subprocess.run(
        ["bash", "-c", command], cwd=project.path, capture_output=True, text=True, timeout=60, check=False
    )
    assert "it is not a regular file" in done.stdout


def test_a_defect_of_ours_at_the_start_is_one_line_without_our_variables(project):
    (project.path / ".jux.conf").write_text("[jux]\nenabled = true\napi_key = hunter2\n")
    project.pytester.makeconftest(
        """
        import iniconfig

        def broken(self, *arguments):
            raise ZeroDivisionError("oops")

        iniconfig.IniConfig.lineof = broken
        """
    )
    result = project.run_apart("--full-trace", "--showlocals")
    assert result.ret == 0
    assert section(result) == ["✗ pytest-jux failed: ZeroDivisionError: oops (JUX_DEBUG=1 shows where)"]
    assert "hunter2" not in result.stdout.str() + result.stderr.str()


def test_a_home_that_a_conftest_sets_for_its_tests_is_not_where_the_report_goes(project):
    project.monkeypatch.delenv("JUX_STORAGE_PATH")
    (project.path / "home").mkdir()
    project.monkeypatch.setenv("HOME", str(project.path / "home"))
    project.pytester.makepyfile("import os\ndef test_a(): os.environ['HOME'] = os.getcwd()")
    result = project.run_apart("--jux-enabled")
    (stored,) = (project.path / "home" / ".local" / "share" / "jux" / "reports").iterdir()
    assert section(result) == [f"✓ Stored locally: home/.local/share/jux/reports/{stored.name}"]


def test_a_report_that_nobody_asked_for_and_that_cannot_be_stored_is_kept(project):
    project.store.write_text("a file")
    result = project.run_apart("--jux-enabled")
    assert result.ret == 0
    last = section(result)[-1]
    assert last.startswith("⚠ The report is kept in ")
    kept = Path(last.removeprefix("⚠ The report is kept in "))
    assert b"test_a" in kept.read_bytes()
    shutil.rmtree(kept.parent)


def test_an_interruption_while_the_report_is_signed_is_a_line_and_not_a_traceback(project):
    project.pytester.makeconftest(
        "import pytest_jux.run as r\ndef stop(*a, **k): raise KeyboardInterrupt\nr.process_report = stop\n"
    )
    result = project.run_apart(*project.signing)
    assert result.ret == 2
    assert section(result) == ["✗ Interrupted before the report was signed and stored"]
    assert "Traceback" not in result.stdout.str() + result.stderr.str()


def test_a_report_that_another_run_has_put_there_is_not_signed_as_ones_own(project):
    project.run("--junit-xml=other.xml", "--jux-enabled")
    project.pytester.makeconftest(
        """
        import shutil, pytest

        @pytest.hookimpl(trylast=True)
        def pytest_sessionfinish():
            shutil.copy("other.xml", "report.xml")
        """
    )
    result = project.run_apart(*project.signing)
    assert result.ret == 0
    (line,) = section(result)
    assert re.fullmatch(
        r"✗ Report not processed: cannot process .*report\.xml: it is not what this run wrote \(.*\)", line
    )
    assert project.report.read_bytes() == (project.path / "other.xml").read_bytes()
