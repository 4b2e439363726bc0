"""Input that is no report, or that is made to cost more than it is worth, is refused in one sentence and at once."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest
from attacks.corpus import REPORT, good, pins, signature_of
from attacks.material import key

from pytest_jux.canonicalizer import canonical_hash
from pytest_jux.document import parse
from pytest_jux.errors import NotAReport, ReportError, ReportMalformed, ReportRefused, ReportTooLarge, SignatureBroken
from pytest_jux.signer import sign_report
from pytest_jux.verifier import Trust, examine_report, verify_report

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MOST_CPU = 2.0  # seconds beyond what a tiny report takes: one on an idle machine, and room for a busy one
MOST_MEMORY = 256_000_000  # bytes, of the whole process
MILLION = 1_000_000

# Runs in a process of its own: jux-verify on a tiny report, then on the hostile one, with the difference measured.
CHILD = """
import json, resource, sys
resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
resource.setrlimit(resource.RLIMIT_AS, (6_000_000_000, 6_000_000_000))
from pytest_jux.commands import _cli, inspect, verify
command = {"verify": verify.command, "inspect": inspect.command}[sys.argv[1]]

def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime

_cli.run(command, [sys.argv[2]])
before = cpu()
code = _cli.run(command, [sys.argv[3]])
after = cpu()
with open("/proc/self/status") as status:
    peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))
