"""A run and its tabs."""

from __future__ import annotations

import datetime as dt
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from attacks.material import issued, self_signed, usage
from kept_reports import receive
from servers import running
from web_pages import BROWSER, get_page, run_of

from jux_server.app import Choices
from jux_server.trust import add_signer, create_key
from pytest_jux.keys import certificate_pem
from pytest_jux.signer import sign_report

SCRIPTS = Path(sys.executable).parent


def failure_heads(page):
    return page.words("//details[@class='failure']/summary")


def one(database, data):
    return str(receive(database, data).id)


def send(database, *reports):
    return [one(database, data) for data in reports][-1]


# --- failures --------------------------------------------------------------------------------------------------------


def test_run_says_what_failed_and_why(server, database):
    page = get_page(server, f"/reports/{send(database, run_of(7, failing=[1]))}")
    assert page.title == "failed: Failures · shop · Jux"
    (head,) = failure_heads(page)
    assert head.startswith("failed test_1 tests.cart AssertionError: assert 7 == 42")
    assert page.words("//p[@class='run-facts']/span[1]") == ["3 tests, 2 passed , 1 failed"]


def test_run_without_failures_says_so(server, database):
    page = get_page(server, f"/reports/{send(database, run_of(1))}")
    assert "Nothing failed." in page.text


def test_failure_is_new_if_its_test_passed_before(server, database):
    page = get_page(server, f"/reports/{send(database, run_of(1), run_of(2, failing=[0]))}")
    (head,) = failure_heads(page)
    assert head.endswith("Last 2 runs: 1 passed, 1 failed new , passed before")


def test_failure_of_a_test_that_comes_and_goes_is_not_called_new(server, database):
    reports = [run_of(number, failing=[0] if number in {1, 5} else []) for number in range(6)]
    (head,) = failure_heads(page := get_page(server, f"/reports/{send(database, *reports)}"))
    assert head.endswith("Last 6 runs: 4 passed, 2 failed again : failed in 2 of the last 6 runs"), page.text


def test_failing_since_names_the_first_run_of_the_series(server, database):
    commits = {number: f"{number}{'c' * 39}" for number in range(1, 6)}
    reports = [run_of(number, failing=[0] if number > 2 else [], commit=commits[number]) for number in commits]
    page = get_page(server, f"/reports/{send(database, *reports)}")
    (head,) = failure_heads(page)
    assert head.endswith("Last 5 runs: 2 passed, 3 failed failing since 3ccccccccc just now (3 runs)")


def test_failing_since_looks_at_the_branch_and_at_no_later_run(server, database):
    send(database, run_of(1), run_of(2, branch="topic"))
    run = send(database, run_of(3, branch="topic", failing=[0]))
    send(database, run_of(4, branch="topic"), run_of(5, failing=[0]))
    (head,) = failure_heads(get_page(server, f"/reports/{run}"))
    assert head.endswith("Last 2 runs: 1 passed, 1 failed new , passed before")


def test_test_that_has_failed_for_longer_than_is_looked_at(server, database):
    run = send(database, *(run_of(number, failing=[0]) for number in range(32)))
    (head,) = failure_heads(get_page(server, f"/reports/{run}"))
    assert "failing since at least 0000000000 just now (30 runs)" in head


def test_test_that_is_in_the_run_for_the_first_time_is_not_called_new(server, database):
    send(database, run_of(1, cases=1))
    page = get_page(server, f"/reports/{send(database, run_of(2, failing=[1]))}")
    (head,) = failure_heads(page)
    assert "new" not in head
    assert "(1 run)" in head


def test_runs_that_skip_a_test_do_not_end_its_failing(server, database):
    def skipping(number):
        return run_of(number).replace(b'time="0.1"></testcase>', b'time="0.1"><skipped/></testcase>', 1)

    run = send(database, run_of(1), run_of(2, failing=[0]), skipping(3), run_of(4, failing=[0]))
    (head,) = failure_heads(get_page(server, f"/reports/{run}"))
    assert "(2 runs)" in head


