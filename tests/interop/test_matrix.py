"""pytest's own reports, signed by the plugin as a user runs it, under other Pythons and other pytests."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from interop.environments import ENVIRONMENTS, PYTESTS, PYTHONS, Environment, build_wheel
from interop.oracles import (
    DS,
    Verdict,
    Word,
    content_hash,
    cut_signature,
    digest_value,
    java_verify,
    signxml_verify,
    xmlsec1_verify,
)
from interop.sharing import made_once
from lxml import etree

from pytest_jux.keys import (
    certificate_pem,
    generate_private_key,
    load_certificate,
    private_key_pem,
    self_signed_certificate,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

pytestmark = pytest.mark.matrix

SUITES = Path(__file__).parent / "suites"
INI = """[pytest]
junit_logging = all
disable_test_id_escaping_and_forfeit_all_rights_to_community_support = true
"""
# Each Python and each pytest meets each kind of key.
KINDS = ({"kind": "rsa"}, {"kind": "ecdsa", "curve": "P-256"}, {"kind": "ecdsa", "curve": "P-384"})
ORACLES = ("jux-verify", "xmlsec1", "java", "signxml")
SENDABLE = ("outcomes", "texts", "subtesting")
FULL = (*SENDABLE, "surrogates")  # a worker of pytest-xdist cannot send half a surrogate pair; it ends the whole run


@dataclass(frozen=True, slots=True)
class Variant:
    """A way to run pytest: which suites, with which arguments, how it exits, and how many cases it reports at least."""

    suites: tuple[str, ...]
    arguments: tuple[str, ...]
    status: int
    cases: int
    junit_xml: bool = True


VARIANTS = {
    "xunit1": Variant(FULL, ("-o", "junit_family=xunit1"), 1, 90),
    "xunit2": Variant(FULL, ("-o", "junit_family=xunit2"), 1, 90),
    "xdist": Variant(SENDABLE, ("-n", "2"), 1, 90),
    "reruns": Variant(("retried",), (), 1, 4),
    "collection error": Variant(("uncollectable", "outcomes"), (), 2, 1),
    "empty run": Variant(("nothing",), (), 5, 0),
    "all pass": Variant(("outcomes",), ("-k", "test_passes or test_method"), 0, 3),
    "no --junit-xml": Variant(FULL, ("-o", "junit_family=xunit1"), 1, 90, junit_xml=False),
}
TEN_THOUSAND = Variant(("many",), (), 1, 10_000)


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of pytest with the plugin left behind, and the same run without the plugin.

    `forged` is a copy of the report in which somebody renamed a test.
    """

    status: int
    plain_status: int
    report: Path
    stored: tuple[Path, ...]
    plain: Path
    forged: Path
    output: str


@dataclass(frozen=True, slots=True)
class Runs:
    """All runs in one environment, and what everyone says of their reports."""

    runs: dict[str, Run]
    verdicts: dict[str, dict[Path, Verdict]]


@dataclass(frozen=True, slots=True)
class Credentials:
    """The files that `jux-keygen` would make."""

    key: Path
    certificate: Path


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that all environments get."""
    return made_once(tmp_path_factory, "wheel", build_wheel)


@pytest.fixture(scope="module", params=ENVIRONMENTS, ids=lambda environment: environment.name)
def environment(request: pytest.FixtureRequest, wheel: Path) -> Iterator[Environment]:
    with request.param.in_use(wheel) as ready:
        yield ready


@pytest.fixture(scope="module")
def runs(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Run every variant in the environment; ask each verifier about all reports at once."""

    def make(folder: Path) -> Runs:
        credentials = make_credentials(folder, KINDS[(PYTHONS.index(environment.python) + _row(environment)) % 3])
        done = {}
        for number, (name, variant) in enumerate(VARIANTS.items()):
            done[name] = run_variant(environment, variant, credentials, folder / str(number))
        files = [file for run in done.values() for file in (run.report, run.forged)]
        return Runs(done, judge(environment, files, credentials.certificate))

    return made_once(tmp_path_factory, environment.name, make)