print("\\n" + json.dumps({"cpu": after - before, "peak": peak, "code": code}))
"""


def many(count: int, form: bytes) -> bytes:
    return b" ".join(form % number for number in range(count))


def inside(content: bytes, attributes: bytes = b"") -> bytes:
    return b"<testsuite " + attributes + b">" + content + b"</testsuite>"


def zipped() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("report.xml", REPORT)
    return stream.getvalue()


NOT_REPORTS: dict[str, tuple[Callable[[], bytes] | bytes, type[ReportError], str]] = {
    "empty": (b"", NotAReport, "the file is empty"),
    "white space": (b" \r\n\t\n", NotAReport, "the file is empty"),
    "much white space": (b" " * 5000 + REPORT, NotAReport, "the file begins with white space only"),
    "byte order mark": (b"\xef\xbb\xbf", NotAReport, ""),
    "binary": (bytes(range(256)) * 9, NotAReport, "binary data"),
    "executable": (b"\x7fELF\x02\x01\x01\0" + bytes(60), NotAReport, "binary data"),
    "NUL bytes": (bytes(5000), ReportError, ""),
    "NUL bytes inside": (REPORT.replace(b"captured", b"capt\0red"), ReportMalformed, "not well-formed XML at line 3"),
    "gzip": (lambda: gzip.compress(REPORT), NotAReport, "gzip-compressed data"),
    "ZIP": (zipped, NotAReport, "a ZIP archive"),
    "PDF": (b"%PDF-1.7\n", NotAReport, "a PDF document"),
    "JSON object": (b'\n{"tests": 1}', NotAReport, "JSON"),
    "JSON list": (b"[1, 2]", NotAReport, "JSON"),
    "TAP": (b"TAP version 14\n1..1\nok 1", NotAReport, "TAP output"),
    "HTML": (b"<html><body>passed</body></html>", NotAReport, "an HTML page"),
    "HTML with a document type": (b"<!DOCTYPE html>\n<html lang='en'></html>", NotAReport, "an HTML page"),
    "HTML with a document type on one line": (b"<!doctype html><html></html>", NotAReport, "an HTML page"),
    "HTML 4": (b'<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 4.01//EN">\n<html>', NotAReport, "an HTML page"),
    "XHTML": (b'<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0"><html>', NotAReport, "an HTML page"),
    "NUnit 3": (b'<?xml version="1.0"?><test-run id="2"/>', NotAReport, "an NUnit report"),
    "NUnit 2": (b"<test-results total='3'><test-suite/></test-results>", NotAReport, "an NUnit report"),
    "TRX": (b'<TestRun xmlns="http://microsoft.com/x"/>', NotAReport, "a Visual Studio TRX report"),
    "xUnit.net": (b'<assemblies><assembly name="x"/></assemblies>', NotAReport, "an xUnit.net report"),
    "xUnit.net 1": (b"<assembly/>", NotAReport, "an xUnit.net report"),
    "Robot Framework": (b'<robot generator="Robot 7"/>', NotAReport, "a Robot Framework output"),
    "Checkstyle": (b'<checkstyle version="4.3"/>', NotAReport, "a Checkstyle report"),
    "TestNG": (b"<testng-results/>", NotAReport, "a TestNG report"),
    "coverage": (b'<coverage line-rate="1"/>', NotAReport, "a coverage report"),
    "SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', NotAReport, "the root element is 'svg'"),
    "a root with a prefix": (b'<x:project xmlns:x="urn:x"/>', NotAReport, "the root element is 'project'"),
    "a root in another script": ("<отчёт/>".encode(), NotAReport, "the root element is"),
    "a root with a very long name": (b"<" + b"a" * 5000 + b"/>", NotAReport, "the root element is 'aaa"),
    "text": (b"3 passed in 0.1s\n", NotAReport, "text that is not XML"),
    "text that begins like EBCDIC": (b"Loading tests\n3 passed\n", NotAReport, "text that is not XML"),
    "PEM": (b"-----BEGIN CERTIFICATE-----\nMIIB", NotAReport, "a PEM file"),
    "an unfinished tag": (b"<testsuite", ReportMalformed, ""),
    "a comment alone": (b"<!-- nothing -->", NotAReport, "no XML element was found"),
    "an unfinished comment": (b"<!-- nothing", NotAReport, "no XML element was found"),
    "a declaration alone": (b'<?xml version="1.0"?>', NotAReport, "no XML element was found"),
    "a smaller-than sign": (b"<", NotAReport, "no XML element was found"),
    "a control character in the version": (b"<?xml version='1.\x1b[31m\n0'?><testsuite/>", ReportRefused, "XML 1."),
    "a control character in the encoding": (
        b"<?xml version='1.0' encoding='\x1b[31m\nutf-9'?><testsuite/>",
        ReportRefused,
        "its encoding is",
    ),
    "an override in a namespace name": (
        "<testsuite><a xmlns:p='\u202e &#10;y z'/></testsuites>".encode(),
        ReportMalformed,
        "",
    ),
    "a long name in a parser's message": (inside(b"<" + b"a" * 5000 + b">"), ReportMalformed, ""),
    "a billion laughs": (
        b'<!DOCTYPE testsuite [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><testsuite>&b;</testsuite>',
        ReportRefused,
        "it has a DOCTYPE",
    ),
}


def sample(name: str) -> bytes:
    made = NOT_REPORTS[name][0]
    return made if isinstance(made, bytes) else made()


@pytest.mark.parametrize("name", NOT_REPORTS)
def test_what_is_no_report_is_refused_in_one_sentence(name: str) -> None:
    _, error, words = NOT_REPORTS[name]
    data = sample(name)
    with pytest.raises(ReportError) as caught:
        parse(data)
    sentence = str(caught.value)
    assert isinstance(caught.value, error), sentence
    assert words in sentence
    assert sentence.isprintable()
    assert len(sentence) < 200


@pytest.mark.parametrize("name", NOT_REPORTS)
@pytest.mark.parametrize("use", [canonical_hash, lambda data: sign_report(data, key("p256"))], ids=["hash", "sign"])
def test_what_is_no_report_is_neither_hashed_nor_signed(name: str, use: Callable[[bytes], object]) -> None:
    with pytest.raises(ReportError):
        use(sample(name))


def run_jux(directory: Path, data: bytes | None, command: str = "verify") -> tuple[str, str, dict[str, float]]:
    """Run a command on hostile data in a process of its own: what it says, its errors, and what it took."""
    home, work = directory / "home", directory / "work"
    home.mkdir()
    work.mkdir()
    (directory / "tiny.xml").write_bytes(b"<testsuite/>")
    if data is not None:
        (directory / "hostile.xml").write_bytes(data)
    del data
    done = subprocess.run(
        [sys.executable, "-c", CHILD, command, str(directory / "tiny.xml"), str(directory / "hostile.xml")],
        capture_output=True,
        text=True,
        check=False,
        cwd=work,
        env={"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": ""},
    )
    assert done.returncode == 0, f"ended with {done.returncode}: {done.stderr[-500:]}"
    assert not any(home.iterdir())
    assert not any(work.iterdir())
    said, _, measured = done.stdout.rstrip().rpartition("\n")
    return said, done.stderr, json.loads(measured)


COSTLY: dict[str, tuple[Callable[[], bytes], str]] = {
    "100,000 attributes on one element": (lambda: inside(b"", many(100_000, b'a%d="1"')), "attributes on one element"),
    "129 attributes on 30,000 elements": (
        lambda: inside((b"<testcase " + many(129, b'a%d="1"') + b"/>") * 30_000),
        "more than 128 attributes on one element",
    ),
    "2.25 million attributes, few on each": (
        lambda: inside(b'<a b="" c="" d="" e="" f=""/>' * 450_000),
        "more than 2,000,000 attributes",
    ),
    "60 MB of empty elements": (lambda: inside(b"<a/>" * 15 * MILLION), "more than 500,000 elements"),
    "60 MB of smaller-than signs": (lambda: inside(b"<" * 60 * MILLION), "more than 500,000 elements"),
    "nesting half a million deep": (lambda: b"<testsuite>" * (MILLION // 2), "levels of nesting"),
    "nesting a million deep": (lambda: b"<testsuite>" * MILLION, "more than 500,000 elements"),
    "nesting half a million deep, closed": (
        lambda: b"<testsuite>" * (MILLION // 2) + b"</testsuite>" * (MILLION // 2),
        "levels of nesting",
    ),
    "nesting ten million deep, never closed": (lambda: inside(b"<a>" * 10 * MILLION), "more than 500,000 elements"),
    "fake tags in CDATA": (
        lambda: b"<testsuites><![CDATA[" + (b"<a" + b'""' * 129 + b" " * 700) * 8_000 + b"]]>",
        "not well-formed",
    ),
    "deep and wide": (
        lambda: b"<testsuites>" + b"<a>" * 2000 + b"<b/>" * 450_000 + b"</a>" * 2000 + b"</testsuites>",
        "more than 512 levels of nesting",
    ),
    "a long name of the root": (lambda: b"<" + "é".encode() * 10 * MILLION + b"/>", "the root element is"),
    "a long name of an encoding": (
        lambda: b'<?xml version="1.0" encoding="' + b"\xe9" * 20 * MILLION + b'"?><testsuites/>',
        "XML declaration",
    ),
    "9 namespaces in scope of many elements": (
        lambda: inside(b"<a/>" * 450_000, NS_9),
        "more than 8 namespaces in one scope",
    ),
    "64 namespaces in scope of many elements": (
        lambda: inside(b"<a/>" * 450_000, NS_64),
        "namespaces in one scope",
    ),
    "100,000 namespaces on one element": (
        lambda: inside(b"", b" ".join(b'xmlns:n%d="urn:x"' % number for number in range(100_000))),
        "attributes on one element",
    ),
    "namespaces declared anew on every level": (
        lambda: b"<testsuite>" + b'<a xmlns="urn:a">' * 2000 + b"</a>" * 2000 + b"</testsuite>",
        "more than 8 namespaces in one scope",
    ),
    "a document type with entities, 60 MB": (
        lambda: b"<!DOCTYPE testsuite [" + b'<!ENTITY a "aaaaaaaaaaaaaaaa">' * 2 * MILLION + b"]><testsuite/>",
        "it has a DOCTYPE",
    ),
    "60 MB of white space": (lambda: b" " * 60 * MILLION, "the file is empty"),
    "60 MB of NUL bytes": (lambda: bytes(60 * MILLION), "UTF-32"),
    "60 MB of quotes": (lambda: b"<testsuite " + b'"' * 60 * MILLION + b"/>", "attributes on one element"),
    "two million comments that do not end": (lambda: inside(b"<!--" * 2_100_000), ""),
    "two million CDATA sections that do not end": (lambda: inside(b"<![CDATA[" * 2_100_000), ""),
    "two million instructions that do not end": (lambda: inside(b"<?" * 2_100_000), ""),
    "attributes without a name": (lambda: b"<testsuite " + b'="' * 30 * MILLION + b"/>", ""),
    "instructions before the root": (lambda: b"<?a?>" * 12 * MILLION + inside(b""), ""),
    "instructions inside the root": (lambda: inside(b"<?a?>" * 12 * MILLION), ""),
    "instructions after the root": (lambda: inside(b"") + b"<?a?>" * 12 * MILLION, ""),
    "comments before too many elements": (
        lambda: inside(b"<!---->" * 6 * MILLION + b"<a/>" * 2_100_000),
        "more than 500,000",
    ),
    "too many namespaces at the end": (
        lambda: inside(b'<a xmlns:q="urn:q"/>' * 450_000 + b"<a " + NS_9 + b"/>"),
        "namespaces in one scope",
    ),
}
NS_9 = b" ".join(b'xmlns:n%d="urn:n%d"' % (number, number) for number in range(9))
NS_64 = b" ".join(b'xmlns:n%d="urn:n%d"' % (number, number) for number in range(64))


@pytest.mark.parametrize("name", COSTLY)
def test_costly_input_is_refused_at_once(name: str, tmp_path: Path) -> None:
    make, words = COSTLY[name]

    said, errors, measured = run_jux(tmp_path, make())

    verdict = said.splitlines()[-1]
    assert measured["code"] == 1
    assert verdict.startswith("✗ Signature could not be checked: ")
    assert words in verdict
    assert verdict.isprintable()
    assert len(verdict) < 250
    assert "Traceback" not in errors
    assert measured["cpu"] < MOST_CPU
    assert measured["peak"] < MOST_MEMORY


def test_a_file_over_the_limit_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "hostile.xml").open("wb") as file:
        file.truncate(1_000_000_000)

    said, _, measured = run_jux(tmp_path, None)

    assert measured["code"] == 1
    assert "more than 100,000,000 bytes" in said
    assert measured["cpu"] < MOST_CPU
    assert measured["peak"] < MOST_MEMORY


def test_a_count_that_claims_a_thousand_million_tests_is_not_believed(tmp_path: Path) -> None:
    data = REPORT.replace(b'tests="4"', b'tests="999999999999"').replace(b'errors="0"', b'errors="999999999"')

    said, _, measured = run_jux(tmp_path, data, "inspect")

    assert "Tests: 4\n" in said
    assert measured["code"] == 0
    assert measured["cpu"] < MOST_CPU
    assert measured["peak"] < MOST_MEMORY


def test_a_long_comment_costs_no_more_than_its_size(tmp_path: Path) -> None:
    data = REPORT.replace(b"</testsuites>", b"<!--" + b"x" * 60 * MILLION + b"--></testsuites>")

    said, _, measured = run_jux(tmp_path, data)

    assert "Not signed" in said
    assert measured["code"] == 1
    assert measured["cpu"] < 3 * MOST_CPU
    assert measured["peak"] < MOST_MEMORY


def test_many_signatures_cost_no_more_than_their_number(tmp_path: Path) -> None:
    one = b'<d:Signature xmlns:d="http://www.w3.org/2000/09/xmldsig#"/>xxxxxxxxxxxxxxxxxxxx'

    said, _, measured = run_jux(tmp_path, inside(one * 20_000))

    assert "there are 20000 signatures, and only one is accepted" in said
    assert measured["code"] == 1
    assert measured["cpu"] < MOST_CPU


def test_a_time_of_many_groups_costs_no_more_than_its_size(tmp_path: Path) -> None:
    data = b'<testsuite time="' + b"000," * 15 * MILLION + b'000"/>'

    said, _, measured = run_jux(tmp_path, data, "inspect")

    assert "Time: 0.000 s" in said
    assert measured["cpu"] < 3 * MOST_CPU
    assert measured["peak"] < 2 * MOST_MEMORY


@pytest.mark.parametrize("levels", [300, 511])
def test_deeply_nested_suites_can_be_shown(tmp_path: Path, levels: int) -> None:
    data = b"<testsuite>" * levels + b'<testcase name="a"/>' + b"</testsuite>" * levels

    said, errors, measured = run_jux(tmp_path, data, "inspect")

    assert "Traceback" not in errors
    assert "Tests: 1\n" in said
    assert measured["code"] == 0


def test_names_of_nested_suites_do_not_multiply(tmp_path: Path) -> None:
    levels = 150
    data = (b'<testsuite name="' + b"n" * 10_000 + b'">') * levels + b"</testsuite>" * levels

    said, _, _ = run_jux(tmp_path, data, "inspect")

    assert len(said) < 20 * len(data)


def test_a_reference_of_any_length_is_named_in_one_sentence() -> None:
    data = good().replace(b'URI=""', b'URI="' + b"x" * 10_000 + b'"')
    with pytest.raises(SignatureBroken, match="not the whole report") as caught:
        verify_report(data, Trust())
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("quote", [b"'", b"&quot;"])
def test_a_message_full_of_assignments_is_no_flood_of_attributes(quote: bytes) -> None:
    message = b", ".join(b"name%d=" % number + quote + b"value" + quote for number in range(100))
    assert canonical_hash(inside(b'<testcase name="a"><failure message="' + message + b'"/></testcase>'))


@pytest.mark.parametrize("wrap", [(b"<![CDATA[", b"]]>"), (b"<!--", b"-->")], ids=["CDATA", "comment"])
def test_markup_that_is_only_quoted_is_no_flood_of_attributes(wrap: tuple[bytes, bytes]) -> None:
    quoted = b"<svg " + many(100, b'a%d="1"') + b"/>"
    assert canonical_hash(inside(b"<system-out>" + wrap[0] + quoted + wrap[1] + b"</system-out>"))


def test_many_elements_that_are_only_quoted_are_no_flood_of_elements() -> None:
    assert canonical_hash(inside(b"<![CDATA[" + b"<a/>" * 2_100_000 + b"]]>"))


def test_the_end_of_the_root_is_not_mistaken_in_an_encoding_of_two_bytes() -> None:
    """In Shift_JIS the second byte of a character can be `]`, which looks like the end of a CDATA section."""
    data = (
        b"<?xml version='1.0' encoding='Shift_JIS'?><testsuite><system-out><![CDATA[\x83\x5d]> <!-- ]]></system-out>"
        b"</testsuite><!-- x -->"
    )
    try:
        signed = sign_report(data, key("p256"))
    except ReportRefused:
        return
    assert signed.replace(signature_of(signed), b"") == data


def test_elements_are_counted_in_an_encoding_of_two_bytes() -> None:
    data = (
        b"<?xml version='1.0' encoding='Shift_JIS'?><testsuite><system-out><![CDATA[\x83\x5d]> <!-- ]]></system-out>"
        + b"<a/>" * 2_100_000
        + b"</testsuite><!-- x -->"
    )
    with pytest.raises(ReportRefused):
        parse(data)


def test_examination_of_a_hostile_document_fails_like_verification() -> None:
    data = inside(b"", many(129, b'a%d="1"'))
    for use in (verify_report, examine_report):
        with pytest.raises(ReportTooLarge, match="more than 128 attributes on one element"):
            use(data, pins("build")())