def test_retried_tests_come_after_those_that_failed(server, database):
    data = run_of(1, failing=[2]).replace(
        b'time="0.1"></testcase>', b'time="0.1"><flakyFailure message="once"/></testcase>', 1
    )
    heads = failure_heads(get_page(server, f"/reports/{send(database, data)}"))
    assert [head.split()[0] for head in heads] == ["failed", "flaky"]
    assert "passed when it was tried again" in heads[1]


def test_many_failures_are_paged(server, database):
    run = send(database, run_of(1, cases=60, failing=range(60)))
    names, address = [], f"/reports/{run}"
    for _ in range(3):
        page = get_page(server, address)
        names += page.words("//span[@class='case-name']")
        address = next(iter(page.all("//a[@rel='next']/@href")), None)
    assert names == [f"test_{number}" for number in range(60)]
    assert address is None


def test_trace_is_a_page_and_the_part_that_the_failure_shows_in_place(server, database):
    run = send(database, run_of(1, failing=[1]))
    page = get_page(server, f"/reports/{run}")
    assert page.all("//details/summary/@hx-get") == [f"/reports/{run}/cases/1"]
    whole = get_page(server, page.link("Message and traceback"))
    part = get_page(server, f"/reports/{run}/cases/1", headers={"HX-Request": "true"}, is_part=True)
    assert whole.words("//pre[contains(@class, 'trace')]") == ["assert 1 == 42", "line"]
    assert part.words("//pre") == ["line"], "the message is what was opened"
    assert whole.words("//h2")[0] == "failed test_1"
    assert part.tree.find(".//h1") is None


@pytest.mark.parametrize("message", ["a\u202eb", "x" * 301, "#x1B[31mred"])
def test_message_that_the_failure_does_not_show_whole_is_shown_with_the_trace(server, database, message):
    run = send(database, run_of(1, failing=[1]).replace(b"assert 1 == 42", message.encode()))
    part = get_page(server, f"/reports/{run}/cases/1", headers={"HX-Request": "true"}, is_part=True)
    assert len(part.words("//pre")) == 2


def test_message_of_several_lines_is_one_where_there_is_room_for_one(server, database):
    data = run_of(1, failing=[0]).replace(b"assert 1 == 42", b"assert 1 == 42&#10; +&#9; where 1 = f()&#13;&#10;")
    run = send(database, data)
    test = get_page(server, f"/reports/{run}/cases/0").link("All runs of this test")
    for path in (f"/reports/{run}", f"/reports/{run}/tests", f"/reports/{run}/errors", test):
        page = get_page(server, path)
        assert "assert 1 == 42 + where 1 = f()" in page.text
        assert "\\x0a" not in page.text


def test_trace_has_the_colours_of_the_terminal(server, database):
    data = run_of(1, failing=[0]).replace(b">line<", b">#x1B[31mred#x1B[0m plain<")
    page = get_page(server, f"/reports/{send(database, data)}/cases/0")
    assert page.words("//pre[@tabindex]") == ["red plain"]
    assert page.words("//pre[@tabindex]/span") == ["red"]


def test_case_that_there_is_not(server, database):
    run = send(database, run_of(1))
    assert "there is no case in this report: 3" in get_page(server, f"/reports/{run}/cases/3", status=404).text


# --- further tabs ----------------------------------------------------------------------------------------------------


def test_tests_of_a_run_are_grouped_by_class_and_filtered(server, database):
    run = send(database, run_of(1, failing=[1]))
    page = get_page(server, f"/reports/{run}/tests")
    assert page.words("//tr[@class='group']") == ["tests.cart"]
    assert page.words("//tr[@data-row]/td[1]/a") == ["test_0", "test_1", "test_2"]
    failed = get_page(server, page.link("failed 1", "chip"))
    assert failed.words("//tr[@data-row]/td[1]/a") == ["test_1"]
    assert get_page(server, f"/reports/{run}/tests?q=TEST_2").words("//tr[@data-row]/td[1]/a") == ["test_2"]
    assert "No test matches." in get_page(server, f"/reports/{run}/tests?q=nothing").text


SUITES = b"""<testsuites><testsuite name="outer">
<testcase classname="o" name="own"/>
<testsuite name="first"><testcase classname="f" name="one"/>
<testcase classname="f" name="two"><failure/></testcase></testsuite>
<testsuite name="second"><testcase classname="s" name="three"/></testsuite>
</testsuite><testsuite name="other"><testcase classname="x" name="four"/></testsuite></testsuites>"""