def _row(environment: Environment) -> int:
    return PYTESTS.index(environment.pytest)


def make_credentials(folder: Path, kind: dict[str, str]) -> Credentials:
    """Make a key and its certificate, in files."""
    key = generate_private_key(**kind)  # type: ignore[arg-type]  # only names of kinds and curves
    files = Credentials(folder / "key.pem", folder / "cert.pem")
    files.key.touch(mode=0o600)
    files.key.write_bytes(private_key_pem(key))
    files.certificate.write_bytes(certificate_pem(self_signed_certificate(key, "Interop matrix")))
    return files


# --- running ---------------------------------------------------------------------------------------------------------


def run_variant(environment: Environment, variant: Variant, credentials: Credentials, folder: Path) -> Run:
    """Run pytest with the plugin and without it on copies of the suites in `folder`."""
    suite = folder / "suite"
    suite.mkdir(parents=True)
    (suite / "pytest.ini").write_text(INI)
    for name in variant.suites:
        shutil.copyfile(SUITES / f"{name}.py", suite / f"test_{name}.py")
    plain = folder / "plain.xml"
    plain_status, _ = _pytest(environment, suite, ["-p", "no:jux", f"--junit-xml={plain}", *variant.arguments])

    report, storage = folder / "report.xml", folder / "store"
    jux = ["--jux-enabled", "--jux-sign", f"--jux-key={credentials.key}", f"--jux-cert={credentials.certificate}"]
    jux += ["--jux-storage-mode=local", f"--jux-storage-path={storage}"]
    jux += [f"--junit-xml={report}"] if variant.junit_xml else []
    status, output = _pytest(environment, suite, [*jux, *variant.arguments])
    stored = tuple(sorted((storage / "reports").iterdir())) if storage.exists() else ()
    assert stored, output
    report = report if variant.junit_xml else stored[0]
    return Run(status, plain_status, report, stored, plain, _forge(report, folder / "forged.xml"), output)


