"""Tables for spreadsheets."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kept_reports import receive
from servers import running
from web_pages import run_of

from jux_server.app import Choices
from jux_server.trust import create_key
from jux_server.web import exports
from jux_server.web.exports import csv_response


def lines(rows):
    return "".join(exports._lines(["a", "b"], rows))


def read(text):
    return list(csv.reader(io.StringIO(text, newline="")))


@given(st.lists(st.tuples(st.text(), st.text()), max_size=20))
def test_what_is_written_is_read_again_but_for_the_apostrophe(rows):
    header, *found = read(lines(rows))
    assert header == ["a", "b"]
    flat = [cell for row in rows for cell in row]
    for cell, written in zip(flat, [cell for row in found for cell in row], strict=True):
        assert written in {cell, f"'{cell}"}
        assert not written.startswith(tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")) or exports._NUMBER.fullmatch(written)


@pytest.mark.parametrize(
    "cell", ["=1+1", "+1-1", "-1+cmd|x", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "-", "--1", "\uff1d1+1"]
)
def test_formulas_become_text(cell):
    assert read(lines([(cell, "x")]))[1][0] == f"'{cell}"


@pytest.mark.parametrize("cell", ["-1", "-0.5", "12", "a=b", "", 7, -3.5])
def test_figures_and_words_stay_as_they_are(cell):
    assert read(lines([(cell, None)]))[1] == [str(cell), ""]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("shop-runs", "shop-runs.csv"),
        ('a"\r\nX: y/../é', "a-X-y.csv"),
        ("..", "export.csv"),
        ("", "export.csv"),
        ("x" * 300, "x" * 100 + ".csv"),
    ],
)
def test_name_of_the_file_is_harmless(name, file):
    assert csv_response(name, [], []).headers["content-disposition"] == f'attachment; filename="{file}"'


def test_all_cases_of_a_run_are_in_its_table(server, database, monkeypatch):
    monkeypatch.setattr(exports, "_CASES", 100)
    run = receive(database, run_of(1, cases=250, failing=[7])).id
    rows = list(csv.DictReader(io.StringIO(server.get(f"/reports/{run}/tests.csv").data.decode(), newline="")))
    assert [int(row["position"]) for row in rows] == list(range(250))
    assert {row["result"] for row in rows if row["test"] != "test_7"} == {"passed"}
    assert rows[7] == {
        "position": "7",
        "class": "tests.cart",
        "test": "test_7",
        "result": "failed",
        "seconds": "0.1",
        "type": "AssertionError",
        "message": "assert 1 == 42",
    }


def test_table_of_a_run_that_is_not_there(server):
    assert server.get("/reports/00000000/tests.csv").status == 404


def test_formulas_of_a_hostile_report_are_text_in_its_table(server, database):
    report = (
        b'<testsuite name="s"><testcase classname="=cmd|\' /C calc\'!A0" name="@SUM(1)" time="1">'
        b'<failure type="+1+1" message="-2+3&#10;&quot;,=1">x</failure></testcase></testsuite>'
    )
    run = receive(database, report).id
    answer = server.get(f"/reports/{run}/tests.csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"].startswith('attachment; filename="unknown-')
    (row,) = csv.DictReader(io.StringIO(answer.data.decode(), newline=""))
    found = {name: row[name] for name in ("class", "test", "type", "message")}
    assert found == {
        "class": "'=cmd|' /C calc'!A0",
        "test": "'@SUM(1)",
        "type": "'+1+1",
        "message": "'-2+3\n\",=1",
    }


def test_table_is_for_who_may_read_the_project(database):
    run = receive(database, run_of(1)).id
    reader, _ = create_key(database, "reader", scopes=["read"], projects=["shop"])
    other, _ = create_key(database, "other", scopes=["read"], projects=["other"])
    path = f"/reports/{run}/tests.csv"
    with running(database, Choices(is_open_here=False)) as server:
        assert server.get(path).status == 401
        assert server.get(path, headers={"X-API-Key": other}).status == 404
        assert server.get(path, headers={"X-API-Key": reader}).data.startswith(b"position,class,")