def test_suites_of_a_run_are_a_tree(server, database):
    page = get_page(server, f"/reports/{send(database, SUITES)}/tests")
    assert [name.split()[0] for name in page.words("//nav[@class='suites']//li")] == ["outer", "other"]
    outer = get_page(server, page.link("outer"))
    assert outer.words("//nav[@class='suites']//li/a") == ["first", "second"]
    first = get_page(server, outer.link("first"))
    assert first.words("//tr[@data-row]/td[1]/a") == ["one", "two"]
    assert get_page(server, first.link("All suites")).words("//tr[@data-row]/td[1]/a") == page.words(
        "//tr[@data-row]/td[1]/a"
    )


def test_suite_of_another_run_is_not_there(server, database):
    page = get_page(server, f"/reports/{send(database, SUITES)}/tests")
    suite = page.link("outer").partition("suite=")[2]
    other = send(database, run_of(1))
    get_page(server, f"/reports/{other}/tests?suite={suite}", status=404)


def test_long_runs_are_paged(server, database):
    run = send(database, run_of(1, cases=250))
    address, names = f"/reports/{run}/tests?q=test_", []
    while address:
        page = get_page(server, address)
        names += page.words("//tr[@data-row]/td[1]/a")
        address = next(iter(page.all("//a[@rel='next']/@href")), None)
    assert names == [f"test_{number}" for number in range(250)]


def test_errors_with_the_same_cause_are_one(server, database):
    data = run_of(1, cases=5, failing=[0, 1, 2]).replace(b"assert 1 == 42", b"assert 99 == 42", 1)
    data = data.replace(b'name="test_4" time="0.1">', b'name="test_4" time="0.1"><error message="no disk"/>')
    page = get_page(server, f"/reports/{send(database, data)}/errors")
    first, second = page.words("//tr[@data-row]")
    assert first.startswith("3 AssertionError: assert 99 == 42 test_0")
    assert second.startswith("1 no disk test_4")
    assert "Nothing failed." in get_page(server, f"/reports/{send(database, run_of(2))}/errors").text


def test_slowest_tests_come_first(server, database):
    data = run_of(1).replace(b'name="test_1" time="0.1"', b'name="test_1" time="61.5"')
    page = get_page(server, f"/reports/{send(database, data)}/slowest")
    assert page.words("//tr[@data-row]/td[@class='num']") == ["1 min 02 s", "100 ms", "100 ms"]


def test_property_that_the_report_is_known_by_is_said_once(server, database):
    data = run_of(1).replace(b"<properties>", b'<properties><property name="team" value="pay"/>', 1)
    page = get_page(server, f"/reports/{send(database, data)}/properties")
    names = page.words("//table/tbody/tr/th")
    assert len(names) == len(set(names))
    assert {"project", "git.branch", "team"} <= set(names)
    assert page.words("//h3") == ["Of the report", "More properties of the suite pytest"]


def test_comparison_does_not_call_a_silenced_failure_the_same(server, database):
    send(database, run_of(1, failing=[0]))
    silenced = run_of(2).replace(b'name="test_0" time="0.1">', b'name="test_0" time="0.1"><skipped/>')
    page = get_page(server, f"/reports/{send(database, silenced)}/compare")
    assert "The same tests with the same results." not in page.text
    assert page.words("//h3") == ["Skipped or retried 1"]


def test_suite_has_the_tests_of_the_suites_in_it(server, database):
    inner = (
        '<testsuite name="Cart"><testcase name="a"/><testcase name="b"><failure message="no"/></testcase></testsuite>'
    )
    other = '<testsuite name="Feature"><testcase name="c"/></testsuite>'
    report = f'<testsuites><testsuite name="Unit">{inner}</testsuite>{other}</testsuites>'.encode()
    page = get_page(server, f"/reports/{send(database, report)}/tests")
    assert page.words("//ul[contains(@class, 'tree')]/li") == ["Unit 2 tests, 1 failing , 0 ms", "Feature 1 test, 0 ms"]
    assert len(get_page(server, page.link("Unit")).words("//tr[@data-row]")) == 2