def _pytest(environment: Environment, suite: Path, arguments: Sequence[str]) -> tuple[int, str]:
    command = [str(environment.program("python")), "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(command, cwd=suite, env=_clean_environment(suite), capture_output=True, check=False)
    return done.returncode, (done.stdout + done.stderr).decode("utf-8", "replace")


def _clean_environment(home: Path) -> dict[str, str]:
    """Return what a process needs, without what the tests around it or the developer's own settings bring."""
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "TMPDIR", "SYSTEMROOT"}}
    return {**kept, "HOME": str(home.parent), "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}


def _forge(report: Path, copy: Path) -> Path:
    """Write a copy of the report in which its first test, or else its first suite, has another name."""
    data = report.read_bytes()
    start = max(data.find(b"<testcase"), data.find(b"<testsuite "))
    position = data.index(b' name="', start) + len(b' name="')
    copy.write_bytes(data[:position] + b"x" + data[position:])
    return copy


def judge(environment: Environment, files: list[Path], certificate: Path) -> dict[str, dict[Path, Verdict]]:
    """Ask everyone about every file. A verifier that is missing has said nothing; its own tests then report that."""
    loaded = load_certificate(certificate)
    verdicts = {
        "jux-verify": _jux_verify(environment, files, certificate),
        "signxml": {file: signxml_verify(file.read_bytes(), loaded) for file in files},
    }
    for name, ask in {"xmlsec1": xmlsec1_verify, "java": java_verify}.items():
        with contextlib.suppress(pytest.skip.Exception):
            verdicts[name] = ask(files, certificate)
    return verdicts


def _jux_verify(environment: Environment, files: list[Path], certificate: Path) -> dict[Path, Verdict]:
    command = [str(environment.program("jux-verify")), "--json", "--cert", str(certificate), *map(str, files)]
    done = subprocess.run(
        command, env=_clean_environment(certificate.parent), capture_output=True, text=True, check=False
    )
    answers = json.loads(done.stdout)
    answers = answers if isinstance(answers, list) else [answers]
    assert len(answers) == len(files), done.stderr
    verdicts = {}
    for file, answer in zip(files, answers, strict=True):
        word = Word.VALID if answer["valid"] else Word.BROKEN if answer["state"] == "broken" else Word.ERROR
        verdicts[file] = Verdict(word, answer["reason"] or "")
    assert (done.returncode == 0) == all(verdict.word is Word.VALID for verdict in verdicts.values()), done.stderr
    return verdicts


# --- what is shown ---------------------------------------------------------------------------------------------------


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("oracle", ORACLES)
def test_pytests_report_is_valid_everywhere_and_a_renamed_test_is_not(runs: Runs, variant: str, oracle: str) -> None:
    if oracle not in runs.verdicts:
        pytest.skip(f"{oracle} is not installed")
    run = runs.runs[variant]
    verdicts = runs.verdicts[oracle]
    assert verdicts[run.report].word is Word.VALID, verdicts[run.report]
    assert verdicts[run.forged].word is Word.BROKEN, verdicts[run.forged]


def test_the_stored_file_is_the_report_under_its_own_hash(runs: Runs, variant: str) -> None:
    run = runs.runs[variant]
    data = run.report.read_bytes()
    (stored,) = run.stored
    assert stored.read_bytes() == data
    assert stored.name == digest_value(data).replace(":", "-") + ".xml"
    assert digest_value(data) == content_hash(data) == content_hash(cut_signature(data))


def test_the_exit_status_is_that_of_the_same_run_without_the_plugin(runs: Runs, variant: str) -> None:
    run = runs.runs[variant]
    assert run.status == run.plain_status == VARIANTS[variant].status, run.output


def test_what_the_report_says_of_the_tests_is_what_it_says_without_the_plugin(runs: Runs, variant: str) -> None:
    run = runs.runs[variant]
    cases = _cases(run.report)
    assert len(cases) >= VARIANTS[variant].cases
    assert cases == _cases(run.plain)


def test_the_suite_has_every_outcome(runs: Runs) -> None:
    root = etree.parse(runs.runs["xunit1"].report).getroot()
    for outcome in ("failure", "error", "skipped", "system-out", "system-err", "properties"):
        assert root.find(f".//testcase/{outcome}") is not None, outcome
    assert root.findall(f"{DS}Signature")


def _cases(report: Path) -> list[str]:
    """Return every test case with all it holds but durations and addresses, in an order that is not the workers'."""
    cases = []
    for case in etree.parse(report).getroot().iter("testcase"):
        case.attrib.pop("time", "")
        case.tail = None
        cases.append(re.sub(r"\b0x[0-9a-f]{6,}", "0x…", etree.tostring(case, encoding="unicode")))
    return sorted(cases)


# --- once is enough --------------------------------------------------------------------------------------------------


def test_a_report_of_ten_thousand_tests_is_valid_everywhere(wheel: Path, tmp_path: Path) -> None:
    credentials = make_credentials(tmp_path, KINDS[0])
    with ENVIRONMENTS[-1].in_use(wheel) as environment:
        run = run_variant(environment, TEN_THOUSAND, credentials, tmp_path / "run")
        verdicts = judge(environment, [run.report, run.forged], credentials.certificate)
    said = {oracle: [answers[file].word for file in (run.report, run.forged)] for oracle, answers in verdicts.items()}
    assert said == {oracle: [Word.VALID, Word.BROKEN] for oracle in said}
    assert run.status == run.plain_status == 1
    assert len(_cases(run.report)) == TEN_THOUSAND.cases


def test_the_oracles_see_a_report_that_was_printed_again_after_signing(wheel: Path, tmp_path: Path) -> None:
    credentials = make_credentials(tmp_path, KINDS[1])
    with ENVIRONMENTS[-1].in_use(wheel) as environment:
        run = run_variant(environment, VARIANTS["reruns"], credentials, tmp_path / "run")
        printed = tmp_path / "printed.xml"
        tree = etree.parse(run.report)
        etree.indent(tree)
        tree.write(printed)
        verdicts = judge(environment, [printed], credentials.certificate)
    assert {oracle: answers[printed].word for oracle, answers in verdicts.items()} == dict.fromkeys(
        verdicts, Word.BROKEN
    )