def test_comparison_is_with_the_run_before_on_the_branch(server, database):
    send(database, run_of(1, failing=[0]))
    send(database, run_of(2, branch="topic"))
    page = get_page(server, f"/reports/{send(database, run_of(3, failing=[1], cases=4))}/compare")
    assert "Compared with the run failed 0000000000" in page.text
    assert page.words("//h3") == ["Newly failing 1", "Fixed 1", "Added 1"]
    assert page.words("//tr[@data-row]/td[1]/a") == ["test_1", "test_0", "test_3"]


def test_comparison_with_any_run(server, database):
    first = send(database, run_of(1, branch="topic", failing=[0, 1, 2]))
    run = send(database, run_of(2))
    assert "There is no earlier run of this branch" in get_page(server, f"/reports/{run}/compare").text
    for name in (first, first.upper()):
        page = get_page(server, f"/reports/{run}/compare?with={name}")
        assert page.words("//h3") == ["Fixed 3"]
        assert "on topic:" in page.text


@pytest.mark.parametrize(("other", "status"), [("short", 404), ("deadbeef", 404), ("%00", 400), ("x" * 81, 400)])
def test_comparison_with_a_run_that_is_not_there(server, database, other, status):
    get_page(server, f"/reports/{send(database, run_of(1))}/compare?with={other}", status=status)


def test_run_of_another_project_cannot_be_compared(server, database):
    other = send(database, run_of(1, project="other"))
    run = send(database, run_of(2))
    get_page(server, f"/reports/{run}/compare?with={other}", status=404)


def test_comparison_of_equal_runs(server, database):
    send(database, run_of(1))
    page = get_page(server, f"/reports/{send(database, run_of(2))}/compare")
    assert "The same tests with the same results." in page.text


def test_properties_say_who_said_them(server, database, p256):
    data = run_of(1).replace(b"<properties>", b'<properties><property name="flavour" value="a&#9;b"/>')
    signed = send(database, sign_report(run_of(2), p256.key, p256.certificate))
    assert "Of the report, covered by its signature" in get_page(server, f"/reports/{signed}/properties").words("//h3")
    page = get_page(server, f"/reports/{send(database, data)}/properties")
    assert "Of the report" in page.words("//h3")
    assert "Of the sender, not covered by any signature" not in page.words("//h3")
    rows = dict(zip(page.words("//tbody/tr/th"), page.words("//tbody/tr/td"), strict=True))
    assert rows["git.branch"] == "main"
    assert rows["flavour"] == "a\\x09b"


def test_raw_xml_is_text(server, database):
    data = run_of(1, failing=[0])
    page = get_page(server, f"/reports/{send(database, data)}/xml")
    assert page.all("//pre[@class='raw']")[0].text_content() == data.decode()


def test_of_a_large_report_the_beginning_is_shown(server, database):
    data = run_of(1, cases=5_000)
    page = get_page(server, f"/reports/{send(database, data)}/xml")
    shown = page.all("//pre[@class='raw']")[0].text_content()
    assert data.decode().startswith(shown)
    assert len(shown) == 40_000
    assert page.link("Download all of it").endswith("/report.xml")


# --- evidence --------------------------------------------------------------------------------------------------------


def facts_of(page):
    panel = "//section[@id='evidence']/dl"
    return dict(zip(page.words(f"{panel}/dt"), page.words(f"{panel}/dd"), strict=True))


def test_run_whose_signature_is_broken_says_so_before_anything_else(server, database, p256):
    run = send(database, sign_report(run_of(1, failing=[0]), p256.key, p256.certificate).replace(b"== 42", b"== 43"))
    head = get_page(server, f"/reports/{run}").words("//div[@class='run-head']/*")
    assert head[0].startswith("Do not believe what follows: the signature is broken. The report was changed after")
    assert get_page(server, f"/reports/{send(database, run_of(2))}").words("//p[@class='note bad']") == []


def test_unsigned_report(server, database):
    page = get_page(server, f"/reports/{send(database, run_of(1))}")
    assert page.words("//section[@id='evidence']/h2") == ["Evidence unsigned"]
    assert "Not signed: anybody on the way may have changed it." in page.text
    assert "Signer" not in facts_of(page)
    assert not [command for command in page.commands() if "verify" in command]


def test_report_of_an_unknown_signer(server, database, p256):
    run = send(database, sign_report(run_of(1), p256.key, p256.certificate))
    page = get_page(server, f"/reports/{run}")
    assert page.words("//section[@id='evidence']/h2") == ["Evidence intact"]
    facts = facts_of(page)
    assert facts["Signer"] == "CN=p256 signer"
    assert "This server knows no certificate to check it against." in page.text
    assert not [command for command in page.commands() if "signer.pem" in command and command.startswith("curl")]
    assert server.get(f"/reports/{run}/signer.pem").status == 404


def test_broken_report_says_why(server, database, p256):
    data = sign_report(run_of(1), p256.key, p256.certificate).replace(b'name="test_0"', b'name="test_9"')
    page = get_page(server, f"/reports/{send(database, data)}")
    assert page.words("//section[@id='evidence']/h2") == ["Evidence broken"]
    assert "The report was changed after signing" in page.text


def test_trusted_report_says_by_whom_and_when_it_was_received(database, p256):
    add_signer(database, p256.certificate)
    token, _ = create_key(database, "the build", scopes=["publish", "read"])
    data = sign_report(run_of(1), p256.key, p256.certificate)
    with running(database, Choices(is_open_here=False)) as server:
        headers = {"X-API-Key": token}
        sent = server.post("/api/v1/junit/submit", data, headers=headers | {"Content-Type": "application/xml"})
        page = get_page(server, f"/reports/{sent.json()['test_run_id']}", headers=headers)
    facts = facts_of(page)
    assert facts["Signer"] == "CN=p256 signer"
    assert facts["Certificate"].endswith("ECDSA-SHA256")
    assert facts["Received"].endswith("with the API key the build")
    assert "Signed by somebody this server believes, and unchanged since." in page.text
    assert all('-H "X-API-Key: $JUX_API_KEY"' in command for command in page.commands() if command.startswith("curl"))
    assert token not in page.text


def test_report_that_came_again_with_another_signature_is_named(server, database, p256):
    run = send(database, run_of(1))
    server.post(
        "/api/v1/junit/submit",
        sign_report(run_of(1), p256.key, p256.certificate),
        headers={"Content-Type": "application/xml"},
    )
    page = get_page(server, f"/reports/{run}")
    assert page.words("//section[@id='evidence']/h2") == ["Evidence intact"]
    assert "unsigned" in facts_of(page)["Received again"]
    assert server.get(page.link("Download")).data == run_of(1)


def test_commands_of_the_panel_verify_this_very_report(server, database, p256, tmp_path):
    add_signer(database, p256.certificate)
    data = sign_report(run_of(1, failing=[0]), p256.key, p256.certificate)
    page = get_page(server, f"/reports/{send(database, data)}")
    programs = []
    for command in page.commands():
        words = shlex.split(command)
        if words[0] == "xmlsec1" and not shutil.which("xmlsec1"):
            continue
        found = SCRIPTS / words[0] if words[0].startswith("jux") else words[0]
        done = subprocess.run(
            [str(found), *words[1:]], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        programs.append(words[0])
    assert programs[:3] == ["curl", "curl", "jux-verify"]
    (kept,) = tmp_path.glob("sha256-*.xml")
    assert kept.read_bytes() == data
    assert (tmp_path / "signer.pem").read_bytes() == certificate_pem(p256.certificate)


def test_download_is_what_was_received(server, database):
    data = run_of(1) + b"\n<!-- kept -->\n"
    run = send(database, data)
    answer = server.get(f"/reports/{run}/report.xml")
    assert answer.data == data
    assert answer.headers["content-disposition"].startswith('attachment; filename="sha256-')
    assert "sandbox" in answer.headers["content-security-policy"]
    assert server.get(f"/reports/{run}/report.xml?document=2").status == 404


# --- addresses -------------------------------------------------------------------------------------------------------


def test_hash_is_an_address_as_well(server, database):
    run = send(database, run_of(1))
    page = get_page(server, f"/reports/{run}")
    assert get_page(server, f"/reports/{facts_of(page)['Canonical hash']}").title == page.title


def test_hash_that_two_projects_have_wants_a_project(server, database):
    for project in ("one", "two"):
        headers = {"Content-Type": "application/json"}
        body = b'{"report": "<testsuite name=\\"s\\"/>", "metadata": {"project": "%s"}}' % project.encode()
        sent = server.post("/api/v1/reports", body, headers=headers).json()
    page = get_page(server, f"/reports/{sent['canonical_hash']}", status=400)
    assert "name its project" in page.text
    assert "one" in get_page(server, f"/reports/{sent['canonical_hash']}?project=one").words("//p[@class='crumbs']")[0]


@pytest.mark.parametrize("tab", ["", "/tests", "/errors", "/slowest", "/compare", "/properties", "/xml", "/cases/0"])
def test_run_of_others_is_not_there(database, tab):
    run = send(database, run_of(1, project="secret", failing=[0]))
    token, _ = create_key(database, "reader", scopes=["read"], projects=["shop"])
    with running(database) as server:
        page = get_page(server, f"/reports/{run}{tab}", status=404, headers={"X-API-Key": token})
    assert "secret" not in page.text


@pytest.mark.parametrize("tab", ["report.xml", "signer.pem", "tests.csv"])
def test_downloads_of_others_are_not_there(database, tab):
    run = send(database, run_of(1, project="secret"))
    token, _ = create_key(database, "reader", scopes=["read"], projects=["shop"])
    with running(database) as server:
        assert server.get(f"/reports/{run}/{tab}", headers=BROWSER | {"X-API-Key": token}).status == 404


@pytest.mark.parametrize(
    ("address", "is_link"),
    [
        ("https://ci.example/builds/7", True),
        ("http://ci.example/?a=1&amp;b=2", True),
        ("javascript:alert(1)", False),
        ("JAVASCRIPT:alert(1)", False),
        ("data:text/html,x", False),
        (" https://ci.example", False),
        ("//ci.example", False),
    ],
)
def test_only_addresses_of_the_web_are_links_to_the_build(server, database, address, is_link):
    data = run_of(1).replace(b"<properties>", f'<properties><property name="ci:build_url" value="{address}"/>'.encode())
    page = get_page(server, f"/reports/{send(database, data)}")
    assert bool(page.words("//a[text()='CI build']")) is is_link


@pytest.mark.parametrize("believed", ["the signer's own", "one that an authority issued", "the authority's", "ed25519"])
def test_commands_verify_whatever_the_server_believes(server, database, tmp_path, believed, ed25519):
    far = {"not_before": dt.datetime(2026, 1, 1, tzinfo=dt.UTC), "not_after": dt.datetime(2036, 1, 1, tzinfo=dt.UTC)}
    authority = self_signed("an authority", "p256", key_usage=usage("key_cert_sign"), ca=True, **far)
    signer = issued("a builder", "p256", authority, **far)
    if believed == "the signer's own":
        signer = self_signed("alone", "p256", **far)
    key, certificate = (ed25519.key, ed25519.certificate) if believed == "ed25519" else (signer.key, signer.certificate)
    if believed == "the authority's":
        add_signer(database, authority.certificate, kind="authority")
    else:
        add_signer(database, certificate)
    page = get_page(server, f"/reports/{send(database, sign_report(run_of(1), key, certificate))}")
    assert page.words("//section[@id='evidence']/h2") == ["Evidence trusted"]
    programs = []
    for command in page.commands():
        words = shlex.split(command)
        programs.append(words[0])
        if words[0] == "xmlsec1" and not shutil.which("xmlsec1"):
            assert "CI" not in os.environ, "xmlsec1 is missing in CI"
            continue
        words[0] = str(SCRIPTS / words[0]) if words[0].startswith("jux") else words[0]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
    assert ("xmlsec1" in programs) == (believed != "ed25519")


@pytest.mark.parametrize("name", ["", "%00", "a%00b", "%ED%A0%80", "x" * 201, "%0A"])
@pytest.mark.parametrize("part", ["", "/errors", "/cases/0", "/tests.csv", "/report.xml", "/signer.pem"])
def test_project_that_is_none_is_refused_or_not_found(server, database, part, name):
    run = send(database, run_of(1, failing=[0]))
    assert server.get(f"/reports/{run}{part}?project=shop").status in {200, 404}
    assert server.get(f"/reports/{run}{part}?project={name}").status in {400, 404}
